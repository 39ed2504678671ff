"""mien evaluate --predictions, --group-by and mien compare, as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval_store import hot, leaky_store, write_answers
from mien.cli.app import app
from mien.labels import SEVEN

runner = CliRunner()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and predictions files: right.csv, swapped.csv, logits.csv, some.csv (half of the images, one other)."""
    folder = tmp_path_factory.mktemp("commands")
    split = leaky_store(folder / "store", labels=SEVEN, images=210, copied=40).read("test")
    random = np.random.default_rng(0)
    p = hot(np.where(random.random(210) < 0.8, split.labels, random.integers(0, 7, 210)), 7)
    write_answers(folder / "right.csv", split.paths, p, SEVEN)
    write_answers(folder / "swapped.csv", split.paths, p[:, [3, 1, 2, 0, 4, 5, 6]], SEVEN)
    write_answers(folder / "logits.csv", split.paths, np.log(p) + 3, SEVEN)
    write_answers(folder / "some.csv", [*split.paths[:105], "train_1.png"], p[:106], SEVEN)
    (folder / "ages.csv").write_text(
        "path,age band\n" + "\n".join(f"{path},{'old' if i % 3 else 'young'}" for i, path in enumerate(split.paths))
    )
    return folder


def typed(place: Path, *words: str):  # type: ignore[no-untyped-def]
    return runner.invoke(app, [word.format(at=place) for word in words])


STORE = ("--data", "{at}/store", "--split", "test")


def test_a_predictions_file_is_scored(place: Path) -> None:
    done = typed(place, "evaluate", "--predictions", "{at}/right.csv", *STORE, "-o", "{at}/right")
    assert done.exit_code == 0, done.stderr
    report = json.loads((place / "right/report.json").read_text())
    assert report["model"]["name"] == "right"
    assert f"{100 * report['figures']['all']['accuracy']['value']:.2f} [" in done.stdout
    for word in ("leak-free", "top-2 accuracy", "majority of votes"):
        assert word in done.stdout
    assert "warning" not in done.stderr
    assert report["command"].split()[0] == "mien"


def test_what_is_missing_or_mixed_up_is_said(place: Path) -> None:
    done = typed(place, "evaluate", "--predictions", "{at}/some.csv", *STORE, "-o", "{at}/some", "--name", "half")
    assert done.exit_code == 0
    assert "105 images are missing from the file and count as wrong" in done.stderr
    assert "1 rows are of no image in this split" in done.stderr
    assert "no answer (wrong)" in done.stdout
    done = typed(place, "evaluate", "--predictions", "{at}/swapped.csv", *STORE, "-o", "{at}/swapped")
    assert "warning: the columns look mixed up" in done.stderr


def test_groups_and_their_gap(place: Path) -> None:
    words = ("--group-by", "{at}/ages.csv:age band", "--group-by", "group", "-o", "{at}/groups")
    done = typed(place, "evaluate", "--predictions", "{at}/right.csv", *STORE, *words)
    assert done.exit_code == 0, done.stderr
    assert "gap by age band" in done.stdout
    assert "over" in done.stdout
    assert (place / "groups/groups-age-band.png").is_file()


def test_compare_prints_a_table(place: Path) -> None:
    for name in ("right", "swapped"):
        typed(place, "evaluate", "--predictions", f"{{at}}/{name}.csv", *STORE, "-o", f"{{at}}/{name}")
    done = typed(place, "compare", "{at}/right", "{at}/swapped")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("| model |")
    assert "| right |" in done.stdout
    told = typed(place, "compare", "{at}/right", "{at}/swapped", "--format", "json")
    assert len(json.loads(told.stdout)["rows"]) == 2
    done = typed(place, "compare", "{at}/right", "{at}/swapped", "--format", "html", "-o", "{at}/table.html")
    assert done.stdout == ""
    assert (place / "table.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", *STORE, "-o", "{at}/x"), "expected a MODEL or --predictions FILE, got neither"),
        (("evaluate", "nano", "--predictions", "{at}/right.csv", *STORE, "-o", "{at}/x"), "got both"),
        (("evaluate", "--predictions", "{at}/right.csv", "--tta", *STORE, "-o", "{at}/x"), "--predictions alone"),
        (("evaluate", "nano", "--name", "me", *STORE, "-o", "{at}/x"), "--name with --predictions"),
        (("evaluate", "--predictions", "{at}/logits.csv", *STORE, "-o", "{at}/x"), "take a softmax"),
        (("evaluate", "--predictions", "{at}/none.csv", *STORE, "-o", "{at}/x"), "does not exist"),
        (("evaluate", "nano", "--group-by", "age", *STORE, "-o", "{at}/x"), "expected a column of the store"),
        (("evaluate", "--predictions", "{at}/x/predictions.csv", *STORE, "-o", "{at}/x"), "an output beside the input"),
        (("compare", "nano"), "two or more"),
        (("compare", "nano", "compact"), "expected --data STORE and --split"),
        (("compare", "nano", "compact", "--data", "{at}/store"), "together"),
        (("compare", "nano", "compact", *STORE, "--format", "xls"), "md, csv, json or html"),
    ],
)
def test_one_line_and_exit_2(place: Path, words: tuple[str, ...], message: str) -> None:
    (place / "x").mkdir(exist_ok=True)
    (place / "x/predictions.csv").write_text("path,answer\n")
    done = typed(place, *words)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (place / "x/report.json").exists()


def test_help_shows_an_example() -> None:
    assert "mien compare" in runner.invoke(app, ["compare", "--help"]).stdout
