"""JPEGs of 12 and 24 megapixels read reduced and whole: how far the readings differ, and what it saves.

    python benchmarks/reduced_jpegs.py PHOTOS [PHOTOS …] [--model compact] [--precision fp32] [--margin 2] [-o FILE]

PHOTOS: folders of photos, each enlarged to fill a part of a larger picture, coloured and with a camera's noise, and
saved as JPEG. The same reader reads each file as it is and with ``load_reduced`` kept from reducing.
--margin: other values of ``cropper.MARGIN`` than the one in use. So that the
differences can be judged, the whole reading is also compared with that of the same picture saved at another quality
(``resaved``) and without its first column of pixels (``cut``). Times: CPU, alternating.
"""

import argparse
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from mien import Reader
from mien.imaging import Decoded, load_rgb
from mien.reading import cropper
from mien.results import Reading

SIZES = {"12": (4000, 3000), "24": (6000, 4000), "48": (8000, 6000)}  # by megapixels
SHARES = (0.25, 0.6, 1.0)  # of the larger picture's sides that a photo fills


def whole(source: object, *, least: int, **options: object) -> Decoded:
    """In place of ``load_reduced``: never reduced."""
    rgb = load_rgb(source, **options)  # type: ignore[arg-type]
    return Decoded(rgb, *rgb.shape[:2])


def pictures(folders: list[Path], most: int, sizes: list[tuple[int, int]]) -> Iterator[tuple[str, Image.Image]]:
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix in (".png", ".jpg")]
    rng = np.random.default_rng(0)
    noises = rng.normal(0, 4, (3, 1000, max(sizes)[0], 1)).round().astype(np.int16)
    for number, file in enumerate(files[:: max(1, len(files) // most)]):
        photo = Image.open(file).convert("RGB")
        for width, height in sizes[number % len(sizes) :][:1]:
            share = SHARES[number // len(sizes) % len(SHARES)]
            scale = min(width / photo.width, height / photo.height) * share
            large = photo.resize((int(photo.width * scale), int(photo.height * scale)), Image.Resampling.BICUBIC)
            ground = Image.fromarray(rng.integers(40, 200, (6, 8, 3)).astype(np.uint8)).resize((width, height))
            ground.paste(
                large, tuple(int(room * rng.random()) for room in (width - large.width, height - large.height))
            )
            noise = noises[rng.integers(len(noises))]
            pixels = np.asarray(ground).astype(np.int16)
            for top in range(0, height, len(noise)):
                pixels[top : top + len(noise)] += noise[: height - top, :width]
            yield f"{file.stem} {width}×{height} {share}", Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def difference(a: Reading, b: Reading) -> list[tuple[float, bool]] | None:
    """Of each face: the largest difference of a probability, and whether the expression is the same."""
    if len(a.faces) != len(b.faces):
        return None
    return [
        (max(abs(x.probabilities[k] - y.probabilities[k]) for k in x.probabilities), x.expression == y.expression)
        for x, y in zip(a.faces, b.faces, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--most", type=int, default=40, help="photos")
    parser.add_argument("--megapixels", nargs="+", choices=SIZES, default=["12", "24"])
    parser.add_argument("--margin", type=float, default=cropper.MARGIN)
    parser.add_argument("-o", type=Path)
    options = parser.parse_args()
    cropper.MARGIN = options.margin
    reader = Reader(options.model, threads=1, precision=options.precision, reduced_jpegs=True)
    found: dict[str, list[tuple[float, bool]]] = {"reduced": [], "resaved": [], "cut": []}
    seconds: dict[str, dict[str, float]] = {}
    other_count: dict[str, int] = dict.fromkeys(found, 0)
    used = real = total = 0
    for name, picture in pictures(options.photos, options.most, [SIZES[size] for size in options.megapixels]):
        data = saved(picture, 88)
        spent: dict[str, float] = {}
        readings: dict[str, Reading] = {}
        reduced: list[bool] = []
        own = cropper.FaceCropper._reduced

        def noted(*arguments: object, own=own, reduced=reduced):  # type: ignore[no-untyped-def]
            decoded, faces = own(*arguments)
            if decoded.factor > 1:
                reduced.append(faces is not None)
            return decoded, faces

        for kind in ("whole", "reduced", "reduced", "whole"):
            start = time.process_time()
            if kind == "whole":
                with mock.patch.object(cropper, "load_reduced", whole):
                    readings[kind] = reader.read(data)
            else:
                with mock.patch.object(cropper.FaceCropper, "_reduced", noted):
                    readings[kind] = reader.read(data)
            spent[kind] = min(spent.get(kind, np.inf), time.process_time() - start)
        with mock.patch.object(cropper, "load_reduced", whole):
            readings["resaved"] = reader.read(saved(picture, 90))
        decoded = np.asarray(Image.open(io.BytesIO(data)))
        readings["cut"] = reader.read(np.ascontiguousarray(decoded[:, 1:]))
        total += 1
        used += bool(reduced and reduced[0])
        for kind, rows in found.items():
            differences = difference(readings["whole"], readings[kind])
            other_count[kind] += differences is None
            if reduced and reduced[0]:  # otherwise the reading is the whole's
                rows += differences or []
        kind = "used" if reduced and reduced[0] else "refused" if reduced else "not large"
        for key, value in spent.items():
            seconds.setdefault(kind, {}).setdefault(key, 0.0)
            seconds[kind][key] += value
        worst = max((d for d, _ in difference(readings["whole"], readings["reduced"]) or [(-1.0, True)]), default=0)
        heights = [round(face.box.h) for face in readings["whole"].faces]
        print(f"{name}: {kind}, heights {heights}, {worst:.4f}, {spent}", flush=True)
        real += bool(heights)
    result = {
        "pictures": total,
        "with_faces": real,
        "reduced": used,
        "margin": options.margin,
        "differences": {
            kind: {
                "faces": len(rows),
                "mean": float(np.mean([d for d, _ in rows])) if rows else None,
                "max": max((d for d, _ in rows), default=None),
                "same_expression": sum(same for _, same in rows),
                "pictures_with_another_count": other_count[kind],
            }
            for kind, rows in found.items()
        },
        "cpu_seconds": seconds,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.o:
        options.o.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
