"""A reader goes to other processes and gives the same answers there."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien import Reader, Reading
from mien.errors import ImageError, ModelError, UsageError
from mien.faces.base import Detection
from mien.faces.detector import make_detector
from mien.reading.classifier import Classifier
from mien.results import Box

CROP = np.random.default_rng(0).integers(20, 256, (48, 48), dtype=np.uint8)
PHOTO = np.random.default_rng(1).integers(20, 256, (60, 50, 3), dtype=np.uint8)


class Fixed:
    """A detector of a caller's own."""

    def __init__(self, size: float) -> None:
        self.size = size

    def detect(self, image: np.ndarray) -> list[Detection]:
        return [Detection(Box(1, 2, self.size, self.size), 0.5)]


def png(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def answer(reader: Reader, picture: Any = CROP) -> Any:
    reading = reader.read(picture)
    assert isinstance(reading, Reading)
    return reading


OPTIONS: list[dict[str, Any]] = [
    {"detector": "none"},
    {"detector": "none", "tta": True, "min_confidence": 0.9, "threads": 1, "batch_size": 3, "max_pixels": 5000},
    {"detector": Fixed(20)},
    {"detector": "centerface", "detect_size": 320},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["none", "all options", "own detector", "centerface"])
def test_copies_answer_as_the_original(tiny_model: Path, options: dict[str, Any], grace_hopper: Path) -> None:
    picture = grace_hopper if options["detector"] == "centerface" else PHOTO
    reader = Reader(tiny_model, **options)
    for twin in (pickle.loads(pickle.dumps(reader)), copy.deepcopy(reader), copy.copy(reader)):
        assert twin is not reader
        assert answer(twin, picture) == answer(reader, picture)
        assert twin.options.keys() == reader.options.keys()
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(reader))))
    assert answer(again, picture) == answer(reader, picture)


def test_options_travel(tiny_model: Path) -> None:
    twin = pickle.loads(pickle.dumps(Reader(tiny_model, detector="none", max_pixels=100, min_confidence=1.0)))
    with pytest.raises(ImageError, match="at most 100 pixels"):
        twin.read(png(CROP))
    (face,) = pickle.loads(pickle.dumps(Reader(tiny_model, detector="none", min_confidence=1.0))).read(CROP).faces
    assert face.expression is None


def test_another_process_in_another_folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_model.parent)
    reader = Reader(tiny_model.name, detector="none", threads=1)
    (tmp_path / "reader.pkl").write_bytes(pickle.dumps(reader))
    np.save(tmp_path / "crop.npy", CROP)
    code = "import numpy, pickle; print(pickle.load(open('reader.pkl', 'rb')).read(numpy.load('crop.npy')).to_dict())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(reader.read(CROP).to_dict())


def test_a_spawn_pool(tiny_model: Path, tmp_path: Path) -> None:
    reader = Reader(tiny_model, detector="none", threads=1)
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for number, path in enumerate(paths):
        np.save(path, np.roll(CROP, number))
    pictures = [np.load(path) for path in paths]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(reader.read, pictures) == [reader.read(picture) for picture in pictures]


def test_joblib(tiny_model: Path) -> None:
    joblib = pytest.importorskip("joblib")
    reader = Reader(tiny_model, detector="none", threads=1)
    got = joblib.Parallel(n_jobs=2)(joblib.delayed(reader.read)(np.roll(CROP, i)) for i in range(4))
    assert got == [reader.read(np.roll(CROP, i)) for i in range(4)]


def test_a_process_loads_each_network_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(Reader(tiny_model, detector="none", threads=1))
    loads = []
    load = Classifier.load
    monkeypatch.setattr(Classifier, "load", lambda *given, **options: loads.append(1) or load(*given, **options))
    for _ in range(3):
        pickle.loads(data)
    assert len(loads) <= 1


def test_a_file_travels_by_path_and_bytes_travel_whole(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(tiny_model.read_bytes())
    by_path, by_bytes = Reader(path, detector="none"), Reader(path.read_bytes(), detector="none")
    assert answer(by_path) == answer(by_bytes)
    assert tiny_model.read_bytes() in pickle.dumps(by_bytes)
    assert tiny_model.read_bytes() not in pickle.dumps(by_path)
    sent = pickle.dumps(by_path), pickle.dumps(by_bytes)
    path.unlink()
    with pytest.raises(UsageError, match=r"no model file .*own\.onnx"):
        pickle.loads(sent[0])
    assert answer(pickle.loads(sent[1])) == answer(by_bytes)


def test_another_model_under_the_same_name_is_refused(make_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(make_model().read_bytes())
    sent = pickle.dumps(Reader(path, detector="none"))
    pickle.loads(sent)
    path.write_bytes(make_model(mien__temperature="1.0").read_bytes())
    pickle.loads(sent)  # this process holds the right one still
    from mien.reading import reader as module

    module._kept_classifier.cache_clear()
    with pytest.raises(ModelError, match="got another one under its name"):
        pickle.loads(sent)
    path.write_bytes(make_model().read_bytes())
    pickle.loads(sent)  # put right


def test_detectors_can_be_pickled(grace_hopper: Path) -> None:
    from mien.imaging import load_rgb

    photo = load_rgb(grace_hopper)
    for name in ("centerface", "none"):
        detector = make_detector(name, detect_size=320)
        twin = pickle.loads(pickle.dumps(detector))
        assert [found.box for found in twin.detect(photo)] == [found.box for found in detector.detect(photo)]


def test_a_detector_that_cannot_be_pickled_says_so(tiny_model: Path) -> None:
    detector = Fixed(20)
    detector.hook = lambda: None  # type: ignore[attr-defined]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Reader(tiny_model, detector=detector))


def test_shipped_models_travel_by_name() -> None:
    reader = Reader("nano", detector="none", threads=1)
    sent = pickle.dumps(reader)
    assert len(sent) < 1000
    assert answer(pickle.loads(sent)) == answer(reader)
    assert os.sep.encode() not in sent
