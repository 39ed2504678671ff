"""Figures with 256 colours, a third of the bytes, to keep the repository small.

python scripts/palette.py FOLDER …    every PNG in it, in place; one that has a palette already is left alone
"""

import io
import sys
from pathlib import Path

from PIL import Image

from mien.atomic import write_bytes


def shrink(picture: bytes) -> bytes:
    """A PNG with a palette, transparent parts white; the same bytes where it has one."""
    with Image.open(io.BytesIO(picture)) as image:
        if image.mode == "P":
            return picture
        seen = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    out = io.BytesIO()
    flat.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> int:
    for file in sorted(file for folder in sys.argv[1:] for file in Path(folder).rglob("*.png")):
        write_bytes(file, shrink(file.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
