"""mien evaluate --predictions: what is counted of a file, and what is said about it."""

from pathlib import Path

import numpy as np
import pytest

from eval_store import hot, leaky_store, write_answers
from mien.data.store import Store
from mien.evaluation.answers import read_answers
from mien.evaluation.evaluate import evaluate_answers
from mien.labels import SEVEN


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("file") / "store", labels=SEVEN, images=40, copied=10)


def test_counts_are_of_the_images_within_the_limit(store: Store, tmp_path: Path) -> None:
    """Of 40 images 10 are asked for: 9 have a row, 28 rows are of later images, 1 is of none."""
    split = store.read("test")
    paths = [path for number, path in enumerate(split.paths) if number not in (3, 20, 21)] + ["elsewhere.png"]
    file = write_answers(tmp_path / "a.csv", paths, hot(np.zeros(len(paths), int), 7), SEVEN)
    report = evaluate_answers(read_answers(file), store, "test", tmp_path / "out", limit=10)
    facts = report["predictions"]
    assert (facts["rows"], facts["matched"], facts["missing"], facts["first_missing"]) == (38, 9, 1, [split.paths[3]])
    assert (facts["beyond_limit"], facts["not_in_split"], facts["without_answer"]) == (28, 1, 0)
    assert report["figures"]["all"]["failures"] == 1
    assert "beyond the limit" in (tmp_path / "out/report.html").read_text()
    whole = evaluate_answers(read_answers(file), store, "test", tmp_path / "whole")
    assert (whole["predictions"]["matched"], whole["predictions"]["beyond_limit"]) == (37, 0)
