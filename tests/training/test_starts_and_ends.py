"""How runs begin and end: what cannot work is said before anything is written, and a kill loses nothing."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eight_classes import say_labels, with_contempt
from mien.data.store import Store
from mien.errors import DataError, MienError, OutputError, RecipeError, UsageError
from mien.labels import EIGHT, SEVEN
from mien.training.checkpoints import WholeCheckpointIO
from mien.training.datasets import crop_dataset
from mien.training.networks import build_network, load_network, recipe_preprocess, starting_network
from mien.training.run import train
from small_run import small_recipe

RGB = {"mean": [0.5] * 3, "std": [0.25] * 3}
VIT = {"model": {"name": "timm/test_vit"}, "precision": "fp32"}


@pytest.mark.parametrize(
    ("changes", "devices", "message"),
    [
        ({"batch_size": 20, "accumulate": 20}, 1, r"a batch_size of 20 equal parts of 2 or more images .*, got 20"),
        ({"batch_size": 20}, 3, r"a batch_size of 3 equal parts .*3 devices"),
        ({"data": {"limit": 3}, "accumulate": 2}, 1, r"expected 4 images to learn from, .* got 3"),
        ({"model": {"name": "vgg_spinalnet"}, "data": RGB | {"size": 16}}, 1, r"vgg_spinalnet cannot take .* 16×16: "),
        ({"model": {"name": "timm/resnet18", "args": {"drop_rate": "x"}}, "data": RGB}, 1, "timm/resnet18"),
        ({"data": {"window": 49}}, 1, "window"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(
    changes: dict[str, Any], devices: int, message: str, small_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(MienError, match=message) as caught:
        train(small_recipe(**changes), Store.open(small_store), tmp_path / "run", accelerator="cpu", devices=devices)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_labels_that_are_held_back_name_their_split(small_store: Path) -> None:
    recipe = small_recipe()
    split = Store.open(small_store).read("public_test")
    hidden = replace(split, labels=np.full_like(split.labels, -1))
    for train_set in (True, False):
        with pytest.raises(DataError, match=r"expected labels 0-6 in split 'public_test', got -1…-1; choose"):
            crop_dataset(hidden, recipe, recipe_preprocess(recipe), train=train_set)


def test_a_store_with_contempt_is_learnt_with_eight_classes(small_store: Path, tmp_path: Path) -> None:
    path = with_contempt(small_store, tmp_path / "store")
    train(small_recipe(epochs=1), Store.open(path), tmp_path / "run", accelerator="cpu", threads=1)
    network, *_, meta = load_network(tmp_path / "run")
    assert tuple(meta["labels"]) == EIGHT
    assert network(torch.zeros(1, 1, 48, 48)).shape == (1, 8)
    say_labels(path, SEVEN)  # the control
    with pytest.raises(DataError, match=r"expected label codes 0-6 in 'training' of .*, got others"):
        train(small_recipe(epochs=1), Store.open(path), tmp_path / "seven", accelerator="cpu")


def test_a_batch_shrinks_to_few_pictures_in_whole_parts(small_store: Path, tmp_path: Path) -> None:
    recipe = small_recipe(data={"limit": 7}, accumulate=2, epochs=1, batch_size=64)
    meta = train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)
    assert meta["result"]["epochs"] == 1


def test_a_transformer_of_timms_trains_at_the_side_of_the_recipe(small_store: Path, tmp_path: Path) -> None:
    recipe = small_recipe(**VIT, data=RGB | {"limit": 20, "size": 48}, epochs=1)
    train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)


def test_a_run_that_never_got_to_an_epoch_may_be_started_anew(small_store: Path, tmp_path: Path) -> None:
    run, store = tmp_path / "run", Store.open(small_store)
    (run / "tensorboard").mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: x")
    with pytest.raises(UsageError, match="expected a new or empty run directory"):  # somebody's recipe, for all we know
        train(small_recipe(epochs=1), store, run, accelerator="cpu", threads=1)
    (run / "meta.json").write_text("{}")
    train(small_recipe(epochs=1), store, run, accelerator="cpu", threads=1)
    assert (run / "last.ckpt").is_file()


def test_a_run_killed_after_its_early_stop_trains_no_further(small_store: Path, tmp_path: Path) -> None:
    store, run = Store.open(small_store), tmp_path / "run"
    recipe = small_recipe(optimizer={"lr": 1e-9}, early_stop=2, epochs=9, ema=None)
    first = train(recipe, store, run, accelerator="cpu", threads=1)
    assert first["result"]["stopped_early"]
    assert first["result"]["epochs"] == 3
    log, weights = (run / "log.csv").read_text(), torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    meta = json.loads((run / "meta.json").read_text())
    del meta["result"]  # as it was before the kill
    (run / "meta.json").write_text(json.dumps(meta))
    again = train(recipe, store, run, resume=True, accelerator="cpu", threads=1)
    for key in ("epochs", "stopped_early", "best_valid_accuracy"):
        assert again["result"][key] == first["result"][key]
    assert (run / "log.csv").read_text() == log
    now = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weights[name], now[name]) for name in weights)


def test_broken_weights_to_start_from(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(trained_run, torn)
    (torn / "best.ckpt").write_bytes((torn / "best.ckpt").read_bytes()[:4000])
    model = small_recipe().model.model_dump()
    with pytest.raises(DataError, match=r"expected a complete checkpoint of mien, cannot read .*best\.ckpt"):
        starting_network(small_recipe(model=model | {"init": f"run:{torn}"}))
    with pytest.raises(DataError, match=r"expected a run directory with recipe\.yaml and best\.ckpt"):
        starting_network(small_recipe(model=model | {"init": f"run:{tmp_path}"}))
    with pytest.raises(RecipeError, match=r"holds a nano, this recipe has compact"):
        starting_network(small_recipe(model={"name": "compact", "init": f"run:{trained_run}"}))


def test_a_start_from_the_mean_of_runs(trained_run: Path, tmp_path: Path) -> None:
    runs = [trained_run]
    for factor in (3.0, 8.0):
        run = tmp_path / f"times-{factor:.0f}"
        shutil.copytree(trained_run, run)
        checkpoint = torch.load(run / "best.ckpt", weights_only=True)
        for name, tensor in checkpoint["state_dict"].items():
            checkpoint["state_dict"][name] = tensor * factor if tensor.is_floating_point() else tensor + 5
        torch.save(checkpoint, run / "best.ckpt")
        runs.append(run)
    model = small_recipe().model.model_dump()

    def begun(*chosen: Path) -> dict[str, torch.Tensor]:
        start = f"mean:{','.join(map(str, chosen))}"
        return starting_network(small_recipe(model=model | {"init": start})).state_dict()

    one = starting_network(small_recipe(model=model | {"init": f"run:{trained_run}"})).state_dict()
    two, three = begun(*runs[:2]), begun(*runs)
    assert any("running_var" in name for name in one)
    assert any("num_batches_tracked" in name for name in one)
    for name, tensor in one.items():
        floating = tensor.is_floating_point()
        torch.testing.assert_close(two[name], tensor * 2 if floating else tensor)
        torch.testing.assert_close(three[name], tensor * 4 if floating else tensor)
    weight = "classifier.weight"
    with pytest.raises(AssertionError):
        torch.testing.assert_close(begun(runs[0], runs[2])[weight], three[weight])
    start = f"mean:0.75*{runs[0]},0.25*{runs[1]}"
    weighted = starting_network(small_recipe(model=model | {"init": start})).state_dict()
    torch.testing.assert_close(weighted[weight], one[weight] * 1.5)
    for wrong in (f"mean:0.75*{runs[0]},{runs[1]}", f"mean:0.75*{runs[0]},0.75*{runs[1]}"):
        with pytest.raises(RecipeError, match="expected a share for each run of the mean, 1 in all"):
            small_recipe(model=model | {"init": wrong})
    with pytest.raises(DataError, match=r"expected a run directory with recipe\.yaml and best\.ckpt"):
        begun(trained_run, tmp_path / "gone")


def test_a_start_from_a_run_of_other_classes_is_refused(trained_run: Path) -> None:
    """As many outputs are not the same outputs."""
    start = small_recipe(model=small_recipe().model.model_dump() | {"init": f"run:{trained_run}"})
    own = tuple(reversed(SEVEN))
    with pytest.raises(
        RecipeError, match=r"model\.init: expected a run of neutral, .* got .*, of angry, .*mien export"
    ):
        starting_network(start, labels=own)
    starting_network(start, labels=SEVEN)


def test_positions_of_another_side_do_not_fit(small_store: Path, tmp_path: Path) -> None:
    store, run = Store.open(small_store), tmp_path / "run"
    train(small_recipe(**VIT, data=RGB | {"limit": 20}, epochs=1), store, run, accelerator="cpu", threads=1)
    model = {"name": "timm/test_vit", "init": f"run:{run}"}
    with pytest.raises(RecipeError, match=r"does not fit this recipe's timm/test_vit; .*pos_embed: expected \(1, "):
        starting_network(small_recipe(model=model, data=RGB | {"size": 96}))


def test_a_masked_run_goes_on_from_another(small_store: Path, tmp_path: Path) -> None:
    args = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "patch_size": 2, "window_size": 3}
    masked: dict[str, Any] = {"task": "masked_image", "masking": {"patch": 8}, "data": RGB | {"limit": 20}, "epochs": 1}
    store, run = Store.open(small_store), tmp_path / "run"
    train(small_recipe(model={"name": "swin_t", "args": args}, **masked), store, run, accelerator="cpu", threads=1)
    on = small_recipe(model={"name": "swin_t", "args": args, "init": f"run:{run}"}, **masked)
    saved = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in starting_network(on).state_dict().items():
        assert torch.equal(value, saved[f"network.{name}"])
    assert not torch.equal(build_network(on).state_dict()["mask_token"], saved["network.mask_token"])
    with pytest.raises(RecipeError, match=r"expected a run of task expression, .* masked_image; use model\.init: ssl:"):
        starting_network(small_recipe(model={"name": "swin_t", "args": args, "init": f"run:{run}"}, data=RGB))


def test_a_checkpoint_that_fails_halfway_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, io = tmp_path / "last.ckpt", WholeCheckpointIO()
    io.save_checkpoint({"state_dict": {"w": torch.ones(3)}}, path)

    class Fatal:
        def __reduce__(self) -> Any:
            assert list(tmp_path.glob(".last.ckpt.*.tmp"))  # beside its goal, wherever $TMPDIR is
            raise OSError(28, os.strerror(28))

    with pytest.raises(OutputError, match=r"cannot write .*last\.ckpt': No space left on device"):
        io.save_checkpoint({"state_dict": {"w": torch.zeros(3)}, "more": Fatal()}, path)
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["w"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_no_epoch_keeps_the_start(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    model = small_recipe().model.model_dump()
    with pytest.raises(RecipeError, match="expected at least 1 epoch; 0 keeps the weights of"):
        small_recipe(epochs=0)
    recipe = small_recipe(epochs=0, model=model | {"init": f"run:{trained_run}"})
    meta = train(recipe, Store.open(small_store), tmp_path / "kept", accelerator="cpu", threads=1)
    before, after = load_network(trained_run)[0].state_dict(), load_network(tmp_path / "kept")[0].state_dict()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    told = json.loads((trained_run / "meta.json").read_text())["result"]["best_valid_accuracy"]
    assert meta["result"]["best_valid_accuracy"] == pytest.approx(told, abs=1e-5)
    assert (meta["result"]["epochs"], meta["result"]["stopped_early"]) == (0, False)


def test_a_wider_network_begins_as_what_a_run_computes(trained_run: Path, small_store: Path) -> None:
    wide = {
        "name": "nano",
        "args": {"stem": [8], "widths": [20, 40], "depths": [2, 1]},
        "init": f"widened:{trained_run}",
    }
    recipe = small_recipe(model=wide)
    pixels = torch.randn(8, 1, 48, 48)
    with torch.no_grad():
        expected = load_network(trained_run)[0](pixels)
        torch.testing.assert_close(starting_network(recipe).eval()(pixels), expected, atol=1e-4, rtol=1e-3)
        fresh = starting_network(small_recipe(model=wide | {"init": "scratch"})).eval()(pixels)
    assert (fresh - expected).abs().max() > 0.1  # the control
    for change, message in (
        (
            {"args": {"stem": [8], "widths": [12, 40]}},
            r"cannot be widened .* at least 16 channels, got 12; its own are",
        ),
        ({"name": "compact", "args": {}}, "holds a nano, this recipe has compact"),
        ({"name": "pico", "args": {}}, "holds a nano, this recipe has pico"),
        ({"name": "compact", "args": {"stem": [8, 8]}}, "holds a nano, this recipe has compact"),
        ({"name": "vggnet", "args": {}}, "expected model.name compact, nano or pico, got vggnet"),
    ):
        with pytest.raises(RecipeError, match=message):
            starting_network(small_recipe(model=wide | change))
