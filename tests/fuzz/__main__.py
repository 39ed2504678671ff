"""The command: ``python -m tests.fuzz --minutes 10``."""

import argparse
import json
import shlex
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import report
from .kinds import kinds
from .supervise import ASLEEP_S, LIMIT_S, Tally, run


def main() -> int:
    known = kinds()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of all kinds together, shared equally")
    parser.add_argument("--inputs", type=int, help="mutated inputs of each kind at most")
    parser.add_argument("--workers", type=int, default=1, help="kinds that are tried at once")
    parser.add_argument("--kind", action="append", choices=list(known), help="this one alone; may repeat")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="WORD", help="one input of a kind: its number, or !NAME of an attack")
    parser.add_argument("--home", type=Path, help="where inputs at fault are kept; by default a new folder of /tmp")
    parser.add_argument("--json", type=Path, help="keep the counts there; those of other kinds stay")
    parser.add_argument("--report", type=Path, help="write the table into this Markdown file")
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("memory and processor time are measured in /proc: run it on Linux")
    chosen = options.kind or [name for name, kind in known.items() if find_spec(kind.needs)]
    home = options.home or Path(tempfile.mkdtemp(prefix="mien-fuzz-"))
    home.mkdir(parents=True, exist_ok=True)
    share = 60 * options.minutes * min(options.workers, len(chosen)) / len(chosen)
    words = None if options.only is None else [options.only]

    def attempt(name: str) -> Tally:
        tally = run(known[name], seed=options.seed, home=home, seconds=share, most=options.inputs, words=words)
        tally.command = shlex.join(["python", "-m", "tests.fuzz", *sys.argv[1:]])
        print("\n".join([line(tally), *details(tally)]), file=sys.stderr, flush=True)
        return tally

    with ThreadPoolExecutor(options.workers) as pool:
        tallies = list(pool.map(attempt, chosen))
    kept = {tally.kind: tally for tally in tallies}
    if options.json is not None:
        if options.json.is_file():
            kept = {told["kind"]: Tally(**told) for told in json.loads(options.json.read_text())} | kept
        kept = {name: kept[name] for name in known if name in kept}
        options.json.write_text(json.dumps([tally.as_dict() for tally in kept.values()], indent=1))
    if options.report is not None:
        report.replace_block(options.report, "fuzz", text(list(kept.values())))
    return 0 if all(tally.clean for tally in tallies) else 1


def details(tally: Tally) -> list[str]:
    """What was found, alike ones together."""
    lines = []
    for alike in grouped(tally).values():
        told = alike[0]
        lines.append(f"  {len(alike)} × {told['outcome']} {told.get('error', '')} {told.get('kept', '')}")
        lines.append(f"    inputs {' '.join(each['input'] for each in alike[:12])}")
        lines += told.get("trace", "").splitlines()[-12:]
    return lines


def grouped(tally: Tally) -> dict[str, list[dict[str, Any]]]:
    """What was found, by outcome and the last line of mien's that stands in the traceback."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for told in tally.found:
        places = [line.strip() for line in told.get("trace", "").splitlines() if "/mien/" in line]
        key = f"{told['outcome']} {told.get('error', '').split(':')[0]} {places[-1] if places else ''}"
        groups.setdefault(key, []).append(told)
    return groups


def line(tally: Tally) -> str:
    return (
        f"{tally.kind}: {tally.inputs:,} inputs, {tally.read:,} read, {tally.refused:,} refused, "
        f"{tally.faults} faults, {tally.hangs} hangs, {tally.crashes} crashes, {tally.over_memory} over the memory "
        f"limit; at most {tally.longest_s:.1f} s of processor time and {tally.largest_mb:,.0f} MB"
    )


def text(tallies: list[Tally]) -> str:
    known = kinds()
    head = ("kind", "inputs", "of them made by hand", "read", "refused in one line", "tracebacks")
    head += (f"over {LIMIT_S:g} s", "crashes", "over the memory limit", "longest, s", "largest, MB", "limit, MB")
    rows = [
        (t.kind, t.inputs, t.attacks, t.read, t.refused, t.faults, t.hangs, t.crashes, t.over_memory,
         f"{t.longest_s:.1f}", round(t.largest_mb), known[t.kind].memory_mb)
        for t in tallies
    ]  # fmt: skip
    sums = [sum(row[i] for row in rows) for i in range(1, 9)]  # type: ignore[misc]
    total = ("all", *sums, f"{max(t.longest_s for t in tallies):.1f}", round(max(t.largest_mb for t in tallies)), "")
    commands = ", ".join(f"`{command}`" for command in dict.fromkeys(tally.command for tally in tallies))
    about = (
        f"{commands}. Seconds are processor time of one input ({ASLEEP_S:g} s of sleep count as a hang, too); MB is "
        "by how much one input made its process grow."
    )
    return f"{about}\n\n{report.table(head, [*rows, total])}"


if __name__ == "__main__":
    sys.exit(main())
