"""The protocol's promises, and that each check can fail: shuffled labels, copied labels, no faces, swapped columns."""

import json
from pathlib import Path

import numpy as np
import pytest

from eval_store import file_report, hot, leaky_store, model_report, write_answers
from mien.data.near_duplicates import block_averages
from mien.data.store import Store, spread
from mien.errors import DataError, UsageError
from mien.evaluation import metrics, protocol
from mien.evaluation.label_permutation import better_names
from mien.evaluation.leak import leak_effect
from mien.evaluation.predictions import Predictions, label_order
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.predictors import load_predictor
from mien.labels import EIGHT, SEVEN

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("leaky") / "store", labels=SEVEN, images=420, copied=120)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("eight") / "store", labels=EIGHT, images=240, copied=60)


def scored(store: Store, p: np.ndarray, folder: Path, labels: tuple[str, ...] = SEVEN, **options: object) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    file = write_answers(folder / "p.csv", store.read("test").paths, p, labels)
    return file_report(read_predictions_file(file), store, "test", folder / "out", **options)  # type: ignore[arg-type]


def sections(store: Store, p: np.ndarray) -> dict:
    """The scored part of a report, without its files."""
    split = store.read("test")
    rows = protocol.scorable(split.labels, SEVEN, split="test")
    assert rows is not None
    return protocol.score(Predictions.of_split(split, SEVEN, p.astype(np.float32)).subset(rows))


def test_labels_at_random_give_chance(leaky: Store) -> None:
    y = leaky.read("test").labels
    answers = np.random.default_rng(5).permutation(y)
    report = sections(leaky, hot(answers, 7))
    chance = ((np.bincount(y, minlength=7) / len(y)) ** 2).sum()
    figure = report["figures"]["all"]["accuracy"]
    assert figure["low"] < chance < figure["high"]
    assert report["warnings"] == []
    right = sections(leaky, hot(y, 7))["figures"]["all"]["accuracy"]
    assert right["low"] > chance  # and the true ones do not


def test_a_model_that_learned_the_duplicates_by_heart_is_caught(leaky: Store, tmp_path: Path) -> None:
    """Nearest Training image, its label: perfect on copies, chance elsewhere."""
    train, test = leaky.read("training"), leaky.read("test")
    a, b = (block_averages(split.images).astype(np.float64) for split in (test, train))
    nearest = ((a[:, None] - b[None]) ** 2).sum(2).argmin(1)
    report = scored(leaky, hot(train.labels[nearest], 7), tmp_path)
    everything, clean = (report["figures"][part]["accuracy"] for part in ("all", "leak_free"))
    assert (report["data"]["near_duplicates_in_training"], report["figures"]["leak_free"]["n"]) == (120, 300)
    assert clean["low"] < 1 / 7 < clean["high"]
    assert everything["low"] > clean["high"]
    leak = report["leak"]
    assert leak["accuracy_on_near_duplicates"]["value"] == 1
    assert leak["all_minus_leak_free"]["value"] == pytest.approx(everything["value"] - clean["value"])
    assert leak["all_minus_leak_free"]["low"] > 0.1
    assert leak["p"] < 1e-6
    # a model that is equally good everywhere is not accused
    y = test.labels
    honest = np.where(np.random.default_rng(2).random(len(y)) < 0.7, y, (y + 1) % 7)
    fair = sections(leaky, hot(honest, 7))["leak"]
    assert fair["all_minus_leak_free"]["low"] < 0 < fair["all_minus_leak_free"]["high"]
    assert fair["p"] > 0.01


def test_leak_effect_by_hand() -> None:
    right = np.repeat([True, False, True, False], [9, 1, 30, 60])
    found = leak_effect(right, np.arange(100) < 10)
    assert found is not None
    assert found["all_minus_leak_free"]["value"] == pytest.approx(39 / 100 - 30 / 90)
    assert found["near_duplicates"] == 10
    assert leak_effect(right, np.zeros(100, bool)) is None
    assert leak_effect(right, np.ones(100, bool)) is None


def test_no_face_anywhere_scores_nothing(leaky: Store, tmp_path: Path) -> None:
    p = np.full((420, 7), np.nan)
    report = scored(leaky, p, tmp_path)
    figures = report["figures"]["all"]
    assert (figures["n"], figures["failures"], figures["accuracy"]["value"]) == (420, 420, 0)
    assert figures["macro_f1"]["value"] == figures["top2_accuracy"]["value"] == 0
    assert figures["nll"]["value"] is None
    assert report["predictions"]["without_answer"] == 420
    assert (tmp_path / "out/report.html").stat().st_size > 1000


def test_images_that_a_file_forgets_count_as_wrong(leaky: Store, tmp_path: Path) -> None:
    split = leaky.read("test")
    file = write_answers(tmp_path / "p.csv", split.paths[:100], hot(split.labels[:100], 7), SEVEN)
    report = file_report(read_predictions_file(file), leaky, "test", tmp_path / "o")
    assert report["figures"]["all"]["accuracy"]["value"] == pytest.approx(100 / 420)
    assert report["predictions"]["missing"] == 320
    few = file_report(read_predictions_file(file), leaky, "test", tmp_path / "o2", limit=50)
    asked = spread(420, 50)  # over the whole split, of which the file knows the first hundred
    assert few["figures"]["all"]["accuracy"]["value"] == pytest.approx((asked < 100).mean())
    assert few["data"]["images"] == 50


def test_swapped_columns_are_noticed(leaky: Store) -> None:
    y = leaky.read("test").labels
    answers = np.where(
        np.random.default_rng(0).random(len(y)) < 0.7, y, np.random.default_rng(1).integers(0, 7, len(y))
    )
    p = hot(answers, 7)
    assert sections(leaky, p)["warnings"] == []
    swapped = p[:, [1, 0, 2, 3, 4, 5, 6]]
    (warning,) = sections(leaky, swapped)["warnings"]
    assert "angry as disgust, disgust as angry" in warning or "disgust as angry, angry as disgust" in warning
    alphabetical = p[:, [sorted(SEVEN).index(name) for name in SEVEN]]
    (warning,) = sections(leaky, alphabetical)["warnings"]
    assert "another order" in warning


def test_who_always_answers_the_same_is_bad_and_not_mixed_up() -> None:
    y = np.repeat(np.arange(7), [467, 56, 496, 895, 653, 415, 607])
    for answer in range(7):
        assert better_names(metrics.confusion(y, hot(np.full(len(y), answer), 7)), SEVEN) is None
    random = [np.random.default_rng(i).permutation(y) for i in range(50)]
    assert not any(better_names(metrics.confusion(y, hot(answers, 7)), SEVEN) for answers in random)


def test_a_model_with_another_order_of_labels_is_read_by_name(make_model, leaky: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The tiny model's logit i is cell i, whatever its name: two files that name the cells otherwise must differ so."""
    split = leaky.read("test")
    straight = model_report(load_predictor(str(make_model())), leaky, "test", tmp_path / "a")
    turned = model_report(load_predictor(str(make_model(labels=SEVEN[::-1]))), leaky, "test", tmp_path / "b")
    a, b = (Predictions.read(tmp_path / name) for name in "ab")
    assert a.labels == b.labels == SEVEN
    np.testing.assert_allclose(a.probabilities, b.probabilities[:, ::-1], atol=1e-7)
    for report, found in ((straight, a), (turned, b)):
        right = (found.probabilities.argmax(1) == split.labels).mean()
        assert report["figures"]["all"]["accuracy"]["value"] == pytest.approx(right)


def test_seven_class_readings_of_an_eight_class_model(eight: Store, tmp_path: Path) -> None:
    y = eight.read("test").labels
    random = np.random.default_rng(3)
    p = random.dirichlet(np.ones(8) * 0.4, len(y))
    p[np.arange(len(y)), y] += 0.6
    p[: len(y) // 3, 7] += 0.9  # often contempt, right or wrong
    p /= p.sum(1, keepdims=True)
    report = scored(eight, p, tmp_path, EIGHT)
    keep = y != 7
    assert report["figures"]["all"]["n"] == len(y)
    assert report["figures"]["all"]["accuracy"]["value"] == pytest.approx((p.argmax(1) == y).mean())
    shut, open_ = (report["seven_classes"][name]["figures"]["all"] for name in ("closed", "open"))
    assert shut["n"] == open_["n"] == keep.sum()
    assert open_["accuracy"]["value"] == pytest.approx((p.argmax(1) == y)[keep].mean())
    assert shut["accuracy"]["value"] == pytest.approx((p[:, :7].argmax(1) == y)[keep].mean())
    assert shut["accuracy"]["value"] > open_["accuracy"]["value"] + 0.05  # they do differ
    seven_way = p[keep, :7] / p[keep, :7].sum(1, keepdims=True)
    assert shut["nll"]["value"] == pytest.approx(
        -np.log(np.maximum(seven_way[np.arange(len(seven_way)), y[keep]], 1e-7)).mean(), rel=1e-4
    )
    for reading in (shut, open_):  # an identity, on one set of predictions
        assert reading["weighted_recall"]["value"] == reading["accuracy"]["value"]
    assert shut["labels"] == list(SEVEN)
    assert "leak_free" in report["seven_classes"]["open"]["figures"]


def test_nothing_but_contempt_is_a_failure_when_read_closed() -> None:
    found = Predictions(paths=["a", "b"], labels=EIGHT, probabilities=np.eye(8)[[7, 3]], truth=np.array([0, 3]))
    closed = found.as_seven("closed")
    assert closed.labels == SEVEN
    assert np.isnan(closed.probabilities[0]).all()
    assert closed.probabilities[1].argmax() == 3
    assert not closed.has_contempt


def test_a_seven_class_model_is_not_asked_about_contempt(eight: Store, tmp_path: Path) -> None:
    split = eight.read("test")
    answers = np.minimum(split.labels, 6)
    report = scored(eight, hot(answers, 7), tmp_path)
    contempt = int((split.labels == 7).sum())
    assert report["data"]["left_out"] == {"contempt": contempt}
    assert report["figures"]["all"]["n"] == len(split) - contempt
    assert report["figures"]["all"]["accuracy"]["value"] == 1
    assert len(Predictions.read(tmp_path / "out").paths) == len(split)  # the answers are all there


def test_a_model_that_lacks_another_class_is_refused() -> None:
    with pytest.raises(DataError, match="without neutral"):
        protocol.scorable(np.array([0, 6]), SEVEN[:6], split="test")
    with pytest.raises(DataError, match="each expression once"):
        label_order(("happy", "joy"))
    assert label_order(("neutral", "Anger")) == (("angry", "neutral"), [1, 0])


@pytest.mark.usefixtures("with_figures")
def test_answers_alone_have_no_probability_figures(leaky: Store, tmp_path: Path) -> None:
    split = leaky.read("test")
    lines = [f"{path},{SEVEN[code]}" for path, code in zip(split.paths, split.labels, strict=True)]
    (tmp_path / "a.csv").write_text("path,answer\n" + "\n".join(lines))
    report = file_report(read_predictions_file(tmp_path / "a.csv"), leaky, "test", tmp_path / "o", name="people")
    figures = report["figures"]["all"]
    assert figures["accuracy"]["value"] == 1
    assert all(figures[key]["value"] is None for key in protocol.NEED_PROBABILITIES)
    assert not (tmp_path / "o/reliability.png").exists()
    assert any("answers without probabilities" in line for line in report["not_measured"])
    assert report["model"]["name"] == "people"


def test_a_file_of_our_own_predictions_gives_the_same_figures(make_model, leaky: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    direct = model_report(load_predictor(str(make_model())), leaky, "test", tmp_path / "a")
    for name, ties in (("predictions.csv", 4), ("predictions.parquet", 0)):  # six decimals make equals of a few
        again = file_report(read_predictions_file(tmp_path / "a" / name), leaky, "test", tmp_path / name[-3:])
        a, b = (np.array(report["figures"]["all"]["confusion"]) for report in (again, direct))
        assert np.abs(a - b).sum() <= ties
        assert again["figures"]["all"]["nll"]["value"] == pytest.approx(
            direct["figures"]["all"]["nll"]["value"], abs=1e-5
        )
        assert again["predictions"]["matched"] == 420


def test_ten_crops_stand_beside_the_single_one(make_model, leaky: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = str(make_model())
    one = model_report(load_predictor(model), leaky, "test", tmp_path / "one")
    ten = model_report(load_predictor(model), leaky, "test", tmp_path / "ten", tta=True)
    assert ten["single_crop"]["figures"]["all"]["confusion"] == one["figures"]["all"]["confusion"]
    change = ten["single_crop"]["ten_minus_single"]
    for part in ("all", "leak_free"):
        a, b = (report["figures"][part]["accuracy"]["value"] for report in (one, ten))
        assert change[part]["difference"]["accuracy"]["value"] == pytest.approx(b - a)
    assert "single_crop" not in one


@pytest.mark.usefixtures("with_figures")
def test_votes_and_groups_are_in_the_report(leaky: Store, tmp_path: Path) -> None:
    split = leaky.read("test")
    report = scored(leaky, hot(np.full(420, SEVEN.index("neutral")), 7), tmp_path, group_by=("group",))
    votes = report["votes"]["all"]
    assert votes["majority"]["value"] == pytest.approx(0.5)  # every second image is all neutral, the others happy
    assert votes["vote_share"]["value"] == pytest.approx(0.5)
    assert {row["level"]: row["n"] for row in votes["accuracy_by_level"] if row["n"]} == {"6/10": 210, "10/10": 210}
    groups = report["groups"]["group"]["all"]["groups"]
    for number, name in enumerate("ab"):
        share = (split.labels[number::2] == SEVEN.index("neutral")).mean()
        assert groups[name]["accuracy"]["value"] == pytest.approx(share)
    assert (tmp_path / "out/groups-group.svg").stat().st_size > 1000
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
    with pytest.raises(UsageError, match="once"):
        scored(leaky, hot(split.labels, 7), tmp_path, group_by=("group", "group"))
