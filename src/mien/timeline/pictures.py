"""Pictures of faces at given moments of a video: small JPEGs, found by seeking."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from mien.arrays import Uint8
from mien.results import Box
from mien.timeline.collect import Moment

MARGIN = 0.35  # around the box, in its sizes


def face_pictures(path: str, moments: Sequence[Moment], *, side: int = 112) -> list[bytes | None]:
    """A JPEG of side×side pixels for each moment of the video; None where its frame cannot be decoded again."""
    from mien.errors import ImageError
    from mien.video.frames import Frames

    found: list[bytes | None] = []
    for moment in moments:
        try:
            frame = next(iter(Frames(path, start=moment.time_s, end=moment.time_s + 0.001)), None)
        except ImageError:
            frame = None
        found.append(None if frame is None else _jpeg(square(frame.rgb, moment.box), side))
    return found


def square(rgb: Uint8, box: Box) -> Uint8:
    """The face with a margin, as large a square as fits around its centre; uint8 N×N×3."""
    height, width, _ = rgb.shape
    side = min(max(box.w, box.h) * (1 + MARGIN), height, width)
    left = min(max(box.x + box.w / 2 - side / 2, 0), width - side)
    top = min(max(box.y + box.h / 2 - side / 2, 0), height - side)
    n = max(1, int(side))
    return rgb[int(top) : int(top) + n, int(left) : int(left) + n]


def _jpeg(rgb: Uint8, side: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rgb).resize((side, side), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
