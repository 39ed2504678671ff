"""Images whose label is only a hint: from a table through a store into the targets of a training."""

import json
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build_cases import blob
from PIL import Image

from list_source import Listed
from mien.data.build.normalise import Standard, normalise
from mien.data.build.run import build_store
from mien.data.sources import open_source
from mien.data.sources.base import Drop, Sample
from mien.data.store import Store
from mien.errors import DataError
from mien.training.recipe import parse_recipe
from mien.training.targets import rows_to_learn_from, soft_targets

HINT = (0.1, 0.0, 0.05, 0.0, 0.15, 0.0, 0.7)


def table(path, soft):
    stream = BytesIO()
    Image.fromarray(blob(1)).save(stream, "PNG")
    png = {"bytes": stream.getvalue(), "path": "a.png"}
    pq.write_table(pa.table({"image": [png], "label": pa.array([None], pa.string()), "soft_label": soft}), path)
    return list(open_source("parquet", path).stream())


def test_a_table_gives_probabilities_as_a_list_or_as_json(tmp_path):
    for soft in (pa.array([HINT], pa.list_(pa.float64())), pa.array([json.dumps(HINT)])):
        (sample,) = table(tmp_path / "a.parquet", soft)
        assert sample.label is None
        assert sample.soft_label == pytest.approx(HINT)
    (none,) = table(tmp_path / "a.parquet", pa.array([None], pa.list_(pa.float64())))
    assert none.soft_label is None


@pytest.mark.parametrize("wrong", [[0.5, 0.5], [0.5] * 7, [1.2, -0.2, 0, 0, 0, 0, 0], [float("nan")] * 7])
def test_what_is_no_distribution_is_a_counted_drop(tmp_path, wrong):
    (drop,) = table(tmp_path / "a.parquet", pa.array([wrong], pa.list_(pa.float64())))
    assert isinstance(drop, Drop)
    assert drop.reason == "soft_label is no distribution over the expressions"


def test_a_store_keeps_them_and_training_learns_from_them(tmp_path):
    known = Sample("a", blob(1), "sad", "training")
    hinted = Sample("b", blob(2), None, "training", soft_label=HINT)
    nothing = Sample("c", blob(3), None, "training")
    build_store([Listed([known, hinted, nothing])], tmp_path / "s", standard=Standard(labels="seven"))
    split = Store.open(tmp_path / "s").read("training")
    assert np.isnan(split.soft_labels[[0, 2]]).all()
    assert split.soft_labels[1] == pytest.approx(HINT)
    recipe = parse_recipe({"name": "x", "model": {"name": "nano"}, "epochs": 1}, origin="test")
    rows, notes = rows_to_learn_from(split, recipe, hints=True)
    assert rows.paths == ["a", "b"]
    assert rows.labels.tolist() == [4, 6]  # the likeliest expression stands for the hint
    assert notes == ["1 of 3 images of training have no label and are left out"]
    assert rows_to_learn_from(split, recipe)[0].paths == ["a"]  # validation knows no hints
    targets = soft_targets(rows.labels, None, classes=7, smoothing=0.0, votes_weight=0.0, hints=rows.soft_labels)
    assert targets[0].tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert targets[1] == pytest.approx(HINT)
    smoothed = soft_targets(rows.labels, None, classes=7, smoothing=0.07, votes_weight=0.0, hints=rows.soft_labels)
    assert smoothed[1] == pytest.approx(0.93 * np.array(HINT) + 0.01)


def test_seven_probabilities_do_not_fit_a_store_of_eight(tmp_path):
    hinted = Sample("b", blob(2), None, "training", soft_label=HINT)
    with pytest.raises(DataError):
        build_store([Listed([hinted])], tmp_path / "s", standard=Standard(labels="eight"))


def test_stores_without_them_have_none(tmp_path):
    build_store([Listed([Sample("a", blob(1), "sad", "training")])], tmp_path / "s")
    assert Store.open(tmp_path / "s").read("training").soft_labels is None


def test_a_mapping_of_labels_moves_their_probabilities(tmp_path):
    hinted = Sample("b", blob(2), None, "training", soft_label=HINT)
    rare = Sample("c", blob(3), None, "training", soft_label=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    mapping = {("", "fear"): "surprise", ("", "sad"): "angry", ("", "disgust"): None}
    summary = build_store([Listed([hinted, rare])], tmp_path / "s", standard=Standard(labels="seven", mapping=mapping))
    split = Store.open(tmp_path / "s").read("training")
    assert split.paths == ["b"]  # what would be probable is left out by the mapping: so is the image
    assert split.soft_labels[0] == pytest.approx((0.25, 0.0, 0.0, 0.0, 0.0, 0.05, 0.7))
    assert summary["sources"][0]["dropped"] == {"label dropped by the mapping": 1}
    assert (
        normalise(
            hinted, source="x", standard=Standard(size=48, color="grey", labels="seven"), detector=None
        ).soft_label
        == HINT
    )


def test_an_image_with_both_is_trained_with_its_soft_label_and_scored_by_its_label(tmp_path):
    both = Sample("a", blob(1), "sad", "training", soft_label=HINT)
    build_store([Listed([both])], tmp_path / "s", standard=Standard(labels="seven"))
    split = Store.open(tmp_path / "s").read("training")
    assert split.labels.tolist() == [4]
    targets = soft_targets(split.labels, None, classes=7, smoothing=0.0, votes_weight=0.0, hints=split.soft_labels)
    assert targets[0] == pytest.approx(HINT)
    build_store([Listed([Sample("a", blob(1), "sad", "training")])], tmp_path / "t", standard=Standard(labels="seven"))
    digests = [Store.open(tmp_path / s).summary["splits"]["training"]["content_sha256"] for s in "st"]
    assert digests[0] != digests[1]
