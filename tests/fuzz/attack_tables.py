"""Tables, recipes, JSON and checkpoints made by hand."""

import io
import json
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .attack_pictures import png

#: What code that runs out of a file would make. Whoever sees it knows that something was executed.
CANARY = Path(tempfile.gettempdir()) / "mien-fuzz-canary"


LAUGHS = b"a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 10)) for n in range(9)
)
DEEP = b"[" * 100_000 + b"]" * 100_000

YAMLS = [
    ("billion-laughs", LAUGHS),
    ("billion-laughs-as-a-value", LAUGHS + b"name: *j\nmodel: {name: nano, args: *j}\n"),
    ("billion-laughs-as-a-number", LAUGHS + b"name: x\nmodel: {name: nano}\nepochs: *j\n"),
    ("billion-laughs-as-an-argument", LAUGHS + b"name: x\nmodel: {name: nano, args: {stem: *j}}\n"),
    ("billion-laughs-beside", b"name: x\nmodel: {name: nano}\n" + LAUGHS),
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
]

JSONS = [
    ("deep-lists", DEEP),
    ("deep-mappings", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    ("huge-number", b'{"mien_store": ' + b"9" * 5000 + b"}"),
    ("half-a-pair", b'{"mien_store": 1, "splits": {"\\ud800": {"files": ["\\ud800"]}}}'),
    ("not-utf-8", b'{"a": "\xff\xfe"}'),
    ("nothing", b""),
    ("a-list", b"[]"),
    (
        "leaves-the-folder",
        json.dumps(
            {
                "mien_store": 1,
                "labels": ["sad"],
                "splits": {
                    "training": {
                        "files": ["../../../../../../etc/passwd"],
                        "rows": 1,
                        "counts": {},
                        "with_votes": 0,
                        "near_duplicates_in_training": None,
                        "image_sizes": {},
                    }
                },
                "sources": [],
            }
        ).encode(),
    ),
    ("escapes", json.dumps({"mien_store": "\x1b]0;x\x07"}).encode()),
]


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
    (
        "leaves-the-archive",
        "best.ckpt",
        lambda: archive(pickle.dumps({}), more={"../../../escaped": b"x", "/escaped": b"x"}),
    ),
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
    ("billion-laughs-as-an-argument", "recipe.yaml", lambda: dict(YAMLS)["billion-laughs-as-an-argument"]),
]


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
    (
        "many-columns",
        "own.csv",
        lambda: b"image,label" + b",x" * 200_000 + b"\n0.png,sad" + b"," * 200_000 + b"\n",
        None,
    ),
    ("only-quotes", "own.csv", lambda: b'"' * 2_000_000, None),
    ("quotes-in-every-line", "own.csv", lambda: b"image,label\n" + b'0.png,"sad\n' * 20_000, None),
    (
        "leaves-the-folder",
        "own.csv",
        lambda: b"image,label\n../../../../../../etc/passwd,sad\n/etc/passwd,happy\n",
        None,
    ),
    ("reads-a-device", "own.csv", lambda: b"image,label\n/dev/zero,sad\n/dev/stdin,sad\n/proc/self/mem,fear\n", None),
    ("names-with-nul", "own.csv", lambda: b"image,label\n0.png,sad\n" + b"a\0b.png,sad\n" * 3, None),
    (
        "formula-cells",
        "own.csv",
        lambda: b'image,label\n"=HYPERLINK(""http://x"")",sad\n@x,happy\n+1,fear\n-1,sad\n',
        None,
    ),
    ("half-of-utf-16", "own.tsv", lambda: b"\xff\xfe" + "image\tlabel\n".encode("utf-16-le")[:-1], None),
    (
        "pixels-without-end",
        "fer2013/fer2013.csv",
        lambda: b"emotion,pixels,Usage\n0," + b"1 " * 8_000_000 + b",Training\n",
        None,
    ),
    ("one-column", "predictions.csv", lambda: b"path\n" * 3),
    ("numbers-of-many-digits", "predictions.csv", lambda: b"path,answer\n" + b"a,%s\n" % (b"9" * 20_000)),
    (
        "ten-thousand-groups",
        "groups.csv",
        lambda: b"path,age\n" + b"".join(b"p/%d.png,%d\n" % (n, n) for n in range(10_000)),
        None,
    ),
    ("header-twice", "clip.csv", lambda: b"source,source,face\n"),
]

PARQUETS = [
    ("zeros-in-a-cell", "read.parquet", lambda: parquet(image=[bytes(200 << 20)])),
    ("zeros-in-many-cells", "read.parquet", lambda: parquet(image=[bytes(8 << 20)] * 100)),
    ("png-bombs", "read.parquet", lambda: parquet(image=[png(60000, 60000, bits=1, rows=64)] * 50)),
    (
        "paths-that-leave",
        "read.parquet",
        lambda: parquet(image=["../../../../etc/passwd", "/dev/zero", "/proc/self/mem", "http://x/y.png"]),
    ),
    ("nested", "own.parquet", lambda: nested_parquet(60)),
    ("nested-to-read", "read.parquet", lambda: nested_parquet(60)),
    ("no-rows", "read.parquet", lambda: parquet(image=np.array([], dtype="S1").tolist())),
    ("labels-of-bytes", "own.parquet", lambda: parquet(image=[png(8, 8)], label=[b"\xff\xfe"]), None),
    ("answers-of-nothing", "predictions.parquet", lambda: parquet(path=[None], answer=["sad"])),
]
