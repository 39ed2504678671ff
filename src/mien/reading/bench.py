"""How fast reading is on this machine: faces, photos, cold start, memory, and peers in the same rounds.

Contestants take turns, round by round, so that a busy machine slows all of them; a figure is the median of its rounds.
A peer is an interpreter, Python or Node.js, that has another tool installed: its own code runs there, in a process that
answers a line on stdin with the seconds of one round.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import ModelError, UsageError
from mien.onnx_runtime import default_threads, int8_is_exact
from mien.reading.classifier import SHIPPED, Classifier
from mien.reading.reader import Reader

Uint8 = NDArray[np.uint8]
Round = Callable[[], float]  # does a fixed amount of work, returns its seconds

CROPS, FRAMES = 50, 75  # of one round
PHOTOS = {"yunet": 96, "centerface": 32}  # of one round by detector: rounds of about one length
FRAME_RATE, FRAME_SIZE = 25, (640, 480)  # of the clip
# Its peak is asked of the process itself: what the parent sees holds the parent's own memory before exec.
_READ = """
import atexit, sys
def peak():
    try:
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        size = int(line.split()[1]) * 1024
    except OSError:
        try:
            import resource
            size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        except ImportError:  # Windows
            size = "unknown"
    print(size, file=sys.stderr)
atexit.register(peak)
from mien.cli.app import main
main()
"""
PEERS = {
    "fer": Path(__file__).with_name("bench_peer_fer.py"),
    "human": Path(__file__).with_name("bench_peer_human.mjs"),
}
_PORTRAITS = {"matplotlib": "mpl-data/sample_data/grace_hopper.jpg", "skimage": "data/astronaut.png"}


def default_photo() -> Path:
    """A public-domain portrait that comes with matplotlib or scikit-image. Raises UsageError where neither is there."""
    for package, file in _PORTRAITS.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None and (path := Path(spec.origin).parent / file).is_file():
            return path
    raise UsageError("expected a photo with a face, got none", hint="for example: mien bench photo.jpg")


def bench(photo: Path, *, rounds: int = 7, peers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What ``mien bench`` prints.

    photo: a file; where it has no face, crops are taken from its middle. peers: name → interpreter, names of
    :data:`PEERS`. Raises UsageError for an unknown peer or one that does not start, ImageError for a bad photo.
    """
    crop, size, faces = _crop(photo)
    result: dict[str, Any] = {
        "machine": {"processor": _processor(), "cores": default_threads(), "int8_is_exact": int8_is_exact()},
        "photo": {"width": size[0], "height": size[1], "faces": faces},
        "rounds": rounds,
    }
    contestants: dict[str, Round] = {}
    for model in SHIPPED:
        for precision in ("fp32", "int8") if int8_is_exact() else ("fp32",):
            contestants[f"{model} {precision}"] = _faces(model, precision, crop)
    running: dict[str, _Peer] = {}
    try:
        for name, python in (peers or {}).items():
            running[name] = _Peer(name, python, crop)
        contestants |= {name: peer.round for name, peer in running.items()}
        result["faces_per_second"] = _rates(contestants, rounds, CROPS)
    finally:
        for peer in running.values():
            peer.close()
    content = photo.read_bytes()
    contestants = {}
    for detector in PHOTOS:
        for model in SHIPPED:
            try:
                for threads in sorted({1, default_threads()}):
                    contestants[f"{model} {detector} {threads}"] = _photos(model, detector, threads, content)
            except ModelError:  # without the extra ``thorough``
                break
    rates = _rates(contestants, rounds, 1)
    result["photos_per_second"] = [
        {"model": model, "detector": detector, "threads": int(threads)} | rates[f"{model} {detector} {threads}"]
        for model, detector, threads in (name.split() for name in contestants)
    ]
    result["frames_per_second"] = _frames_per_second(photo, rounds)
    result["cold_start"] = {model: _cold_start(photo, model, max(rounds, 3)) for model in SHIPPED}
    return result


def _frames_per_second(photo: Path, rounds: int) -> dict[str, dict[str, float]] | None:
    """Reader → frames a second of an H.264 clip in which the photo moves about twice; None without the extra ``video``.

    One thread a network and the default ``--every``; decoding runs in a thread of its own beside it.
    """
    if find_spec("av") is None or find_spec("scipy") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        _write_clip(photo, clip)
        readers = {model: Reader(model, threads=1) for model in SHIPPED}

        def read(reader: Reader) -> Round:
            return lambda: _timed(lambda: sum(1 for _ in reader.video(clip)), 1)

        return _rates({model: read(reader) for model, reader in readers.items()}, rounds, FRAMES)


def _write_clip(photo: Path, clip: Path) -> None:
    """H.264, 640×480: the photo, three fifths as tall as the frame, wandering in each half of a grey frame."""
    import av

    width, height = FRAME_SIZE
    with Image.open(photo) as image:
        shown = image.convert("RGB")
        shown.thumbnail((width // 2, height * 3 // 5))
    with av.open(str(clip), "w") as out:
        stream: Any = out.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(FRAMES):
            phase = 2 * math.pi * number / FRAMES
            frame = Image.new("RGB", FRAME_SIZE, (127, 127, 127))
            y = round((height - shown.height) * (0.5 + 0.4 * math.sin(phase)))
            for left, turn in ((0, 1), (width // 2, -1)):
                x = left + round((width // 2 - shown.width) * (0.5 + 0.4 * math.cos(turn * phase)))
                frame.paste(shown, (x, y))
            out.mux(stream.encode(av.VideoFrame.from_image(frame)))
        out.mux(stream.encode())


def _rates(contestants: Mapping[str, Round], rounds: int, amount: int) -> dict[str, dict[str, float]]:
    """How many a second, of ``amount`` a round; the first round of each warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, once in contestants.items():
            taken = once()
            if number:
                seconds[name].append(taken)
    return {
        name: {
            "median": round(amount / statistics.median(values), 2),
            "lowest": round(amount / max(values), 2),
            "highest": round(amount / min(values), 2),
        }
        for name, values in seconds.items()
    }


def _crop(photo: Path) -> tuple[Uint8, tuple[int, int], int]:
    """A grey crop uint8 48×48 of the largest face, the photo's width and height, and how many faces it has."""
    reading = Reader("nano", threads=1).read(photo)
    with Image.open(photo) as image:
        grey = image.convert("L")
    box = reading.faces[0].box if reading.faces else None
    middle = (0.0, 0.0, float(grey.width), float(grey.height))
    area = middle if box is None else (box.x, box.y, box.x + box.w, box.y + box.h)
    crop = grey.resize((48, 48), Image.Resampling.BILINEAR, box=area)
    return np.asarray(crop), (reading.width, reading.height), len(reading.faces)


def _faces(model: str, precision: str, crop: Uint8) -> Round:
    classifier = Classifier.load(model, threads=1, precision=precision)
    return lambda: _timed(lambda: classifier.probabilities(crop[None, None]), CROPS)


def _photos(model: str, detector: str, threads: int, content: bytes) -> Round:
    """Seconds a photo."""
    reader, count = Reader(model, detector=detector, threads=threads), PHOTOS[detector]
    return lambda: _timed(lambda: list(reader.read_many([content] * count)), 1) / count


def _timed(work: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - started


def _cold_start(photo: Path, model: str, rounds: int) -> dict[str, float | None]:
    """Seconds and peak memory of ``mien read PHOTO`` as a process, on one thread; the best of the rounds.

    The memory is None where the system does not tell (Windows).
    """
    command = [sys.executable, "-c", _READ, "read", str(photo), "--model", model, "--threads", "1", "--quiet"]
    seconds, peaks = [], []
    for _ in range(rounds + 1):  # the first fills the caches
        started = time.perf_counter()
        told = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False).stderr
        seconds.append(time.perf_counter() - started)
        size = told.split()[-1]
        peaks.append(None if size == "unknown" else float(size) / 1e6)
    known = [peak for peak in peaks[1:] if peak is not None]
    return {"seconds": round(min(seconds[1:]), 3), "peak_mb": round(min(known), 1) if known else None}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        import platform

        return platform.processor() or platform.machine()


class _Peer:
    """Another tool in its own interpreter."""

    def __init__(self, name: str, python: str, crop: Uint8) -> None:
        if name not in PEERS:
            raise UsageError(f"--peers: expected NAME=INTERPRETER with a name of {', '.join(PEERS)}, got {name!r}")
        self._name, self._python = name, python
        try:
            self._process = subprocess.Popen(
                [python, str(PEERS[name]), str(CROPS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise UsageError(f"--peers: cannot start {python} for {name}: {error.strerror}") from error
        self._ask(crop.tobytes().hex())  # answers when it is ready

    def round(self) -> float:
        return float(self._ask(""))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = b""
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self.close()
            raise UsageError(
                f"--peers: {self._name} does not run in {self._python}",
                hint=f"try: echo | {self._python} {PEERS[self._name]} {CROPS}",
            )
        return answer.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
