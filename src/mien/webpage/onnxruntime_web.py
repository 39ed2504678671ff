"""ONNX Runtime Web, which the page runs: two files of the npm package ``onnxruntime-web``, pinned by hash, cached.

The package is 33 MB, of which two files are taken; nothing of it is in the repository. Only :func:`obtain` may fetch,
and only ``mien page`` calls it so; the service takes what is cached.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path

from mien.atomic import make_folder, write_bytes
from mien.errors import DataError, OutputError, UsageError
from mien.faces.weights_cache import cache_dir

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
#: Name in the page → name in the tarball and SHA-256.
FILES: dict[str, tuple[str, str]] = {
    "ort.mjs": (
        "package/dist/ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "ort.wasm": (
        "package/dist/ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
TIMEOUT_S = 60.0
_MOST_BYTES = 64_000_000


def cached() -> dict[str, bytes] | None:
    """The files by their names in the page, each with ``NAME.gz`` beside it; None where one is missing or damaged."""
    found: dict[str, bytes] = {}
    for name, (_, sha256) in FILES.items():
        try:
            packed = (_folder() / f"{name}.gz").read_bytes()
            found[name], found[f"{name}.gz"] = gzip.decompress(packed), packed
        except (OSError, EOFError, zlib.error):
            return None
        if hashlib.sha256(found[name]).hexdigest() != sha256:
            return None
    return found


def obtain(tarball: Path | None = None) -> dict[str, bytes]:
    """As :func:`cached`; from ``tarball`` or, where nothing is cached, from npm's registry, and then cached.

    tarball: ``onnxruntime-web-VERSION.tgz`` that the caller has. Raises UsageError where it is not that file, or where
    the registry cannot be reached.
    """
    if tarball is None and (found := cached()) is not None:
        return found
    made: dict[str, bytes] = {}
    for name, content in _unpacked(_fetched() if tarball is None else _read(tarball)).items():
        made[name], made[f"{name}.gz"] = content, gzip.compress(content, mtime=0)
    with suppress(OSError, OutputError):  # no place to keep it: the page is written all the same
        make_folder(_folder())
        for name in FILES:
            write_bytes(_folder() / f"{name}.gz", made[f"{name}.gz"])
    return made


def _folder() -> Path:
    return cache_dir() / f"onnxruntime-web-{VERSION}"


def _read(tarball: Path) -> bytes:
    try:
        return tarball.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {tarball} ({error.strerror})", hint=f"get it from {URL}") from error


def _fetched() -> bytes:
    from urllib.request import urlopen

    try:
        with urlopen(URL, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read(_MOST_BYTES)
            return content
    except OSError as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"expected to fetch onnxruntime-web {VERSION} from npm's registry once, got: {reason}",
            hint=f"give the file with --onnxruntime FILE.tgz; it is {URL}",
        ) from error


def _unpacked(tarball: bytes) -> dict[str, bytes]:
    """The files of a tarball. Raises UsageError for another one: nothing of it is looked at before its hash."""
    if hashlib.sha512(tarball).hexdigest() != SHA512:
        raise UsageError(
            f"expected onnxruntime-web-{VERSION}.tgz with SHA-512 {SHA512[:16]}…, "
            f"got a file with {hashlib.sha512(tarball).hexdigest()[:16]}…",
            hint=f"get it from {URL}",
        )
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        for name, (member, sha256) in FILES.items():
            stream = archive.extractfile(member)
            content = b"" if stream is None else stream.read()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DataError(f"expected {member} of onnxruntime-web {VERSION}, got another file")
            found[name] = content
    return found
