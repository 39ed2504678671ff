"""Kinds of input: small real files to mutate, and the call of mien that takes them."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.labels import SEVEN

from .mutate import BYTES, JSON, TEXT, Mutation, mutated, with_right_sums

READ, REFUSED = "read", "refused"
MOST_CHARACTERS = 4000  # of a message


class Kind:
    """One kind. folder: an empty one, in which ``run`` may write.

    seeds: (file name, content); a name says which call takes it. memory_mb: by which one input may make the process
    grow. needs: a package, without which the kind is left out. Anything that ``run`` raises but MienError is a fault.
    """

    name: ClassVar[str]
    mutations: ClassVar[Sequence[Mutation]] = BYTES
    memory_mb: ClassVar[int] = 1024
    needs: ClassVar[str] = "mien"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds: list[tuple[str, bytes]] = []

    def case(self, random: Random) -> tuple[str, bytes]:
        """A mutated input: file name and content."""
        chosen = random.randrange(len(self.seeds))
        data = mutated(random, [content for _, content in self.seeds], chosen, self.mutations)
        return self.seeds[chosen][0], data

    def run(self, name: str, data: bytes) -> str:
        """``READ`` or ``REFUSED``."""
        raise NotImplementedError

    def outcome(self, name: str, data: bytes) -> str:
        """As ``run``, where an error of mien's is checked for form: one line that can be shown."""
        try:
            return self.run(name, data)
        except MienError as error:
            check_message(str(error))
            return REFUSED

    def place(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def check_message(text: str) -> None:
    """One line, not endless, and nothing in it that a terminal would obey."""
    assert text.strip(), "an empty message"
    assert len(text) <= MOST_CHARACTERS, f"a message of {len(text):,} characters: {text[:200]}"
    control = [character for character in text if ord(character) < 32 or 127 <= ord(character) < 160]
    assert not control, f"control characters {control[:5]!r} in the message {text[:200]!r}"


def _photo() -> Image.Image:
    """A real face (public domain; matplotlib brings it), 128×150."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return Image.open(path).convert("RGB").resize((128, 150))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


class Pictures(Kind):
    """Every format that mien takes, through detector and network."""

    name = "picture"
    memory_mb = 1536

    def __init__(self, folder: Path) -> None:
        from mien import Reader

        super().__init__(folder)
        photo = _photo()
        small = photo.resize((48, 56))
        grey16 = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
        deep = np.asarray(small).astype(np.uint16) * 257
        frames = [small.rotate(angle) for angle in (0, 5, 10)]
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "maker"
        self.seeds = [
            ("a.jpg", saved(photo, "JPEG", quality=80, exif=exif)),
            ("progressive.jpg", saved(photo, "JPEG", quality=60, progressive=True)),
            ("cmyk.jpg", saved(small.convert("CMYK"), "JPEG")),
            ("a.png", saved(small, "PNG")),
            ("palette.png", saved(small.convert("P"), "PNG", transparency=3)),
            ("grey16.png", saved(grey16, "PNG")),
            ("a.apng", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])),
            ("a.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:])),
            ("a.bmp", saved(small, "BMP")),
            ("a.dib", saved(small, "DIB")),
            ("a.ppm", saved(small, "PPM")),
            ("a.pgm", b"P2\n3 2\n255\n0 1 2\n3 4 255\n"),
            ("a.webp", saved(small, "WEBP", quality=50)),
            ("lossless.webp", saved(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])),
            ("a.tif", saved(small, "TIFF")),
            ("lzw.tif", saved(small, "TIFF", compression="tiff_lzw")),
            ("jpeg.tif", saved(small, "TIFF", compression="jpeg")),
            ("pages.tif", saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])),
            ("float.tif", saved(Image.fromarray(np.asarray(small.convert("L")).astype(np.float32) / 255), "TIFF")),
            ("deep.tif", deep_tiff(deep)),
            ("a.avif", saved(small, "AVIF", quality=50)),
            ("a.jp2", saved(small, "JPEG2000")),
            ("a.ico", saved(small.resize((48, 48)), "ICO")),
            ("a.mpo", saved(frames[0], "MPO", save_all=True, append_images=frames[1:2])),
        ]
        self.reader = Reader("nano", threads=1, precision="fp32")

    def case(self, random: Random) -> tuple[str, bytes]:
        name, data = super().case(random)
        return name, with_right_sums(data) if random.random() < 0.7 else data

    def run(self, name: str, data: bytes) -> str:
        notes: list[str] = []
        (result,) = self.reader.read_many([str(self.place(name, data))], on_note=notes.append)
        return check_record(result, notes)


class Heic(Pictures):
    """Photos as phones take them, through detector and network."""

    name = "heic"
    needs = "pillow_heif"

    def __init__(self, folder: Path) -> None:
        import pillow_heif

        super().__init__(folder)
        pillow_heif.register_heif_opener()
        photo = _photo()
        small = photo.resize((64, 64))
        exif = Image.Exif()
        exif[0x0112] = 6
        more: dict[str, Any] = {"save_all": True, "append_images": [small.rotate(5), small.rotate(10)]}
        self.seeds = [
            ("a.heic", saved(photo, "HEIF", quality=50)),
            ("turned.heic", saved(small, "HEIF", quality=50, exif=exif)),
            ("several.heic", saved(small, "HEIF", quality=50, **more)),
            ("alpha.heif", saved(small.convert("RGBA"), "HEIF", quality=50)),
            ("grey.heic", saved(small.convert("L"), "HEIF", quality=50)),
            ("lossless.heic", saved(small, "HEIF", quality=-1)),
        ]


def check_record(result: Any, notes: Sequence[str] = ()) -> str:
    """A reading or an error record that is written as JSON; the record of a fault of ours is a fault."""
    told = result.to_dict()
    json.dumps(told, allow_nan=False)
    for note in notes:
        check_message(note)
    if "error" not in told:
        return READ
    assert told["error"]["type"] != "internal", told["error"]["message"]
    check_message(told["error"]["message"])
    return REFUSED


def deep_tiff(pixels: Any) -> bytes:
    """uint16 H×W×3 as a little-endian TIFF of one strip, which Pillow alone does not read in full."""
    height, width, samples = pixels.shape
    strip = pixels.astype("<u2").tobytes()
    start = 8 + len(strip)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, start), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, len(strip)), (284, 3, 1, 1), (339, 3, 1, 1),
    ]  # fmt: skip
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", start + 6) + strip + struct.pack("<HHH", 16, 16, 16) + table


class Videos(Kind):
    """Containers and codecs, read frame by frame without a detector."""

    name = "video"

    def __init__(self, folder: Path) -> None:
        from mien import Reader

        super().__init__(folder)
        for file, codec, sound in (
            ("a.mp4", "libx264", "aac"), ("a.mov", "mpeg4", None), ("a.mkv", "libx264", None),
            ("a.webm", "libvpx", None), ("a.avi", "mjpeg", None), ("a.mpg", "mpeg1video", None),
        ):  # fmt: skip
            self.seeds.append((file, clip(folder / file, codec=codec, sound=sound)))
        self.reader = Reader("nano", detector="none", threads=1, precision="fp32")

    def run(self, name: str, data: bytes) -> str:
        from mien.video.journal import Journal
        from mien.video.read import VideoReader
        from mien.video.settings import VideoSettings

        notes: list[str] = []
        video = VideoReader(self.place(name, data), self.reader, VideoSettings(), on_note=notes.append)
        kept = self.folder / "journal.jsonl"
        kept.unlink(missing_ok=True)
        journal = Journal(str(kept), video.about())
        try:
            outcomes = [check_record(result, notes) for result in video.read(journal)]
        finally:
            journal.close()
        return outcomes[-1] if outcomes else REFUSED


def clip(path: Path, *, codec: str = "libx264", sound: str | None = None, frames: int = 12) -> bytes:
    """A moving square, 64×48."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio: Any = out.add_stream(sound, rate=48000) if sound else None
        for number in range(frames):
            rgb = np.full((48, 64, 3), 40, np.uint8)
            rgb[10:30, 5 + number : 25 + number] = 220
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if audio is not None:
            for start in range(0, 16 * 1024, 1024):
                tone = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                tone.sample_rate, tone.pts, tone.time_base = 48000, start, Fraction(1, 48000)
                out.mux(audio.encode(tone))
            out.mux(audio.encode())
    return path.read_bytes()


class Onnx(Kind):
    """An ONNX file as a reader: its bytes, its metadata and its graph are changed."""

    name = "onnx"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seeds = [("tiny.onnx", tiny_onnx()), ("wide.onnx", tiny_onnx(channels=3))]
        self.crop = np.asarray(_photo())

    def case(self, random: Random) -> tuple[str, bytes]:
        if random.random() < 0.4:
            return super().case(random)
        name, data = random.choice(self.seeds)
        return name, changed_onnx(random, data)

    def run(self, name: str, data: bytes) -> str:
        from mien.reading.classifier import Classifier

        classifier = Classifier.load(str(self.place(name, data)), threads=1)
        pixels = classifier.preprocess.pixels(self.crop)[None]
        for tta in (False, True):
            rows = classifier.probabilities(pixels, tta=tta)
            assert rows.shape == (1, len(classifier.labels)), rows.shape
            assert np.isfinite(rows).all(), rows
        return READ


def tiny_onnx(*, channels: int = 1, labels: Sequence[str] = SEVEN, **metadata: str) -> bytes:
    """A reader of a kilobyte: means of cells, then a matrix."""
    from onnx import TensorProto, helper, numpy_helper

    from mien.preprocess import Preprocess

    preprocess = Preprocess() if channels == 1 else Preprocess(color="rgb", mean=(0.5,) * 3, std=(0.25,) * 3)
    weight = np.linspace(-1, 1, 9 * channels * len(labels), dtype=np.float32).reshape(-1, len(labels))
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["crops"], ["cells"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("Flatten", ["cells"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", channels, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(labels)])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = {
        "mien.format": "1", "mien.name": "tiny", "mien.labels": json.dumps(list(labels)), "mien.temperature": "2.0",
        "mien.preprocess": preprocess.to_json(), "mien.provenance": json.dumps({"made": "by a test"}),
    } | metadata  # fmt: skip
    for key, value in told.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString())


def changed_onnx(random: Random, data: bytes) -> bytes:
    """One thing of a model's metadata, nodes or tensors becomes another."""
    import onnx

    from .mutate import VALUES, WORDS, set_json

    model = onnx.ModelProto.FromString(data)
    how = random.randrange(8)
    if how <= 2:  # metadata: JSON within
        entry = random.choice(model.metadata_props)
        entry.value = set_json(random, entry.value.encode(), [b""]).decode("utf-8", "replace")
    elif how == 3:
        entry = random.choice(model.metadata_props)
        entry.value = random.choice((random.choice(WORDS), json.dumps(random.choice(VALUES))))
        entry.value = entry.value.encode("utf-8", "replace").decode()
    elif how == 4:
        (tensor,) = model.graph.initializer
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice((0, 1, -1, 2**31, 2**62, 64))
    elif how == 5:
        node = random.choice(model.graph.node)
        node.op_type = random.choice(("Identity", "Relu", "Softmax", "Shape", "NoSuch", "Flatten", "ReduceMean", "Log"))
    elif how == 6:
        node = random.choice(model.graph.node)
        node.input[0] = random.choice(("logits", "crops", "weight", "", "nothing"))
    else:
        (tensor,) = model.graph.initializer
        numbers = np.frombuffer(tensor.raw_data, np.float32).copy()
        numbers[random.randrange(len(numbers))] = random.choice((np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45))
        tensor.raw_data = numbers.tobytes()
    return bytes(model.SerializeToString())


def kinds() -> dict[str, type[Kind]]:
    """All kinds by name."""
    from .analyses import Analyses, Page
    from .directories import Bulk, OwnClasses, SavedData
    from .in_process import Service
    from .workbench import Checkpoints, Json, Parquet, Tables, Yaml

    found = (
        Videos,
        Parquet,
        Tables,
        Json,
        Yaml,
        Onnx,
        Checkpoints,
        Service,
        Bulk,
        SavedData,
        OwnClasses,
        Analyses,
        Page,
    )
    return {kind.name: kind for kind in (Pictures, Heic, *found)}


__all__ = ["BYTES", "JSON", "READ", "REFUSED", "TEXT", "Kind", "check_record", "kinds"]
