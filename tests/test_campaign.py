"""``scripts/campaign.py``: epochs are cut to fit a time limit, jobs are resumed, and failures are one line."""

import csv
import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from called import SCRIPTS, script
from mien.training.recipe import load_recipe

TINY = {
    "name": "tiny",
    "model": {"name": "nano", "args": {"stem": [8], "widths": [16, 32], "depths": [1, 1]}},
    "epochs": 12,
    "batch_size": 20,
    "precision": "fp32",
}


campaign, plan = script("campaign"), script("campaign_plan")
Cost, epochs_that_fit, makespan = plan.Cost, plan.epochs_that_fit, plan.makespan


def test_a_schedule_ends_in_time_and_is_the_longest_that_does() -> None:
    def fit(*costs: Any, seconds: float = 150.0, slots: int = 1, least: int = 3, **decided: int) -> dict[str, int]:
        named = {str(number): cost for number, cost in enumerate(costs)}
        return dict(epochs_that_fit(named, seconds, slots=slots, least=least, decided=decided))

    one = Cost("a", 500, 2.0, 50.0)
    assert fit(one) == {"a": 50}  # 50 + 50 × 2
    assert fit(Cost("a", 20, 2.0, 50.0)) == {"a": 20}
    assert fit(one, least=51) == {}  # rather nothing than too short a schedule
    assert fit(one, Cost("a", 500, 10.0, 50.0), slots=2) == {"a": 10}  # compared: alike for all
    assert fit(one, Cost("a", 30, 1.0, 0.0), slots=2) == {"a": 30}
    assert fit(one, Cost("b", 500, 2.0, 50.0), slots=2) == {"a": 50, "b": 50}
    assert fit(one, Cost("b", 500, 2.0, 50.0)) == {"a": 12, "b": 12}  # one after the other
    assert fit(one, Cost("b", 250, 2.0, 0.0)) == {"a": 33, "b": 16}  # by one factor
    assert fit(one, Cost("b", 500, 90.0, 50.0)) == {"a": 50}  # the last is left out
    assert fit(one, Cost("b", 500, 2.0, 50.0), a=5) == {"a": 5, "b": 20}  # decided before
    assert fit(Cost("a", 500, 2.0, 50.0, done=45), a=60) == {"a": 60}
    assert fit(one, a=60) == {"a": 60}  # will be stopped, and can be resumed
    assert fit() == {}
    assert fit(Cost("a", 2, 1.0, 0.0)) == {"a": 2}  # shorter than least by its own recipe
    # a student waits for its teacher
    assert fit(one, Cost("b", 500, 2.0, 0.0, needs=("0",)), slots=2) == {"a": 25, "b": 25}


def test_the_makespan_by_hand() -> None:
    costs = {"a": Cost("x", 9, 1.0, 1.0), "b": Cost("x", 9, 2.0, 1.0), "c": Cost("x", 9, 1.0, 0.0, ("b",))}
    assert makespan(costs, {"x": 3}, slots=1) == 4 + 7 + 3
    assert makespan(costs, {"x": 3}, slots=2) == 7 + 3
    assert makespan({}, {}, slots=2) == 0


jobs = st.lists(
    st.builds(
        Cost,
        st.sampled_from("abc"),
        st.integers(1, 60),
        st.floats(0.01, 5),
        st.floats(0, 20),
    ),
    max_size=6,
)


@given(jobs, st.floats(0, 300), st.integers(1, 3), st.integers(1, 5))
def test_no_plan_is_longer_than_the_time(jobs: list[Any], seconds: float, slots: int, least: int) -> None:
    costs = {str(number): job for number, job in enumerate(jobs)}
    epochs = epochs_that_fit(costs, seconds, slots=slots, least=least)
    kept = {name: cost for name, cost in costs.items() if cost.group in epochs}
    assert makespan(kept, epochs, slots=slots) <= seconds
    for group, number in epochs.items():
        most = min(cost.most for cost in costs.values() if cost.group == group)
        assert min(least, most) <= number <= most


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path / "tiny.yaml"


def listed(recipe: Path, *jobs: dict[str, Any]) -> Path:
    file = recipe.with_name("jobs.yaml")
    file.write_text(yaml.safe_dump([{"recipe": str(recipe)} | job for job in jobs]))
    return file


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ("recipe: compact", "expected a list of jobs"),
        ("[]", "expected a list of jobs"),
        ("- [", "expected a YAML file of jobs"),
        ("- {recipe: compact-base, sed: 1}", "job 1: sed: no such key; expected one of recipe, name, seed"),
        ("- {recipe: compact-base, epochs: 0}", "job 1: epochs: input should be greater than or equal to 1, got 0"),
        ("- {recipe: nothing}", "expected a recipe file or the name of a shipped recipe, got 'nothing'"),
        ("- {recipe: compact-base, overrides: {optimiser.lr: 1}}", "optimiser: no such key"),
        ("- {recipe: compact-base}\n- {recipe: compact-base}", "job 2: expected a name of its own, got compact-base"),
        ("- {recipe: nano-base}", "job nano-base: expected an earlier job or a run with best.ckpt, got runs/"),
        ("- {recipe: compact-base, name: a/b}", "job 1: name: "),
        (
            "- {recipe: nano-base, teachers: [t]}\n- {recipe: compact-base, name: t}",
            "job nano-base: expected an earlier job or a run with best.ckpt, got out/t",
        ),
    ],
)
def test_a_bad_list_is_one_line(
    jobs: str, said: str, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.yaml").write_text(jobs)
    assert campaign.main(["jobs.yaml", "--data", str(small_store), "--minutes", "1", "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not Path("out").exists()


def test_a_bad_call_is_one_line(recipe: Path, small_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, data = str(listed(recipe, {})), ["--data", str(small_store)]
    for words in (
        [file, *data, "--minutes", "0"],
        [file.replace("jobs", "none"), *data, "--minutes", "1"],
        [file, "--data", str(recipe.parent), "--minutes", "1"],
        [file, *data, "--minutes", "1", "--split", "test"],
    ):
        assert campaign.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "expected" in error
        assert error.count("\n") == 1


#: Stands for ``mien train``: an epoch takes the seconds that $EPOCH says; a run that is stopped has a last.ckpt.
TRAINER = """
import json, os, pathlib, sys, time
run = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
epochs = int(next(word for word in sys.argv if word.startswith("epochs=")).removeprefix("epochs="))
run.mkdir(parents=True, exist_ok=True)
log = run / "log.csv"
if not log.exists():
    log.write_text("epoch,seconds\\n")
for epoch in range(len(log.read_text().splitlines()), epochs + 1):
    time.sleep(float(os.environ["EPOCH"]))
    with log.open("a") as file:
        file.write(f"{epoch},{os.environ['EPOCH']}\\n")
    (run / "last.ckpt").touch()
(run / "best.ckpt").touch()
(run / "meta.json").write_text('{"result": {}}')
"""
#: Stands for ``scripts/record.py``: a report of 1 kB, a model of 1 MB.
RECORDER = """
import json, pathlib, sys
record = pathlib.Path(sys.argv[sys.argv.index("--to") + 1]) / sys.argv[2]
record.mkdir(parents=True)
(record / "report.json").write_text(json.dumps({"figures": {"all": {"accuracy": {"value": 0.5}}}}).ljust(1000))
(record / f"{sys.argv[2]}.onnx").write_bytes(bytes(1_000_000))
"""


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(campaign, "RECORD", [sys.executable, "-c", RECORDER])
    monkeypatch.setattr(campaign, "TRAIN", [sys.executable, "-c", TRAINER])
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in handlers:
        signal.signal(number, handler)


@pytest.fixture
def run(small_store: Path) -> Callable[..., tuple[int, float]]:
    """Exit status and seconds of a call."""

    def run(file: Path, out: Path, *words: str, seconds: float, beside: float = 0.5) -> tuple[int, float]:
        started = time.time()
        minutes = ["--minutes", str(seconds / 60), "--beside", str(beside)]
        status = campaign.main([str(file), "--data", str(small_store), "-o", str(out), *minutes, *words])
        return status, time.time() - started

    return run


@pytest.mark.long  # of seconds of waiting, not of work
@pytest.mark.usefixtures("stand_ins")
def test_a_time_is_kept_by_fewer_epochs_alike_in_a_group(
    recipe: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCH", "0.1")
    names = [{"name": name, "group": "both", "epochs": 10_000} for name in ("first", "second")]
    status, took = run(listed(recipe, *names), tmp_path / "out", "--jobs", "2", seconds=10, beside=4)
    assert status == 0
    assert took < 10
    epochs = [len(campaign.seconds_of_epochs(tmp_path / "out" / job["name"])) for job in names]
    assert 3 <= epochs[0] == epochs[1] < 100
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["first", "50.00%", "done"],
        ["second", "50.00%", "done"],
    ]
    # a call more has nothing to do, and one with another recipe does not take the old run for its own
    assert run(listed(recipe, *names), tmp_path / "out", "--jobs", "2", seconds=10)[1] < 5


@pytest.mark.usefixtures("stand_ins")
def test_what_is_slower_than_was_said_is_stopped_and_gone_on_with(
    recipe: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCH", "0.1")
    file = listed(recipe, {"name": "slow", "epochs": 200, "seconds_per_epoch": 0.0001}, {"name": "next"})
    status, took = run(file, tmp_path / "out", seconds=3)
    assert status == 1
    assert took < 10  # all epochs would take 20 s
    slow, waiting = capsys.readouterr().out.splitlines()
    done = len(campaign.seconds_of_epochs(tmp_path / "out" / "slow"))
    assert slow.split() == ["slow", *f"stopped after {done} of 200 epochs: call again to resume".split()]
    assert 0 < done < 100
    assert waiting.split()[1:3] in (["stopped", "after"], ["left", "out:"])
    recipe_yaml = load_recipe(recipe, overrides={"name": "slow", "epochs": "200"}).to_yaml()
    (tmp_path / "out" / "slow" / "recipe.yaml").write_text(recipe_yaml)  # as mien train leaves it
    file = listed(recipe, {"name": "slow", "epochs": 200, "seconds_per_epoch": 0.0001})
    monkeypatch.setenv("EPOCH", "0")
    assert run(file, tmp_path / "out", seconds=20)[0] == 0
    with (tmp_path / "out" / "slow" / "log.csv").open() as log:
        assert [row["epoch"] for row in csv.DictReader(log)] == [str(epoch) for epoch in range(1, 201)]
    # the negative control: a run is not taken for that of another recipe
    other = listed(recipe, {"name": "slow", "epochs": 200, "overrides": {"optimizer.lr": 0.5}})
    assert run(other, tmp_path / "out", seconds=20)[0] == 2
    assert "was begun by another recipe: optimizer.lr was 0.1, is 0.5" in capsys.readouterr().err


@pytest.mark.usefixtures("stand_ins")
def test_records_come_back_within_the_limit(
    recipe: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCH", "0")
    names = [{"name": name, "epochs": 1, "seconds_per_epoch": 0.1} for name in ("best", "good", "last")]
    for limit, models in ((0.002, []), (2.5, ["best", "good"]), (None, ["best", "good", "last"])):
        words = ["--records", str(tmp_path / f"to-{limit}"), *(["--limit-mb", str(limit)] if limit else [])]
        assert run(listed(recipe, *names), tmp_path / "out", *words, seconds=20)[0] == 0
        files = [file for file in (tmp_path / f"to-{limit}").rglob("*") if file.is_file()]
        assert sorted(file.stem for file in files if file.suffix == ".onnx") == models
        assert limit is None or sum(file.stat().st_size for file in files) <= limit * 1e6
        said = capsys.readouterr().err
        assert all((f"{job['name']}.onnx" in said) == (job["name"] not in models) for job in names)
        assert ("for report.json" in said) == (limit == 0.002)


@pytest.mark.usefixtures("stand_ins")
def test_what_fails_is_named_and_the_others_go_on(
    recipe: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCH", "0")
    broken = TRAINER.replace(
        "import json", "import sys\nif 'broken' in str(sys.argv): sys.exit('error: no luck')\nimport json"
    )
    monkeypatch.setattr(campaign, "TRAIN", [sys.executable, "-c", broken])
    names = [{"name": "broken"}, {"name": "student", "teachers": ["broken"]}, {"name": "other"}]
    assert run(listed(recipe, *names), tmp_path / "out", seconds=30)[0] == 1
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "broken not measured: failed: error: no luck",
        "student not measured: left out: broken is not finished",
        "other 50.00% done",
    ]


@pytest.mark.long
def test_a_campaign_that_is_terminated_goes_on_with_its_run(
    recipe: Path, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real training: SIGTERM after some epochs, then the same call again."""
    file, out = listed(recipe, {"seconds_per_epoch": 0.1, "seed": 3}), tmp_path / "out"
    words = ["--data", str(small_store), "-o", str(out), "--minutes", "5", "--device", "cpu", "--save-seconds", "0"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def read_log() -> list[list[str]]:
        return [row.split(",")[:-1] for row in (out / "tiny" / "log.csv").read_text().splitlines()]  # without seconds

    first = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "campaign.py"), str(file), *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while len(campaign.seconds_of_epochs(out / "tiny")) < 2 and first.poll() is None:
        time.sleep(0.02)
    first.terminate()
    said = first.communicate(timeout=60)[0].split()
    assert first.returncode == 143
    before = read_log()
    assert said == ["tiny", *f"stopped after {len(before) - 1} of 12 epochs: call again to resume".split()]
    assert 3 <= len(before) < 13
    monkeypatch.setattr(campaign, "RECORD", [sys.executable, "-c", RECORDER])
    options = Namespace(train_only=False,
        out=out, data=small_store, minutes=5, jobs=1, device="cpu", least=3, beside=20, save_seconds=0.0,
        split="public_test", records=None, limit_mb=None,
    )  # fmt: skip
    assert campaign.Campaign(plan.read_jobs(file), options).go() == {"tiny": "done"}
    after = read_log()
    assert after[: len(before)] == before  # an epoch that had no checkpoint yet is trained again, to the same figures
    assert [row[0] for row in after[1:]] == [str(epoch) for epoch in range(1, 13)]
    assert json.loads((out / "tiny" / "meta.json").read_text())["result"]["epochs"] == 12
    assert load_recipe(out / "tiny" / "recipe.yaml").seed == 3


@pytest.mark.parametrize("file", sorted((SCRIPTS / "campaigns").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_campaign_that_is_prepared_has_recipes_that_can_be_trained(file: Path, tmp_path: Path) -> None:
    """Each job's recipe parses, and what it needs is there or comes before it."""
    options = Namespace(out=tmp_path / "out", minutes=1)
    jobs = plan.read_jobs(file)
    found = campaign.Campaign(jobs, options).recipes
    assert [recipe.name for recipe in found.values()] == list(jobs)
    for name, job in jobs.items():
        assert found[name].epochs == (job.epochs or load_recipe(job.recipe).epochs)
    if file.stem == "swin":
        assert len(found) == 9
        assert len({recipe.optimizer.lr for recipe in found.values()}) == 3  # the same grid for each arm
        assert sum(recipe.optimizer.sam is not None for recipe in found.values()) == 3
