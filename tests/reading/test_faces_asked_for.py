"""What an answer says of a face beside its expression, and which faces are left out when asked."""

import csv
import io
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien import Reader, ReadFailure
from mien.errors import UsageError
from mien.evaluation.predictions_file import read_predictions_file
from mien.faces.base import Detection
from mien.faces.pose import MODEL
from mien.labels import SEVEN
from mien.onnx_runtime import make_session
from mien.reading.outputs import open_writer
from mien.results import Box, Face, table_columns

PHOTO = np.random.default_rng(1).integers(20, 256, (200, 300, 3), dtype=np.uint8)
POINTS = (MODEL[:, :2] * 20 + [100, 80]).astype(np.float32)  # a head that looks straight ahead
OLD = (
    "source", "time_s", "face", "x", "y", "w", "h", "score", "expression", "confidence",
    "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "track", "error",
)  # fmt: skip
NEW = (
    "roll", "yaw", "pitch", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "nose_x", "nose_y",
    "left_mouth_x", "left_mouth_y", "right_mouth_x", "right_mouth_y",
)  # fmt: skip


class Given:
    """Finds what it is given."""

    def __init__(self, *found: Detection) -> None:
        self.found = list(found)

    def detect(self, image: np.ndarray) -> list[Detection]:
        return self.found


WITH = Detection(Box(80, 60, 60, 70), 0.9, POINTS)
WITHOUT = Detection(Box(10, 10, 30, 20), 0.5)
ODD = Detection(Box(200, 10, 25, 40), 0.2, np.full((5, 2), np.nan, np.float32))


def faces(model: Path, *found: Detection, **options: Any) -> tuple[Face, ...]:
    return Reader(model, detector=Given(*found), threads=1, **options).read(PHOTO).faces


# ── landmarks and pose ──────────────────────────────────────────────────────────────────────────────────────────


def test_landmarks_and_pose_of_a_face(tiny_model: Path) -> None:
    first, second, third = faces(tiny_model, ODD, WITHOUT, WITH)  # the largest comes first
    assert first.landmarks is not None
    np.testing.assert_allclose(first.landmarks, POINTS, rtol=1e-6)
    assert first.roll == pytest.approx(0, abs=1e-4)
    assert first.yaw == pytest.approx(0, abs=0.2)
    assert first.pitch == pytest.approx(0, abs=0.2)
    for other in (second, third):
        assert (other.landmarks, other.roll, other.yaw, other.pitch) == (None,) * 4
    (crop,) = Reader(tiny_model, detector="none", threads=1).read(PHOTO).faces
    assert (crop.landmarks, crop.roll, crop.yaw, crop.pitch) == (None,) * 4


def test_landmarks_of_another_kind_are_refused(tiny_model: Path) -> None:
    """The first two of 68 points are no eyes; a crop after them would be wrong without a word."""
    with pytest.raises(UsageError, match=r"landmarks 5×2, got shape \(68, 2\)"):
        faces(tiny_model, Detection(Box(80, 60, 60, 70), 0.9, np.zeros((68, 2), np.float32)))


def test_json_keys_are_appended(tiny_model: Path) -> None:
    reading = Reader(tiny_model, detector=Given(WITH, WITHOUT), threads=1).read(PHOTO)
    first, second = json.loads(json.dumps(reading.to_dict()))["faces"]
    keys = ["box", "score", "expression", "confidence", "probabilities", "track", "landmarks", "roll", "yaw", "pitch"]
    assert list(first) == list(second) == keys
    assert first["landmarks"] == [[round(float(v), 2) for v in point] for point in POINTS]
    assert (first["roll"], first["yaw"]) == (0.0, 0.0)
    assert [second[key] for key in keys[6:]] == [None] * 4


def test_columns_are_appended(tiny_model: Path, tmp_path: Path) -> None:
    raw = tuple(f"raw_{label}" for label in SEVEN)  # of videos
    assert table_columns() == OLD + NEW + raw
    reader = Reader(tiny_model, detector=Given(WITH, WITHOUT), threads=1)
    results = [reader.read(PHOTO, name="a"), ReadFailure("b", "missing", "no")]
    stream = io.BytesIO()
    with open_writer("csv", output=None, labels=reader.labels, stdout=stream) as writer:
        for result in results:
            writer.write(result)
    rows = list(csv.DictReader(stream.getvalue().decode().splitlines()))
    assert tuple(rows[0]) == OLD + NEW + raw
    assert [rows[0][name] for name in NEW[3:]] == [str(round(float(v), 2)) for v in POINTS.ravel()]
    assert float(rows[0]["yaw"]) == 0
    for row in rows[1:]:
        assert [row[name] for name in NEW] == [""] * 13
    path = tmp_path / "faces.parquet"
    with open_writer("parquet", output=str(path), labels=reader.labels, stdout=stream) as writer:
        for result in results:
            writer.write(result)
    table = pq.read_table(path)
    assert tuple(table.schema.names) == OLD + NEW + raw
    assert {str(table.schema.field(name).type) for name in NEW} == {"double"}
    assert table["nose_y"].to_pylist() == [pytest.approx(float(POINTS[2, 1]), abs=0.01), None, None]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_such_tables_can_still_be_evaluated(tiny_model: Path, tmp_path: Path, suffix: str) -> None:
    reader = Reader(tiny_model, detector=Given(WITH, WITHOUT), threads=1)
    path = tmp_path / f"answers.{suffix}"
    with open_writer(suffix, output=str(path), labels=reader.labels, stdout=io.BytesIO()) as writer:
        writer.write(reader.read(PHOTO, name="a.png"))
    answers = read_predictions_file(path)
    assert answers.paths == ["a.png"]
    assert answers.labels == reader.labels
    assert np.isfinite(answers.probabilities).all()


def test_a_face_refuses_other_landmarks() -> None:
    with pytest.raises(ValueError, match="5 landmarks"):
        Face(Box(0, 0, 1, 1), 1, "happy", 1.0, {"happy": 1.0}, landmarks=((1.0, 2.0),))


# ── which faces ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_min_score_of_an_own_detector(tiny_model: Path) -> None:
    found = (WITH, WITHOUT, ODD)
    assert [face.score for face in faces(tiny_model, *found)] == [0.9, 0.2, 0.5]  # by size
    assert [face.score for face in faces(tiny_model, *found, min_score=0.5)] == [0.9, 0.5]
    assert [face.score for face in faces(tiny_model, *found, min_score=0.51)] == [0.9]
    assert faces(tiny_model, *found, min_score=1.0) == ()


def test_min_score_reaches_the_detector(tiny_model: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the detector's own 0.6 doubtful finds stay as they are; above every score there is no face."""
    photo = Image.open(astronaut).convert("RGB")
    small = Image.new("RGB", (640, 480), (127, 127, 127))
    for number, side in enumerate((60, 70, 80, 90, 110)):
        small.paste(photo.resize((side, side)), (20 + 120 * number, 100))
    scores = []
    for least in (0.05, None, 0.95):
        reader = Reader(tiny_model, threads=2, min_score=least, detect_size=320)
        scores.append([face.score for face in reader.read(np.asarray(small)).faces])
        assert all(score >= (least or 0.6) for score in scores[-1])
    assert len(scores[0]) >= len(scores[1]) > 0
    assert min(scores[0]) < 0.6
    assert not scores[2]


def test_min_face_is_the_shorter_side(tiny_model: Path) -> None:
    found = (WITH, WITHOUT, ODD)  # 60×70, 30×20, 25×40
    for least, sides in ((None, 3), (0, 3), (20, 3), (20.1, 2), (25, 2), (26, 1), (60, 1), (61, 0)):
        assert len(faces(tiny_model, *found, min_face=least)) == sides
    outside = Detection(Box(280, 100, 60, 60), 0.9)  # of which 20×60 lie in the picture, as its box says
    assert len(faces(tiny_model, outside, min_face=21)) == 0


@pytest.mark.parametrize(
    "options",
    [{"min_score": 0.0}, {"min_score": 1.1}, {"min_score": float("nan")}, {"min_face": -1}, {"min_face": float("nan")}],
)
def test_wrong_thresholds(tiny_model: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Reader(tiny_model, detector="none", **options)  # type: ignore[arg-type]


# ── device ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_is_not_there(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected a device of cpu, cuda, got 'tpu'"):
        Reader(tiny_model, detector="none", device="tpu")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="pip install onnxruntime-gpu"):
        Reader(tiny_model, detector="none", device="cuda")


def test_cuda_is_asked_for_each_network_and_never_falls_back(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: ONNX Runtime is made to say that it has one, and the session that it has not."""
    real, asked = ort.InferenceSession, []
    works = True

    def session(model: bytes, options: Any, providers: list[Any]) -> Any:
        asked.append(providers)
        inner = real(model, options, providers=["CPUExecutionProvider"])
        if not works:
            return inner
        names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        parts = {name: getattr(inner, name) for name in ("run", "get_modelmeta", "get_inputs", "get_outputs")}
        return types.SimpleNamespace(get_providers=lambda: names, **parts)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("not found"), raising=False)
    reader = Reader(tiny_model, threads=1, device="cuda")
    assert len(reader.read(PHOTO).faces) >= 0
    assert [providers[0][0] for providers in asked] == ["CUDAExecutionProvider"] * 3
    works = False
    with pytest.raises(UsageError, match="CUDA did not start"):
        make_session(tiny_model.read_bytes(), threads=1, device="cuda")


def test_what_cuda_prints_is_no_data(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("libcudnn not found"), raising=False)
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: types.SimpleNamespace(get_providers=list))
    with pytest.raises(UsageError):
        make_session(tiny_model.read_bytes(), threads=1, device="cuda")
    assert capfd.readouterr().out == ""
