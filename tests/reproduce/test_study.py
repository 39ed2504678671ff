"""A small real study: planned the same for each arm, trained, interrupted, resumed, tabulated and plotted."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from eight_classes import with_contempt
from mien.data.store import Store
from mien.errors import DataError, MienError, RecipeError, UsageError
from mien.models import registry
from mien.reproduce import analyses, execute, plan
from mien.reproduce.papers import PAPER_A, PAPER_B, STUDIES
from mien.reproduce.plan import PRESETS, Splits, find_splits, first_round, plan_run
from mien.reproduce.result import Table
from mien.reproduce.study import reproduce

pytestmark = pytest.mark.usefixtures("without_figures")  # of its evaluations; the study's own are drawn


@pytest.fixture(autouse=True)
def _few_images_for_the_landscape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its many steps looks at all of them; tests/evaluation/analysis looks at what it says."""
    monkeypatch.setitem(PRESETS, "smoke", replace(PRESETS["smoke"], landscape={"limit": 10, "points": 3}))


SPLITS = Splits("training", "public_test", "private_test")
#: Small enough for a test: tiny networks, forty images.
SETS = ["data.limit=40", "batch_size=20", "epochs=1", "data.size=48", "model.args.patch_size=4",
        "model.args.window_size=3", "precision=fp32"]  # fmt: skip


def call(store: Path, home: Path, **changes: Any) -> dict[str, str]:
    options: dict[str, Any] = {
        "preset_name": "smoke", "flavour": None, "arms": [], "seeds": None, "parts": (None, None, None), "sets": SETS,
        "accelerator": "cpu", "threads": 1,
    }  # fmt: skip
    return reproduce("paper-a", Store.open(store), home, **(options | changes))


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda s: s.key)
@pytest.mark.parametrize("flavour", ["paper", "scratch"])
def test_every_arm_has_a_recipe_and_arms_of_one_recipe_differ_by_their_changes_alone(study: Any, flavour: str) -> None:
    preset = replace(PRESETS["full"], flavour=flavour)
    runs = first_round(study, preset, SPLITS, Path("x"), sets={})
    assert len(runs) == len(study.arms) * len(study.rates)
    assert len({run.directory for run in runs}) == len(runs)
    if study is PAPER_A:
        free = {"name", "model", "optimizer"}
        rest = [run.recipe.model_dump(exclude=free) for run in runs]
        assert all(one == rest[0] for one in rest)
        by_arm = {run.arm.key: run.recipe for run in runs if run.rate == 1}
        assert by_arm["swin_t_se_sam"].optimizer.sam is not None
        assert by_arm["swin_t_se_sam"].optimizer.model_copy(update={"sam": None}) == by_arm["swin_t"].optimizer
        assert by_arm["swin_t_se_sam"].model == by_arm["swin_t_se"].model
        assert by_arm["swin_t_se_stem"].model.args["se_position"] == "stem"
        rates = sorted({run.recipe.optimizer.lr / by_arm["swin_t"].optimizer.lr for run in runs})
        assert rates == pytest.approx([1 / 3, 1, 3])


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda s: s.key)
def test_the_size_for_a_cpu_is_the_same_for_arms_of_one_recipe(study: Any) -> None:
    """And each arm's network runs at it, with less than 1 GMAC; what the user sets wins."""
    runs = first_round(study, PRESETS["cpu"], SPLITS, Path("x"), sets={"epochs": 3})
    assert len(runs) == len(study.arms)
    sizes: dict[str, Any] = {}
    for run in runs:
        recipe = run.recipe
        assert recipe.epochs == 3
        assert sizes.setdefault(run.arm.recipes, run.arm.small) == run.arm.small
        assert set(run.arm.small).isdisjoint(run.arm.changes)
        entry, side = registry.spec(recipe.model.name), recipe.data.window or recipe.data.size
        macs = registry.measure(entry, recipe.model.args, size=side)[1]
        assert macs < 1e9, f"{run.arm.key}: {macs / 1e9:.2f} GMAC"


def test_the_tables_are_as_printed() -> None:
    """Paper A's identity, and the differences that paper B states in words."""
    a = {arm.key: arm.published for arm in PAPER_A.arms}
    assert a["swin_t_se_sam"]["weighted_f1"] == 0.5420
    assert a["swin_t"]["weighted_recall"] != a["swin_t"]["accuracy"]  # why both readings are printed
    b = {arm.key: arm.published.get("accuracy") for arm in PAPER_B.arms}
    theirs = b["resnet34_unet_eca"]
    assert theirs is not None
    for key, gap in (("vggnet", 4.82), ("cbam_resnet50", 4.71), ("resmaskingnet", 3.96)):
        other = b[key]
        assert other is not None
        assert 100 * (theirs - other) == pytest.approx(gap, abs=0.005)


def test_splits_are_found_or_asked_for(small_store: Path) -> None:
    store = Store.open(small_store)
    assert find_splits(store, train=None, validation=None, test=None) == SPLITS
    with pytest.raises(DataError, match=r"--test: expected split nothing .* it has .*training"):
        find_splits(store, train=None, validation=None, test="nothing")
    with pytest.raises(UsageError, match="three different splits"):
        find_splits(store, train="public_test", validation=None, test=None)


def test_an_analysis_is_of_these_weights_images_and_options(small_store: Path, tmp_path: Path) -> None:
    def mark(weights: bytes, split: str = "public_test", **options: Any) -> str:
        (tmp_path / "best.ckpt").write_bytes(weights)
        return analyses._mark([tmp_path], Store.open(small_store), split, {"limit": None} | options)

    assert mark(b"a") == mark(b"a")
    assert len({mark(b"a"), mark(b"b"), mark(b"a", "training"), mark(b"a", limit=9)}) == 4


@pytest.mark.long
def test_a_study_is_run_interrupted_and_gone_on_with(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, calls = tmp_path / "study", []
    real = execute.train

    def counted(recipe: Any, store: Store, run: Path, **options: Any) -> dict[str, Any]:
        if len(calls) == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            raise KeyboardInterrupt
        calls.append(run.name)
        return real(recipe, store, run, **options)

    monkeypatch.setattr(execute, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        call(small_store, home)
    assert len(calls) == 3
    assert call(small_store, home) == {}
    assert len(calls) == len(set(calls)) == 8  # four arms, two seeds; nothing twice
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert call(small_store, home) == {}
    assert len(calls) == 8
    assert torch.get_num_threads() == 1  # as asked, for the analyses, though nothing is trained
    torch.set_num_threads(before)

    table = json.loads((home / "table.json").read_text())
    assert Table.model_validate(table).model_dump(mode="json", exclude_unset=True) == table
    assert [row["arm"] for row in table["rows"]] == [arm.key for arm in PAPER_A.arms]
    assert (table["scored_on"], table["selected_on"]) == ("private_test", "public_test")
    text = (home / "table.md").read_text()
    assert "- Trained in fp32 (the recipe says so)." in text
    for row in table["rows"]:
        ours = table["figures"]["as_trained"]["all"][row["arm"]]["accuracy"]
        assert f"| {row['title']} |" in text
        assert "epochs was 200, is 1" in row["changed"]
        assert f"- {row['title']}, changed from its recipe: {'; '.join(row['changed'])}." in text
        assert f"{100 * ours['value']:.2f} [{100 * ours['low']:.1f}" in text
        reports = [json.loads((home / "runs" / name / "evaluation/private_test/report.json").read_text())
                   for name in row["runs"]]  # fmt: skip
        assert ours["seeds"] == pytest.approx([r["figures"]["all"]["accuracy"]["value"] for r in reports])
    lines = list(csv.DictReader((home / "table.csv").read_text().splitlines()))
    assert {line["arm"] for line in lines} == {arm.key for arm in PAPER_A.arms}
    for picture in ("curves.png", "curves_all.png", "differences_as_trained_all.png", "figure2.png"):
        with Image.open(home / picture) as image:
            assert min(image.size) > 200

    page = (home / "report.html").read_text()
    assert page.count("<img ") >= 7  # curves, differences, confusion, landscape, clusters, figure 2
    assert "://" not in re.sub(r"data:image[^\"]*", "", page)  # nothing is fetched
    assert not table["failed"]
    report = json.loads((home / "analysis/landscape/landscape.json").read_text())
    assert len(report["runs"]) == 2

    # Another study does not mix with it, another recipe sets its runs aside, a failure leaves the others.
    with pytest.raises(UsageError, match="holds paper-a"):
        reproduce("paper-b", Store.open(small_store), home, preset_name="smoke", flavour=None, arms=[], seeds=None,
                  parts=(None, None, None), sets=[])  # fmt: skip

    def failing(recipe: Any, store: Store, run: Path, **options: Any) -> dict[str, Any]:
        if recipe.optimizer.sam:
            raise RecipeError("no luck")
        return real(recipe, store, run, **options)

    monkeypatch.setattr(execute, "train", failing)
    failed = call(small_store, home, arms=["swin_t", "swin_t_se_sam"], seeds="0", sets=[*SETS, "optimizer.lr=0.002"])
    assert list(failed.values()) == ["no luck"]
    table = json.loads((home / "table.json").read_text())
    assert [row["arm"] for row in table["rows"]] == ["swin_t"]
    assert "swin_t_se_sam, which failed" in table["not_run"]
    assert "swin_t_se, which was not asked for" in table["not_run"]
    assert "no luck" in (home / "table.md").read_text()
    drawn = {file.name for file in home.glob("*.png")}  # nothing of the table with four arms
    assert drawn == {"curves_all.png", "figure2.png"}


@pytest.mark.long
def test_a_store_with_contempt_is_read_with_seven_classes_both_ways(small_store: Path, tmp_path: Path) -> None:
    path = with_contempt(small_store, tmp_path / "store")
    assert call(path, tmp_path / "study", arms=["swin_t"], seeds="0") == {}
    table = json.loads((tmp_path / "study/table.json").read_text())
    figures = table["figures"]
    assert list(figures) == ["as_trained", "seven_open", "seven_closed"]
    n = {reading: parts["all"]["swin_t"]["n"] for reading, parts in figures.items()}
    assert n["seven_open"] == n["seven_closed"] < n["as_trained"] == 35
    report = json.loads(
        (tmp_path / "study/runs" / table["rows"][0]["runs"][0] / "evaluation/private_test/report.json").read_text()
    )
    for reading in ("open", "closed"):
        theirs = report["seven_classes"][reading]["figures"]["all"]["accuracy"]["value"]
        assert figures[f"seven_{reading}"]["all"]["swin_t"]["accuracy"]["value"] == pytest.approx(theirs)
    assert any("landscape, which needs" in line for line in table["not_run"])
    assert "Seven classes, open" in (tmp_path / "study/report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset_name": "huge"}, "--preset: expected one of smoke, cpu, full; got 'huge'"),
        ({"flavour": "mine"}, "--recipes: expected paper or scratch"),
        ({"seeds": "1,1"}, "--seeds: expected different numbers"),
        ({"seeds": "a"}, "--seeds: expected whole numbers"),
        ({"arms": ["swin"]}, "--arms: expected some of swin_t, "),
        ({"sets": ["optimizer.rate=1"]}, r"optimizer\.rate: no such key"),
        ({"sets": ["optimizer.lr=fast"]}, r"optimizer\.lr: .* got 'fast'"),
        ({"sets": ["epochs.more=1"]}, r"--set epochs\.more: epochs holds a value"),
        ({"sets": ["epochs=[1"]}, r"--set epochs: expected a YAML value"),
        ({"sets": ["data.train=public_test"]}, r"--set data\.train: .*use --train"),
        ({"sets": ["optimizer={lr: 1}"]}, r"--set optimizer: .* the study sets"),
        ({"accelerator": "tpu"}, "--device: expected auto, cpu or gpu"),
    ],
)
def test_what_cannot_be_planned_is_said_before_anything_is_trained(
    changes: dict[str, Any], message: str, small_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(MienError, match=message):
        call(small_store, tmp_path / "study", **changes)
    assert not (tmp_path / "study").exists()


def test_a_rate_as_one_types_it_and_few_images_of_every_class(small_store: Path, tmp_path: Path) -> None:
    call(small_store, tmp_path / "study", arms=["swin_t"], seeds="0", sets=[*SETS, "optimizer.lr=1e-3"])
    (row,) = json.loads((tmp_path / "study/table.json").read_text())["rows"]
    assert row["learning_rate"] == 1e-3
    split = Store.open(small_store).read("training")
    ordered = split.rows(split.labels.argsort(kind="stable"))  # as class folders are read
    assert set(ordered.limited(14).labels.tolist()) == set(split.labels.tolist())
    assert len(set(ordered.limited(14).paths)) == 14
    assert len(set(ordered.labels[:14].tolist())) == 1  # what the first rows would be


def test_reduced_runs_keep_what_makes_the_arm() -> None:
    run = plan_run(PAPER_A.arms[3], PRESETS["smoke"], SPLITS, Path("x"), rate=1, seed=5, sets={"epochs": 7})
    assert run.recipe.model.args["se_position"] == "stem"
    assert run.recipe.model.args["embed_dim"] == 32
    assert (run.recipe.epochs, run.recipe.seed, run.recipe.data.limit) == (7, 5, 400)
    assert plan.PRESETS["full"].seeds == (0, 1, 2)
