"""What the other machine lacks, cut for calls that carry little: made here (``pack``), put together there (``unpack``).

    .carry/1, .carry/2, …   one folder a call: pieces of files, and in the first the list of all of them
    HOME/                   there: stores/fer2013, runs/<teacher>, site (Python packages), manifest.json

Nothing here needs mien or its packages: ``unpack`` is what brings them.
"""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planning import slices

ROOT = Path(__file__).parents[2]
#: What a call carries, the working tree included, less a margin for what appears in it until then.
CALL_LIMIT, MARGIN = 64 * 2**20, 2 * 2**20
#: Python packages that training needs and the other machine does not list.
WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MANIFEST = "manifest.json"


def pack(store: Path, runs: list[Path], *, python: str = "3.12", carry: Path) -> list[Path]:
    """Write the folders to carry; returns them in the order of the calls. runs: teachers, of which the weights go."""
    if not (store / "summary.json").is_file():
        sys.exit(f"error: expected a store, got {store}; make one with mien data build")
    carry.mkdir(exist_ok=True)
    for old in carry.iterdir():
        if old.name.isdigit():
            shutil.rmtree(old)
    with tempfile.TemporaryDirectory() as scratch:
        sources = dict(_wheels(Path(scratch) / "wheels", python))
        for run in runs:
            sources |= dict(_weights(run, Path(scratch) / run.name))
        sources |= {
            f"stores/fer2013/{file.relative_to(store)}": file for file in sorted(store.rglob("*")) if file.is_file()
        }
        files: dict[str, dict[str, Any]] = {
            name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for name, file in sources.items()
        }
        room = CALL_LIMIT - MARGIN - tree_bytes()
        calls = slices({name: about["bytes"] for name, about in files.items()}, room)
        manifest = {"commit": _commit(), "python": python, "files": files, "calls": calls}
        folders = []
        for number, pieces in enumerate(calls, 1):
            folder = carry / str(number)
            folder.mkdir()
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
            for place, (name, start, length) in enumerate(pieces):
                with sources[name].open("rb") as file:
                    file.seek(start)
                    (folder / f"piece-{place}").write_bytes(file.read(length))
            folders.append(folder)
    return folders


def unpack(folder: Path, home: Path) -> None:
    """Take over one call's pieces; whatever is whole by then is put together, checked, and its packages installed."""
    if not (folder / MANIFEST).is_file():
        sys.exit(f"error: expected a folder that pack has made and the call has carried, got {folder}")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    incoming = home / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    known = home / MANIFEST
    if known.is_file() and json.loads(known.read_text("utf-8")) != manifest:
        sys.exit(f"error: {home} holds parts of another packing; remove it, and carry all parts again")
    shutil.copy(folder / MANIFEST, known)
    for place, (name, start, _) in enumerate(manifest["calls"][int(folder.name) - 1]):
        shutil.copy(folder / f"piece-{place}", _piece(incoming, name, start))
    missing = [name for name in manifest["files"] if not _joined(name, manifest, incoming, home)]
    wheels = [str(home / name) for name in manifest["files"] if name.startswith("wheels/") and name not in missing]
    if wheels and not (home / "site").is_dir():
        part = home / "site.part"
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*install, "--no-cache-dir", "--upgrade", "--target", str(part), *wheels], check=True)
        part.rename(home / "site")
    print(f"unpacked {folder} into {home}: {len(manifest['files']) - len(missing)} of {len(manifest['files'])} files")
    if missing:
        print(f"still to come: {', '.join(missing)}")


def _joined(name: str, manifest: dict[str, Any], incoming: Path, home: Path) -> bool:
    """Whether a file is there, after its pieces were put together where all of them are."""
    file, about = home / name, manifest["files"][name]
    if file.is_file():
        return True
    starts = sorted(start for call in manifest["calls"] for other, start, _ in call if other == name)
    pieces = [_piece(incoming, name, start) for start in starts]
    if not all(piece.is_file() for piece in pieces):
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f"{file.name}.part")
    with whole.open("wb") as out:
        for piece in pieces:
            out.write(piece.read_bytes())
    if _sha256(whole) != about["sha256"]:
        sys.exit(f"error: {name} arrived damaged; carry its parts again")
    whole.replace(file)
    for piece in pieces:
        piece.unlink()
    return True


def _piece(incoming: Path, name: str, start: int) -> Path:
    return incoming / f"{name.replace('/', '+')}@{start}"


def tree_bytes(root: Path = ROOT) -> int:
    """What of the working tree travels anyway: tracked files, and untracked ones that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True)
    files = [root / name for name in listed.stdout.decode().split("\0") if name]
    shared = list((root / "shared").rglob("*")) if (root / "shared").is_dir() else []
    return sum(file.lstat().st_size for file in {*files, *shared} if file.is_file() and not file.is_symlink())


def _wheels(folder: Path, python: str) -> Iterator[tuple[str, Path]]:
    """The versions that are installed here, built for there."""
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, *wanted], check=True)
    found = sorted(folder.glob("*.whl"))
    if len(found) != len(WHEELS):
        sys.exit(f"error: expected a wheel of each of {', '.join(wanted)}, got {', '.join(f.name for f in found)}")
    for wheel in found:
        yield f"wheels/{wheel.name}", wheel


def _weights(run: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """What ``load_network`` needs of a finished run."""
    import torch

    scratch.mkdir()
    saved = torch.load(run / "best.ckpt", map_location="cpu", weights_only=True)
    torch.save({key: saved[key] for key in ("state_dict", "epoch", "global_step")}, scratch / "best.ckpt")
    yield f"runs/{run.name}/best.ckpt", scratch / "best.ckpt"
    for name in ("recipe.yaml", "meta.json"):
        yield f"runs/{run.name}/{name}", run / name


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _commit() -> str:
    shown = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shown.stdout.strip()
