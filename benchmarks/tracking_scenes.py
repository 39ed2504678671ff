"""Scenes with real faces on known paths, for ``benchmarks/tracking.py``: crossing, hidden, leaving, returning.

Heads are cut from the clips of a folder (``single_face.mp4`` and so on) with an elliptic mask and moved over a grey
ground; the last head drawn is in front. A head counts as visible where at most half of its box is covered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mien.faces.base import Detector
from mien.results import Box
from mien.video.frames import Frames

Uint8 = NDArray[np.uint8]
RATE, WIDTH, HEIGHT = 25, 640, 480
CLIPS = ("single_face.mp4", "portrait_d3.mp4", "portrait_d6.mp4", "portrait_d18.mp4", "portrait_d20.mp4")
Path2 = Callable[[float], tuple[float, float, float] | None]  # seconds → centre and height of the head; None: away


@dataclass(frozen=True)
class Head:
    """frames: head pictures uint8 N×N×3. alpha: uint8 N×N. box: of the face, in proportions of N."""

    frames: list[Uint8]
    alpha: Image.Image
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """paths: one a person. walls: rectangles in front of all: left, top, right, bottom."""

    name: str
    seconds: float
    paths: tuple[Path2, ...]
    walls: tuple[tuple[int, int, int, int], ...] = ()
    rate: int = RATE


def load_heads(folder: Path, detector: Detector, *, count: int = 60) -> list[Head]:
    """One head of each clip, with its own motion."""
    heads = []
    for name in CLIPS:
        crops: list[Uint8] = []
        place = None
        for frame in Frames(folder / name, end=count / 24):
            if place is None:
                face = detector.detect(frame.rgb)[0].box
                side = int(min(1.45 * face.h, *frame.rgb.shape[:2]))
                left = int(min(max(face.x + face.w / 2 - side / 2, 0), frame.rgb.shape[1] - side))
                top = int(min(max(face.y + face.h / 2 - side * 0.53, 0), frame.rgb.shape[0] - side))
                place = (left, top, side)
                box = ((face.x - left) / side, (face.y - top) / side, face.w / side, face.h / side)
            left, top, side = place
            crops.append(
                np.asarray(Image.fromarray(frame.rgb[top : top + side, left : left + side]).resize((160, 160)))
            )
        mask = Image.new("L", (160, 160), 0)
        ImageDraw.Draw(mask).ellipse((14, 2, 146, 158), fill=255)
        heads.append(Head(crops, mask.filter(ImageFilter.GaussianBlur(3)), box))
    return heads


def line(x0: float, x1: float, y: float, seconds: float, h: float = 130, begin: float = 0.0) -> Path2:
    """From x0 to x1; away before ``begin`` and after the end."""

    def at(t: float) -> tuple[float, float, float] | None:
        u = (t - begin) / seconds
        return None if not 0 <= u <= 1 else (x0 + (x1 - x0) * u, y, h)

    return at


def bounce(x0: float, x1: float, y: float, seconds: float, h: float = 130) -> Path2:
    """From x0 towards x1 and back."""
    return lambda t: (x0 + (x1 - x0) * (1 - abs(2 * t / seconds - 1)), y, h)


def circle(phase: float, radius: float, seconds: float, h: float = 110) -> Path2:
    """Around the middle of the picture."""

    def at(t: float) -> tuple[float, float, float]:
        a = 2 * np.pi * (t / seconds + phase)
        return (WIDTH / 2 + radius * float(np.cos(a)), HEIGHT / 2 + 0.45 * radius * float(np.sin(a)), h)

    return at


def wander(seed: int, h: float = 95) -> Path2:
    """A smooth random walk."""
    rng = np.random.default_rng(seed)
    f, p = rng.uniform(0.08, 0.22, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))

    def at(t: float) -> tuple[float, float, float]:
        x, y = (float(np.sin(2 * np.pi * f[k] * t + p[k]).sum()) / 2 for k in range(2))
        return (WIDTH / 2 + 230 * x, HEIGHT / 2 + 140 * y, h)

    return at


def scenes() -> list[Scene]:
    """All of them."""
    return [
        Scene("crossing", 5, (line(90, 550, 240, 5), line(550, 90, 250, 5))),
        Scene("crossing, fast", 2.4, (line(70, 570, 235, 2.4), line(570, 70, 250, 2.4))),
        Scene("crossing, different speeds", 5, (line(60, 580, 230, 5), line(420, 250, 262, 5, 150))),
        Scene("meeting and turning back", 5, (bounce(110, 275, 240, 5), bounce(530, 375, 245, 5))),
        Scene("behind a wall for 0.7 s", 5, (line(70, 570, 240, 5),), ((270, 0, 370, 480),)),
        Scene("behind a wall for 1.1 s", 5, (line(70, 570, 240, 5),), ((248, 0, 392, 480),)),
        Scene("two behind a wall", 5, (line(70, 570, 180, 5, 110), line(570, 70, 320, 5, 110)), ((270, 0, 370, 480),)),
        Scene("one leaves, another comes", 5, (line(300, 760, 240, 2.4), line(760, 300, 240, 2.4, begin=2.6))),
        Scene("three in a circle", 6, tuple(circle(k / 3, 190, 6) for k in range(3))),
        Scene("four at random", 8, tuple(wander(k) for k in (3, 5, 8, 13))),
        Scene("five at random", 8, tuple(wander(k) for k in (21, 34, 55, 89, 144))),
        Scene("crossing, 5 frames/s", 5, (line(90, 550, 240, 5), line(550, 90, 250, 5)), rate=5),
        Scene("four at random, 5 frames/s", 8, tuple(wander(k) for k in (3, 5, 8, 13)), rate=5),
    ]


def render(scene: Scene, heads: list[Head], t: float) -> tuple[Uint8, list[Box | None]]:
    """A frame, uint8 H×W×3, and each person's true face box there (None: away or more than half covered)."""
    ground = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    ground[::24] = ground[:, ::24] = 110
    canvas = Image.fromarray(ground)
    owner = np.full((HEIGHT, WIDTH), -1, np.int8)
    boxes: list[Box | None] = []
    for person, path in enumerate(scene.paths):
        head, place = heads[person % len(heads)], path(t)
        if place is None:
            boxes.append(None)
            continue
        x, y, h = place
        side = round(h / head.box[3])
        left, top = round(x - side / 2), round(y - side / 2)
        picture = head.frames[int(t * RATE) % len(head.frames)]
        canvas.paste(Image.fromarray(picture).resize((side, side)), (left, top), head.alpha.resize((side, side)))
        bx, by, bw, bh = (v * side for v in head.box)
        boxes.append(Box(left + bx, top + by, bw, bh))
        _claim(owner, boxes[-1], person)
    for wall in scene.walls:
        ImageDraw.Draw(canvas).rectangle(wall, fill=(60, 66, 70))
        owner[wall[1] : wall[3] + 1, wall[0] : wall[2] + 1] = -2
    seen = [box if box is not None and _seen(owner, box, person) else None for person, box in enumerate(boxes)]
    return np.asarray(canvas), seen


def _rows_columns(box: Box) -> tuple[slice, slice]:
    return slice(max(0, round(box.y)), max(0, round(box.y + box.h))), slice(
        max(0, round(box.x)), max(0, round(box.x + box.w))
    )


def _claim(owner: NDArray[np.int8], box: Box | None, person: int) -> None:
    if box is not None:
        owner[_rows_columns(box)] = person


def _seen(owner: NDArray[np.int8], box: Box, person: int) -> bool:
    return float((owner[_rows_columns(box)] == person).sum()) >= 0.5 * box.w * box.h
