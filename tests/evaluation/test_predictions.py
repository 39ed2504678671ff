"""The type that all predictions have: rows chosen, classes ordered, written and read back; and what must not pass."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.errors import DataError
from mien.evaluation.predictions import Predictions, same_images
from mien.labels import EIGHT, SEVEN


def some(n: int = 6, labels: tuple[str, ...] = SEVEN) -> Predictions:
    """Random predictions, the third a failure; groups, votes and near-duplicates that tell the rows apart."""
    p = np.random.default_rng(0).dirichlet(np.ones(len(labels)), n).astype(np.float32)
    p[2] = np.nan
    return Predictions(
        paths=[f"{i}.png" for i in range(n)],
        labels=labels,
        probabilities=p,
        truth=np.array([0, 3, -1, 7, 6, 5])[:n],
        near_duplicate=np.arange(n) % 2 == 0,
        votes=np.arange(10 * n, dtype=np.float32).reshape(n, 10),
        groups={"age": [None, *"abcde"][:n]},
    )


def test_true_and_predicted_classes_are_columns() -> None:
    found = some()
    assert found.y.tolist() == [0, 3, -1, -1, 6, 5]  # no label, and contempt, of which seven classes know nothing
    assert found.predicted[2] == 7
    assert found.predicted[0] == found.probabilities[0].argmax()
    assert some(labels=EIGHT).y.tolist() == [0, 3, -1, 7, 6, 5]


def test_rows_stay_together() -> None:
    found = some()
    rows = np.array([4, 0])
    part = found.subset(rows)
    assert (part.paths, part.groups["age"]) == (["4.png", "0.png"], ["d", None])
    for name in ("probabilities", "truth", "near_duplicate", "votes"):
        np.testing.assert_array_equal(getattr(part, name), getattr(found, name)[rows])
    mask = np.isin(np.arange(6), rows)
    assert found.subset(mask).paths == ["0.png", "4.png"]
    assert {name: len(part) for name, part in found.parts().items()} == {"all": 6, "leak_free": 3}
    with pytest.raises(ValueError, match="bool"):
        found.subset(mask & -1)  # 0 and 1 where a mask was meant: not the same rows


def test_another_order_of_classes_is_the_same_prediction() -> None:
    found = some()
    turned = Predictions(
        paths=found.paths, truth=found.truth, labels=("Happiness", *SEVEN[:3], *SEVEN[4:]),
        probabilities=found.probabilities[:, [3, 0, 1, 2, 4, 5, 6]],
    ).in_label_order()  # fmt: skip
    assert turned.labels == SEVEN
    np.testing.assert_array_equal(turned.probabilities, found.probabilities)
    np.testing.assert_array_equal(turned.y, found.y)


@pytest.mark.parametrize("labels", [SEVEN, EIGHT])
def test_what_is_written_is_read_back(tmp_path: Path, labels: tuple[str, ...]) -> None:
    found = some(labels=labels)
    found.write(tmp_path)
    again = Predictions.read(tmp_path)
    assert (again.paths, again.labels) == (found.paths, labels)
    for name in ("probabilities", "truth", "near_duplicate"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.probabilities.dtype == np.float32
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.schema.names == ["path", "label", "answer", *labels, "near_duplicate"]
    assert table["answer"].to_pylist()[2] is None
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[3] == "2.png" + "," * len(labels)
    assert [float(cell) for cell in rows[1].split(",")[1:]] == pytest.approx(found.probabilities[0].tolist(), abs=1e-6)


def test_other_images_are_noticed() -> None:
    found = some()
    same_images({"a": found, "b": found.subset(np.arange(6))})
    for other in (found.subset(np.arange(5)), found.subset(np.arange(6)[::-1])):
        with pytest.raises(DataError, match=r"same images, got 6 for a and \d for b"):
            same_images({"a": found, "b": other})


def test_mean_confidence_is_of_the_images_with_a_prediction() -> None:
    found = some()
    greatest = np.delete(found.probabilities, 2, axis=0).max(1)
    assert found.mean_confidence() == pytest.approx(greatest.mean(), abs=5e-5)
    assert found.subset(np.array([2])).mean_confidence() is None
    assert json.dumps(found.mean_confidence())
