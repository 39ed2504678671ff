"""The readers that ship: small, documented, trained by our recipes, and able to read real faces."""

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from mien import Reader, weights
from mien.errors import ModelError
from mien.faces.orientation import OrientationNet
from mien.labels import SEVEN
from mien.reading.classifier import SHIPPED, Classifier, model_bytes

WEIGHTS = resources.files("mien.weights")


def test_both_fit_in_eight_megabytes() -> None:
    sizes = [len((WEIGHTS / f"{name}.onnx").read_bytes()) for name in SHIPPED]
    assert sum(sizes) <= 8_000_000


def test_what_was_changed_since_it_was_shipped_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intact network, but not the one of the card."""
    for file in WEIGHTS.iterdir():
        if file.name.endswith((".onnx", "SHA256SUMS")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    OrientationNet()
    loaded = Classifier.load("nano", threads=1)  # the control
    (tmp_path / "nano.onnx").write_bytes((tmp_path / "compact.onnx").read_bytes())
    with pytest.raises(ModelError, match=f"expected nano.onnx with SHA-256 {loaded.digest[:16]}…, which mien ships"):
        Classifier.load("nano", threads=1)
    with pytest.raises(ModelError, match=r"expected nano\.onnx with SHA-256"):
        model_bytes("nano")
    assert Classifier.load(tmp_path / "nano.onnx", threads=1).meta.name == "compact"  # as a file of one's own
    (tmp_path / "orientation.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"expected orientation\.onnx with SHA-256"):
        OrientationNet()
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(ModelError, match=r"cannot read compact\.onnx, which mien ships"):
        Classifier.load("compact", threads=1)


@pytest.mark.parametrize("name", SHIPPED)
def test_provenance_and_card(name: str) -> None:
    meta = Classifier.load(name, threads=1).meta
    assert meta.labels == SEVEN
    assert meta.calibration.temperature != 1
    assert meta.provenance["temperature_fitted_on"] == "public_test"
    assert meta.provenance["data"]["images"] == 44_214  # FER2013's Training, and LFW and GENKI with hints
    card = (WEIGHTS / f"{name}.md").read_text("utf-8")
    for part in (
        "FER2013",
        "FER+",
        "LFW",
        "GENKI",
        "apparent expression",
        "95 %",
        "leak-free",
        "Not measured",
        "AI Act",
    ):
        assert part in card, part
    best = meta.provenance["valid_accuracy"]
    assert best > 0.6
    recipe = meta.provenance["recipe"]
    assert recipe["name"] == name
    assert recipe["data"]["train"] == "training"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_smiling_face_is_happy(name: str, astronaut: Path) -> None:
    (face,) = Reader(name, threads=1).read(astronaut).faces
    assert face.expression == "happy"
    assert face.confidence > 0.5


def test_a_smile_stays_a_smile_when_the_picture_changes(astronaut: Path) -> None:
    from PIL import Image

    picture = Image.open(astronaut).convert("RGB")
    reader = Reader(threads=1)
    for changed in (picture.rotate(15), picture.resize((300, 300)), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        (face,) = reader.read(changed).faces
        assert face.expression == "happy"


@pytest.mark.fer2013
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n == "compact" else n for n in SHIPPED])
def test_the_card_tells_the_truth(name: str, fer2013_dir: Path) -> None:
    """Accuracy on PublicTest, computed here with ``classify`` alone, against the card's own figures."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(fer2013_dir / "public_test.parquet")
    crops = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table["image"].to_pylist()]
    probabilities = Reader(name, detector="none", threads=2, precision="fp32").classify(crops)
    right = probabilities.argmax(1) == np.array(table["emotion"])
    card = (WEIGHTS / f"{name}.md").read_text("utf-8")
    match = re.search(r"\| accuracy, single crop \| ([\d.]+) %", card)
    assert match is not None
    assert right.mean() * 100 == pytest.approx(float(match[1]), abs=0.006)
    # The negative control: the labels of the row before.
    assert (probabilities.argmax(1)[1:] == np.array(table["emotion"])[:-1]).mean() < 0.3


@pytest.mark.fer2013
def test_the_blind_predictions_are_those_of_the_shipped_readers(fer2013_dir: Path) -> None:
    """Every PrivateTest path once, in each file; the first rows are recomputed."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    images = pq.read_table(fer2013_dir / "private_test.parquet")["image"].to_pylist()
    crops = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in images[:40]]
    for name in SHIPPED:
        table = pq.read_table(Path(__file__).parents[1] / "results" / "fer2013" / "private_test" / f"{name}.parquet")
        assert table.schema.names == ["path", *SEVEN]
        assert table["path"].to_pylist() == [image["path"] for image in images]
        expected = Reader(name, detector="none", threads=1, precision="fp32").classify(crops)
        got = np.stack([table[label].to_numpy()[:40] for label in SEVEN], 1)
        np.testing.assert_allclose(got, expected, atol=2e-3)
