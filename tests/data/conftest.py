"""A small FER2013 in every layout that is passed around: real faces where ../shared has them, drawn ones elsewhere."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from build_cases import class_folders, png
from PIL import Image

from mien.labels import SEVEN

USAGES = {"training": "Training", "public_test": "PublicTest", "private_test": "PrivateTest"}
FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def _real_dir() -> Path:
    """Where the real data set would be. Unlike the fixture ``fer2013_dir`` it does not skip."""
    return Path(os.environ.get("MIEN_FER2013") or Path(__file__).resolve().parents[3] / "shared/data/fer2013")


@dataclass(frozen=True)
class Row:
    split: str
    pixels: np.ndarray  # uint8 48×48
    emotion: int
    votes: tuple[int, ...] | None


class SmallFer2013:
    """240 images, and a writer for each layout. Splits alternate in the csv, as nothing promises that they do not."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def of(self, split: str) -> list[Row]:
        return [row for row in self.rows if row.split == split]

    def csv(self, directory: Path, *, name: str = "fer2013.csv", columns=("emotion", "pixels", "Usage")) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / name).open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(columns)
            for row in self.rows:
                cells = {
                    "emotion": row.emotion,
                    "pixels": " ".join(map(str, row.pixels.ravel())),
                    "usage": USAGES[row.split],
                }
                table.writerow([cells[column.strip().lower()] for column in columns])
        return directory / name

    def ferplus(self, directory: Path) -> Path:
        lines = [FERPLUS_HEADER]
        for i, row in enumerate(self.rows):
            name = f"fer{i:07d}.png" if row.votes else ""
            lines.append(f"{USAGES[row.split]},{name},{','.join(map(str, row.votes or [0] * 10))}")
        (directory / "fer2013new.csv").write_text("\n".join(lines) + "\n")
        return directory / "fer2013new.csv"

    def kaggle(self, directory: Path) -> Path:
        train = SmallFer2013(self.of("training"))
        train.csv(directory, name="train.csv", columns=("emotion", "pixels"))
        test = SmallFer2013(self.of("public_test") + self.of("private_test"))
        test.csv(directory, name="test.csv", columns=("pixels",))
        return directory

    def folders(self, directory: Path, *, prefixed: bool = True) -> Path:
        """The popular copy: train and test, the latter mixing both test sets; or without prefixes, validation apart."""
        plain = {"training": "train", "public_test": "validation", "private_test": "test"}
        for folder in ("train", "test") if prefixed else plain.values():
            for name in SEVEN:
                (directory / folder / name).mkdir(parents=True)
        for i, row in enumerate(self.rows):
            folder = plain[row.split] if not prefixed else "train" if row.split == "training" else "test"
            file = f"{USAGES[row.split]}_{i:08d}.png" if prefixed else f"im{i:04d}.png"
            Image.fromarray(row.pixels).save(directory / folder / SEVEN[row.emotion] / file)
        return directory

    def parquet(self, directory: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        directory.mkdir(parents=True, exist_ok=True)
        for split, usage in USAGES.items():
            rows = self.of(split)
            image = [{"bytes": png(row.pixels), "path": f"{split}_{i:05d}.png"} for i, row in enumerate(rows)]
            table = pa.table(
                {
                    "image": image,
                    "emotion": pa.array([row.emotion for row in rows], pa.int8()),
                    "usage": [usage] * len(rows),
                    "ferplus_votes": pa.array([row.votes for row in rows], pa.list_(pa.int8())),
                }
            )
            pq.write_table(table, directory / f"{split}.parquet")
        return directory


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """uint8 n×48×48: smooth random blobs with a little noise, no two alike."""
    coarse = rng.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(c).resize((48, 48), Image.Resampling.BICUBIC), np.int16) for c in coarse]
    return np.clip(np.stack(large) + rng.integers(-9, 10, (n, 48, 48)), 0, 255).astype(np.uint8)


def _real(n: int) -> np.ndarray:
    import pyarrow.parquet as pq

    with pq.ParquetFile(_real_dir() / "public_test.parquet") as file:
        column = next(file.iter_batches(batch_size=n, columns=["image"])).column("image")
    return np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in column.field("bytes").to_pylist()])


@pytest.fixture(scope="session")
def small() -> SmallFer2013:
    rng = np.random.default_rng(5)
    n = 240
    images = _real(n) if (_real_dir() / "public_test.parquet").is_file() else _drawn(rng, n)
    images = images.copy()
    images[50] = images[0][:, ::-1]  # a mirrored near-duplicate: row 0 is Training, row 50 (see below) is not
    rows = []
    for i in range(n):
        split = "training" if i % 3 == 0 else "public_test" if i % 3 == 1 else "private_test"
        votes = None if i % 10 == 9 else tuple(int(v) for v in rng.multinomial(10, [0.1] * 10))
        rows.append(Row(split, images[i], i % 7, votes))
    return SmallFer2013(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody's own class folders."""
    return class_folders(tmp_path / "mine")
