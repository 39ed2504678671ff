"""``precision: auto``: decided once from what the machine can do, recorded, and kept by a resumed run."""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mien.errors import UsageError
from mien.models import registry
from mien.models.masked_image import MaskedImageModel
from mien.preprocess import Preprocess
from mien.training import precision
from mien.training import run as run_module
from mien.training.module import FerModule
from mien.training.recipe import Recipe, load_recipe, parse_recipe
from tiny_networks import Tiny, TinyMasked, tiny_recipe
from tiny_runs import TrainTiny, same

CPU = torch.device("cpu")
SHAPE = (4, 1, 48, 48)
FAST = ("bf16", "the processor has amx_bf16")
SLOW = ("fp32", "the processor has no amx_bf16 or avx512_bf16")
BUSY = {"args": {"norm": True}, "augment": {}, "batch_size": 35, "ema": {"decay": 0.3}, "epochs": 4}


def cpuinfo(path: Path, flags: str) -> Path:
    path.write_text(f"processor\t: 0\nmodel name\t: one\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    return path


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_vnni amx_bf16 amx_tile", "bf16"),
        ("fpu avx512f avx512_bf16 avx512_vnni", "bf16"),
        ("fpu avx512f avx512_vnni", "fp32"),  # measured twice as slow in bf16
        ("fpu avx2 avx512_bf16x amx_tile", "fp32"),  # no flag is a part of a longer word
    ],
)
def test_the_processors_flags_decide(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = precision.processor_flags(cpuinfo(tmp_path / "cpuinfo", flags))
    assert found == set(flags.split())
    monkeypatch.setattr(precision, "processor_flags", lambda: found)
    monkeypatch.setattr(precision, "images_per_second", lambda network, shape: {"fp32": 1.0, "bf16": 2.0})
    assert precision.choose(CPU, Tiny(), SHAPE)[0] == expected


def test_no_flags_are_no_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.processor_flags(tmp_path / "missing") == set()
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert precision.processor_flags(tmp_path / "arm") == set()
    monkeypatch.setattr(precision, "processor_flags", set)
    assert precision.choose(CPU, Tiny(), SHAPE) == ("fp32", "the processor has no amx_bf16 or avx512_bf16")


class Slow(Tiny):
    """Takes its time wherever a step is in that precision; draws random numbers."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dropout=0.3)
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer = super().forward(images)
        time.sleep(0.05 if answer.dtype == self.dtype else 0)
        return answer


@pytest.mark.parametrize(("slow", "expected"), [(torch.bfloat16, "fp32"), (torch.float32, "bf16")])
def test_a_processor_with_bf16_is_measured(slow: torch.dtype, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    network = Slow(slow)
    before, drawn = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    chosen, why = precision.choose(CPU, network, SHAPE)
    assert chosen == expected
    assert why.startswith("measured, the processor having avx512_bf16: fp32 ")
    assert same(network.state_dict(), before)
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    network(torch.zeros(SHAPE))  # the control: outside of a measurement a step does draw
    assert not torch.equal(torch.random.get_rng_state(), drawn)


def test_masked_pictures_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    network = MaskedImageModel(TinyMasked(), in_channels=1, patch=8, ratio=0.5)
    rates = precision.images_per_second(network, SHAPE)
    assert min(rates.values()) > 0


@pytest.mark.parametrize("entry", registry.all_specs(), ids=lambda spec: spec.name)
def test_every_network_can_be_measured(entry: registry.ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    side = entry.reduced.get("image_size", min(entry.input_sizes))
    args = dict(entry.reduced) | ({"image_size": side} if entry.takes("image_size") else {})
    network = entry.build(num_classes=7, **args)
    before = copy.deepcopy(network.state_dict())
    rates = precision.images_per_second(network, (2, entry.channels, side, side))
    assert 0 < min(rates.values()) <= max(rates.values()) < float("inf")
    assert same(network.state_dict(), before)


def test_no_more_pictures_than_a_step_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into memory while training fits while it is measured."""
    seen: list[int] = []

    def note(network: torch.nn.Module, pictures: torch.Tensor, *, bf16: bool) -> float:
        seen.append(len(pictures))
        return 1.0

    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    monkeypatch.setattr(precision, "_seconds_of_step", note)
    for batch, expected in ((4, 4), (500, 32)):
        seen.clear()
        rates = precision.images_per_second(Tiny(), (batch, 1, 48, 48))
        assert rates == {"fp32": expected, "bf16": expected}
        assert set(seen) == {expected}


def test_a_measured_run_is_the_run_that_was_told(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that measure leave no trace in the weights: neither their gradients nor their random numbers."""
    busy = BUSY | {"args": {"norm": True, "dropout": 0.3}, "epochs": 2}
    monkeypatch.setattr(precision, "processor_flags", lambda: {"amx_bf16"})
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    measured = train_tiny(tiny_recipe(precision="auto", **busy))
    told = train_tiny(tiny_recipe(precision=meta_of(measured.path)["precision"], **busy))
    assert meta_of(measured.path)["precision_because"].startswith("measured")
    assert meta_of(told.path)["precision_because"] == "the recipe says so"
    assert same(measured.everything(), told.everything())

    # The control: a measurement that moves the weights it was shown makes another run.
    measure = precision.images_per_second

    def careless(network: torch.nn.Module, shape: tuple[int, int, int, int]) -> dict[precision.Precision, float]:
        with torch.no_grad():
            next(network.parameters()).add_(0.01)
        rates = measure(network, shape)
        return dict.fromkeys(rates, 0.0) | {meta_of(told.path)["precision"]: 1.0}  # type: ignore[dict-item]

    monkeypatch.setattr(precision, "images_per_second", careless)
    assert not same(train_tiny(tiny_recipe(precision="auto", **busy)).everything(), told.everything())


def test_torch_reads_the_same_flags_of_this_processor() -> None:
    read = getattr(torch.cpu, "get_capabilities", None)
    if read is None or not Path("/proc/cpuinfo").is_file() or read().get("architecture") != "x86_64":
        pytest.skip("needs Linux on x86-64 and a torch that lists what the processor can do")
    ours, theirs = precision.processor_flags(), read()
    assert {flag: flag in ours for flag in precision._FLAGS} == {flag: theirs[flag] for flag in precision._FLAGS}


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_asked_without_emulation(supported: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or supported)
    assert precision.choose(torch.device("cuda"), Tiny(), SHAPE)[0] == expected


def test_it_is_the_default_and_a_word_of_the_recipe_wins() -> None:
    assert parse_recipe({"name": "a", "model": {"name": "nano"}, "epochs": 1}, origin="test").precision == "auto"
    for word, expected in (("auto", "bf16"), ("fp32", "fp32"), ("bf16", "bf16")):
        recipe, _ = precision.precision_of_run(tiny_recipe(precision=word), lambda: FAST)
        assert recipe.precision == expected


def test_a_step_asks_for_a_decided_one() -> None:
    with pytest.raises(ValueError, match="precision is decided"):
        FerModule(Tiny(), tiny_recipe(precision="auto"), Preprocess(), steps_per_epoch=1)


def meta_of(run: Path) -> dict[str, str]:
    meta: dict[str, str] = json.loads((run / "meta.json").read_text())
    return meta


def test_a_run_goes_on_as_it_began_on_another_machine(
    train_tiny: TrainTiny,
    keep_after: Callable[[int, Path, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe: Recipe = tiny_recipe(precision="auto", **BUSY)
    monkeypatch.setattr(run_module, "choose", lambda *_: FAST)
    keep_after(2, tmp_path / "whole", tmp_path / "cut")
    keep_after(2, tmp_path / "whole", tmp_path / "forgetful")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    assert (meta_of(whole.path)["precision"], meta_of(whole.path)["precision_because"]) == FAST
    assert load_recipe(whole.path / "recipe.yaml").precision == "auto"

    monkeypatch.setattr(run_module, "choose", lambda *_: SLOW)
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert (meta_of(resumed.path)["precision"], meta_of(resumed.path)["precision_because"]) == FAST
    assert same(resumed.everything(), whole.everything())

    # The control: a run that has forgotten it chooses anew, and becomes another one.
    meta = tmp_path / "forgetful" / "meta.json"
    meta.write_text(json.dumps({k: v for k, v in json.loads(meta.read_text()).items() if k != "precision"}))
    other = train_tiny(recipe, path=tmp_path / "forgetful", resume=True)
    assert meta_of(other.path)["precision"] == "fp32"
    assert not same(other.everything(), whole.everything())


def test_a_run_from_before_auto_goes_on_under_the_shipped_recipe(
    train_tiny: TrainTiny,
    keep_after: Callable[[int, Path, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old: Recipe = tiny_recipe(precision="bf16", **BUSY)
    keep_after(2, tmp_path / "whole", tmp_path / "cut")
    whole = train_tiny(old, path=tmp_path / "whole")
    meta = tmp_path / "cut" / "meta.json"
    meta.write_text(json.dumps({k: v for k, v in json.loads(meta.read_text()).items() if "precision" not in k}))
    monkeypatch.setattr(run_module, "choose", lambda *_: SLOW)
    now = old.model_copy(update={"precision": "auto"})
    resumed = train_tiny(now, path=tmp_path / "cut", resume=True)
    assert same(resumed.everything(), whole.everything())
    assert load_recipe(resumed.path / "recipe.yaml").precision == "bf16"
    with pytest.raises(UsageError, match="precision was bf16, is fp32"):
        train_tiny(old.model_copy(update={"precision": "fp32"}), path=tmp_path / "cut", resume=True)
