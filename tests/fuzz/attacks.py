"""Inputs made by hand: each is what somebody would send who knows the format. Made when wanted; none lies on the disk."""

import base64
import io
import json
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .kinds import saved, tiny_onnx

#: What code that runs out of a file would make. Whoever sees it knows that something was executed.
CANARY = Path(tempfile.gettempdir()) / "mien-fuzz-canary"


@dataclass(frozen=True)
class Attack:
    """file: its name, which says which call of the kind takes it. content: makes it. read: it is one that must be read;
    else it has to be refused; None where both are right."""

    kind: str
    name: str
    file: str
    content: Callable[[], bytes]
    read: bool | None = False


def attacks(kind: str) -> list[Attack]:
    return [attack for attack in ALL if attack.kind == kind]


# --- pictures ---------------------------------------------------------------------------------------------------------


def png(width: int, height: int, *, bits: int = 8, rows: int | None = None, extra: bytes = b"") -> bytes:
    """A grey PNG of zeros. rows: of them that are there. extra: chunks before the pixels."""
    packer = zlib.compressobj(9)
    line = bytes(1 + (width * bits + 7) // 8)
    pieces = [packer.compress(line * 64) for _ in range((height if rows is None else rows) // 64)]
    pieces.append(packer.compress(line * ((height if rows is None else rows) % 64)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    body = chunk(b"IDAT", b"".join(pieces) + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def zeros(megabytes: int) -> bytes:
    """Many zeros, deflated: a thousandth of them."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def small_picture(kind: str, **options: Any) -> bytes:
    return saved(Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)), kind, **options)


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(small_picture("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive picture whose last scan comes again and again: each one costs a pass over all pixels."""
    data = saved(Image.fromarray(np.zeros((side, side), np.uint8)), "JPEG", progressive=True, quality=10)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def ico(inner: bytes, *, shown: int = 16) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", shown, shown, 0, 0, 1, 32, len(inner), 22) + inner


def gif_of_frames(count: int, width: int = 32, height: int = 32) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * count + b"\x3b"


def tiff_of_directories(count: int, *, loop: bool = False) -> bytes:
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (278, 3, 1, 8),
               (279, 4, 1, 64)]  # fmt: skip
    size = 2 + 12 * len(entries) + 4
    out = bytearray(b"II*\0" + struct.pack("<I", 72) + bytes(64))
    for number in range(count):
        last = number + 1 == count
        after = (72 if loop else 0) if last else 72 + size * (number + 1)
        out += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
        out += struct.pack("<I", after)
    return bytes(out)


def jp2_of_tiles() -> bytes:
    data = bytearray(saved(Image.fromarray(np.zeros((48, 48), np.uint8)), "JPEG2000", no_jp2=True))
    place = data.index(b"\xff\x51")
    data[place + 6 : place + 14] = struct.pack(">II", 9000, 9000)
    data[place + 22 : place + 30] = struct.pack(">II", 1, 1)
    return bytes(data)


SVG = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
) + b']><svg xmlns="http://www.w3.org/2000/svg">&j;</svg>'  # fmt: skip

PICTURES = [
    ("png-60000x60000", "a.png", lambda: png(60000, 60000, bits=1, rows=64)),
    ("png-65535x65535-of-nothing", "a.png", lambda: png(65535, 65535, rows=0)),
    ("png-9000x9000", "a.png", lambda: png(9000, 9000), True),
    ("png-65535-wide", "a.png", lambda: png(65535, 40), None),
    ("png-65535-high", "a.png", lambda: png(40, 65535), None),
    ("png-one-pixel", "a.png", lambda: png(1, 1), True),
    ("png-text-bomb", "a.png", lambda: png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + zeros(400))), None),
    ("png-international-text-bomb", "a.png", lambda: png(8, 8, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(400))), None),
    ("png-profile-bomb", "a.png", lambda: png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + zeros(400))), None),
    ("png-of-chunks", "a.png", lambda: png(8, 8, extra=chunk(b"tEXt", b"a\0b") * 200_000), None),
    ("jpeg-65535x65535", "a.jpg", lambda: jpeg_of_size(65535, 65535)),
    ("jpeg-65500x1500", "a.jpg", lambda: jpeg_of_size(65500, 1500), None),
    ("jpeg-of-scans", "a.jpg", lambda: jpeg_of_scans(4000, 2000)),
    ("jpeg-usual-scans", "a.jpg", lambda: jpeg_of_scans(400, 0), True),
    ("ico-with-a-larger-png", "a.ico", lambda: ico(png(20000, 20000))),
    ("ico-with-a-larger-bitmap", "a.ico", lambda: ico(struct.pack("<IiiHHIIiiII", 40, 60000, 120000, 1, 1, *[0] * 6))),
    ("gif-65535x65535", "a.gif", lambda: gif_of_frames(1, 65535, 65535)),
    ("gif-of-frames", "a.gif", lambda: gif_of_frames(100_000), None),
    ("tiff-of-directories", "a.tif", lambda: tiff_of_directories(20_000), None),
    ("tiff-that-loops", "a.tif", lambda: tiff_of_directories(3, loop=True), None),
    ("bmp-65535x65535", "a.bmp", lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 65535, 65535, 1, 24, *[0] * 6)),
    ("bmp-compressed", "a.bmp", lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 9000, 9000, 1, 8, 1, 0, 0, 0, 0, 0) + b"\0\0" * 5000),
    ("ppm-endless", "a.ppm", lambda: b"P6\n99999999999999999999 99999999999999999999\n255\n"),
    ("ppm-of-comments", "a.ppm", lambda: b"P6\n" + b"#\n" * 500_000 + b"1 1\n255\nabc", None),
    ("ppm-text-9000x9000", "a.pgm", lambda: b"P2\n9000 9000\n255\n1 2 3"),
    ("webp-16384x16384", "a.webp", lambda: b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<IBI", 18, 0x2F, 0x0FFFFFFF) + bytes(13)),
    ("jp2-of-tiles", "a.j2k", jp2_of_tiles),
    ("postscript", "a.jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n"),
    ("svg-billion-laughs", "a.png", lambda: SVG),
    ("name-with-escapes", "\x1b]0;owned\x07\x1b[2J.jpg", lambda: b"no picture"),
    ("name-with-markup", "[bold]<img src=x onerror=alert(1)>[/nothing].jpg".replace("/", "\u2215"), lambda: b"no picture"),
]  # fmt: skip


# --- YAML and JSON ----------------------------------------------------------------------------------------------------

LAUGHS = b"a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 10)) for n in range(9)
)  # fmt: skip
DEEP = b"[" * 100_000 + b"]" * 100_000

YAMLS = [
    ("billion-laughs", LAUGHS),
    ("billion-laughs-as-a-value", LAUGHS + b"name: *j\nmodel: {name: nano, args: *j}\n"),
    ("billion-laughs-as-a-number", LAUGHS + b"name: x\nmodel: {name: nano}\nepochs: *j\n"),
    ("contains-itself", b"name: &a [*a]\nmodel: &b {name: nano, args: *b}\n"),
    ("deep-lists", DEEP),
    ("deep-mappings", b"{a: " * 20_000 + b"}" * 20_000),
    ("deep-indents", b"".join(b" " * n + b"a:\n" for n in range(3000))),
    ("runs-code", b"name: !!python/object/apply:pathlib.Path.touch [%s]\n" % str(CANARY).encode()),
    ("makes-an-object", b"name: !!python/name:os.system x\n"),
    ("huge-number", b"name: x\nmodel: {name: nano}\nepochs: " + b"9" * 5000 + b"\n"),
    ("huge-octal", b"name: x\nmodel: {name: nano}\nepochs: 0" + b"7" * 500_000 + b"\n"),
    ("sexagesimal", b"name: x\nmodel: {name: nano}\nepochs: 1" + b":59" * 100_000 + b"\n"),
    ("no-such-day", b"name: 2001-99-99\nmodel: {name: nano}\n"),
    ("a-thousand-documents", b"--- {}\n" * 1000),
    ("key-that-is-a-list", b"? [a, b]\n: c\n"),
    ("key-that-is-a-mapping", b"{{a: b}: c}\n"),
    ("huge-network", b"name: x\nmodel: {name: nano, args: {stem: [100000], widths: [1000000, 1000000]}}\n"),
    ("keys-of-numbers", b"1: 2\n3.5: x\nnull: y\n"),
    ("control-characters", b'name: "\\e[2J\\x07"\nmodel: {name: "\\e]0;x\\x07"}\n'),
]  # fmt: skip

JSONS = [
    ("deep-lists", DEEP),
    ("deep-mappings", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    ("huge-number", b'{"mien_store": ' + b"9" * 5000 + b"}"),
    ("half-a-pair", b'{"mien_store": 1, "splits": {"\\ud800": {"files": ["\\ud800"]}}}'),
    ("not-utf-8", b'{"a": "\xff\xfe"}'),
    ("nothing", b""),
    ("a-list", b"[]"),
    ("leaves-the-folder", json.dumps({"mien_store": 1, "labels": ["sad"], "splits": {"training": {
        "files": ["../../../../../../etc/passwd"], "rows": 1, "counts": {}, "with_votes": 0,
        "near_duplicates_in_training": None, "image_sizes": {}}}, "sources": []}).encode()),
    ("escapes", json.dumps({"mien_store": "\x1b]0;x\x07"}).encode()),
]  # fmt: skip


# --- ONNX -------------------------------------------------------------------------------------------------------------


def onnx_outside(place: str, *, length: int | None = None) -> bytes:
    """The weights are said to lie in another file."""
    import onnx

    model = onnx.ModelProto.FromString(tiny_onnx())
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": place, "offset": "0", "length": str(length or 4 * 63)}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString())


def onnx_with(nodes: list[Any], *, inputs: tuple[str, ...] = (), **initializers: Any) -> bytes:
    """The tiny reader with other nodes before it, whose last output is added to the logits."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto.FromString(tiny_onnx())
    for node in model.graph.node:
        node.output[0] = {"logits": "plain"}.get(node.output[0], node.output[0])
    model.graph.node.extend([*nodes, helper.make_node("Add", ["plain", "more"], ["logits"])])
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in initializers.items())
    return bytes(model.SerializeToString())


def onnx_loop() -> bytes:
    """Counts to 2⁶² before it answers."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Cos", ["state"], ["next"])],
        "body",
        [value("n", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", TensorProto.FLOAT, [1])],
        [value("goes", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("Loop", ["many", "yes", "start"], ["more"], body=body)
    return onnx_with([node], many=np.int64(2**62), yes=np.bool_(True), start=np.zeros(1, np.float32))


def onnx_bomb(gigabytes: int) -> bytes:
    """Needs that much memory for one tensor."""
    from onnx import helper

    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["more"], keepdims=0),
    ]
    return onnx_with(nodes, shape=np.array([gigabytes << 28], np.int64))


ONNXES = [
    ("data-in-the-parent", lambda: onnx_outside("../../../../../../etc/passwd")),
    ("data-at-a-root", lambda: onnx_outside("/etc/passwd")),
    ("data-from-a-device", lambda: onnx_outside("/dev/zero", length=1 << 33)),
    ("data-beside", lambda: onnx_outside("other.bin")),
    ("loops-for-ever", onnx_loop),
    ("needs-64-gigabytes", lambda: onnx_bomb(64)),
    ("deep-labels", lambda: tiny_onnx(**{"mien.labels": "[" * 100_000})),
    ("labels-of-lists", lambda: tiny_onnx(**{"mien.labels": "[[1], [2], [3], [4], [5], [6], [7]]"})),
    ("deep-preprocess", lambda: tiny_onnx(**{"mien.preprocess": "[" * 100_000})),
    ("deep-provenance", lambda: tiny_onnx(**{"mien.provenance": "[" * 100_000})),
    ("provenance-of-a-number", lambda: tiny_onnx(**{"mien.provenance": "5"})),
    ("huge-temperature", lambda: tiny_onnx(**{"mien.temperature": "1e-300"}), None),
    ("huge-input", lambda: tiny_onnx(**{"mien.preprocess": '{"size": 1000000000}'})),
    ("labels-with-escapes", lambda: tiny_onnx(**{"mien.labels": json.dumps(["\x1b[2J", *"abcdef"])})),
    ("name-with-escapes", lambda: tiny_onnx(**{"mien.name": "\x1b]0;x\x07"}), None),
    ("no-file-of-onnx", lambda: b"\x08\x09" + b"\xff" * 1000),
    ("nothing", lambda: b""),
]  # fmt: skip


# --- checkpoints ------------------------------------------------------------------------------------------------------


class _Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (CANARY,)


def archive(data: bytes, *, more: dict[str, bytes] | None = None, packed: bool = False) -> bytes:
    """A file as torch.save writes it, around this pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, content in {"a/data.pkl": data, "a/version": b"3\n", **(more or {})}.items():
            file.writestr(name, content)
    return out.getvalue()


def checkpoint(state: Any) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 0}, out)
    return out.getvalue()


def expanded() -> bytes:
    """A tensor of 2⁴⁰ numbers that are all the same one."""
    import torch

    return checkpoint({"network.stem.0.weight": torch.zeros(1).expand(2**40)})


CHECKPOINTS = [
    ("runs-code", "best.ckpt", lambda: archive(pickle.dumps({"state_dict": _Runs()}))),
    ("runs-code-on-resume", "last.ckpt", lambda: archive(pickle.dumps({"state_dict": _Runs()}))),
    ("runs-code-as-a-bare-pickle", "best.ckpt", lambda: pickle.dumps(_Runs())),
    ("runs-code-with-a-global", "best.ckpt", lambda: archive(b"cpathlib\nPath\n(S'%s'\ntR." % str(CANARY).encode())),
    ("leaves-the-archive", "best.ckpt", lambda: archive(pickle.dumps({}), more={"../../../escaped": b"x", "/escaped": b"x"})),
    ("deflated-bomb", "best.ckpt", lambda: archive(pickle.dumps({}), more={"a/data/0": bytes(300 << 20)}, packed=True)),
    ("tensor-that-is-expanded", "best.ckpt", expanded),
    ("no-tensors", "best.ckpt", lambda: checkpoint({"network.stem.0.weight": "text", "network.x": None})),
    ("state-is-a-list", "best.ckpt", lambda: checkpoint([1, 2, 3])),
    ("state-has-keys-of-numbers", "best.ckpt", lambda: checkpoint({1: 2})),
    ("deep-meta", "meta.json", lambda: DEEP),
    ("meta-labels-of-a-number", "meta.json", lambda: b'{"labels": 5}'),
    ("meta-data-of-a-number", "meta.json", lambda: b'{"data": 5}'),
    ("meta-of-a-million-labels", "meta.json", lambda: json.dumps({"labels": [str(n) for n in range(10**6)]}).encode()),
    ("billion-laughs", "recipe.yaml", lambda: LAUGHS + b"name: *j\nmodel: {name: nano, args: *j}\n"),
    ("huge-network", "recipe.yaml", lambda: dict(YAMLS)["huge-network"]),
]  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------------


def parquet(**columns: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def nested_parquet(depth: int) -> bytes:
    import pyarrow as pa

    column = pa.array([1])
    for _ in range(depth):
        column = pa.StructArray.from_arrays([column], ["a"])
    return parquet(image=column, label=["sad"])


TABLES = [
    ("open-quote", "own.csv", lambda: b'image,label\n0.png,"sad\n' + b"1.png,happy\n" * 20_000, None),
    ("line-without-end", "own.csv", lambda: b"image,label\n" + b"x" * 30_000_000, None),
    ("many-columns", "own.csv", lambda: b"image,label" + b",x" * 200_000 + b"\n0.png,sad" + b"," * 200_000 + b"\n", None),
    ("only-quotes", "own.csv", lambda: b'"' * 2_000_000, None),
    ("quotes-in-every-line", "own.csv", lambda: b"image,label\n" + b'0.png,"sad\n' * 20_000, None),
    ("leaves-the-folder", "own.csv", lambda: b"image,label\n../../../../../../etc/passwd,sad\n/etc/passwd,happy\n", None),
    ("reads-a-device", "own.csv", lambda: b"image,label\n/dev/zero,sad\n/dev/stdin,sad\n/proc/self/mem,fear\n", None),
    ("names-with-nul", "own.csv", lambda: b"image,label\n0.png,sad\n" + b"a\0b.png,sad\n" * 3, None),
    ("formula-cells", "own.csv", lambda: b'image,label\n"=HYPERLINK(""http://x"")",sad\n@x,happy\n+1,fear\n-1,sad\n', None),
    ("half-of-utf-16", "own.tsv", lambda: b"\xff\xfe" + "image\tlabel\n".encode("utf-16-le")[:-1], None),
    ("pixels-without-end", "fer2013/fer2013.csv", lambda: b"emotion,pixels,Usage\n0," + b"1 " * 8_000_000 + b",Training\n", None),
    ("one-column", "predictions.csv", lambda: b"path\n" * 3),
    ("numbers-of-many-digits", "predictions.csv", lambda: b"path,answer\n" + b"a,%s\n" % (b"9" * 20_000)),
    ("ten-thousand-groups", "groups.csv", lambda: b"path,age\n" + b"".join(b"p/%d.png,%d\n" % (n, n) for n in range(10_000)), None),
    ("header-twice", "clip.csv", lambda: b"source,source,face\n"),
]  # fmt: skip

PARQUETS = [
    ("zeros-in-a-cell", "read.parquet", lambda: parquet(image=[bytes(200 << 20)])),
    ("zeros-in-many-cells", "read.parquet", lambda: parquet(image=[bytes(8 << 20)] * 100)),
    ("png-bombs", "read.parquet", lambda: parquet(image=[png(60000, 60000, bits=1, rows=64)] * 50)),
    ("paths-that-leave", "read.parquet", lambda: parquet(image=["../../../../etc/passwd", "/dev/zero", "/proc/self/mem", "http://x/y.png"])),
    ("nested", "own.parquet", lambda: nested_parquet(60)),
    ("nested-to-read", "read.parquet", lambda: nested_parquet(60)),
    ("no-rows", "read.parquet", lambda: parquet(image=np.array([], dtype="S1").tolist())),
    ("labels-of-bytes", "own.parquet", lambda: parquet(image=[png(8, 8)], label=[b"\xff\xfe"]), None),
    ("answers-of-nothing", "predictions.parquet", lambda: parquet(path=[None], answer=["sad"])),
]  # fmt: skip


# --- video ------------------------------------------------------------------------------------------------------------


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def nested_boxes(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = box(b"moov", body)
    return box(b"ftyp", b"isom\0\0\0\0isom") + body


VIDEOS = [
    ("nested-boxes", "a.mp4", lambda: nested_boxes(3000)),
    ("playlist-that-reads-files", "a.mp4", lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    ("concat-that-reads-files", "a.mp4", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
    ("only-zeros", "a.mp4", lambda: bytes(1 << 20)),
    ("only-a-head", "a.mkv", lambda: b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff"),
    ("avi-65535x65535", "a.avi", lambda: avi(65535, 65535)),
    ("a-picture", "a.mp4", lambda: png(8, 8), None),
]  # fmt: skip


def avi(width: int, height: int) -> bytes:
    """One stream of uncompressed pictures of that size, without any."""
    strh = struct.pack("<4s4sIHHIIIIIIIIhhhh", b"vids", b"DIB ", 0, 0, 0, 0, 1, 25, 0, 100, 0, 0, 0, 0, 0, 0, 0)
    strf = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    strl = b"strl" + b"strh" + struct.pack("<I", len(strh)) + strh + b"strf" + struct.pack("<I", len(strf)) + strf
    avih = struct.pack("<14I", 40000, 0, 0, 0x10, 100, 0, 1, 0, width, height, 0, 0, 0, 0)
    hdrl = b"hdrl" + b"avih" + struct.pack("<I", len(avih)) + avih + b"LIST" + struct.pack("<I", len(strl)) + strl
    movi = b"movi" + b"00db" + struct.pack("<I", 1000) + bytes(1000)
    body = b"AVI " + b"LIST" + struct.pack("<I", len(hdrl)) + hdrl + b"LIST" + struct.pack("<I", len(movi)) + movi
    return b"RIFF" + struct.pack("<I", len(body)) + body


# --- requests ---------------------------------------------------------------------------------------------------------


def request(body: bytes, *, kind: str = "application/json", path: str = "/v1/read", query: str = "", **headers: str) -> bytes:
    told = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    return json.dumps({"path": path, "query": query, "headers": told, "method": "POST"}).encode() + b"\n" + body


def base64_of(data: bytes, **more: str) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode(), **more}).encode()


FORM = "multipart/form-data; boundary=edge"
REQUESTS = [
    ("deep-json", lambda: request(DEEP)),
    ("deep-json-in-a-batch", lambda: request(b'{"images":' + DEEP + b"}", path="/v1/read/batch")),
    ("huge-number", lambda: request(b'{"image": ' + b"9" * 100_000 + b"}")),
    ("png-bomb", lambda: request(png(60000, 60000, bits=1, rows=64), kind="image/png")),
    ("ico-bomb", lambda: request(ico(png(20000, 20000)), kind="image/png")),
    ("png-bomb-in-base64", lambda: request(base64_of(png(60000, 60000, bits=1, rows=64)))),
    ("many-pictures", lambda: request(json.dumps({"images": [{"image": "AA=="}] * 50_000}).encode(), path="/v1/read/batch")),
    ("file-url", lambda: request(json.dumps({"image": "file:///etc/passwd"}).encode())),
    ("http-url", lambda: request(json.dumps({"image": "http://169.254.169.254/"}).encode())),
    ("path-in-place-of-a-picture", lambda: request(json.dumps({"image": "/etc/passwd"}).encode())),
    ("name-with-escapes", lambda: request(base64_of(png(48, 48), name="\x1b]0;x\x07<script>")), True),
    ("name-in-the-query", lambda: request(png(48, 48), kind="image/png", query="name=%1B%5B2J%00%ff"), True),
    ("many-heads-in-a-part", lambda: request(b"--edge\r\n" + b"a: b\r\n" * 100_000 + b"\r\nx\r\n--edge--\r\n", kind=FORM)),
    ("head-without-end", lambda: request(b"--edge\r\na: " + b"b" * 900_000, kind=FORM)),
    ("many-parts", lambda: request(b'--edge\r\ncontent-disposition: form-data; filename="a"\r\n\r\nx\r\n' * 10_000 + b"--edge--\r\n", kind=FORM)),
    ("no-boundary", lambda: request(b"--edge--", kind="multipart/form-data")),
    ("long-boundary", lambda: request(b"--edge--", kind="multipart/form-data; boundary=" + "x" * 60_000)),
    ("length-that-lies", lambda: request(b"x", kind="image/png", content_length="99999999999999999999")),
    ("negative-length", lambda: request(png(8, 8), kind="image/png", content_length="-5"), None),
    ("length-in-other-digits", lambda: request(png(8, 8), kind="image/png", content_length="²"), None),
    ("packed-body", lambda: request(zeros(100), kind="image/png", content_encoding="gzip")),
    ("model-that-is-a-path", lambda: request(png(8, 8), kind="image/png", query="model=../../etc/passwd")),
]  # fmt: skip


def _all() -> list[Attack]:
    def of(kind: str, entry: tuple[Any, ...], file: str | None = None) -> Attack:
        name, *rest = entry
        place = file or rest.pop(0)
        content = rest.pop(0)
        make = content if callable(content) else lambda: content
        return Attack(kind, name, place, make, *rest)

    made = [of("picture", entry) for entry in PICTURES] + [of("video", entry) for entry in VIDEOS]
    made += [of("csv", entry) for entry in TABLES] + [of("parquet", entry) for entry in PARQUETS]
    made += [of("onnx", entry, "attack.onnx") for entry in ONNXES] + [of("checkpoint", entry) for entry in CHECKPOINTS]
    made += [of("service", entry, "request") for entry in REQUESTS]
    for name, content in YAMLS:
        made += [of("yaml", (f"{name}-{file[:-5]}", file, content)) for file in ("recipe.yaml", "build.yaml")]
    made.append(of("yaml", ("billion-laughs-set", "set", b"model.args=" + LAUGHS.replace(b"\n", b", "))))
    made.append(of("yaml", ("deep-set", "set", b"model.args=" + DEEP)))
    made.append(of("yaml", ("huge-number-set", "set", b"epochs=" + b"9" * 5000)))
    made.append(of("yaml", ("no-such-day-set", "set", b"name=2001-99-99")))
    for name, content in JSONS:
        files = ("store/summary.json", "evaluation/report.json", "clip.jsonl")
        made += [of("json", (f"{name}-{Path(file).stem}", file, content)) for file in files]
    return made


ALL = _all()
