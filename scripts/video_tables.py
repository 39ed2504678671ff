"""Writes the tables of docs/video.md from results/: ``python scripts/video_tables.py`` (``--check`` changes nothing).

tracking.json, smoothing.json, video_every.json and video_speed.json are made by the benchmarks of those names.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "video.md"
NAMES = {
    "mien": "mien",
    "SORTTracker": "SORT",
    "ByteTrackTracker": "ByteTrack",
    "OCSORTTracker": "OC-SORT",
    "BoTSORTTracker": "BoT-SORT",
}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "results" / name).read_text("utf-8"))
    return content


def rows(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tracking() -> str:
    kept = load("tracking.json")
    counts = kept["counts"]
    body = []
    for n, scene in enumerate(kept["scenes"]):
        body.append([scene["name"], *(" / ".join(str(v) for v in counts[name][n].values()) for name in NAMES)])
    totals = []
    for name in NAMES:
        totals.append(" / ".join(str(sum(row[key] for row in counts[name])) for key in counts[name][0]))
    return rows(["scene", *NAMES.values()], [*body, ["**all**", *(f"**{total}**" for total in totals)]])


def smoothing() -> str:
    kept = load("smoothing.json")
    body = []
    for model, found in kept["models"].items():
        for name, figures in found.items():
            whole, away = figures["all"], figures["away_from_changes"]
            low, high = away["ece_interval"]
            body.append(
                [
                    f"`{model}`",
                    "none" if name == "centred 0 s" else name,
                    f"{whole['accuracy']:.1%}".replace("%", " %"),
                    f"{whole['ece']:.3f}",
                    f"{whole['nll']:.3f}",
                    f"{away['ece']:.3f} [{low:.3f}, {high:.3f}]",
                    f"{figures['changes_a_minute']:.0f}",
                ]
            )
    head = ["reader", "smoothing", "accuracy", "ECE", "NLL", "ECE, 0.3 s from changes", "changes a minute"]
    return rows(head, body)


def speed() -> str:
    results = load("video_speed.json")["results"]
    body = []
    for name, found in results.items():
        detector, model, _, every = name.split()
        body.append([f"`{detector}`", f"`{model}`", every, f"{found['frames_per_second']:.0f}"])
    return rows(["detector", "reader", "`--every`", "frames/s on one core"], body)


def every() -> str:
    body, steps = [], []
    for clip, found in load("video_every.json")["clips"].items():
        steps = [name for name in found if name.startswith("every")]
        values = [f"{found[name]['total_variation']:.3f}" for name in ("consecutive", *steps)]
        differing = "/".join(str(found[name]["other_number_of_faces"]) for name in steps)
        body.append([clip, str(found["frames"]), *values, differing])
    head = ["clip", "frames", "two consecutive frames", *(f"`--{name}`" for name in steps), "frames with other faces"]
    return rows(head, body)


TABLES = {"every": every, "tracking": tracking, "smoothing": smoothing, "speed": speed}


def written(page: str) -> str:
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: written by scripts/video_tables.py -->", f"<!-- /{name} -->"
        head, _, rest = page.partition(begin)
        _, mark, tail = rest.partition(end)
        if not mark:
            raise SystemExit(f"expected the marks of {name!r} in {PAGE.name}")
        page = f"{head}{begin}\n{table()}\n{end}{tail}"
    return page


def main() -> None:
    page = PAGE.read_text("utf-8")
    new = written(page)
    if "--check" in sys.argv[1:]:
        if new != page:
            raise SystemExit("docs/video.md is not what results/ says; run python scripts/video_tables.py")
        return
    PAGE.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
