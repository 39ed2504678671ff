"""The shipped readers as ONNX files, each with its model card.

``SHA256SUMS`` is written by ``scripts/write_cards.py``; ``sha256sum -c SHA256SUMS`` checks the same.
"""

import hashlib
from importlib import resources

from mien.errors import ModelError

SUMS = "SHA256SUMS"


def read(file: str) -> bytes:
    """A shipped file, such as ``"nano.onnx"``, checked by its SHA-256. Raises ModelError for a damaged installation."""
    place = resources.files(__name__)
    try:
        lines = [line.split() for line in (place / SUMS).read_text("ascii").splitlines()]
        sums = {name: digest for digest, name in lines}
        content = (place / file).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {file}, which mien ships ({error})", hint="install mien again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sums.get(file):
        raise ModelError(
            f"expected {file} with SHA-256 {sums.get(file, 'unknown')[:16]}…, which mien ships, got {found[:16]}…",
            hint="install mien again; to read with another file give its path",
        )
    return content
