"""What comes back from the other machine, within the limits of a transfer, and what becomes of it here.

    results-1.tar.gz, …     stage.json; results/ (as results/fer2013 is laid out) and logs/ of the jobs
    weights-1.tar, …        runs/<job>/{best.ckpt,recipe.yaml,meta.json}, the most wanted first, as far as they fit

``collect`` puts results/ into results/fer2013, and the rest into a folder that git ignores.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from planning import Limits, parcels
from stages import Job, finished

#: What comes back from a call: bytes a file, files, bytes together; less than the tool allows, for tar's own blocks.
LIMITS = Limits(each=15 * 2**20, files=8, together=62 * 2**20)


def send(jobs: list[Job], facts: dict[str, Any], home: Path, out: Path, *, limits: Limits = LIMITS) -> None:
    """Write the parcels anew. facts: what is said about the stage."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("results-*.tar.gz"), *out.glob("weights-*.tar")):
        old.unlink()
    contents = {job.name: _of(job.name, home) for job in jobs}
    sizes = {name: sum(file.stat().st_size for file in files) for name, files in contents.items() if files}
    packed, lost = parcels(sizes, limits)
    taken = 0
    for number, names in enumerate(packed, 1):
        said = json.dumps(facts | {"left_behind": lost}, indent=1).encode()
        file = out / f"results-{number}.tar.gz"
        _write(file, [member for name in names for member in contents[name]], home, {"stage.json": said})
        taken += file.stat().st_size
    wanted = sorted((job for job in jobs if job.weights), key=lambda job: job.weights)
    runs = {job.name: home / "runs" / job.name for job in wanted if finished(home / "runs" / job.name)}
    rest = Limits(limits.each, limits.files - len(packed), limits.together - taken)
    chosen, behind = parcels({name: _weights(run) for name, run in runs.items()}, rest)
    for number, names in enumerate(chosen, 1):
        members = [runs[name] / file for name in names for file in ("best.ckpt", "recipe.yaml", "meta.json")]
        _write(out / f"weights-{number}.tar", members, home, {})
    for name in (*lost, *behind):
        print(f"note: no room to bring back {'the results' if name in lost else 'the weights'} of {name}", flush=True)


def collect(folder: Path, results: Path, runs: Path, *, replace: bool = False) -> list[str]:
    """Unpack what came back; returns the files of ``results`` that were written.

    Nothing is written where a record is there already, unless ``replace``. Exits with a message for what is no parcel
    of ours.
    """
    archives = sorted((*folder.glob("results-*.tar.gz"), *folder.glob("weights-*.tar")))
    if not archives:
        raise SystemExit(f"error: expected results-1.tar.gz in {folder}, found nothing of ours")
    places: list[tuple[Path, bytes]] = []
    for archive in archives:
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                if file is None:
                    raise SystemExit(f"error: expected files alone in {archive}, got {member.name}")
                places.append((_place(member.name, archive, results, runs), file.read()))
    there = sorted({str(place) for place, _ in places if place.is_relative_to(results) and place.exists()})
    if there and not replace:
        raise SystemExit(f"error: {there[0]} is there already ({len(there)} files are); add --replace to replace them")
    for place, content in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return [str(place) for place, _ in places if place.is_relative_to(results)]


def _place(name: str, archive: Path, results: Path, runs: Path) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or parts[0] not in _KINDS:
        raise SystemExit(f"error: expected {', '.join(_KINDS)} in {archive}, got {name}")
    if parts[0] == "results":
        return results.joinpath(*parts[1:])
    if parts[0] == "stage.json":
        return runs / f"{archive.name.removesuffix('.tar.gz')}-stage.json"
    return runs.joinpath(*parts[1:]) if parts[0] == "runs" else runs.joinpath(*parts)


_KINDS = ("results", "logs", "runs", "stage.json")


def _of(name: str, home: Path) -> list[Path]:
    """Everything small that a job has left."""
    found = sorted((home / "results" / name).rglob("*"))
    found += [home / "results" / "private_test" / f"{name}{tta}.csv" for tta in ("", "-tta")]
    found.append(home / "logs" / f"{name}.log")
    run = home / "runs" / name
    if not (home / "results" / name).exists():  # not recorded: how far it came
        found += [run / file for file in ("recipe.yaml", "meta.json", "log.csv")]
    return [file for file in found if file.is_file()]


def _weights(run: Path) -> int:
    return sum((run / file).stat().st_size for file in ("best.ckpt", "recipe.yaml", "meta.json"))


def _write(file: Path, members: Iterable[Path], home: Path, texts: dict[str, bytes]) -> None:
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as tar:
        for name, content in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for member in members:
            tar.add(member, arcname=str(member.relative_to(home)), recursive=False)
