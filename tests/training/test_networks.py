"""Where a network's first weights come from, and that a run of each kind gives back what it holds."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mien.data.store import Store
from mien.errors import DataError, RecipeError
from mien.models import registry
from mien.models.masked_image import MaskedImageModel
from mien.training.datasets import crop_dataset
from mien.training.networks import build_network, load_network, recipe_preprocess, starting_network
from mien.training.objectives import build_objective
from mien.training.recipe import Recipe
from mien.training.run import train
from small_run import small_recipe

SWIN = {"patch_size": 2, "window_size": 6, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "drop_path": 0.0}
RGB = {"mean": [0.5] * 3, "std": [0.25] * 3}


def swin(name: str = "swin_t", **changes: Any) -> Recipe:
    model = {"name": name, "args": SWIN} | changes.pop("model", {})
    defaults: dict[str, Any] = {"optimizer": {"name": "adamw", "lr": 2e-3}, "data": RGB, "epochs": 2}
    return small_recipe(model=model, **(defaults | changes))


@pytest.fixture(scope="module")
def pretrained(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked-image run of a small Swin on the small store."""
    run = tmp_path_factory.mktemp("ssl") / "run"
    recipe = swin(task="masked_image", masking={"patch": 8, "ratio": 0.5}, epochs=4)
    meta = train(recipe, Store.open(small_store), run, accelerator="cpu", threads=1)
    rows = (run / "log.csv").read_text().splitlines()
    first, last = (float(rows[i].split(",")[rows[0].split(",").index("valid_loss")]) for i in (1, -1))
    assert last < 0.98 * first  # it learns to fill in
    assert meta["result"]["best_valid_loss"] == pytest.approx(min(last, first), abs=1e-4)
    return run


@pytest.mark.parametrize("name", ["swin_t", "swin_t_se"])
def test_a_start_from_pretraining_has_its_encoder(
    name: str, pretrained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = swin(name, model={"init": f"ssl:{pretrained}"})
    torch.manual_seed(5)
    network = starting_network(recipe)
    said = caplog.text
    assert "fresh:" in said
    assert "head" in said
    state = torch.load(pretrained / "best.ckpt", weights_only=True)["state_dict"]
    encoder = {k.removeprefix("network.encoder."): v for k, v in state.items() if k.startswith("network.encoder.")}
    own = network.state_dict()
    same = [name for name, value in encoder.items() if name in own and torch.equal(own[name], value)]
    assert len(same) >= len(encoder) - 2  # all but the classifier's weight and bias
    torch.manual_seed(5)
    fresh = build_network(recipe).state_dict()
    assert sum(torch.equal(fresh[k], own[k]) for k in own) < len(own) / 2  # the control: it was not so before


def test_a_start_from_pretraining_trains_and_resumes_without_it(
    pretrained: Path, small_store: Path, tmp_path: Path
) -> None:
    away = tmp_path / "pretraining"
    away.symlink_to(pretrained)
    recipe = swin("swin_t_se", model={"init": f"ssl:{away}"}, epochs=1)
    train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)
    away.unlink()
    train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1, resume=True)
    network, _, preprocess, _ = load_network(tmp_path / "run")
    with torch.no_grad():
        assert network(torch.zeros(1, 3, preprocess.size, preprocess.size)).shape == (1, 7)


def test_what_does_not_fit_is_said(pretrained: Path, trained_run: Path, tmp_path: Path) -> None:
    other = SWIN | {"embed_dim": 32}
    with pytest.raises(RecipeError, match=r"model\.init: .* does not fit swin_t: .*; give both recipes the same"):
        starting_network(swin(model={"init": f"ssl:{pretrained}", "args": other}))
    with pytest.raises(RecipeError, match="does not fit nano: expected a network that can be pretrained"):
        starting_network(small_recipe(model={"name": "nano", "init": f"ssl:{pretrained}"}))
    with pytest.raises(RecipeError, match=r"expected a masked-image run, got .*; use model\.init: run:"):
        starting_network(swin(model={"init": f"ssl:{trained_run}"}))
    with pytest.raises(DataError, match="expected a run directory with"):
        starting_network(swin(model={"init": f"ssl:{tmp_path}"}))
    with pytest.raises(
        DataError, match=r"a run of task masked_image; start a recipe of swin_t from it with model\.init: ssl:"
    ):
        load_network(pretrained)
    with pytest.raises(RecipeError, match=r"task masked_image: expected a network with masked_features"):
        build_network(small_recipe(task="masked_image"))
    with pytest.raises(RecipeError, match=r"task masked_image: masking\.patch: expected a divisor"):
        build_network(swin(task="masked_image", masking={"patch": 7}))


def test_validation_of_a_masked_run_is_the_same_each_time_and_training_is_not(small_store: Path) -> None:
    recipe = swin(task="masked_image", masking={"patch": 8})
    network, preprocess = build_network(recipe).eval(), recipe_preprocess(recipe)
    assert isinstance(network, MaskedImageModel)
    objective = build_objective(recipe, preprocess, network)
    data = crop_dataset(Store.open(small_store).read("private_test"), recipe, preprocess, train=False)
    whole, other = data[[0, 1, 2]], data[[3, 4, 5]]
    moved = {name: whole[name] for name in whole} | {"index": other["index"]}
    with torch.no_grad():
        once, again, elsewhere = (objective.validate(network, b)["valid_loss"] for b in (whole, whole, moved))
        parts = sum(objective.validate(network, data[[row]])["valid_loss"] for row in (0, 1, 2))
    assert once == again != elsewhere
    assert float(parts) == pytest.approx(float(once), rel=1e-5)  # batches of any size, on any process
    masks = [objective.draw(whole, step=step)["mask"] for step in (3, 3, 4)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_small_pictures_grow_on_the_device_and_grey_ones_become_rgb(small_store: Path) -> None:
    recipe = small_recipe(model={"name": "timm/test_convnext"}, data=RGB | {"size": 96})
    preprocess, split = recipe_preprocess(recipe), Store.open(small_store).read("public_test")
    train_set, valid_set = (crop_dataset(split, recipe, preprocess, train=train) for train in (True, False))
    assert train_set.columns["images"].shape == (70, 1, 48, 48)
    assert valid_set.columns["images"].shape == (70, 1, 96, 96)
    objective = build_objective(recipe, preprocess, build_network(recipe))
    assert objective.draw(train_set[[0, 1]], step=0)["images"].shape == (2, 3, 96, 96)
    np.testing.assert_allclose(
        objective.plain(valid_set[[0, 1]]).numpy(), preprocess.normalise(preprocess.stack(split.images[:2])), atol=1e-6
    )


def test_a_network_that_sees_a_window(small_store: Path, tmp_path: Path) -> None:
    """Trained on random windows, validated, loaded and read on the middle one; ten windows for the ten crops."""
    args = small_recipe().model.args
    recipe = small_recipe(model={"name": "nano", "args": args}, data={"window": 40})
    store = Store.open(small_store)
    meta = train(recipe, store, tmp_path / "run", accelerator="cpu", threads=1)
    network, _, preprocess, _ = load_network(tmp_path / "run")
    split = store.read("public_test")
    batch = preprocess.normalise(split.images[:, None])
    middle = preprocess.views(batch, tta=False)
    assert middle.shape == (70, 1, 40, 40)
    np.testing.assert_array_equal(middle, batch[:, :, 4:44, 4:44])
    with torch.no_grad():
        right = (network(torch.from_numpy(middle)).argmax(1).numpy() == split.labels).mean()
    assert right == pytest.approx(meta["result"]["best_valid_accuracy"], abs=1e-6)
    ten = preprocess.views(batch[:2], tta=True)
    assert ten.shape == (20, 1, 40, 40)
    np.testing.assert_array_equal(ten[0], middle[0])
    np.testing.assert_array_equal(ten[4], batch[0, :, 8:, 8:])
    np.testing.assert_array_equal(ten[9], batch[0, :, 8:, 8:][..., ::-1])


def test_what_the_masks_do_is_logged(small_store: Path, tmp_path: Path) -> None:
    args = registry.spec("resnet34_unet_eca").reduced
    recipe = small_recipe(model={"name": "resnet34_unet_eca", "args": dict(args)}, data=RGB | {"limit": 40}, epochs=1)
    train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)
    row = next(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    network, _, preprocess, _ = load_network(tmp_path / "run")
    split = Store.open(small_store).read("public_test")
    images = torch.from_numpy(preprocess.normalise(preprocess.stack(split.limited(40).images)))
    expected = network.mask_statistics(images)  # type: ignore[operator]
    assert {key: float(row[f"mask_std_{key}"]) for key in expected} == pytest.approx(expected, abs=1e-4)
    assert len(expected) == 4


def test_valence_and_arousal_are_learnt_where_a_store_has_them(small_store: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "store"
    shutil.copytree(small_store, path)
    for shard in (path / "data").glob("*.parquet"):
        table = pq.read_table(shard)
        values = [None if i % 5 == 0 else (i % 7) / 6 for i in range(len(table))]
        for name in ("valence", "arousal"):
            table = table.append_column(name, pa.array(values, pa.float32()))
        pq.write_table(table, shard)
    split = Store.open(path).read("training")
    assert split.valence_arousal is not None
    assert np.isnan(split.valence_arousal[0]).all()
    assert split.valence_arousal[3] == pytest.approx([0.5, 0.5])
    assert Store.open(small_store).read("training").valence_arousal is None

    model = {"name": "efficientnet_b2_multitask", "args": {"variant": "b0", "valence_arousal": True}}
    recipe = small_recipe(model=model, data=RGB | {"limit": 40}, epochs=1, optimizer={"name": "adamw", "lr": 1e-3})
    train(recipe, Store.open(path), tmp_path / "with", accelerator="cpu", threads=1)
    train(recipe, Store.open(small_store), tmp_path / "without", accelerator="cpu", threads=1)
    with_, without = ((tmp_path / name / "log.csv").read_text().splitlines()[0] for name in ("with", "without"))
    assert "train_valence" in with_ or "train_affect" in with_
    assert "valence" not in without
