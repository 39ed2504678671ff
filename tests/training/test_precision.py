"""``precision: auto``: decided once from what the machine can do, noted, and kept by a run that goes on elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mien.errors import UsageError
from mien.preprocess import Preprocess
from mien.training import precision
from mien.training.module import FerModule
from mien.training.recipe import Recipe, load_recipe, parse_recipe
from tiny_networks import Tiny, tiny_recipe
from tiny_runs import Run, TrainTiny, same

CPU = torch.device("cpu")
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
    assert precision.choose(CPU)[0] == expected


def test_no_flags_are_no_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.processor_flags(tmp_path / "missing") == set()
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert precision.processor_flags(tmp_path / "arm") == set()
    monkeypatch.setattr(precision, "processor_flags", set)
    assert precision.choose(CPU)[0] == "fp32"


def test_torch_reads_the_same_flags_of_this_processor() -> None:
    read = getattr(torch.cpu, "get_capabilities", None)
    if read is None or not Path("/proc/cpuinfo").is_file() or read().get("architecture") != "x86_64":
        pytest.skip("needs Linux on x86-64 and a torch that lists what the processor can do")
    ours, theirs = precision.processor_flags(), read()
    assert {flag: flag in ours for flag in precision._FLAGS} == {flag: theirs[flag] for flag in precision._FLAGS}


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_asked_without_emulation(supported: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or supported)
    assert precision.choose(torch.device("cuda"))[0] == expected


def test_it_is_the_default_and_a_word_of_the_recipe_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_recipe({"name": "a", "model": {"name": "nano"}, "epochs": 1}, origin="test").precision == "auto"
    monkeypatch.setattr(precision, "choose", lambda device: FAST)
    for word, expected in (("auto", "bf16"), ("fp32", "fp32"), ("bf16", "bf16")):
        recipe, _ = precision.precision_of_run(tiny_recipe(precision=word), CPU, begun={})
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
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe: Recipe = tiny_recipe(precision="auto", **BUSY)
    monkeypatch.setattr(precision, "choose", lambda device: FAST)
    keep_after(2, tmp_path / "whole", tmp_path / "cut")
    keep_after(2, tmp_path / "whole", tmp_path / "forgetful")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    assert (meta_of(whole.path)["precision"], meta_of(whole.path)["precision_because"]) == FAST
    assert load_recipe(whole.path / "recipe.yaml").precision == "auto"

    monkeypatch.setattr(precision, "choose", lambda device: SLOW)
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert "goes on in bf16, as it began" in capsys.readouterr().err
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
    monkeypatch.setattr(precision, "choose", lambda device: SLOW)
    now = old.model_copy(update={"precision": "auto"})
    resumed = train_tiny(now, path=tmp_path / "cut", resume=True)
    assert same(resumed.everything(), whole.everything())
    assert load_recipe(resumed.path / "recipe.yaml").precision == "bf16"
    with pytest.raises(UsageError, match="precision was bf16, is fp32"):
        train_tiny(old.model_copy(update={"precision": "fp32"}), path=tmp_path / "cut", resume=True)
