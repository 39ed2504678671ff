"""Training data of the orientation network besides FER2013: more faces, and pictures without a face.

    python scripts/orientation_data.py --faces FOLDER_OF_LFW_AND_GENKI -o .carry/orientation [--debian FOLDER]

writes ``faces.parquet`` and ``non_faces.parquet``, which ``mien data build`` takes (see ``recipes/orientation.yaml``).

Non-faces are photos of animals, tools, food, buildings and plants: the sample pictures of scikit-image, scikit-learn
and matplotlib, and those of two Debian packages, which ``apt-get download`` fetches where ``--debian`` does not name a
folder that holds them. Of each there are random square cuts, and what CenterFace takes for a face at a low threshold.
Faces are LFW and GENKI as they come, and LFW's once more as CenterFace cuts them out of a turned scene, turned back.

Held out, for ``benchmarks/turned_faces.py``: the persons of LFW and the pictures for which ``held_out`` is True.
"""

import argparse
import io
import re
import subprocess
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFilter

from mien.faces.centerface import CenterFace
from mien.faces.orientation import orientation_crop
from mien.results import Box

SIDE = 64  # of the pictures that are written
PACKAGES = ("tuxpaint-stamps-default", "gcompris-qt-data")
#: Folders of Tux Paint's stamps with people, drawn faces, statues or letters.
LEFT_OUT = (
    "cartoon", "people", "symbols", "clothes", "monuments", "halloween", "christmas", "armor", "toys", "newyears",
)  # fmt: skip
#: GCompris: activities with photos, and of these the ones that show people (counted as they lie in the file).
ACTIVITIES = {
    "babyshapes": {3, 5, 8, 9, 11, 13},
    "categorization": {15, 18},
    "clickgame": set(),
    "erase": {15, 16},
    "explore_farm_animals": set(),
    "explore_monuments": {49},
    "explore_world_animals": set(),
    "solar_system": set(),
}
SAMPLES = {
    "skimage": (
        "data", "brick cell chelsea clock_motion coffee color grass gravel horse hubble_deep_field ihc logo "
        "microaneurysms moon motorcycle_left motorcycle_right page phantom retina rocket text chessboard_RGB",
    ),
    "sklearn": ("datasets/images", "china flower"),
    "matplotlib": ("mpl-data/sample_data", "Minduka_Present_Blue_Pack logo2"),
}  # fmt: skip


def held_out(name: str | int) -> bool:
    """Whether a picture, by name, or a person of LFW, by number, is left for the benchmark: one in ten."""
    return zlib.crc32(str(name).encode()) % 10 == 0


def pictures(debian: Path) -> Iterator[tuple[str, Image.Image]]:
    """(name, RGBA picture) of everything without a face."""
    for package, (folder, names) in SAMPLES.items():
        spec = find_spec(package)
        home = Path(str(spec and spec.origin)).parent / folder
        for name in names.split():
            for file in sorted(home.glob(f"{name}.*")):
                yield f"{package}/{file.name}", Image.open(file).convert("RGBA")
    stamps = debian / "usr/share/tuxpaint/stamps"
    for file in sorted(stamps.rglob("*.png")):
        name = file.relative_to(stamps).as_posix()
        if not any(word in name for word in LEFT_OUT):
            yield f"tuxpaint/{name}", Image.open(file).convert("RGBA")
    for file in sorted((debian / "usr/share").rglob("*.rcc")):
        if (people := ACTIVITIES.get(file.stem)) is None:
            continue
        for number, picture in enumerate(_carved(file.read_bytes())):
            if number not in people:
                yield f"gcompris/{file.stem}-{number}", picture


def _carved(resources: bytes) -> Iterator[Image.Image]:
    """The WebP photos inside a Qt resource file, where they lie uncompressed."""
    for found in re.finditer(rb"RIFF....WEBP", resources, re.DOTALL):
        size = int.from_bytes(resources[found.start() + 4 : found.start() + 8], "little") + 8
        picture = Image.open(io.BytesIO(resources[found.start() : found.start() + size])).convert("RGBA")
        if min(picture.size) >= 150:
            yield picture


def unpacked(folder: Path) -> Path:
    """A folder with the two Debian packages' files; downloaded and unpacked where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "usr/share/tuxpaint").is_dir():
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=folder, check=True)
        for file in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, folder], check=True)
    return folder


def scene(picture: Image.Image, grounds: list[Image.Image], random: np.random.Generator, *, side: int) -> Image.Image:
    """The picture, its longer side ``side``, on a plain or photographic ground where it is transparent."""
    picture = picture.copy()
    picture.thumbnail((side, side))
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pad = int(random.integers(0, side // 3)) if picture.getextrema()[3][0] < 255 else 0
    size = (picture.width + 2 * pad, picture.height + 2 * pad)
    if random.random() < 0.5:
        ground = Image.new("RGB", size, tuple(int(v) for v in random.integers(0, 256, 3)))
    else:
        ground = grounds[int(random.integers(len(grounds)))].convert("RGB").resize(size)
    ground.paste(picture, (pad, pad), picture)
    return ground


def with_face(
    face: Image.Image,
    ground: Image.Image,
    random: np.random.Generator,
    *,
    side: int,
    size: tuple[int, int] = (400, 300),
) -> tuple[Image.Image, int, int]:
    """A face of ``side`` pixels on a ground of ``size``, with soft edges, and where its upper left corner lies."""
    picture = ground.convert("RGB").resize(size)
    face = face.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    if random.random() < 0.5:
        draw.rectangle((side * 0.03, side * 0.03, side * 0.97, side * 0.97), fill=255)
    else:
        draw.ellipse((side * 0.03, 0, side * 0.97, side * 1.05), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(side / 30))
    x, y = (int(random.integers(0, n - side + 1)) for n in picture.size)
    picture.paste(face, (x, y), mask)
    return picture, x, y


def non_faces(debian: Path, detector: CenterFace, random: np.random.Generator) -> Iterator[tuple[Image.Image, str]]:
    """(square picture, name of what it was cut from), held-out sources left out."""
    sources = [(name, picture) for name, picture in pictures(debian) if not held_out(name)]
    photos = [picture for _, picture in sources if picture.getextrema()[3][0] == 255]
    for number, (name, picture) in enumerate(sources):
        if number % 50 == 0:
            print(f"non-faces: {number} of {len(sources)} pictures", flush=True)
        for _ in range(20):
            shown = scene(picture, photos, random, side=int(random.integers(120, 500)))
            side = int(random.integers(min(24, *shown.size), min(shown.size) + 1))
            x, y = (int(random.integers(0, n - side + 1)) for n in shown.size)
            yield shown.crop((x, y, x + side, y + side)), name
        for _ in range(8 if "animals" in name or "erase" in name else 3):
            shown = scene(picture, photos, random, side=int(random.integers(160, 480)))
            rgb = np.asarray(shown)
            for found in detector.detect(rgb)[:4]:
                yield Image.fromarray(orientation_crop(rgb, found, size=SIDE)), name


def faces(
    folder: Path, debian: Path, detector: CenterFace, random: np.random.Generator
) -> Iterator[tuple[Image.Image, str]]:
    """(square picture of an upright face, its person), held-out persons left out."""
    for row, cell in enumerate(pq.read_table(folder / "genki4k.parquet").column("image").to_pylist()):
        yield Image.open(io.BytesIO(cell["bytes"])), f"genki-{row}"
    table = pq.read_table(folder / "lfw_expressions.parquet")
    grounds = [p for name, p in pictures(debian) if p.getextrema()[3][0] == 255 and not held_out(name)]
    for row, (cell, person) in enumerate(
        zip(table.column("image").to_pylist(), table.column("person").to_pylist(), strict=True)
    ):
        if row % 1000 == 0:
            print(f"faces: {row} of {table.num_rows} rows of LFW", flush=True)
        if held_out(person):
            continue
        face, name = Image.open(io.BytesIO(cell["bytes"])), f"lfw-{person}"
        yield face, name
        side, turns = int(random.integers(60, 280)), int(random.integers(4))
        picture, x, y = with_face(face, grounds[int(random.integers(len(grounds)))], random, side=side)
        turned = np.ascontiguousarray(np.rot90(np.asarray(picture), turns))
        for found in detector.detect(turned):
            crop = np.rot90(orientation_crop(turned, found, size=SIDE), -turns)
            back = found.turned(turned.shape[0], turned.shape[1], -turns).box
            if back.overlap(Box(x, y, side, side)) > 0.3:
                yield Image.fromarray(np.ascontiguousarray(crop)), name


def write(rows: Iterator[tuple[Image.Image, str]], file: Path, random: np.random.Generator) -> None:
    images, groups, splits = [], [], []
    for number, (picture, group) in enumerate(rows):
        stream = io.BytesIO()
        picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0).save(stream, "PNG")
        images.append({"bytes": stream.getvalue(), "path": f"{file.stem}-{number:06d}.png"})
        groups.append(group)
        splits.append("validation" if zlib.crc32(group.encode()) % 10 == 1 else "training")
    labels = pa.array([None] * len(images), pa.string())
    table = pa.table({"image": images, "label": labels, "split": splits, "group": groups})
    pq.write_table(table, file)
    print(f"{file}: {len(images):,} pictures, {splits.count('validation'):,} of them for validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--faces", type=Path, required=True, help="folder with lfw_expressions.parquet, genki4k.parquet"
    )
    parser.add_argument("--debian", type=Path, help="where the Debian packages are unpacked (default: below OUT)")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    debian = unpacked(args.debian or args.out / "debian")
    detector = CenterFace(threads=1, min_score=0.2)
    random = np.random.default_rng(0)
    write(non_faces(debian, detector, random), args.out / "non_faces.parquet", random)
    write(faces(args.faces, debian, detector, random), args.out / "faces.parquet", random)


if __name__ == "__main__":
    main()
