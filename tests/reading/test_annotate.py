"""Annotated pictures: marks where they belong, faces never covered, readable at any size, files never overwritten."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import OutputError, UsageError
from mien.labels import EIGHT, SEVEN
from mien.reading.annotate import COLORS, MIN_SIDE, UNSURE, _arrange, annotate, color_of
from mien.reading.items import Item
from mien.reading.layout import Rect, place_chip, place_panel
from mien.reading.pictures import PictureFolder
from mien.results import Box, Face, Reading


def face(x: float, y: float, w: float, h: float, top: str = "happy", *, sure: bool = True) -> Face:
    shares = {name: 0.7 if name == top else 0.05 for name in SEVEN}
    return Face(Box(x, y, w, h), 0.9, top if sure else None, 0.7, shares)


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def has(image: Image.Image, color: tuple[int, int, int], area: tuple[int, int, int, int]) -> bool:
    return bool((np.abs(np.asarray(image.crop(area)).astype(int) - color).max(axis=2) <= 2).any())


def test_no_face_no_change() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(annotate(picture, [])), picture)


def test_the_box_is_drawn_in_its_colour_and_the_face_stays_clean() -> None:
    image = annotate(grey(1000, 800), [face(300, 200, 150, 200)])
    assert image.size == (1000, 800)
    assert has(image, COLORS["happy"], (298, 240, 306, 360))  # left edge
    assert not has(image, COLORS["sad"], (298, 240, 306, 360))
    inner = np.asarray(image.crop((320, 220, 430, 380)))
    assert (inner == 128).all()


def test_an_unsure_face_is_white() -> None:
    image = annotate(grey(1000, 800), [face(300, 200, 150, 200, sure=False)])
    assert has(image, UNSURE, (298, 240, 306, 360))


@pytest.mark.parametrize("side", [1, 8, 48, 100])
def test_small_pictures_are_enlarged(side: int) -> None:
    image = annotate(grey(side, side), [face(0, 0, side, side)])
    assert image.height >= min(MIN_SIDE, side * 12)
    assert image.width >= image.height


def test_a_face_that_fills_the_picture_gets_its_panel_beside_it() -> None:
    image = annotate(grey(48, 48), [face(0, 0, 48, 48)])
    assert image.width > image.height
    assert (np.asarray(image.crop((100, 100, 470, 470))) == 128).all()


@pytest.mark.parametrize("size", [(640, 480), (3000, 2000), (6000, 4000), (500, 4000), (4000, 300)])
def test_labels_scale_with_the_picture(size: tuple[int, int]) -> None:
    width, height = size
    one = face(width * 0.4, height * 0.3, min(size) * 0.25, min(size) * 0.3)
    (mark,) = _arrange(Image.new("RGB", size), [one], 1.0)
    assert 0.01 < mark.chip.h / min(size) < 0.2
    assert mark.chip.x >= 0
    assert mark.chip.right <= width


def test_crowds_stay_legible() -> None:
    """No panel on a face, on a chip or on another panel, whatever the arrangement."""
    random = np.random.default_rng(3)
    for _ in range(20):
        faces = [face(x, y, s, s * 1.2) for x, y, s in random.uniform((0, 0, 20), (1700, 1300, 160), (12, 3))]
        marks = _arrange(Image.new("RGB", (1920, 1600)), faces, 1.0)
        panels = [mark.panel for mark in marks if mark.panel is not None]
        for panel in panels:
            covered = [mark.box for mark in marks] + [mark.chip for mark in marks]
            assert sum(panel.overlap(other) for other in covered) <= 0.021 * panel.w * panel.h
            assert panel.x >= 0
            assert panel.right <= 1920
            assert panel.y >= 0
            assert panel.bottom <= 1600
        assert all(a.overlap(b) <= 0.021 * a.w * a.h + 0.021 * b.w * b.h for a, b in combinations(panels, 2))


def test_a_dense_crowd_has_no_panels_but_every_chip() -> None:
    faces = [face(20 + 60 * (i % 10), 20 + 60 * (i // 10), 50, 55) for i in range(60)]
    marks = _arrange(Image.new("RGB", (640, 420)), faces, 1.0)
    assert all(mark.panel is None for mark in marks)
    image = annotate(grey(640, 420), faces)
    assert image.size == (640, 420)
    assert has(image, COLORS["happy"], (0, 0, 640, 420))


def test_faces_at_the_border_and_beyond() -> None:
    faces = [face(0, 0, 30, 40), face(590, 440, 50, 40), face(0, 460, 10, 20)]
    assert annotate(grey(640, 480), faces).size[1] == 480


def test_colours_differ_and_are_given_by_name() -> None:
    assert set(COLORS) == set(EIGHT)
    assert len(set(COLORS.values())) == len(EIGHT)
    assert color_of(None, SEVEN) == UNSURE
    assert color_of("sad", SEVEN) == COLORS["sad"]
    assert color_of("bored", ("bored", "keen")) != color_of("keen", ("bored", "keen"))


def test_layout_prefers_the_right_side_then_falls_back() -> None:
    canvas, box = Rect(0, 0, 1000, 1000), Rect(400, 400, 100, 100)
    assert place_panel(box, (200, 100), 10, canvas, []) == Rect(510, 400, 200, 100)
    blocked = place_panel(box, (200, 100), 10, canvas, [Rect(505, 0, 495, 1000)])
    assert blocked is not None
    assert blocked.right <= 400
    assert place_panel(box, (200, 100), 10, canvas, [canvas]) is None
    assert place_panel(box, (2000, 100), 10, canvas, []) is None
    assert place_chip(Rect(0, 0, 50, 50), (80, 20), canvas, []).y == 50
    assert place_chip(Rect(0, 0, 1000, 1000), (80, 20), canvas, []) == Rect(0, 0, 80, 20)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def save(folder: PictureFolder, relative: str, data: str | bytes = b"x") -> str:
    reading = Reading(relative, 20, 20, (face(0, 0, 20, 20),))
    return str(
        Path(folder.save(grey(20, 20), reading, Item(relative, data, relative=relative))).relative_to(folder.folder)
    )


def test_names(tmp_path: Path) -> None:
    folder = PictureFolder(str(tmp_path / "new" / "out"))
    assert save(folder, "a", "in/a.webp") == "a.jpg"
    assert save(folder, "a", "in/a.jpg") == "a-2.jpg"
    assert save(folder, "a", "in/a.PNG") == "a.png"
    assert save(folder, "sub/a") == "sub/a.jpg"
    assert save(folder, "../../etc/passwd") == "passwd.jpg"
    assert save(folder, "/abs") == "abs.jpg"
    with Image.open(tmp_path / "new" / "out" / "a.png") as image:
        assert image.format == "PNG"
    assert not list(tmp_path.rglob("*.tmp"))


def test_originals_are_never_replaced(tmp_path: Path) -> None:
    folder = PictureFolder(str(tmp_path))
    with pytest.raises(UsageError, match="overwrite"):
        save(folder, "a", str(tmp_path / "a.jpg"))


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        PictureFolder(str(tmp_path / "file"))
