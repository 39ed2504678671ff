"""A stage on the machine that trains: its rounds in turn, a round's jobs side by side, everything done in time.

    HOME/runs/<job>         run directories            HOME/results               as ``collect`` takes them
    HOME/logs/<job>.log     what a job said            HOME/talk/<group>.epochs   what was decided, for good

What comes back is written after each round, so that a call that is killed has lost its last round at most.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import parcel
from planning import Pace, epochs_that_fit, share_out, waves
from stages import STAGES, Job, finished

#: Seconds to write what comes back, and how much longer than planned a job may take before it is ended.
PACKING, GRACE = 15.0, 10.0
#: Of a wave's time, for starting and compiling, before those that are ready are measured without the others: which
#: makes their pace a doubtful one, but loses nobody's time to one that hangs.
STARTING = 0.5
LEAST = 3


@dataclass(slots=True)
class Options:
    """out: what comes back. seconds: for the whole stage. at_once: jobs side by side. epochs: where not measured. only:
    how the names of the jobs begin, where not all are asked for. limit: images that are evaluated, where not all."""

    home: Path
    out: Path
    seconds: float
    at_once: int
    seeds: tuple[int, ...] | None = None
    epochs: int | None = None
    only: tuple[str, ...] = ()
    tiny: bool = False
    limit: int | None = None
    started: float = field(default_factory=time.time)

    @property
    def end(self) -> float:
        return self.started + self.seconds - PACKING


def run_stage(name: str, options: Options) -> int:
    """Exit status 1 where a job failed or was left out; the others are done, and come back."""
    stage = STAGES[name]
    rounds = stage.rounds(options.seeds or stage.seeds)
    print(f"stage {name}: {stage.title}; {options.seconds:.0f} s", flush=True)
    states: dict[str, str] = {}
    jobs: dict[str, Job] = {}
    for number, turn in enumerate(rounds):
        asked = turn.jobs(options.home / "runs")
        chosen = {job.name: job for job in asked if not options.only or job.name.startswith(options.only)}
        jobs |= chosen
        groups = waves(list(chosen), at_once=options.at_once)
        shares = [turn.share / max(1, len(groups))] * len(groups) + [later.share for later in rounds[number + 1 :]]
        for place, names in enumerate(groups):
            seconds = share_out(options.end - time.time(), shares[place:])[0]
            together = [chosen[each] for each in names]
            talk = options.home / "talk" / f"{name}-{number}-{place}"
            states |= _Wave(together, talk, time.time() + seconds, options).run()
            parcel.send(list(jobs.values()), facts(name, states, options.home), options.home, options.out)
    for job, state in states.items():
        print(f"{state:28} {job}", flush=True)
        if state.startswith("failed"):
            log = (options.home / "logs" / f"{job}.log").read_text("utf-8", "replace")
            print("\n".join(f"    {line[:300]}" for line in log.strip().splitlines()[-4:]), flush=True)
    return int(any(state != "done" for state in states.values()))


class _Wave:
    """Jobs side by side. deadline: by the clock, for all of them."""

    def __init__(self, jobs: list[Job], talk: Path, deadline: float, options: Options) -> None:
        self.jobs, self.talk, self.deadline, self.options = {job.name: job for job in jobs}, talk, deadline, options
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.begun = time.time()

    def run(self) -> dict[str, str]:
        """Job → "done", or what became of it."""
        self.talk.mkdir(parents=True, exist_ok=True)
        for file in self.talk.iterdir():
            file.unlink()
        if self.options.epochs:
            for group in {job.group for job in self.jobs.values()}:
                self._decide(group, self.options.epochs)
        # Of jobs with the same kernels the first one compiles them, and the others wait to find them in torch's cache.
        first = {job.kernels: name for name, job in reversed(self.jobs.items())}
        for name, job in self.jobs.items():
            self.processes[name] = self._start(name, after=first[job.kernels])
        while self._alive() and time.time() < self.deadline + GRACE:
            self._answer()
            time.sleep(0.1)
        late = self._alive()
        for name in late:
            self.processes[name].terminate()
        patience = time.time() + 8
        while self._alive() and time.time() < patience:
            time.sleep(0.1)
        for name in self._alive():
            self.processes[name].kill()
        for process in self.processes.values():
            process.wait()
        return {name: self._state(name, late=name in late) for name in self.jobs}

    def _say(self, what: str) -> None:
        print(f"{time.time() - self.options.started:4.0f} s: {what}", flush=True)

    def _start(self, name: str, *, after: str) -> "subprocess.Popen[bytes]":
        options, logs = self.options, self.options.home / "logs"
        logs.mkdir(exist_ok=True)
        (self.talk / f"{name}.json").write_text(json.dumps(asdict(self.jobs[name])), "utf-8")
        words = [sys.executable, str(Path(__file__).parent), "job", str(self.talk / f"{name}.json")]
        words += ["--home", str(options.home)]
        words += ["--after", after] if after != name else []
        words += ["--tiny"] if options.tiny else []
        words += ["--limit", str(options.limit)] if options.limit else []
        cores, compiling = os.cpu_count() or 1, len({job.kernels for job in self.jobs.values()})
        few = {  # of each, or they fight for cores
            "OMP_NUM_THREADS": str(min(4, max(1, cores // len(self.jobs)))),
            "TORCHINDUCTOR_COMPILE_THREADS": str(min(8, max(1, cores // compiling))),
            "PYTHONUNBUFFERED": "1",
        }
        with (logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=os.environ | few,
            )  # fmt: skip

    def _alive(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is None]

    def _answer(self) -> None:
        """Tell jobs to measure once all are ready, and groups their epochs once all of a group have measured."""
        alive = self._alive()
        for name in self.jobs:
            if name not in alive:
                (self.talk / f"{name}.ready").touch()  # whoever waits for its kernels makes them
        unready = [name for name in alive if not (self.talk / f"{name}.ready").exists()]
        patience = STARTING * (self.deadline - self.begun)
        if not (self.talk / "measure").exists() and (not unready or time.time() - self.begun > patience):
            (self.talk / "measure").touch()
            self._say("measuring" + (f", without {', '.join(unready)}" if unready else ""))
        for group in {job.group for job in self.jobs.values()}:
            members = [name for name, job in self.jobs.items() if job.group == group]
            told = {name: self.talk / f"{name}.pace" for name in members}
            if self._file(group).exists() or any(not told[name].exists() for name in members if name in alive):
                continue
            paces = [Pace(**json.loads(file.read_text("utf-8"))) for file in told.values() if file.exists()]
            if paces:
                least = 1 if self.options.tiny else LEAST
                most = 1 if self.options.tiny else min(self.jobs[name].most for name in members)
                epochs = epochs_that_fit(paces, self.deadline - time.time(), least=least, most=most)
                slowest = max(pace.seconds_an_epoch for pace in paces)
                self._say(f"{group}: {epochs} epoch{'' if epochs == 1 else 's'}, of {slowest:.2f} s at most")
                self._decide(group, epochs)

    def _file(self, group: str) -> Path:
        return self.talk.parent / f"{group}.epochs"

    def _decide(self, group: str, epochs: int) -> None:
        if not self._file(group).exists():
            part = self._file(group).with_suffix(".part")
            part.write_text(str(epochs), "utf-8")
            part.rename(self._file(group))

    def _state(self, name: str, *, late: bool) -> str:
        status = self.processes[name].returncode
        if status == 3:
            self._file(self.jobs[name].group).unlink(missing_ok=True)  # a call with more time decides anew
            return "left out: too little time"
        if late:
            return "ended at the deadline"
        return "done" if status == 0 and finished(self.options.home / "runs" / name) else f"failed, status {status}"


def facts(stage: str, states: dict[str, str], home: Path) -> dict[str, Any]:
    """What is said about a stage beside its results."""
    manifest = json.loads((home / "manifest.json").read_text("utf-8")) if (home / "manifest.json").is_file() else {}
    decided = {file.stem: int(file.read_text("utf-8")) for file in sorted((home / "talk").glob("*.epochs"))}
    return {"stage": stage, "commit": manifest.get("commit"), "jobs": states, "epochs": decided}
