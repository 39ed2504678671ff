"""The card of a store: a README.md that a person reads first and ``datasets.load_dataset(STORE)`` reads too.

Its head is YAML in the form of a Hugging Face data card, which names each split's files, so that nothing has to be
guessed from the directory. All that it says comes from the summary.
"""

import json
from collections.abc import Mapping
from typing import Any

CARD = "README.md"

_COLUMNS = {
    "image": "PNG bytes, and the image's name within its source",
    "label": "expression, null where the source holds it back",
    "label_code": "its code: {codes}; null as above",
    "source": "which of the sources below",
    "split": "the split, as the file's name says",
    "votes": "FER+'s ten counts (neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, no "
    "face), or null",
    "group": "what must not cross splits (a subject), or null",
    "near_duplicate": "whether Training holds nearly the same image (correlation of contrast-normalised 12×12 block "
    "averages above 0.99, mirrored too); null in Training",
    "valence": "-1 to 1, or null",
    "arousal": "-1 to 1, or null",
    "landmarks": "x, y, x, y, … in pixels of the image, or null",
    "generated_from": "name of the original that a generated image was varied from; null for an original",
}


def card(summary: Mapping[str, Any], columns: list[str], *, figure: str | None = None) -> str:
    """The text of the README. columns: those of the shards. figure: the file of Figure 2 beside it, if there is one."""
    codes = ", ".join(f"{code} {name}" for code, name in enumerate(summary["labels"]))
    lines = [*_head(summary), "", f"# Facial expressions: {' + '.join(s['name'] for s in summary['sources'])}", ""]
    lines += [
        f"Built with `mien data build` (mien {summary['mien']}). The labels name the *apparent* expression of a face, "
        "not what a person feels. The images stay under the licences of their sources, below: check them before you "
        "pass this store on.",
        "",
        *_counts(summary),
        "",
        "```python",
        'datasets.load_dataset("THIS DIRECTORY")                   # Hugging Face datasets',
        'pandas.read_parquet("THIS DIRECTORY/data")                # pandas',
        "duckdb.sql(\"from 'THIS DIRECTORY/data/*.parquet'\")        # DuckDB",
        'mien.data.store.Store.open("THIS DIRECTORY").read("training")',
        "```",
        "",
        "## Columns",
        "",
        "| column | meaning |",
        "|---|---|",
        *(f"| `{name}` | {_COLUMNS[name].format(codes=codes)} |" for name in columns),
        "",
        "## Sources",
        "",
    ]
    for source in summary["sources"]:
        lines += _source(source)
    lines += _how(summary, figure)
    return "\n".join(lines).rstrip() + "\n"


def _head(summary: Mapping[str, Any]) -> list[str]:
    """YAML; JSON strings are YAML strings, so no name can break out of it."""
    rows = sum(split["rows"] for split in summary["splits"].values())
    lines = ["---", "license: other", "license_name: as-the-sources", "task_categories:", "- image-classification"]
    lines += ["tags:", "- facial-expression-recognition", "size_categories:", f"- {_size(rows)}", "configs:"]
    lines += ["- config_name: default", "  data_files:"]
    for name, split in summary["splits"].items():
        lines += [f"  - split: {json.dumps(name)}", "    path:"]
        lines += [f"    - {json.dumps(file)}" for file in split["files"]]
    return [*lines, "---"]


def _size(rows: int) -> str:
    """Hugging Face's words for how large a data set is."""
    edges = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for edge, name in edges if rows < edge), "1M<n<10M")


def _counts(summary: Mapping[str, Any]) -> list[str]:
    splits = summary["splits"]
    lines = ["| | " + " | ".join(splits) + " |", "|---" * (len(splits) + 1) + "|"]
    for name in (*summary["labels"], "unlabelled"):
        numbers = [split["counts"].get(name, 0) for split in splits.values()]
        if any(numbers):
            lines.append(f"| {name} | " + " | ".join(f"{n:,}" for n in numbers) + " |")
    lines.append("| **images** | " + " | ".join(f"{split['rows']:,}" for split in splits.values()) + " |")
    if any(split["generated"] for split in splits.values()):
        lines.append("| of them generated | " + " | ".join(f"{s['generated']:,}" for s in splits.values()) + " |")
    sizes = sorted({size for split in splits.values() for size in split["image_sizes"]})
    return [*lines, "", f"Image size: {', '.join(sizes)}."]


def _source(source: Mapping[str, Any]) -> list[str]:
    total = sum(n for counts in source["counts"].values() for n in counts.values())
    made = f" and {source['generated']:,} generated from them" if source["generated"] else ""
    lines = [f"### {source['name']}", "", f"{source['layout']}: {total:,} images{made}. {source['licence']}.", ""]
    facts = [f"differs from the published counts: {text}" for text in source["differences"]]
    facts += list(source["warnings"])
    facts += [f"{number:,} dropped: {reason}" for reason, number in source["dropped"].items()]
    return [*lines, *(f"- {fact}" for fact in facts), *([""] if facts else [])]


def _how(summary: Mapping[str, Any], figure: str | None) -> list[str]:
    options = summary["options"]
    lines = ["## How it was built", ""]
    if summary["dropped"]:
        lines += [
            f"{sum(summary['dropped'].values()):,} images were left out; each stands in `dropped.csv` with its reason.",
            "",
        ]
    lines += [f"- {text}" for text in (*options["settled"], *summary["warnings"])]
    if "balance" in summary:
        before, after = summary["balance"]["before"], summary["balance"]["after"]
        changes = ", ".join(f"{name} {before[name]:,} → {after[name]:,}" for name in before)
        lines += [f"- Training balanced by variations of its originals: {changes}"]
    lines += ["", "Options and versions:", "", "```json"]
    lines += json.dumps({"options": options, "versions": summary["versions"]}, indent=2, ensure_ascii=False).split("\n")
    lines += ["```"]
    return [*lines, *(["", f"![Training images before and after balancing]({figure})"] if figure else [])]
