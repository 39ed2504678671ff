"""Model cards and the README's table, written from the reports: no figure is typed by hand.

python scripts/write_cards.py          writes src/mien/weights/<reader>.md and README.md's table
python scripts/write_cards.py --check  exit status 1 where one of them is not up to date (a test runs this)

The texts are templates: ``src/mien/pages/templates/*.md.j2``.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mien.evaluation.costs import sha256
from mien.pages.environment import render
from mien.reading.classifier import SHIPPED, Classifier
from mien.training.recipe import ModelSection, load_recipe
from mien.weights import SUMS

ROOT = Path(__file__).parents[1]
WEIGHTS, RESULTS = ROOT / "src" / "mien" / "weights", ROOT / "results"
BEGIN, END = "<!-- figures: begin (scripts/write_cards.py) -->", "<!-- figures: end -->"


def results(*parts: str) -> Any:
    """A JSON file of ``results/``, its command without the paths of the machine that ran it."""
    found = json.loads(RESULTS.joinpath(*parts).read_text("utf-8"))
    return found | {"command": without_paths(found["command"])} if "command" in found else found


def without_paths(command: str) -> str:
    """Files outside of the checkout by their names alone; another interpreter by what it is for."""
    command = re.sub(r"--fer \S+", "--fer PYTHON_WITH_FER", command)
    return re.sub(r"(?<![^\s=])[/~]\S*/(?=\S)", "", command)


def measured_on(reader: str, found: dict[str, Any], *, file: str, command: str) -> dict[str, Any]:
    """What was measured, if it was on the weights that are shipped."""
    if found["sha256"] != sha256(WEIGHTS / f"{reader}.onnx"):
        sys.exit(f"error: expected {file} of the shipped {reader}.onnx, got another's; run {command}")
    return found


def figures(reader: str) -> dict[str, Any]:
    """What both the card and the README say of a reader: its reports, its accuracy on corrupted images, its speed."""
    run = results("fer2013", "corruptions.json")["runs"][reader]
    measured_on(reader, run["model"], file="corruptions.json", command="scripts/measure")
    return {
        "name": reader,
        "size": (WEIGHTS / f"{reader}.onnx").stat().st_size,
        "single": results("fer2013", reader, "report.json"),
        "ten": results("fer2013", reader, "tta", "report.json"),
        "whole": results("fer2013", reader, "pipeline", "report.json"),
        "corrupted": run["mean_corruption_accuracy"],
        "speed": {form: results("bench.json")["faces_per_second"][f"{reader} {form}"] for form in ("fp32", "int8")},
    }


def int8(name: str) -> dict[str, Any]:
    """What the gate measured of the int8 form, its size and what it was made from."""
    file = WEIGHTS / f"{name}.int8.onnx"
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["mien.provenance"])["int8"]
    if told["of"] != sha256(WEIGHTS / f"{name}.onnx"):
        sys.exit(f"error: expected {file.name} made from the shipped {name}.onnx; run mien export {name} --int8")
    return told | {"size": file.stat().st_size}


def outside(name: str) -> dict[str, Any] | None:
    """What was measured on held-out faces of LFW and GENKI; None for a reader of FER2013 alone."""
    found = results("further_faces.json")
    if found["sha256"].get(name) != sha256(WEIGHTS / f"{name}.onnx"):
        sys.exit(f"error: expected further_faces.json of the shipped {name}.onnx; run benchmarks/further_faces.py")
    return {
        "command": found["command"],
        "figures": found["figures"][name],
        "before": found["figures"][f"{name}-fer2013"],
    }


def stages(name: str) -> list[dict[str, Any]]:
    """The trained recipes that a reader's weights come from, the first one first."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [name]
    for stage in waiting:  # grows while it is walked: each recipe is followed by those it starts from
        recipe = load_recipe(ROOT / "recipes" / f"{stage}.yaml")
        before = [recipe.needs.get(str(run), run.name) for run in recipe.model.start[1]]
        waiting += before
        distill, degrade = recipe.distill, recipe.augment.degrade
        found.pop(stage, None)  # those that two stages start from move behind both
        found[stage] = {
            "name": stage,
            "before": before,
            "epochs": recipe.epochs,
            "distilled": 100 * distill.weight if distill else 0,
            "teachers": [recipe.needs.get(str(run), Path(run).name) for run in distill.runs] if distill else [],
            "degraded": 100 * degrade,
        }
    return [stage for stage in reversed(found.values()) if stage["epochs"]]


def card(name: str) -> str:
    """The card of a shipped reader."""
    meta = Classifier.load(name, threads=1).meta
    section = ModelSection(**meta.provenance["recipe"]["model"])
    kind, runs = section.start
    return render(
        "model_card.md.j2",
        **figures(name),
        about=SHIPPED[name].capitalize(),
        meta=meta,
        told=meta.provenance,
        origins=meta.provenance.get("origins", []),
        stages=stages(name),
        started_kind=kind,
        started=[run.name for run in runs],
        shares=section.shares if "*" in section.init else [],
        bench=results("bench.json"),
        int8=int8(name),
        outside=outside(name),
    )


def orientation_card() -> str:
    """The card of the orientation network."""
    file = WEIGHTS / "orientation.onnx"
    metadata = ort.InferenceSession(file).get_modelmeta().custom_metadata_map
    found = results("turned_faces.json")
    return render(
        "orientation_card.md.j2",
        told=json.loads(metadata["mien.provenance"]),
        preprocess=json.loads(metadata["mien.preprocess"]),
        size=file.stat().st_size,
        measured=measured_on("orientation", found, file="turned_faces.json", command="benchmarks/turned_faces.py"),
    )


def main() -> int:
    """Write what is not up to date; with --check only name it."""
    names = sorted(file.name for file in WEIGHTS.glob("*.onnx"))
    sums = {WEIGHTS / SUMS: "".join(f"{sha256(WEIGHTS / name)}  {name}\n" for name in names)}
    bad = settle(sums)  # first: without its sum no reader is loaded
    readme = (ROOT / "README.md").read_text("utf-8")
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    speeds = results("bench.json")["faces_per_second"]
    table = render("readme_table.md.j2", readers=[figures(name) for name in SHIPPED], speeds=speeds)
    wanted = {ROOT / "README.md": f"{head}{BEGIN}\n{table}{END}{tail}"}
    wanted |= {WEIGHTS / f"{name}.md": card(name) for name in SHIPPED}
    wanted[WEIGHTS / "orientation.md"] = orientation_card()
    return int(settle(wanted) or bad)


def settle(wanted: dict[Path, str]) -> bool:
    """Name and write what is not up to date; with --check, only name it: True where something is."""
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(path.relative_to(ROOT), file=sys.stderr)
        if "--check" not in sys.argv:
            path.write_text(wanted[path], "utf-8")
    return bool(stale) and "--check" in sys.argv


if __name__ == "__main__":
    sys.exit(main())
