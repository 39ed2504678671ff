"""Kills −9 at random moments, full disks, read-only targets, two processes at once: is what they leave whole?

    python -m tests.fuzz.kills [--kills 100] [--seed 0] [--job read-photos …] [--report docs/reliability.md]

A command is killed after a random part of the processor time that it needs undisturbed, and called again, until it
ends; it may be killed once or several times on its way. Then its files are compared with those of a call that nobody
disturbed: the same ones, with the same content, and nothing else beside them. Commands run in processes that are
forked from one which has imported the packages, so that kills fall on work and not on imports. As root, the conditions
mount small file systems of their own.
"""

import argparse
import ctypes
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from . import report

LIMIT_S = 900.0
RAY = "python benchmarks/bulk_kills.py PICTURES -o results/bulk_kills.json"


def forked(words: list[str], said: Path) -> int:
    """The command in a child of this process, with a process group of its own. Returns its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with its parent
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = ["mien", *words]
        from mien.cli.app import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def used(pid: int) -> float:
    """Seconds of processor time of a process and those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run(words: list[str], said: Path, *, kill_after: float | None = None) -> tuple[int | None, float]:
    """Its exit status, or None where it was killed; and the processor time that it took."""
    pid, began, spent = forked(words, said), time.monotonic(), 0.0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        spent = used(pid)
        if kill_after is not None and spent >= kill_after:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None, spent
        if time.monotonic() - began > LIMIT_S:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"{shlex.join(words)}: not done after {LIMIT_S:g} s")
        time.sleep(0.01)


@dataclass
class Job:
    """A command that writes below a folder. words: of the first call; again: of the next ones, after a kill.

    same: the content of a file as it is compared, None where it says only when it was made. status: 1 where one of
    the inputs is no picture.
    """

    name: str
    words: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]] | None = None
    same: Callable[[Path], Any] = lambda file: hashlib.sha256(file.read_bytes()).hexdigest()
    status: int = 0


@dataclass
class Outcome:
    """kills: that hit a running command. found: what differed, in words."""

    name: str
    trials: int = 0
    kills: int = 0
    early_ends: int = 0
    seconds: float = 0.0
    found: list[str] = field(default_factory=list)


def tree(folder: Path, same: Callable[[Path], Any]) -> dict[str, Any]:
    """Every file below a folder, hidden ones too, with what is compared of it.

    TensorBoard's are left out: their names are the time, and each call that resumes begins another one.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "tensorboard" not in file.parts]
    found: dict[str, Any] = {}
    for file in files:
        try:
            found[file.relative_to(folder).as_posix()] = same(file)
        except Exception as error:
            found[file.relative_to(folder).as_posix()] = f"cannot be read: {error}"
    return found


def disturb(job: Job, *, kills: int, random: Random, home: Path) -> Outcome:
    """Trials with one to three kills each, until so many have hit."""
    outcome = Outcome(job.name)
    straight = home / "straight"
    straight.mkdir(parents=True)
    status, seconds = run(job.words(straight), home / "straight.txt")
    if status != job.status:
        raise RuntimeError(f"{job.name} ends with {status}: {(home / 'straight.txt').read_text()[-2000:]}")
    wanted, outcome.seconds = tree(straight, job.same), round(seconds, 2)
    while outcome.kills < kills and outcome.trials < 3 * kills:
        outcome.trials += 1
        place, said = home / f"trial{outcome.trials}", home / f"trial{outcome.trials}.txt"
        place.mkdir()
        words, moments = job.words(place), [random.random() * seconds for _ in range(random.choice((1, 1, 2, 3)))]
        for moment in moments:
            ended, _ = run(words, said, kill_after=moment)
            if ended is not None:
                outcome.early_ends += 1
                break
            outcome.kills += 1
            words = (job.again or job.words)(place)
            problem = half_written(place, wanted, job.same)
            if problem:
                outcome.found.append(f"after a kill at {moment:.2f} s: {problem}")
        else:
            ended, _ = run(words, said)
        if ended != job.status:
            outcome.found.append(f"called again after {moments}, it ends with {ended}: {said.read_text()[-600:]}")
        elif (got := tree(place, job.same)) != wanted:
            differ = [n for n in {**wanted, **got} if wanted.get(n, "no file") != got.get(n, "no file")]
            outcome.found.append(f"after kills at {moments}: {', '.join(differ)} differ")
        shutil.rmtree(place)
    shutil.rmtree(straight)
    return outcome


def half_written(place: Path, wanted: dict[str, Any], same: Callable[[Path], Any]) -> str | None:
    """A file with a final name that is not as it will be: what somebody could take for the result."""
    for name, content in wanted.items():
        file = place / name
        if name.startswith("out") and file.is_file() and file.suffix in (".csv", ".parquet", ".jsonl"):
            try:
                found = same(file)
                grown = file.name == "log.csv" and found == content[: len(found)]  # a row an epoch
                if found != content and not grown:
                    return f"{name} is there and is not whole"
            except Exception as error:
                return f"{name} is there and cannot be read: {error}"
    return None


# --- jobs -------------------------------------------------------------------------------------------------------------


def photos(folder: Path, count: int) -> Path:
    import matplotlib
    from PIL import Image

    source = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    place = folder / "photos"
    place.mkdir()
    with Image.open(source) as image:
        for number in range(count):
            image.rotate(number % 7 - 3).save(place / f"{number:03}.jpg", quality=70)
    (place / "zz.jpg").write_bytes(b"no picture")
    return place


RECIPE = """
name: tiny
model: {name: nano, args: {stem: [8], widths: [8, 16], depths: [1, 1], dropout: 0.2}}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
ema: {decay: 0.8}
epochs: 12
batch_size: 7
precision: fp32
"""


def make_files(home: Path) -> None:
    """What the commands read."""
    from .kinds import clip, tiny_onnx
    from .workbench import fer2013_csv, small_store

    (home / "tiny.onnx").write_bytes(tiny_onnx())
    photos(home, 40)
    (home / "film").mkdir()
    clip(home / "film" / "a.mp4", frames=900)
    (home / "tiny.yaml").write_text(RECIPE)
    (home / "fer2013").mkdir()
    (home / "fer2013" / "fer2013.csv").write_text(fer2013_csv(420))
    small_store(home, rows=210)


def jobs(home: Path) -> list[Job]:
    """The commands, on the files that lie in ``home``."""
    model, pictures, film = home / "tiny.onnx", home / "photos", home / "film" / "a.mp4"
    source, store = home / "fer2013", home / "store"
    read = ["read", str(pictures), "--model", str(model), "--threads", "1", "-q", "-o"]
    video = ["read", str(film), "--model", str(model), "--detector", "none", "--threads", "1", "-q", "-o"]

    def train(place: Path) -> list[str]:
        words = ["train", str(home / "tiny.yaml"), "--data", str(store), "-o", str(place / "run")]
        return [*words, "--threads", "1", "--device", "cpu"]

    def resumed(place: Path) -> list[str]:
        return [*train(place), *(["--resume"] if (place / "run" / "recipe.yaml").is_file() else [])]

    def annotated(place: Path) -> list[str]:
        return [*video, str(place / "out.jsonl"), "--annotate", str(place / "seen")]

    def build(place: Path) -> list[str]:
        return ["data", "build", "--source", f"fer2013={source}", "--workers", "1", "-o", str(place / "store")]

    def study(place: Path) -> list[str]:
        small = ["data.limit=20", "batch_size=10", "epochs=2", "data.size=48"]
        small += ["model.args.patch_size=4", "model.args.window_size=3", "precision=fp32"]
        words = ["reproduce", "paper-a", "--data", str(store), "-o", str(place / "out"), "--arms", "swin_t,swin_t_se"]
        words += ["--seeds", "0", "--device", "cpu", "--threads", "1"]
        return [*words, *(word for one in small for word in ("--set", one))]

    return [
        Job("read, photos to CSV", lambda place: [*read, str(place / "out.csv")], status=1),
        Job("read, photos to Parquet", lambda place: [*read, str(place / "out.parquet")], same=_table, status=1),
        Job("read, a video to CSV", lambda place: [*video, str(place / "out.csv")]),
        Job("read, a video to JSON Lines with a copy", annotated, same=_seen),
        Job("data build", build),
        Job("train, then --resume", train, resumed, same=_run_file),
        Job("reproduce", study, same=_study_file),
    ]


def _table(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pydict()


def _seen(file: Path) -> Any:
    """Of an annotated copy, frames; encoders write the same bytes only by chance."""
    if file.suffix != ".mp4":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    import av

    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="gray").sum(dtype=int).item() for frame in container.decode(video=0)]


def _run_file(file: Path) -> Any:
    """Of a run: weights, and the log without the clock."""
    if file.suffix == ".ckpt":
        import torch

        content = torch.load(file, map_location="cpu", weights_only=False)
        state = {name: tensor.tolist() for name, tensor in content["state_dict"].items()}
        return content["epoch"], content["global_step"], hashlib.sha256(repr(state).encode()).hexdigest()
    if file.name == "meta.json":
        meta = json.loads(file.read_text())
        return {key: value for key, value in meta.get("result", {}).items() if "seconds" not in key}
    if file.suffix == ".csv" and "epoch" in file.read_text()[:200]:
        lines = [line.split(",") for line in file.read_text().splitlines()]
        clock = [number for number, name in enumerate(lines[0]) if "second" in name]
        return [[cell for number, cell in enumerate(line) if number not in clock] for line in lines]
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _study_file(file: Path) -> Any:
    """Of a study: weights, logs, predictions and the table; reports and pictures say when and how fast."""
    if file.suffix in (".ckpt",) or file.name in ("log.csv", "predictions.csv", "recipe.yaml"):
        return _run_file(file)
    if file.name.startswith("table.") and file.suffix == ".csv":
        return file.read_text()
    return None


def _ray() -> tuple[Any, ...]:
    """The row of ``read --engine ray``, whose processes are killed by a benchmark: it takes minutes a trial."""
    told = json.loads((Path(__file__).parents[2] / "results" / "bulk_kills.json").read_text("utf-8"))
    bad = sum(not one["equal"] or one["lost"] + one["doubled"] + one["half_written"] > 0 for one in told["each"])
    return "read --engine ray", sum(told["kills"].values()), told["trials"], "–", bad, "–"


def text(kept: dict[str, Any]) -> str:
    """Two tables: kills, and conditions."""
    killed = [entry for entry in kept.values() if "condition" not in entry]
    rows = [
        (e["name"], e["kills"], e["trials"], e["early_ends"], len(e["found"]), f"{e['seconds']:.1f}") for e in killed
    ]
    rows.append(_ray())
    rows.append(("all", *(sum(row[i] for row in rows if isinstance(row[i], int)) for i in range(1, 5)), ""))
    head = (
        "command",
        "kills",
        "trials",
        "ended before a kill",
        "outcomes that differ",
        "processor time undisturbed, s",
    )
    commands = ", ".join(f"`{one}`" for one in dict.fromkeys([*(e["command"] for e in kept.values()), RAY]))
    conditions = [(e["name"], e["condition"]) for e in kept.values() if "condition" in e]
    return f"{commands}\n\n{report.table(head, rows)}\n\n{report.table(('condition', 'what happens'), conditions)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of all jobs together, shared equally")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append", help="jobs whose name begins so; may repeat")
    parser.add_argument("--no-kills", action="store_true", help="conditions alone")
    parser.add_argument("--no-conditions", action="store_true", help="kills alone")
    parser.add_argument("--json", type=Path, help="keep the outcomes there; those of other jobs stay")
    parser.add_argument("--report", type=Path, help="write the tables into this Markdown file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import lightning  # noqa: F401 - what is imported here need not be imported by each call
    import onnxruntime  # noqa: F401
    import torch

    import mien.cli.app  # noqa: F401

    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="mien-kills-"))
    kept = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    made = jobs_in_a_child(home)
    chosen = [job for job in made if not options.job or any(job.name.startswith(start) for start in options.job)]
    bad = False
    command = shlex.join(["python", "-m", "tests.fuzz.kills", *sys.argv[1:]])
    for number, job in enumerate([] if options.no_kills else chosen):
        random = Random(f"{options.seed} {job.name}")
        place = home / f"job{number}"
        place.mkdir()
        outcome = disturb(job, kills=-(-options.kills // len(made)), random=random, home=place)
        bad |= bool(outcome.found)
        kept[job.name] = vars(outcome) | {"command": command}
        print(f"{job.name}: {outcome.kills} kills, {outcome.trials} trials, {len(outcome.found)} differ", flush=True)
        for difference in outcome.found[:5]:
            print(f"  {difference}")
        if options.json:
            options.json.write_text(json.dumps(kept, indent=1))
    if not options.no_conditions:
        from .conditions import check_all

        for name, told in check_all(home, only=options.job):
            kept[name] = {"name": name, "condition": told, "command": command}
            print(f"{name}: {told}", flush=True)
            bad |= told.startswith("FAULT")
            if options.json:
                options.json.write_text(json.dumps(kept, indent=1))
    if options.report:
        report.replace_block(options.report, "kills", text(kept))
    shutil.rmtree(home, ignore_errors=True)
    return int(bad)


def jobs_in_a_child(home: Path) -> list[Job]:
    """The jobs; their files are made in a process of its own, because sessions and threads do not survive a fork."""
    pid = os.fork()
    if not pid:
        try:
            make_files(home)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError("the jobs' files could not be made")
    return jobs(home)


if __name__ == "__main__":
    sys.exit(main())
