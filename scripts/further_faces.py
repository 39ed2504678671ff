"""The further faces (LFW with expressions, GENKI-4K) as a table that ``mien data build`` takes beside FER2013.

    python scripts/further_faces.py ../shared/data/faces -o .carry/further/further.parquet [--reader compact]
    mien data build --source fer2013=../shared/data/fer2013 --source parquet=.carry/further --labels seven --size 48 \
        --color grey -o stores/hybrid

Their labels are hints: LFW's *neutral* holds talking and frowning faces, its *surprise* means an open mouth, and GENKI
says only whether a face smiles. A training image therefore gets a soft label, the mean of what its hint says and of
what the reader sees: soft = w · hint + (1 − w) · P(expression | image), with w as in ``TRUST``. "No smile" is the
reader's probabilities without *happy*. Contempt is left out.

Splits, disjoint by person: one in six persons of LFW is held out, in split ``validation`` with the annotators' label,
and one in six pictures of GENKI in split ``test``: happy, or without a label where it does not smile. The rest is
``training``.
"""

import argparse
import io
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mien.labels import SEVEN, code
from mien.reading.reader import Reader

#: How much of a soft label the hand's label makes up; the rest is what the reader sees.
TRUST = {"happy": 0.85, "angry": 0.8, "sad": 0.8, "disgust": 0.7, "fear": 0.7, "neutral": 0.65, "surprise": 0.8}
#: How often an image of a rare expression is repeated: surprise is 3 % of LFW, the others are 2, 1 and 0.1 %.
REPEATS = {"surprise": 4, "angry": 3, "sad": 3, "disgust": 4, "fear": 4}


def held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % 6 == 1


def read(folder: Path, name: str) -> list[dict[str, object]]:
    return pq.read_table(folder / name).to_pylist()


def soft_label(hint: str, seen: np.ndarray, trust: dict[str, float]) -> list[float]:
    """hint: an expression, or "no smile". seen: float K probabilities of the reader. Sums to 1."""
    if hint == "no smile":
        soft = seen.copy()
        soft[code("happy")] = 0.0
        soft /= soft.sum()
    else:
        soft = trust[hint] * np.eye(len(SEVEN))[code(hint)] + (1 - trust[hint]) * seen
    return [float(p) for p in soft]


def faces(folder: Path) -> list[dict[str, object]]:
    """Rows of both data sets: image, label, hint, group, split."""
    rows = []
    for number, row in enumerate(read(folder, "lfw_expressions.parquet")):
        if row["label"] in SEVEN:
            away = held_out(f"lfw {row['person']}")
            name = f"lfw/{number}"
            rows.append({"name": name, "bytes": row["image"]["bytes"], "label": row["label"] if away else None,
                         "hint": None if away else row["label"], "group": f"lfw {row['person']}",
                         "split": "validation" if away else "training"})  # fmt: skip
    for number, row in enumerate(read(folder, "genki4k.parquet")):
        away = held_out(name := f"genki/{number}")
        hint = None if away else ("happy" if row["smile"] else "no smile")
        label = "happy" if away and row["smile"] else None
        split = "test" if away else "training"
        rows.append(
            {"name": name, "bytes": row["image"]["bytes"], "label": label, "hint": hint, "group": None, "split": split}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--plain", action="store_true", help="surprise is trusted by 0.5, and nothing repeated: for the -hybrid recipes"
    )
    parser.add_argument(
        "--reader",
        default="compact",
        help="whose probabilities are mixed in, a name or an ONNX file; for the shipped readers compact-fer2013's",
    )
    options = parser.parse_args()
    reader, rows = Reader(options.reader, detector="none"), faces(options.folder)
    hinted = [row for row in rows if row["hint"]]
    pictures = (np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in hinted)
    for row, (face,) in zip(hinted, (reading.faces for reading in reader.read_many(pictures)), strict=True):
        seen = np.array([face.probabilities[name] for name in SEVEN])
        row["soft"] = soft_label(row["hint"], seen, TRUST | ({"surprise": 0.5} if options.plain else {}))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    repeats = {} if options.plain else REPEATS
    rows = [row for row in rows for _ in range(repeats.get(row["hint"], 1))]
    table = pa.table({
        "image": [{"bytes": row["bytes"], "path": row["name"]} for row in rows],
        "label": pa.array([row["label"] for row in rows], pa.string()),
        "split": [row["split"] for row in rows],
        "group": pa.array([row["group"] for row in rows], pa.string()),
        "soft_label": pa.array([row.get("soft") for row in rows], pa.list_(pa.float32())),
    })  # fmt: skip
    pq.write_table(table, options.out)
    print({name: sum(row["split"] == name for row in rows) for name in ("training", "validation", "test")})


if __name__ == "__main__":
    main()
