import numpy as np
import pytest
from numpy.typing import NDArray

from mien.faces import heads
from mien.faces.heads import decode, suppress_overlaps

Float32 = NDArray[np.float32]


def empty_maps(h: int = 12, w: int = 16) -> dict[str, Float32]:
    shapes = {"heatmap": 1, "scale": 2, "offset": 2, "landmarks": 10}
    return {name: np.zeros((channels, h, w), np.float32) for name, channels in shapes.items()}


def put_face(maps: dict[str, Float32], row: int, column: int, *, score: float = 0.9) -> None:
    """A face 24 wide and 40 tall, its centre moved by (¼, −½) cells, its landmarks at known shares of the box."""
    maps["heatmap"][0, row, column] = score
    maps["scale"][:, row, column] = np.log([10, 6])  # (y, x), in cells of 4 pixels
    maps["offset"][:, row, column] = -0.5, 0.25
    maps["landmarks"][:, row, column] = [0.3, 0.2, 0.3, 0.8, 0.5, 0.5, 0.75, 0.25, 0.75, 0.75]


def test_decode_gives_the_closed_form() -> None:
    maps = empty_maps()
    put_face(maps, 7, 5)
    boxes, scores, points = decode(**maps, min_score=0.5)

    x, y = 4 * (5 + 0.25 + 0.5), 4 * (7 - 0.5 + 0.5)
    np.testing.assert_allclose(boxes, [[x - 12, y - 20, x + 12, y + 20]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)
    shares = np.array([[0.2, 0.3], [0.8, 0.3], [0.5, 0.5], [0.25, 0.75], [0.75, 0.75]])
    np.testing.assert_allclose(points[0], [x - 12, y - 20] + shares * [24, 40], rtol=1e-5)
    assert boxes.dtype == scores.dtype == points.dtype == np.float32


def test_decode_tells_x_from_y() -> None:  # the negative control: exchanged axes give another answer
    maps, exchanged = empty_maps(), empty_maps()
    put_face(maps, 7, 5)
    put_face(exchanged, 7, 5)
    exchanged["scale"] = exchanged["scale"][::-1]
    assert not np.allclose(decode(**maps, min_score=0.5)[0], decode(**exchanged, min_score=0.5)[0])


def test_decode_of_an_empty_heatmap() -> None:
    boxes, scores, points = decode(**empty_maps(), min_score=0.1)
    assert (boxes.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))


def test_decode_keeps_the_better_of_two_neighbours_and_both_of_two_apart() -> None:
    maps = empty_maps(40, 40)
    put_face(maps, 7, 5, score=0.6)
    put_face(maps, 7, 6, score=0.8)
    put_face(maps, 30, 30, score=0.7)
    np.testing.assert_allclose(decode(**maps, min_score=0.5)[1], [0.8, 0.7], rtol=1e-6)
    assert len(decode(**maps, min_score=0.75)[1]) == 1


def test_decode_survives_a_hostile_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_CANDIDATES", 50)
    maps = empty_maps()
    maps["heatmap"][:] = 1
    maps["scale"][:] = 1e4
    boxes, scores, _ = decode(**maps, min_score=0.5)
    assert np.isfinite(boxes).all()
    assert 1 <= len(scores) <= 50


def overlaps(a: Float32, b: Float32) -> tuple[float, float]:
    """Of two boxes, the slow and plain way: intersection over union, and the share of ``a`` that is within ``b``."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (area_a + area_b - shared)), float(shared / area_a)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("limit", "inside"), [(0.1, 1.0), (0.3, 0.7), (0.5, 0.5), (1.0, 0.6)])
def test_suppression_equals_brute_force(seed: int, limit: float, inside: float) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 80, (60, 2)), rng.uniform(5, 40, (60, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)

    kept: list[int] = []
    for i in range(len(boxes)):
        pairs = [overlaps(boxes[i], boxes[j]) for j in kept]
        if all(union <= limit and share <= inside for union, share in pairs):
            kept.append(i)
    assert suppress_overlaps(boxes, max_overlap=limit, max_inside=inside).tolist() == kept
    assert 0 < len(kept) < len(boxes)


def test_a_part_of_a_better_face_goes_and_a_lesser_face_around_it_stays() -> None:
    face, part = [0, 0, 100, 120], [20, 30, 50, 60]
    assert suppress_overlaps(np.array([face, part], np.float32), max_overlap=0.3).tolist() == [0]
    assert suppress_overlaps(np.array([part, face], np.float32), max_overlap=0.3).tolist() == [0, 1]
