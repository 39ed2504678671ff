"""A reader of one's own classes: from a shipped one, by one command; and what then has their names, or refuses them."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from called import Call
from mien.errors import DataError, RecipeError
from mien.evaluation.analysis import KINDS
from mien.evaluation.analysis.report import AnalysisReport
from mien.evaluation.predictions import Predictions
from mien.evaluation.predictions_file import read_predictions_file
from mien.labels import SEVEN
from mien.reading.classifier import Classifier, model_bytes
from mien.reading.reader import Reader
from mien.training.exported import Exported
from mien.training.networks import load_network, starting_network
from mien.training.recipe import load_recipe, parse_overrides

CHANGES = {"epochs": "3", "optimizer.lr": "0.003", "precision": "fp32", "batch_size": "20"}
SETS = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
LABELS = ("rayé, across & co", "striped down")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that any network can tell apart: stripes across and stripes down."""
    home, random = tmp_path_factory.mktemp("own") / "pictures", np.random.default_rng(0)
    for label in LABELS:
        (home / label).mkdir(parents=True)
        for i in range(30):
            wave = 127 + 90 * np.sin(np.arange(48) / random.uniform(1.0, 2.0) + random.uniform(0, 6))
            stripes = np.tile(wave, (48, 1)) if label == LABELS[1] else np.tile(wave[:, None], (1, 48))
            noisy = np.clip(stripes + random.normal(0, 20, (48, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(home / label / f"{i}.png")
    return home


@pytest.fixture(scope="module")
def call() -> Call:
    return Call(Path("unused.onnx"))


@pytest.fixture(scope="module")
def run(pictures: Path, call: Call) -> Path:
    """By the one command, from the folder."""
    out = pictures.parent / "run"
    call("train", "own", "--data", pictures, "--crops", "-o", out, "--threads", "1", "--device", "cpu", *SETS)
    assert call.status == 0, call.err
    assert "fresh: classifier.weight, classifier.bias" in call.err
    assert f"mien evaluate {out} --data {out}-data --split test" in call.err
    return out


@pytest.fixture(scope="module")
def reader(run: Path, call: Call) -> Path:
    file = run.parent / "own.onnx"
    call("export", run, "--data", f"{run}-data", "--no-tta", "-o", file)
    assert call.status == 0, call.err
    return file


def test_the_network_of_a_reader_computes_what_onnx_runtime_does() -> None:
    source = Exported("nano")
    pictures = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (64, 1, 48, 48)).astype(np.float32))
    network = source.network(pictures)
    fresh = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (16, 1, 48, 48)).astype(np.float32))
    session = onnxruntime.InferenceSession(model_bytes("nano"), providers=["CPUExecutionProvider"])
    there = session.run(["logits"], {"crops": fresh.numpy()})[0]
    with torch.no_grad():
        assert np.abs(network(fresh).numpy() - there).max() < 5e-3
        network.train()
        assert np.abs(network(fresh).numpy() - there).max() > 5e-2  # negative control: batch statistics differ


def test_the_classifier_is_kept_for_the_same_labels_and_fresh_for_others() -> None:
    recipe = load_recipe("own")
    pictures = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (64, 1, 48, 48)).astype(np.float32))
    source = Exported("nano").weights["classifier.weight"]
    same = starting_network(recipe, labels=SEVEN, pictures=lambda: pictures).state_dict()
    assert torch.equal(same["classifier.weight"], source)
    other = starting_network(recipe, labels=[f"class {n}" for n in range(7)], pictures=lambda: pictures).state_dict()
    assert not torch.equal(other["classifier.weight"], source)
    assert all(torch.equal(same[name], other[name]) for name in same if not name.startswith("classifier."))
    with pytest.raises(RecipeError, match=r"nano is a nano, this recipe has compact"):
        starting_network(load_recipe("own-compact", overrides={"model.init": "reader:nano"}), pictures=lambda: pictures)


@pytest.mark.parametrize("args", [{"depths": [1, 1]}, {"depths": [3, 3]}, {"stem": [8]}])
def test_a_network_of_other_arguments_is_refused_with_the_readers(args: dict[str, list[int]]) -> None:
    pictures = torch.zeros(4, 1, 48, 48)
    theirs = Exported("nano").recipe.model.args
    recipe = load_recipe("own", overrides={"model.args": json.dumps(theirs | args)})
    with pytest.raises(RecipeError, match=r"nano does not fit this recipe's nano \(\S+\.weight") as caught:
        starting_network(recipe, labels=SEVEN, pictures=lambda: pictures)
    assert caught.value.hint is not None
    given = shlex.split(caught.value.hint.partition("--set ")[2])
    assert load_recipe("own", overrides=parse_overrides(given)).model.args == theirs


def test_run_store_and_file_have_the_names(run: Path, reader: Path) -> None:
    meta = json.loads((run / "meta.json").read_text())
    assert tuple(meta["labels"]) == LABELS
    assert meta["started_from"]["reader"] == "nano"
    assert len(meta["started_from"]["sha256"]) == 64
    assert Classifier.load(str(reader)).labels == LABELS
    assert Exported(str(reader)).labels == list(LABELS)  # and can be trained further
    assert Classifier.load(str(reader)).meta.calibration.temperature != 1
    assert load_network(run)[3]["labels"] == list(LABELS)


def test_it_learned_them_and_outputs_carry_the_names(reader: Path, run: Path, call: Call, tmp_path: Path) -> None:
    call("evaluate", reader, "--data", f"{run}-data", "--split", "test", "-o", tmp_path)
    assert call.status == 0, call.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["figures"]["all"]["accuracy"]["value"] == 1.0
    assert report["figures"]["all"]["labels"] == list(LABELS)
    assert "seven_classes" not in report
    assert "votes" not in report
    kept = Predictions.read(tmp_path)
    assert kept.labels == kept.label_set == LABELS
    assert kept.accuracy()["value"] == 1.0
    file = read_predictions_file(tmp_path / "predictions.parquet", label_set=LABELS)
    assert file.labels == LABELS
    with pytest.raises(DataError, match="probability column a label"):
        read_predictions_file(tmp_path / "predictions.csv")  # negative control: not the seven
    call("evaluate", "--predictions", tmp_path / "predictions.csv", "--data", f"{run}-data", "--split", "test",
         "-o", tmp_path / "again")  # fmt: skip
    assert call.status == 0, call.err
    call("compare", tmp_path, tmp_path / "again")
    assert call.status == 0, call.err
    crop = next((run.parent / "pictures" / LABELS[0]).iterdir())
    face = Reader(str(reader), detector="none").read(crop).faces[0]
    assert face.expression == LABELS[0]
    assert tuple(face.probabilities) == LABELS
    call("read", crop, "--detector", "none", "--model", reader, "--format", "csv", "--annotate", tmp_path / "shown")
    columns = next(csv.reader(call.out.splitlines()))
    assert columns[columns.index("confidence") + 1 :][:2] == list(LABELS)


@pytest.mark.long
def test_whatever_reads_labels_has_the_names(run: Path, reader: Path, call: Call, tmp_path: Path) -> None:
    store, few = Path(f"{run}-data"), ("--limit", "8")
    own: dict[str, tuple[str | Path, ...]] = {"landscape": ("--points", "3", *few), "corruptions": few}
    for kind in KINDS:
        call("analyse", kind, run, "--data", store, "--split", "test", "-o", tmp_path, *own.get(kind, ()))
        if kind == "masks":
            assert call.status == 2
            assert "expected a network with U-Net masks, got nano" in call.err
        else:
            assert call.status == 0, (kind, call.err)
            text = (tmp_path / f"{kind}.json").read_text()
            assert not set(SEVEN) & set(text.split('"')), kind
            told = AnalysisReport.model_validate_json(text).model_dump(mode="json", exclude_unset=True)
            assert told == json.loads(text), kind
    (seen,) = json.loads((tmp_path / "attention.json").read_text())["runs"].values()
    assert set(seen["inside"]) == set(LABELS)
    call("data", "stats", store)
    assert all(label in call.out for label in LABELS)
    call("data", "audit", store, "-o", tmp_path / "audit")
    assert call.status == 0, call.err
    card = (store / "README.md").read_text()
    assert all(label in card for label in LABELS)
    call("evaluate", run, "--data", store, "--split", "test", "-o", tmp_path / "out")
    rows = [line for line in call.out.splitlines() if line.startswith(("recall", "accuracy"))]
    assert len(rows) == 3
    assert len({line.index("[") for line in rows if "100.00 [" in line}) == 1  # columns stand below each other
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">class</th>" in page
    assert ">expression</th>" not in page


def test_int8_is_written_or_refused_in_a_sentence(run: Path, reader: Path, call: Call, tmp_path: Path) -> None:
    call("export", reader, "--int8", "--data", f"{run}-data", "--no-tta", "-o", tmp_path / "int8.onnx")
    if call.status == 0:
        assert Classifier.load(str(tmp_path / "int8.onnx")).labels == LABELS
    else:
        assert call.status == 1
        assert "error: int8 gate: expected " in call.err
        assert "one of 12 images is 8.3%: more in validation measure finer" in call.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "nano", "--split", "test"), "expected a model of the classes of the images"),
        (("reproduce", "paper-a"), "expected the seven or eight expressions"),
    ],
)
def test_what_needs_expressions_says_so(
    words: tuple[str, ...], said: str, run: Path, call: Call, tmp_path: Path
) -> None:
    call(*words, "--data", f"{run}-data", "-o", tmp_path / "out")
    assert call.status == 2
    assert said in call.err


def test_a_reader_of_own_classes_is_refused_by_expressions(
    reader: Path, small_store: Path, call: Call, tmp_path: Path
) -> None:
    call("evaluate", reader, "--data", small_store, "--split", "public_test", "-o", tmp_path / "out")
    assert call.status == 2
    assert "expected a model of the classes of the images (angry" in call.err


def test_a_second_run_does_not_replace_the_store(pictures: Path, run: Path, call: Call) -> None:
    call("train", "own", "--data", pictures, "--crops", "-o", run, *SETS)
    assert call.status == 2
    assert "new or empty run directory" in call.err
    other = run.with_name("other")
    run.with_name("run-data").rename(run.with_name("other-data"))
    try:
        call("train", "own", "--data", pictures, "--crops", "-o", other, *SETS)
        assert call.status == 2
        assert "found one" in call.err
    finally:
        run.with_name("other-data").rename(run.with_name("run-data"))
    call("train", "own", "--data", run.parent / "nowhere", "-o", other, *SETS)
    assert call.status == 2
    assert "found nothing at" in call.err


def test_few_pictures_of_a_class_are_refused(tmp_path: Path, call: Call) -> None:
    random = np.random.default_rng(0)
    for label, n in (("awake", 20), ("asleep", 5)):
        (tmp_path / "p" / label).mkdir(parents=True)
        for i in range(n):
            coarse = random.integers(0, 256, (6, 6), np.uint8)
            Image.fromarray(coarse).resize((48, 48)).save(tmp_path / "p" / label / f"{i}.png")
    call("train", "own", "--data", tmp_path / "p", "--crops", "-o", tmp_path / "run", *SETS)
    assert call.status == 2
    assert "expected at least 5 pictures of each class in training" in call.err
    assert "of asleep" in call.err
