"""``scripts/gpu``, as far as that goes without a GPU: schedules and transfers are fitted, and a parcel arrives."""

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPTS = Path(__file__).parents[1] / "scripts" / "gpu"
sys.path.insert(0, str(SCRIPTS))
import packing  # noqa: E402
import parcel  # noqa: E402
import planning  # noqa: E402
import stages  # noqa: E402

sys.path.remove(str(SCRIPTS))
from planning import Limits, Pace, epochs_that_fit, parcels, share_out, slices, waves  # noqa: E402


def test_a_schedule_ends_in_time_and_is_the_longest_that_does() -> None:
    pace = Pace(seconds_an_epoch=2.0, reserve=50.0)
    found = epochs_that_fit([pace], 150.0, least=3, most=500)
    assert found == 46
    assert found * 2 <= 100 * (1 - planning.SLACK) < (found + 1) * 2
    assert epochs_that_fit([pace], 150.0, least=3, most=20) == 20
    assert epochs_that_fit([pace], 150.0, least=47, most=500) == 0  # rather nothing than too short a schedule
    assert epochs_that_fit([pace, Pace(10.0, 50.0)], 150.0, least=3, most=500) == 9  # compared: alike for all
    assert epochs_that_fit([pace, Pace(2.0, 130.0)], 150.0, least=3, most=500) == 9  # slow to start, or to record
    assert epochs_that_fit([pace, Pace(50.0, 50.0)], 150.0, least=3, most=500) == 0
    assert epochs_that_fit([Pace(1.0, 5.0)], 0.0, least=1, most=5) == 0
    assert epochs_that_fit([], 100.0, least=1, most=5) == 0


def test_rounds_and_waves() -> None:
    assert share_out(100, [0.6, 0.2, 0.2]) == pytest.approx([60, 20, 20])
    assert sum(share_out(90, [0.25])) == 90
    assert waves("abcdefg", at_once=3) == [["a", "b"], ["c", "d", "e"], ["f", "g"]]
    assert waves("ab", at_once=5) == [["a", "b"]]
    assert waves("", at_once=5) == []


sizes = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 40), max_size=12)


@given(sizes, st.integers(1, 50), st.integers(0, 5), st.integers(0, 120))
def test_parcels_keep_every_limit_and_lose_nothing_silently(
    wanted: dict[str, int], each: int, files: int, together: int
) -> None:
    packed, left_out = parcels(wanted, Limits(each, files, together))
    assert len(packed) <= files
    assert all(0 <= sum(wanted[name] for name in file) <= each for file in packed)
    assert sum(wanted[name] for file in packed for name in file) <= together
    assert sorted([*left_out, *(name for file in packed for name in file)]) == sorted(wanted)


def test_what_is_wanted_most_goes_first() -> None:
    assert parcels({"student": 8, "teacher": 8, "other": 8, "small": 2}, Limits(10, 2, 30)) == (
        [["student", "small"], ["teacher"]],
        ["other"],
    )
    assert parcels({"large": 11, "small": 1}, Limits(10, 8, 100)) == ([["small"]], ["large"])


@given(sizes, st.integers(1, 30))
def test_slices_are_the_files_and_no_call_carries_too_much(files: dict[str, int], each: int) -> None:
    calls = slices(files, each)
    assert all(sum(length for _, _, length in call) <= each for call in calls)
    joined: dict[str, int] = {}
    for name, start, length in (piece for call in calls for piece in call):
        assert joined.get(name, 0) == start  # in order, nothing left out
        joined[name] = start + length
    assert joined == files
    with pytest.raises(ValueError, match="room for at least a byte"):
        slices(files, 0)


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded in a test, nor installed."""

    def wheels(folder: Path, python: str) -> Iterator[tuple[str, Path]]:
        yield from ()

    monkeypatch.setattr(packing, "_wheels", wheels)


@pytest.mark.usefixtures("no_wheels")
def test_what_is_packed_is_unpacked(
    small_store: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """In three calls, since the limit leaves room for a third of it; to the byte, and weights that load."""
    import torch

    whole = sum(file.stat().st_size for file in small_store.rglob("*") if file.is_file())
    whole += (trained_run / "best.ckpt").stat().st_size
    monkeypatch.setattr(packing, "CALL_LIMIT", packing.MARGIN + packing.tree_bytes() + whole * 2 // 5)
    folders = packing.pack(small_store, [trained_run], carry=tmp_path / "carry")
    assert [folder.name for folder in folders] == ["1", "2", "3"]
    for folder in folders:
        pieces = sum(file.stat().st_size for file in folder.glob("piece-*"))
        assert pieces + packing.MARGIN + packing.tree_bytes() <= packing.CALL_LIMIT
        packing.unpack(folder, tmp_path / "home")
    said = capsys.readouterr().out.splitlines()
    assert [line.startswith("still to come") for line in said] == [False, True, False, True, False]
    for file in small_store.rglob("*"):
        if file.is_file():
            there = tmp_path / "home" / "stores" / "fer2013" / file.relative_to(small_store)
            assert there.read_bytes() == file.read_bytes()
    run = tmp_path / "home" / "runs" / trained_run.name
    kept, original = (torch.load(where / "best.ckpt", weights_only=True) for where in (run, trained_run))
    assert all(torch.equal(kept["state_dict"][name], value) for name, value in original["state_dict"].items())
    # A piece that arrives damaged is found; parts of two packings are not mixed.
    last = max(folders[-1].glob("piece-*"), key=lambda file: file.stat().st_size)
    last.write_bytes(b"\0" * last.stat().st_size)
    for folder in folders[:-1]:
        packing.unpack(folder, tmp_path / "other")
    with pytest.raises(SystemExit, match="arrived damaged"):
        packing.unpack(folders[-1], tmp_path / "other")
    manifest = folders[0] / packing.MANIFEST
    manifest.write_text(manifest.read_text().replace('"python": "3.12"', '"python": "3.13"'))
    with pytest.raises(SystemExit, match="another packing"):
        packing.unpack(folders[0], tmp_path / "home")


def job(name: str, *, weights: int = 0) -> Any:
    return stages.Job(name, "compact-base", "group", "kernels", 10, weights=weights)


def leave(home: Path, name: str, *, weights: int = 100) -> None:
    """What a job would have left there."""
    for file, size in {
        f"results/{name}/recipe.yaml": 10, f"results/{name}/tta/report.json": 20,
        f"results/private_test/{name}.csv": 30, f"results/private_test/{name}-tta.csv": 30,
        f"results/{name}/predictions.parquet": 40, f"logs/{name}.log": 5,
        f"runs/{name}/best.ckpt": weights, f"runs/{name}/last.ckpt": 5 * weights, f"runs/{name}/recipe.yaml": 10,
    }.items():  # fmt: skip
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_bytes(name.encode()[:1] * size)
    (home / "runs" / name / "meta.json").write_text('{"result": {}}')


def test_a_parcel_arrives_where_it_belongs(tmp_path: Path) -> None:
    home, out, here = tmp_path / "home", tmp_path / "out", tmp_path / "here"
    for name in ("student", "teacher"):
        leave(home, name)
    parcel.send([job("student", weights=1), job("teacher")], {"stage": "a"}, home, out)
    assert sorted(file.name for file in out.iterdir()) == ["results-1.tar.gz", "weights-1.tar"]
    written = parcel.collect(out, here / "results", here / "runs")
    assert set(written) == {
        str(here / "results" / file)
        for name in ("student", "teacher")
        for file in (
            f"{name}/recipe.yaml", f"{name}/tta/report.json", f"{name}/predictions.parquet",
            f"private_test/{name}.csv", f"private_test/{name}-tta.csv",
        )
    }  # fmt: skip
    assert (here / "runs" / "student" / "best.ckpt").read_bytes() == b"s" * 100
    assert not (here / "runs" / "teacher" / "best.ckpt").exists()  # nobody wanted it back
    assert not list(here.rglob("last.ckpt"))
    assert (here / "runs" / "logs" / "teacher.log").is_file()
    assert json.loads((here / "runs" / "results-1-stage.json").read_text()) == {"stage": "a", "left_behind": []}
    with pytest.raises(SystemExit, match="there already"):
        parcel.collect(out, here / "results", here / "runs")
    parcel.collect(out, here / "results", here / "runs", replace=True)


def test_weights_that_do_not_fit_stay_and_are_named(tmp_path: Path, capsys: Any) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    for name in ("student", "teacher", "second"):
        leave(home, name, weights=6000)
    jobs = [job("second", weights=3), job("teacher", weights=2), job("student", weights=1)]
    parcel.send(jobs, {}, home, out, limits=Limits(each=7000, files=3, together=13_500))
    with tarfile.open(out / "weights-1.tar") as tar:
        assert "runs/student/best.ckpt" in tar.getnames()
    with tarfile.open(out / "weights-2.tar") as tar:
        assert "runs/teacher/best.ckpt" in tar.getnames()
    assert "no room to bring back the weights of second" in capsys.readouterr().out
    assert not (out / "weights-3.tar").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "results/../../outside", "elsewhere/file"])
def test_what_is_not_ours_is_not_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "results-1.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(SystemExit, match="expected results, logs"):
        parcel.collect(tmp_path / "in", tmp_path / "results", tmp_path / "runs")
    assert {file.name for file in tmp_path.iterdir()} == {"in"}


def test_every_stage_has_recipes_that_can_be_trained() -> None:
    """Each job's recipe parses, as it is and tiny; names are those of files."""
    for key, stage in stages.STAGES.items():
        jobs = [each for turn in stage.rounds((0, 1)) for each in turn.jobs(Path("/nowhere/runs"))]
        names = [each.name for each in jobs]
        assert len(set(names)) == len(names), key
        for each in jobs:
            recipe = stages.recipe_of(each, epochs=7)
            assert (recipe.name, recipe.epochs) == (each.name, 7)
            assert stages.recipe_of(each, epochs=1, tiny=True).data.limit == 2 * stages.TINY_BATCH
            assert all(letter.isalnum() or letter in "._-" for letter in each.name)
    swins = [stages.recipe_of(each, epochs=1) for each in stages.stage_c((0,))[0].jobs(Path("runs"))]
    rates = {recipe.optimizer.lr for recipe in swins}
    assert len(swins) == 9
    assert len(rates) == 3  # the same grid for each arm
    assert sum(recipe.optimizer.sam is not None for recipe in swins) == 3


def test_modules_are_the_ones_meant() -> None:
    """Their plain names could be anybody's."""
    modules: list[ModuleType] = [packing, parcel, planning, stages]
    assert all(str(module.__file__).startswith(str(SCRIPTS)) for module in modules)
