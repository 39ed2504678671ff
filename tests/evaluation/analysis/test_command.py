"""``mien analyse`` as a user types it: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from mien.cli.app import app
from mien.evaluation.analysis import KINDS
from mien.evaluation.analysis.report import AnalysisReport

runner = CliRunner()


def call(kind: str, *words: str, store: Path, out: Path, name: str = "analyse"):  # type: ignore[no-untyped-def]
    where = ["--data", str(store), "--split", "public_test", "-o", str(out), "--device", "cpu"]
    return runner.invoke(app, [name, kind, *where, *words])


@pytest.mark.parametrize("name", ["analyse", "analyze"])
def test_numbers_on_stdout_progress_on_stderr(name: str, trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    done = call("errors", str(trained_run), "--limit", "20", store=small_store, out=tmp_path, name=name)
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "errors.json").read_text())
    assert AnalysisReport.model_validate(report).model_dump(mode="json", exclude_unset=True) == report
    for wrong in ({"kind": "masks"}, {"seed": "x"}, {"extra": 1}, {"data": {}}):  # negative controls
        with pytest.raises(ValidationError):
            AnalysisReport.model_validate(report | wrong)
    assert done.stdout.startswith("20 images of public_test\nsmall: ")
    assert report["data"]["limit"] == 20
    assert "errors: 20 of 20" in done.stderr
    assert f"wrote {tmp_path}" in done.stderr
    with Image.open(tmp_path / "errors-small-pairs.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.5)


def test_json_and_the_kinds_own_options(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    words = ("--points", "3", "--span", "0.5", "--limit", "20", "--json")
    done = call("landscape", str(trained_run), *words, store=small_store, out=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "landscape.json").read_text())
    assert json.loads(done.stdout)["grid"] == [-0.5, 0, 0.5]


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("feature", ["x"], "expected a kind of analysis"),
        ("features", ["compact"], "expected a run directory"),
        ("masks", ["RUN"], "expected a network with U-Net masks, got nano"),
        ("features", ["RUN", "--points", "5"], "--points: features has no such option"),
        ("landscape", ["RUN", "--points", "4"], "odd number of points"),
        ("corruptions", ["nowhere.onnx"], "nowhere.onnx"),
        ("errors", ["RUN", "--device", "tpu"], "auto, cpu or gpu"),
    ],
)
def test_what_it_refuses(
    kind: str, words: list[str], said: str, trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    filled = [str(trained_run) if word == "RUN" else word for word in words]
    done = call(kind, *filled, store=small_store, out=tmp_path)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_held_back_labels(
    trained_run: Path, tmp_path: Path, small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mien.data.store import Store

    read = Store.read

    def blind(self: Store, split: str):  # type: ignore[no-untyped-def]
        found = read(self, split)
        found.labels[:] = -1
        return found

    monkeypatch.setattr(Store, "read", blind)
    done = call("features", str(trained_run), store=small_store, out=tmp_path)
    assert done.exit_code == 2
    assert "held back" in done.stderr


def test_every_kind_has_its_function_and_help() -> None:
    from importlib import import_module

    helped = runner.invoke(app, ["analyse", "--help"]).output
    for name in KINDS:
        module = import_module(f"mien.evaluation.analysis.{name}")
        assert callable(getattr(module, name))
        assert callable(module.headline)
        assert name in helped
