"""What ``mien data stats`` prints: a store's summary as a plain-text table, suited to pipes and diffs."""

from typing import Any


def stats_lines(summary: dict[str, Any]) -> list[str]:
    """One row a class, one column a split; then each source; then how the store was built.

    Stores of older versions lack some of it, and then the lines.
    """
    splits = summary["splits"]
    rows: list[tuple[str, list[str]]] = [("", list(splits))]
    for name in (*summary["labels"], "unlabelled"):
        numbers = [split["counts"].get(name, 0) for split in splits.values()]
        if name != "unlabelled" or any(numbers):
            rows.append((name, [f"{n:,}" for n in numbers]))
    rows.append(("images", [f"{split['rows']:,}" for split in splits.values()]))
    generated = [split.get("generated", 0) for split in splits.values()]
    if any(generated):
        rows.append(("generated", [f"{n:,}" for n in generated]))
    rows.append(("with FER+ votes", [f"{split['with_votes']:,}" for split in splits.values()]))
    near = [split["near_duplicates_in_training"] for split in splits.values()]
    rows.append(("near-duplicates in Training", ["–" if n is None else f"{n:,}" for n in near]))
    rows.append(("size", [", ".join(split["image_sizes"]) for split in splits.values()]))
    head = max(len(name) for name, _ in rows)
    widths = [max(len(row[i]) for _, row in rows) for i in range(len(splits))]
    lines = [
        "  ".join([name.ljust(head), *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))]).rstrip()
        for name, row in rows
    ]
    renamed = summary.get("options", {}).get("splits", {}).get("official", {})
    for source in summary["sources"]:
        lines += ["", *_source(source, renamed.get(source["name"], {}))]
    built = _built(summary)
    return [*lines, *(["", "built", *(f"  {line}" for line in built)] if built else [])]


def _source(source: dict[str, Any], renamed: dict[str, str]) -> list[str]:
    """renamed: official split → its name in the store, where that is another one."""
    lines = [f"source {source['name']}, layout {source['layout']}", f"  {source['licence']}"]
    for split, counts in source["counts"].items():
        official = [n for name, n in source.get("read", {}).items() if name and renamed.get(name, name) == split]
        read, total = sum(sum(each.values()) for each in official), sum(counts.values())
        of = f" of {read:,}" if official and read != total else ""
        lines.append(f"  {split}: {total:,}{of} images")
    if source.get("generated"):
        lines.append(f"  generated: {source['generated']:,} images")
    lines += [f"  differs from the published counts: {text}" for text in source["differences"]]
    return lines + [f"  dropped: {number:,} {reason}" for reason, number in source["dropped"].items()]


def _built(summary: dict[str, Any]) -> list[str]:
    options = summary.get("options")
    if options is None:
        return []
    lines = [f"{key} {options[key]}" for key in ("size", "color", "labels", "detector")]
    for source, table in options["mapping"].items():
        changes = ", ".join(f"{label} → {target or 'left out'}" for label, target in table.items())
        lines.append(f"labels of {source} mapped: {changes}")
    lines.append(f"seed {options['splits']['seed']}")
    if "balance" in summary:
        before, after = summary["balance"]["before"], summary["balance"]["after"]
        lines.append("balanced: " + ", ".join(f"{name} {before[name]:,} → {after[name]:,}" for name in before))
    lines += summary["warnings"]
    lines.append("with " + ", ".join(f"{name} {number}" for name, number in summary["versions"].items()))
    return lines
