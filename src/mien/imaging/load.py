"""Any picture → upright RGB uint8 H×W×3, or an ImageError that says what is wrong with it.

All pictures are decoded here, for reading and for data sets alike, so that no other module knows about EXIF, palettes,
sixteen bits or the many exceptions of Pillow. The pixel limit is checked on the header, before decoding.
"""

import errno
import os
import select
import stat
import threading
import warnings
from collections.abc import Callable
from io import BytesIO, TextIOBase
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.arrays import Uint8
from mien.errors import ImageError
from mien.imaging.bombs import check_scans, is_icon, largest_of_icon
from mien.imaging.data_url import decode, is_data_url, is_url, refuse_url
from mien.imaging.deep import is_deep_colour, is_planar, sixteen_bits, tiff_pixels, white_is_zero
from mien.imaging.headers import NO_HEADER, Header, look
from mien.imaging.pixels import as_numpy, from_array, to_eight_bits
from mien.imaging.reduced import Decoded, Reduction

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]
OnNote = Callable[[str], None]

MAX_PIXELS = 100_000_000  # a 100 MP medium-format photo still passes; decoded it is 300 MB
PIPE_WAIT_S = 2.0  # for the first byte of a named pipe; a folder may hold one that nobody will ever write to
# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif",
    ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".mpo", ".heic", ".heif",
))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts", ".ogv",
))
# fmt: on

# Only decoders of picture formats: Pillow's list also holds EPS (which starts Ghostscript) and scientific ones.
# The first five are the cheap ones that Pillow imports anyway. MPO, which phones write, comes through JPEG.
_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "DIB"]
_ANIMATED = {"GIF": "frame", "WEBP": "frame", "PNG": "frame", "AVIF": "frame", "TIFF": "page", "HEIF": "picture"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def load_rgb(source: Source, *, max_pixels: int = MAX_PIXELS, on_note: OnNote | None = None) -> Uint8:
    """One picture as upright RGB.

    source: a path; the bytes of a file; an open binary file, which is read from its start (as Pillow does) and left
    open where it stood; a text ``data:TYPE;base64,…``; a PIL image; or an array H×W, H×W×1, H×W×3 or H×W×4 in the order
    RGB (OpenCV's BGR is turned by ``array[..., ::-1]``) of bool, integers or floats; ``pixels.py`` has the rule that
    says what is white, for arrays and deep files alike. Transparency is laid on white.
    Of an animated file the first frame is taken; of a PIL image the frame where it stands. A PIL image is loaded, as
    any use of its pixels would, and otherwise left as it was: the same frame, the same pixels, its file open.
    max_pixels: width × height that is still decoded. on_note: called with one line about what was left out.

    Returns uint8 H×W×3, contiguous. Raises ImageError, whose ``type`` is missing, empty, unreadable, truncated,
    too_large or unsupported.
    """
    return _load(source, max_pixels, on_note, None)


def load_reduced(source: Source, *, least: int, max_pixels: int = MAX_PIXELS, on_note: OnNote | None = None) -> Decoded:
    """As ``load_rgb``, but a large JPEG may come reduced, its longer side ``least`` pixels or more.

    That is done only for sources that can be read a second time: paths of files, bytes and ``data:`` URLs.
    """
    reduction = Reduction(least)
    return reduction.decoded(_load(source, max_pixels, on_note, reduction))


def _load(source: Source, max_pixels: int, on_note: OnNote | None, reduction: Reduction | None) -> Uint8:
    if isinstance(source, str) and is_data_url(source) and not os.path.lexists(source):
        source = decode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(BytesIO(bytes(source)), len(source), max_pixels, on_note, reduction)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source), max_pixels, on_note, reduction)
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, Image.Image):
        return _from_image(source, max_pixels, on_note)
    if hasattr(source, "read"):
        data = _from_file(source)
        return _from_stream(BytesIO(data), len(data), max_pixels, on_note)
    mend = as_numpy(source)
    raise ImageError(
        f"expected a path, bytes, a file object, a PIL image or a NumPy array, got {type(source).__name__}",
        kind="unsupported",
        hint=f"give {mend}" if mend else None,
    )


def plain(pixels: Uint8) -> Uint8:
    """uint8 H×W where a picture H×W×3 has no colour (all three channels are the same); any other one unchanged."""
    if pixels.ndim == 3:
        red = pixels[..., 0]
        if np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2]):
            return np.ascontiguousarray(red)
    return pixels


def _from_path(path: str, max_pixels: int, on_note: OnNote | None, reduction: Reduction | None = None) -> Uint8:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("expected a picture, got a directory", kind="unsupported")
        if stat.S_ISREG(status.st_mode):
            if status.st_size == 0:
                raise ImageError("the file is empty (0 bytes)", kind="empty")
            if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
                raise ImageError(
                    "expected a picture, got a video file", kind="unsupported", hint="Reader.video(path) reads it"
                )
            with open(path, "rb") as stream:
                return _from_stream(stream, status.st_size, max_pixels, on_note, reduction)
        if stat.S_ISFIFO(status.st_mode):  # Pillow must seek, so a pipe is taken as a whole
            data = _from_pipe(path)
            return _from_stream(BytesIO(data), len(data), max_pixels, on_note)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise (refuse_url(path) if is_url(path) else ImageError("no such file", kind="missing")) from error
    except OSError as error:
        if is_url(path):
            raise refuse_url(path) from error
        kind = "missing" if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else "unreadable"
        raise ImageError(error.strerror or str(error), kind=kind) from error
    raise ImageError("expected a regular file, got a device or socket", kind="unsupported")


def _from_file(file: IO[bytes]) -> bytes:
    """All of an open file, which is left where it stood; of a stream that cannot be sought, what is still to come."""
    text = ImageError(
        "expected a file opened in binary mode, got one in text mode",
        kind="unsupported",
        hint="open it with open(path, 'rb')",
    )
    if isinstance(file, TextIOBase):
        raise text
    if getattr(file, "closed", False):
        raise ImageError("expected an open file, got a closed one", kind="unreadable")
    try:
        if not (hasattr(file, "seekable") and file.seekable()):
            data = file.read()
        else:
            place = file.tell()
            file.seek(0)
            try:
                data = file.read()
            finally:
                file.seek(place)
    except (OSError, ValueError) as error:  # a broken connection; a file opened for writing alone
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot read from the file object ({reason})", kind="unreadable") from error
    if isinstance(data, str):
        raise text
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"expected a file object that gives bytes, got {type(data).__name__}", kind="unsupported")
    return bytes(data)


def _from_pipe(path: str) -> bytes:
    """All that comes through a pipe: the shell's ``<(command)`` and /dev/stdin, or a named one that has a writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # blocking, this would wait for a writer for ever
    with open(handle, "rb") as stream:
        ours = os.path.realpath(path).startswith(("/proc/", "/dev/"))  # a descriptor of this process has a writer
        if not ours and not select.select([handle], [], [], PIPE_WAIT_S)[0]:
            raise ImageError("expected a picture from this pipe, got nothing: no one writes to it", kind="unreadable")
        os.set_blocking(handle, True)
        return stream.read()


def _from_stream(
    stream: IO[bytes], size: int, max_pixels: int, on_note: OnNote | None, reduction: Reduction | None = None
) -> Uint8:
    header = look(stream, size)
    formats = [*header.formats, *_FORMATS]
    left_out = ""

    def open_checked() -> Image.Image:
        nonlocal left_out
        if is_icon(header.head):  # Pillow decodes an icon on opening it
            _check_size(largest_of_icon(_all_of(stream)), max_pixels, least=0)
        stream.seek(0)
        try:
            image = Image.open(stream, formats=formats)
        except Image.UnidentifiedImageError:
            if not header.is_tiff:
                raise
            return _deep_tiff(stream, max_pixels)
        _check_size(image.size, max_pixels)
        if image.format in ("JPEG", "MPO"):
            place = stream.tell()
            check_scans(_all_of(stream), *image.size)
            stream.seek(place)
        frames = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1  # before loading: it seeks
        if frames > 1:
            which = "main one" if image.format == "HEIF" else "first"
            left_out = f"has {frames} {_ANIMATED[image.format or '']}s; only the {which} is read"
        if is_planar(image):
            return _deep_tiff(stream, max_pixels)
        if is_deep_colour(image) and "transparency" not in image.info:
            values = from_array(sixteen_bits(image, Image.open(BytesIO(_all_of(stream)), formats=formats)))
            return _with_orientation(Image.fromarray(values), _orientation(image))
        if reduction is not None:
            reduction.ask(image, _orientation(image))
        return image

    rgb = _decode(open_checked, header)
    if left_out and on_note is not None:
        on_note(left_out)
    return rgb


def _deep_tiff(stream: IO[bytes], max_pixels: int) -> Image.Image:
    """A TIFF that Pillow does not read, or not rightly, as an image in RGB that says how it is to be turned."""
    pixels, orientation = tiff_pixels(_all_of(stream), max_pixels)
    return _with_orientation(Image.fromarray(pixels), orientation)


def _all_of(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[_ORIENTATION] = orientation
    return image


def _from_image(image: Image.Image, max_pixels: int, on_note: OnNote | None) -> Uint8:
    """A caller's PIL image at the frame where it stands. It is never moved: what was drawn on it would be lost."""
    _check_size(image.size, max_pixels)
    frames = _count_frames(image) if on_note is not None else None  # first: decoding a single frame closes the file
    try:
        rgb = _decode(lambda: image, NO_HEADER)
    except ImageError as error:
        if _is_closed(image):
            raise ImageError(
                "expected a PIL image whose pixels can be had, got one that was closed before they were read",
                kind="unreadable",
                hint="read it before it or its file is closed, or load() it before",
            ) from error
        raise
    place = image.tell() if image.format in _ANIMATED else 0
    if on_note is not None and (place > 0 or (frames or 1) > 1):
        word = _ANIMATED[image.format or ""]
        have = f"has {frames} {word}s; " if frames is not None else ""
        on_note(f"{have}only {word} {place}, counted from 0, at which the image stands, is read")
    return rgb


def _is_closed(image: Image.Image) -> bool:
    """Whether a PIL image has neither its pixels nor a file from which they could come."""
    try:
        image.getpixel((0, 0))
        return False
    except Exception:
        stream = getattr(image, "fp", None)
        return stream is None or bool(getattr(stream, "closed", False))


def _count_frames(image: Image.Image) -> int | None:
    """How many frames a caller's image has, without moving it; None where that cannot be known.

    For GIF and TIFF, Pillow's own ``n_frames`` walks through the file with the image itself and throws its pixels away,
    so a second image on the same stream is asked.
    """
    if image.format not in _ANIMATED:
        return 1
    known = vars(image).get("n_frames", vars(image).get("_n_frames"))
    if image.format == "HEIF":
        known = getattr(image, "n_frames", None)
    stream = getattr(image, "_fp", None) or getattr(image, "fp", None)
    if known is not None or stream is None:
        return known
    try:
        place = stream.tell()
        try:
            with _quiet_pillow:
                count = getattr(Image.open(stream, formats=[image.format]), "n_frames", 1)
        finally:
            stream.seek(place)
    except Exception:  # closed, or damaged behind the frame that is read
        return None
    return int(count)


def _decode(open_image: Callable[[], Image.Image], header: Header) -> Uint8:
    """Run Pillow and turn any exception into an ImageError."""
    try:
        with _quiet_pillow:
            image = open_image()
            image.load()
            rgb = _upright(_to_rgb(image), _orientation(image))
            return np.ascontiguousarray(np.asarray(rgb))
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ImageError("the picture does not fit into memory", kind="too_large") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise header.explain(error) from error


def _check_size(size: tuple[int, int], max_pixels: int, *, least: int = 1) -> None:
    width, height = size
    if width < least or height < least:
        raise ImageError(f"expected a picture with pixels, got {width}×{height}", kind="empty")
    if width * height > max_pixels:
        raise ImageError(
            f"expected at most {max_pixels:,} pixels, got {width}×{height} = {width * height:,}",
            kind="too_large",
            hint="raise the limit with --max-pixels (max_pixels= in Python) if you trust it",
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode → mode RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        grey = to_eight_bits(np.asarray(image))
        return Image.fromarray(255 - grey if white_is_zero(image) else grey).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LAB":  # Pillow needs colour profiles for this one; lightness is what a face reader uses
        return image.getchannel("L").convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block must not cost the picture
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


class _QuietPillow:
    """While any thread decodes, Pillow neither warns nor applies its own pixel limit (ours comes first).

    ``warnings.catch_warnings`` alone is not safe with threads: it is entered by the first and left by the last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved: tuple[warnings.catch_warnings[None], int | None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                catcher = warnings.catch_warnings()
                catcher.__enter__()
                warnings.simplefilter("ignore")
                self._saved = (catcher, Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
            self._depth += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._saved is not None:
                catcher, Image.MAX_IMAGE_PIXELS = self._saved
                catcher.__exit__(None, None, None)
                self._saved = None


_quiet_pillow = _QuietPillow()
