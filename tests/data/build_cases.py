"""What the tests of builds share: small sources, and ways to look at a store without our own reader."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mien.labels import SEVEN


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def blob(seed: int, *, side: int = 48, channels: int = 0) -> np.ndarray:
    """A smooth random picture, unlike every other one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3) if channels else (6, 6), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def fer2013_csv(folder: Path, rows: Sequence[tuple], votes: Sequence[tuple] | None = None) -> Path:
    """fer2013.csv of (emotion, Usage), a picture of its own each; votes: fer2013new.csv of (Usage, ten counts)."""
    folder.mkdir(parents=True)
    with (folder / "fer2013.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["emotion", "pixels", "Usage"])
        pixels = (" ".join(map(str, blob(i).ravel())) for i in range(len(rows)))
        table.writerows([emotion, values, usage] for (emotion, usage), values in zip(rows, pixels, strict=True))
    if votes is not None:
        names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
        lines = [f"Usage,Image name,{names}", *(f"{usage},x,{','.join(map(str, row))}" for usage, row in votes)]
        (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n")
    return folder


def class_folders(root: Path) -> Path:
    """84 pictures of several sizes in class folders, one of them cut short."""
    for i in range(84):
        home = root / SEVEN[i % 7]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blob(i, side=40 + i % 30, channels=i % 2)).save(home / f"{i:03d}.png")
    broken = root / "fear" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return root


def tree(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def hidden(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.name.startswith(".")]


def rows_of(store: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return [row for shard in sorted((store / "data").glob("*.parquet")) for row in pq.read_table(shard).to_pylist()]


def pixels_of(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
