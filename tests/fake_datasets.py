"""Small look-alikes of data sets that may not be shipped: drawn faces in every layout that mien reads.

Codes are written here a second time, from the data sets' own documents, so that a test against them is a test.
Each writer returns what a source must give: the sample's path → what is true of it.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mien.data.sources import Drop, Sample

CKPLUS = {"neutral": 0, "angry": 1, "contempt": 2, "disgust": 3, "fear": 4, "happy": 5, "sad": 6, "surprise": 7}
AFFECTNET = {"neutral": 0, "happy": 1, "sad": 2, "surprise": 3, "fear": 4, "disgust": 5, "angry": 6, "contempt": 7}
RAFDB = {"surprise": 1, "fear": 2, "disgust": 3, "happy": 4, "sad": 5, "angry": 6, "neutral": 7}
FER2013 = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "sad": 4, "surprise": 5, "neutral": 6, "contempt": 7}
#: How the warning about labels that are numbers begins.
CODES_WARNING = "the labels are codes; they were read as 0 angry, 1 disgust"


@dataclass(frozen=True)
class True_:
    """What is true of a written picture."""

    label: str | None
    split: str = ""
    group: str | None = None
    valence: float | None = None
    arousal: float | None = None


def face(seed: int, *, width: int = 48, height: int = 48, color: bool = False) -> Image.Image:
    """A drawn face; another one for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB" if color else "L", (width, height), tuple(rng.integers(0, 90, 3)) if color else 40)
    draw = ImageDraw.Draw(image)
    tone = int(rng.integers(150, 230))
    skin = (tone, tone - 30, tone - 50) if color else tone
    dark = (20, 20, 30) if color else 20
    cx, cy, r = width * rng.uniform(0.45, 0.55), height * rng.uniform(0.45, 0.55), min(width, height) * 0.4
    draw.ellipse((cx - r * 0.8, cy - r, cx + r * 0.8, cy + r), fill=skin)
    for side in (-1, 1):
        eye = rng.uniform(0.08, 0.16) * r
        draw.ellipse(
            (cx + side * r * 0.35 - eye, cy - r * 0.3 - eye, cx + side * r * 0.35 + eye, cy - r * 0.3 + eye), fill=dark
        )
    draw.arc(
        (cx - r * 0.4, cy + r * 0.2, cx + r * 0.4, cy + r * rng.uniform(0.4, 0.8)), 0, rng.uniform(90, 180), fill=dark
    )
    return image


def save(path: Path, seed: int, *, width: int = 48, height: int = 48, color: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    face(seed, width=width, height=height, color=color).save(path)
    return path


def encoded(seed: int, kind: str = "PNG", *, color: bool = False) -> bytes:
    buffer = io.BytesIO()
    face(seed, color=color).save(buffer, kind)
    return buffer.getvalue()


def truth_of(samples) -> dict[str, True_]:
    """What a source said, in the form of what is true."""
    return {s.path: True_(s.label, s.split, s.group, s.valence, s.arousal) for s in samples}


def nothing(path: Path) -> None:
    """A folder that is no data set of anybody's."""
    (path / "readme.txt").write_text("x")


def split_items(source: Any) -> tuple[list[Sample], list[Drop]]:
    """What a source streams: its samples and its drops."""
    items = list(source.stream())
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Drop)]


# --- CK+ -------------------------------------------------------------------------------------------------------------

#: subject, sequence, expression or None where nobody named one, frames
SEQUENCES = (
    ("S005", "001", "disgust", 6), ("S010", "001", None, 5), ("S010", "002", "surprise", 5),
    ("S010", "004", "angry", 4), ("S011", "003", "happy", 3), ("S502", "001", "fear", 7),
    ("S506", "002", "contempt", 5), ("S999", "001", "sad", 6),
)  # fmt: skip


def ckplus_official(root: Path, *, landmarks: bool = False) -> dict[str, True_]:
    true = {}
    for s, (subject, sequence, label, frames) in enumerate(SEQUENCES):
        for n in range(1, frames + 1):
            name = f"{subject}_{sequence}_{n:08d}"
            save(root / f"cohn-kanade-images/{subject}/{sequence}/{name}.png", 100 * s + n, width=64, height=49)
            if landmarks:
                file = root / f"Landmarks/{subject}/{sequence}/{name}_landmarks.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"   {s + p:.7e}   {n + p:.7e}\n" for p in range(68)))
            path = f"cohn-kanade-images/{subject}/{sequence}/{name}.png"
            if label and n == 1:
                true[path] = True_("neutral", group=subject)
            elif label and n > frames - 3:
                true[path] = True_(label, group=subject)
        folder = root / f"Emotion/{subject}/{sequence}"
        folder.mkdir(parents=True)  # the official archive has the folder even where there is no label
        if label:
            (folder / f"{subject}_{sequence}_{frames:08d}_emotion.txt").write_text(f"   {CKPLUS[label]:.7e}\n")
    return true


CK48_NAMES = {
    "angry": "anger", "contempt": "contempt", "disgust": "disgust", "fear": "fear", "happy": "happy", "sad": "sadness",
    "surprise": "surprise",
}  # fmt: skip


def ckplus_crops(root: Path) -> dict[str, True_]:
    true = {}
    for s, (subject, sequence, label, frames) in enumerate(SEQUENCES):
        if label is None:
            continue
        for n in range(max(2, frames - 2), frames + 1):
            path = f"{CK48_NAMES[label]}/{subject}_{sequence}_{n:08d}.png"
            save(root / path, 100 * s + n)
            true[path] = True_(label, group=subject)
    return true


def ckplus_extended(file: Path) -> list[tuple[np.ndarray, str]]:
    """Rows as emotion, pixels, Usage; returns pixels and label of each."""
    rows = []
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["emotion", "pixels", "Usage"])
        for i, (label, code) in enumerate(FER2013.items()):
            pixels = np.asarray(face(i))
            usage = ("Training", "PublicTest", "PrivateTest")[i % 3]
            table.writerow([code, " ".join(map(str, pixels.ravel())), usage])
            rows.append((pixels, label))
    return rows


# --- AffectNet -------------------------------------------------------------------------------------------------------

AFFECTNET_HEADER = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip


def affectnet_rows(split: str, n: int = 12) -> list[dict[str, object]]:
    """One row a picture: every class, then no expression (8, 9, 10), then one without valence and arousal."""
    rows = []
    names = list(AFFECTNET)
    for i in range(n):
        code = i if i < 11 else 0
        affect = (-2, -2) if code > 7 or i == 11 else (round(-0.9 + 0.15 * i, 3), round(0.9 - 0.2 * i, 3))
        rows.append(
            {
                "path": f"{100 + i % 3}/{split}{i:02d}.jpg",
                "box": (3 + i, 4, 30, 31),
                "points": [float(f"{1.25 * p + i:.2f}") for p in range(136)],
                "code": code,
                "label": names[code] if code < 8 else None,
                "affect": affect,
                "seed": i + (50 if split == "validation" else 0),
            }
        )
    return rows


def affectnet_csv(root: Path, *, header: bool = True, windows: bool = False, prefix: str = "") -> dict[str, True_]:
    true = {}
    for split in ("training", "validation"):
        with (root / f"{split}.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            if header:
                table.writerow(AFFECTNET_HEADER)
            for row in affectnet_rows(split):
                path = str(row["path"])
                save(root / "Manually_Annotated_Images" / path, row["seed"], color=True)
                given = (prefix + path).replace("/", "\\") if windows else prefix + path
                table.writerow([given, *row["box"], ";".join(map(str, row["points"])), row["code"], *row["affect"]])
                if row["label"]:
                    affect = row["affect"] if row["affect"][0] != -2 else (None, None)
                    true[f"Manually_Annotated_Images/{path}"] = True_(row["label"], split, None, *affect)
    return true


def affectnet_npy(root: Path) -> dict[str, True_]:
    """Scalars as the release has them: arrays of strings."""
    true = {}
    for folder, split in (("train_set", "training"), ("val_set", "validation")):
        (root / folder / "annotations").mkdir(parents=True)
        for row in affectnet_rows(split):
            if row["label"] is None:
                continue
            name = int(row["seed"]) * 7
            save(root / folder / f"images/{name}.jpg", row["seed"], color=True)
            values = {"exp": np.array(str(row["code"])), "lnd": np.array(row["points"])}
            values |= {k: np.array(str(v)) for k, v in zip(("val", "aro"), row["affect"], strict=True)}
            for part, value in values.items():
                np.save(root / folder / f"annotations/{name}_{part}.npy", value)
            affect = row["affect"] if row["affect"][0] != -2 else (None, None)
            true[f"{folder}/images/{name}.jpg"] = True_(row["label"], split, None, *affect)
    return true


def affectnet_folders(root: Path, *, by_name: bool = False, classes: int = 8) -> dict[str, True_]:
    true = {}
    for folder, split in (("train", "training"), ("val", "validation"), ("test", "test")):
        for i, (label, code) in enumerate(list(AFFECTNET.items())[:classes]):
            for n in range(2):
                path = f"{folder}/{label.capitalize() if by_name else code}/{split}{n}.jpg"
                save(root / path, 10 * i + n, color=True)
                true[path] = True_(label, split)
    return true


# --- RAF-DB ----------------------------------------------------------------------------------------------------------


def rafdb_official(root: Path, *, images: str = "aligned", first: int = 1, boxes: bool = True) -> dict[str, True_]:
    true, lines = {}, []
    for split, digits, prefix in (("training", 5, "train"), ("test", 4, "test")):
        for i, (label, code) in enumerate(RAFDB.items(), 1):
            stem = f"{prefix}_{i:0{digits}d}"
            lines.append(f"{stem}.jpg {code - 1 + first}")
            path = f"Image/{images}/{stem}{'_aligned' if images == 'aligned' else ''}.jpg"
            side = 100 if images == "aligned" else 160
            save(root / path, i + digits, width=side, height=side, color=True)
            true[path] = True_(label, split)
            if boxes:
                for folder, name, text in (
                    ("boundingbox", "boundingbox", f"{10 + i}.0 20.5 {90 + i}.0 110.5 \n"),
                    ("manual", "manu_attri", "30.5\t40\n60\t41\n45\t60\n35\t80\n55\t81\n1\n0\n2\n"),
                ):
                    file = root / f"Annotation/{folder}/{stem}_{name}.txt"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text)
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return true


def rafdb_folders(root: Path, *, first: int = 1, by_name: bool = False) -> dict[str, True_]:
    true = {}
    for folder, split in (("train", "training"), ("test", "test")):
        for label, code in RAFDB.items():
            path = f"{folder}/{label if by_name else code - 1 + first}/{folder}_{code:05d}_aligned.jpg"
            save(root / path, code, width=100, height=100, color=True)
            true[path] = True_(label, split)
    return true
