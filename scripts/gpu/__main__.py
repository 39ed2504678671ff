"""A lent machine with a GPU, half an hour at a time: what it takes along, what it trains, what comes back.

    python scripts/gpu pack                 here: folders to carry, and the calls to make in their order
    python3 scripts/gpu unpack .carry/1     there: take over what a call carried
    python3 scripts/gpu check               there: versions, room, a few steps of every network
    python3 scripts/gpu stage a             there: train (see stages.py), record, write what comes back to $OUT
    python3 scripts/gpu stage t             there: benchmarks/throughput.py
    python scripts/gpu collect FOLDER       here: what came back, into results/fer2013 and runs/gpu

A stage is told its seconds, measures, and writes schedules that end in that time. Called again, it goes on where it was
stopped, as long as HOME is there (--home; in memory where the machine has room, for checkpoints are large).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Finished runs that travel along: what a stage learns from or starts at.
TEACHERS = ("compact-clean", "compact-base")
#: What a call of the tool may take, and what of it is left for its start and end.
CALL = 600


def home_here() -> Path:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 20 * 2**30
    return memory / "mien" if roomy else ROOT / "out" / "gpu"


def prepare(home: Path) -> None:
    """mien, its packages and our neighbours can be imported, here and in processes that are started."""
    places = [str(ROOT / place) for place in ("src", "scripts", "benchmarks")]
    places += [str(home / "site")] if (home / "site").is_dir() else []
    sys.path[1:1] = places
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    manifest = home / "manifest.json"
    if manifest.is_file():  # there is no .git there
        os.environ.setdefault("MIEN_COMMIT", json.loads(manifest.read_text("utf-8"))["commit"])


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python scripts/gpu", description=__doc__, formatter_class=_RAW)
    verbs = whole.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack")
    pack.add_argument("--store", type=Path, default=ROOT / "stores" / "fer2013")
    pack.add_argument("--runs", type=Path, nargs="*", default=None, help=f"teachers; default: {', '.join(TEACHERS)}")
    pack.add_argument("--carry", type=Path, default=ROOT / ".carry")
    pack.add_argument("--python", default="3.12", help="of the other machine, for the wheels; default %(default)s")
    unpack = verbs.add_parser("unpack")
    unpack.add_argument("folder", type=Path)
    check = verbs.add_parser("check")
    check.add_argument("--processes", type=int, default=min(6, os.cpu_count() or 1))
    check.add_argument("--networks", nargs="+")
    check.add_argument("--batch", type=int, default=128)
    check.add_argument("--seconds", type=float, default=200.0, help="what has not answered by then is ended")
    steps = verbs.add_parser("steps")  # of check, in a process of its own
    steps.add_argument("queue", type=json.loads)
    steps.add_argument("--batch", type=int, required=True)
    stage = verbs.add_parser("stage")
    stage.add_argument("name", choices=("a", "b", "c", "p", "d", "t"))
    stage.add_argument("--seconds", type=float, default=CALL - 30)
    stage.add_argument("--out", type=Path, default=os.environ.get("OUT"))
    stage.add_argument("--at-once", type=int, default=10, help="jobs side by side")
    stage.add_argument("--seeds", type=numbers, help="in place of the stage's own, e.g. 1,2")
    stage.add_argument("--epochs", type=int, help="in place of what fits")
    stage.add_argument("--only", nargs="+", default=[], help="jobs whose names begin so")
    stage.add_argument("--tiny", action="store_true", help="try the machinery: two steps of reduced networks")
    stage.add_argument("--limit", type=int, help="evaluate on that many images only")
    job = verbs.add_parser("job")  # of a stage, in a process of its own
    job.add_argument("spec", type=Path)
    job.add_argument("--after", help="the job that makes the same kernels first")
    job.add_argument("--tiny", action="store_true")
    job.add_argument("--limit", type=int)
    collect = verbs.add_parser("collect")
    collect.add_argument("folder", type=Path)
    collect.add_argument("--results", type=Path, default=ROOT / "results" / "fer2013")
    collect.add_argument("--runs", type=Path, default=ROOT / "runs" / "gpu")
    collect.add_argument("--replace", action="store_true")
    for verb in (unpack, check, stage, job, steps):
        verb.add_argument("--home", type=Path, default=home_here())
    return whole


_RAW = argparse.RawDescriptionHelpFormatter


def packed(options: argparse.Namespace) -> int:
    from packing import pack

    runs = options.runs if options.runs is not None else [ROOT / "runs" / name for name in TEACHERS]
    folders = pack(options.store, runs, python=options.python, carry=options.carry)
    for folder in folders:
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{folder}: {size / 2**20:.1f} MiB", file=sys.stderr)
    names = [str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder) for folder in folders]
    tiny = "python3 scripts/gpu stage a --tiny --seeds 0,1 --limit 64 --seconds 110 --out /tmp/tiny"
    calls = [f"unpack {name}" for name in names]
    calls[0] += " && python3 scripts/gpu check"
    calls[-1] += f"; {tiny}; python3 scripts/gpu stage a --seconds 440"
    calls += [f"stage {stage} --seconds {570 if stage != 't' else 300}" for stage in "btcpd"]
    print("The calls (a limit of 600 s each; the machine stays warm for 30 s after each):\n")
    for number, call in enumerate(calls, 1):
        carried = f", carry=['{names[number - 1]}']" if number <= len(names) else ""
        print(f"{number}. run(command='python3 scripts/gpu {call}'{carried}, timeout_s=600)")
    print(
        "\nHalf an hour has room for a, b and what status leaves for t (--seconds; --only RECIPE …). A later machine is"
    )
    print("bare, and begins with the first call. Where the tiny jobs fail, mend them: stage a would fail as they did.")
    print("After each: python scripts/gpu collect FOLDER, where FOLDER is the reply's files_at.")
    return 0


def apart(home: Path) -> Path:
    """A home for tiny jobs, so that nobody takes them for the real ones: what was carried there, and nothing else."""
    tiny = home / "tiny"
    (tiny / "runs").mkdir(parents=True, exist_ok=True)
    carried = {Path(name).parts[1] for name in json.loads((home / "manifest.json").read_text("utf-8"))["files"]
               if name.startswith("runs/")}  # fmt: skip
    for name in ("stores", "manifest.json", *(f"runs/{run}" for run in sorted(carried))):
        if not (tiny / name).exists():
            (tiny / name).symlink_to(home / name)
    return tiny


def throughput(options: argparse.Namespace) -> int:
    """The benchmark, told to begin nothing that cannot end in time; its table goes to stdout, its JSON to ``out``."""
    options.out.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(ROOT / "benchmarks" / "throughput.py"), *options.only]
    words += ["--store", str(options.home / "stores" / "fer2013"), "--out", str(options.out / "throughput.json")]
    words += ["--profile", "resnet34_unet_eca/scratch", "--seconds", f"{max(1.0, options.seconds - 120):.0f}"]
    small = ["--limit", "32", "--batch-size", "8", "--blocks", "1", "--steps", "1", "--warmup", "1", "--workers", "1"]
    return subprocess.run([*words, *small] if options.tiny else words, check=False).returncode


def main() -> int:
    options = parser().parse_args()
    if options.verb == "pack":
        return packed(options)
    if options.verb == "unpack":
        from packing import unpack

        unpack(options.folder, options.home)
        return 0
    prepare(getattr(options, "home", ROOT))
    if options.verb == "collect":
        import parcel

        print("\n".join(parcel.collect(options.folder, options.results, options.runs, replace=options.replace)))
        return 0
    if options.verb == "check":
        import check

        found = tuple(options.networks or check.NETWORKS)
        return check.check(
            options.home, processes=options.processes, seconds=options.seconds, networks=found, batch=options.batch
        )
    if options.verb == "steps":
        import check

        return check.steps([(name, way) for name, way in options.queue], batch=options.batch)
    if options.verb == "job":
        import job
        from stages import Job

        spec = Job(**json.loads(options.spec.read_text("utf-8")))
        return job.work(
            spec, options.home, options.spec.parent, after=options.after, tiny=options.tiny, limit=options.limit
        )
    if options.tiny and options.name != "t":
        options.home = apart(options.home)
    if options.out is None:
        sys.exit("error: expected --out, or $OUT, for what comes back")
    if options.name == "t":
        return throughput(options)
    from running import Options, run_stage

    return run_stage(
        options.name,
        Options(
            home=options.home, out=options.out, seconds=options.seconds, at_once=options.at_once, seeds=options.seeds,
            epochs=options.epochs, only=tuple(options.only), tiny=options.tiny, limit=options.limit,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
