"""Trains a list of recipes within a time limit, on the available device; called again, it resumes.

    python scripts/campaign.py JOBS.yaml --data STORE --minutes N [--jobs N] [-o OUT] [--device auto|cpu|gpu]
                               [--split NAME] [--records DIR] [--limit-mb N]

JOBS.yaml is a list. A job says what ``mien train`` is to be told:

    - recipe: compact-base          # a file, or the name of a shipped recipe
      name: compact-seed1           # of its run, OUT/compact-seed1; the recipe's own name by default
      seed: 1
      overrides: {optimizer.lr: 0.03}
      epochs: 240                   # at most; the recipe's own by default
      group: compact                # jobs that are compared: all get the same number of epochs
    - recipe: nano-base
      init: run:nano-old            # runs are given by path, or by the name of an earlier job
      teachers: [compact-seed1]
      compile: true                 # or cuda_graphs: true
      seconds_per_epoch: 3.5        # where it is known; else two epochs of each job are trained to measure it

All groups are cut by one factor until everything, evaluation included, ends in time; where not even --least epochs fit,
the last groups are left out. What has not ended by then is stopped; the same call resumes it, with the same number
of epochs. OUT/NAME.log is what a job said, OUT/pace/NAME its measurement (remove it to measure anew), OUT/records/NAME
its record (scripts/record.py) with the network in half precision. DIR gets a copy of the records, and of the models as
many as the limit has room for, in the list's order. Exit status 1 where a job was not finished.

On a machine that is lent for minutes (the tree copied there without .git, the store with it), one command:

    MIEN_COMMIT=COMMIT python3 scripts/campaign.py scripts/campaigns/masks.yaml --data STORE --minutes 9 --jobs 5 \\
        -o /dev/shm/mien --records /tmp/r --limit-mb 60; tar -C /tmp/r -c . | split -b 15M - $OUT/records.tar.

and here: ``cat records.tar.* | tar -x -C runs/records``, then ``python scripts/kept_runs.py runs/records/NAME …``.
"""

import argparse
import filecmp
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[1:1] = [str(ROOT / "src")]  # a copied tree need not be installed

from campaign_plan import Cost, Job, epochs_that_fit, finished, read_jobs, seconds_of_epochs  # noqa: E402

from mien.data.store import Store  # noqa: E402
from mien.errors import MienError, UsageError  # noqa: E402
from mien.training.recipe import differences, load_recipe  # noqa: E402

TRAIN = [sys.executable, "-m", "mien.cli.app", "train"]
RECORD = [sys.executable, str(ROOT / "scripts" / "record.py")]
#: Of the time, what is left unplanned: epochs are not all alike. Seconds that a process has to leave after SIGTERM.
SLACK, LEAVING = 0.08, 20.0


class Campaign:
    """One call. Raises MienError before anything is started, where a job cannot work."""

    def __init__(self, jobs: dict[str, Job], options: argparse.Namespace) -> None:
        self.jobs, self.options, self.out = jobs, options, Path(options.out)
        self.started = time.time()
        self.end = self.started + 60 * options.minutes
        self.stopped, self.copying = threading.Event(), threading.Lock()
        self.recipes = {
            name: load_recipe(job.recipe, overrides=job.changes(self._run, epochs=job.epochs))
            for name, job in jobs.items()
        }
        self.needs = {name: self._needs(name) for name in jobs}
        self.begun = self._begun()
        self.epochs: dict[str, int] = {}
        self.out.mkdir(parents=True, exist_ok=True)

    def _run(self, name: str, *, pace: bool = False) -> str:
        """Where a job's run lies; a path that names none as it is. pace: the run that is trained to measure."""
        if name not in self.jobs:
            return name
        return str(self.out / "pace" / name if pace and not finished(self.out / name) else self.out / name)

    def _needs(self, name: str) -> tuple[str, ...]:
        recipe, earlier = self.recipes[name], list(self.jobs)[: list(self.jobs).index(name)]
        runs = [*recipe.model.start[1], *(recipe.distill.runs if recipe.distill else ())]
        ours = {str(self.out / one): one for one in earlier}
        for run in runs:
            if str(run) not in ours and not (run / "best.ckpt").is_file():
                raise UsageError(f"job {name}: expected an earlier job or a run with best.ckpt, got {run}")
        return tuple(ours[str(run)] for run in runs if str(run) in ours)

    def _begun(self) -> dict[str, int]:
        """Group → the epochs of its runs that were begun. Raises UsageError where one was begun by another recipe."""
        epochs = {}
        for name, job in self.jobs.items():
            if (self.out / name / "recipe.yaml").is_file():
                before = load_recipe(self.out / name / "recipe.yaml")
                now = self.recipes[name].model_copy(update={"epochs": before.epochs})
                # a store without FER+ votes lets a run note a weight of 0
                if changed := [one for one in differences(before, now) if not one.startswith("targets.votes")]:
                    raise UsageError(
                        f"job {name}: {self.out / name} was begun by another recipe: {'; '.join(changed)}",
                        hint="give the job another name",
                    )
                epochs[job.group] = before.epochs
        return epochs

    def go(self) -> dict[str, str]:
        """Name → "done", or what became of it."""
        states = self._measure()
        costs = {name: self._cost(name) for name in self.jobs if name not in states}
        seconds, options = (self.end - time.time()) * (1 - SLACK), self.options
        self.epochs = epochs_that_fit(costs, seconds, slots=options.jobs, least=options.least, decided=self.begun)
        for group, epochs in self.epochs.items():
            self._say(f"{group}: {epochs} epochs{', as begun' if group in self.begun else ''}")
        for name, job in self.jobs.items():
            if job.group not in self.epochs:
                states.setdefault(name, f"left out: too little time for {options.least} epochs")
        states |= self._side_by_side([name for name in self.jobs if name not in states], self._work, states)
        self._bring_back(last=True)
        return {name: states[name] for name in self.jobs}

    def _pace(self, name: str) -> list[float]:
        """Seconds of its first epochs, two or more where they are known."""
        told = self.jobs[name].seconds_per_epoch
        here = seconds_of_epochs(self.out / name)
        return [told, told] if told else here if len(here) > 1 else seconds_of_epochs(self.out / "pace" / name)

    def _measure(self) -> dict[str, str]:
        """Train two epochs of every job whose pace is not known. Returns the states of those that could not."""
        missing = [name for name in self.jobs if len(self._pace(name)) < 2 and not finished(self.out / name)]
        if missing:
            self._say(f"measuring {', '.join(missing)}")
        ended = self._side_by_side(missing, lambda name: self._train(name, epochs=2, pace=True), {})
        return {name: f"not measured: {state}" for name, state in ended.items() if state != "done"}

    def _cost(self, name: str) -> Cost:
        first, *others = self._pace(name) or [0.0]
        epoch = statistics.median(others or [first])
        done = self.recipes[name].epochs if finished(self.out / name) else len(seconds_of_epochs(self.out / name))
        beside = 0.0 if self._complete(name) else self.options.beside + max(0.0, first - epoch)  # the first compiles
        return Cost(self.jobs[name].group, self.recipes[name].epochs, epoch, beside, self.needs[name], done)

    def _side_by_side(self, names: list[str], work: Callable[[str], str], before: Mapping[str, str]) -> dict[str, str]:
        futures: dict[str, Future[str]] = {}

        def after(name: str) -> str:
            for need in self.needs[name]:
                if (futures[need].result() if need in futures else before.get(need, "done")) != "done":
                    return f"left out: {need} is not finished"
            return work(name)

        with ThreadPoolExecutor(self.options.jobs) as pool:
            for name in names:
                futures[name] = pool.submit(after, name)
            return {name: future.result() for name, future in futures.items()}

    def _work(self, name: str) -> str:
        run = self.out / name
        if not finished(run):
            self._say(f"{name}: training")
            state = self._train(name, epochs=self.epochs[self.jobs[name].group])
            if state != "done":
                return state
        if not self._complete(name):
            words = [*RECORD, str(run), name, "--to", str(self.out / "records"), "--data", str(self.options.data)]
            words += ["--split", self.options.split, "--device", self.options.device, "--no-tta", "--no-blind"]
            words += ["--onnx"] if self.recipes[name].task == "expression" else ["--only", "training"]
            state = self._finish(words, name, until=self.end)
            if state != "done":
                return f"trained, not recorded: {state}"
        self._bring_back(last=False)
        return "done"

    def _train(self, name: str, *, epochs: int, pace: bool = False) -> str:
        job, run = self.jobs[name], self.out / "pace" / name if pace else self.out / name
        resume = (run / "last.ckpt").is_file()
        if not resume and (run / "recipe.yaml").is_file():
            shutil.rmtree(run)  # one that was stopped before it had saved anything
        words = [*TRAIN, job.recipe, "--data", str(self.options.data), "-o", str(run), "--device", self.options.device]
        words += ["--save-seconds", str(self.options.save_seconds)]
        words += ["--compile"] * job.compile + ["--cuda-graphs"] * job.cuda_graphs + ["--resume"] * resume
        for key, value in job.changes(lambda one: self._run(one, pace=pace), epochs=epochs).items():
            words += ["--set", f"{key}={value}"]
        state = self._finish(words, name, until=self.end - self.options.beside)
        done = len(seconds_of_epochs(run))
        return f"stopped after {done} of {epochs} epochs: call again to resume" if state == "stopped" else state

    def _finish(self, words: list[str], name: str, *, until: float) -> str:
        """Run a command, its output in NAME.log, and end it at the time ``until``, or with the campaign."""
        if time.time() >= until or self.stopped.is_set():
            return "stopped"
        paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if self.options.jobs > 1:  # or they fight for cores
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.options.jobs))
        file = self.out / f"{name}.log"
        with file.open("ab") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        while process.poll() is None and time.time() < until and not self.stopped.is_set():
            self.stopped.wait(0.1)
        if late := process.poll() is None or self.stopped.is_set():
            process.terminate()
            try:
                process.wait(LEAVING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.returncode == 0:
            return "done"
        said = file.read_text("utf-8", "replace").strip().splitlines()
        return "stopped" if late else f"failed: {said[-1][:300] if said else 'no message'}"

    def _complete(self, name: str) -> bool:
        """Whether nothing is left to do for a job: it is recorded, or trained where no records are wanted."""
        return finished(self.out / name) if self.options.train_only else self._recorded(name)

    def _recorded(self, name: str) -> bool:
        last = "report.json" if self.recipes[name].task == "expression" else "curves.png"
        return (self.out / "records" / name / last).is_file()

    def _bring_back(self, *, last: bool) -> None:
        """Copy what is recorded into DIR: the records, then models in the list's order, as far as they fit.

        last: nothing more will come. Before, a megabyte is left for each job that is not recorded yet.
        """
        to, limit = self.options.records, self.options.limit_mb
        if to is None:
            return
        with self.copying:
            records = [self.out / "records" / name for name in self.jobs if self._recorded(name)]
            left = 0 if last else len(self.jobs) - len(records)
            for models, record in itertools.product((False, True), records):
                files = [file for file in record.rglob("*") if file.is_file() and (file.suffix == ".onnx") == models]
                copies = {file: to / file.relative_to(record.parent) for file in files}
                new = [file for file, copy in copies.items() if not (copy.is_file() and filecmp.cmp(file, copy))]
                held = sum(file.stat().st_size for file in [*to.rglob("*"), *new] if file.is_file())
                if limit is None or held / 1e6 + (left if models else 0) <= limit:
                    for file in new:
                        copies[file].parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(file, copies[file])
                elif last:
                    self._say(f"{record.name}: no room in {to} for {', '.join(file.name for file in new)}")
                elif models:
                    break

    def _say(self, what: str) -> None:
        print(f"{time.time() - self.started:5.0f} s  {what}", file=sys.stderr, flush=True)


def accuracy(record: Path) -> str:
    """Empty where there is no report, or the split's labels are held back."""
    file = record / "report.json"
    figures = json.loads(file.read_text("utf-8"))["figures"] if file.is_file() else None
    return f"{figures['all']['accuracy']['value']:.2%}" if figures else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs_file", type=Path, metavar="JOBS.yaml")
    parser.add_argument("--data", type=Path, required=True, metavar="STORE")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="side by side; default %(default)s")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/campaign"))
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--split", default="public_test", help="to evaluate on; default %(default)s")
    parser.add_argument("--records", type=Path, metavar="DIR")
    parser.add_argument("--limit-mb", type=float, help="of DIR")
    parser.add_argument("--train-only", action="store_true", help="no records; make them later with scripts/record.py")
    parser.add_argument("--least", type=int, default=3, help="minimum number of epochs of a run; default %(default)s")
    parser.add_argument("--beside", type=float, default=60.0, help="seconds to start and record; default %(default)s")
    parser.add_argument("--save-seconds", type=float, default=20.0, help="as of mien train; default %(default)s")
    options = parser.parse_args(arguments)
    try:
        if options.minutes <= 0 or options.jobs < 1:
            raise UsageError(f"expected --minutes and --jobs above 0, got {options.minutes:g} and {options.jobs}")
        if options.split not in (splits := Store.open(options.data).splits):
            raise UsageError(f"--split: expected one of {', '.join(splits)}, got {options.split}")
        campaign = Campaign(read_jobs(options.jobs_file), options)
    except (MienError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: (caught.append(number), campaign.stopped.set()))
    states = campaign.go()
    for name, state in states.items():
        print(f"{name:32} {accuracy(campaign.out / 'records' / name):8} {state}")
    return 128 + caught[0] if caught else int(any(state != "done" for state in states.values()))


if __name__ == "__main__":
    sys.exit(main())
