"""What a network is shown more than once comes from Training alone, checked on stores that were really written.

Neither what a build generates nor what an online order draws may come from an image that an evaluation split holds,
nor from a near-duplicate of one. The check here shares no code with what it checks; the controls make it fail.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from build_cases import blob, class_folders, pixels_of, rows_of

from fake_datasets import ckplus_crops
from list_source import Listed
from mien.data.build import plan as plan_module
from mien.data.build.balance import BalanceSettings, plan_balance
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.build.splits import SplitSettings
from mien.data.sources import Sample, open_source
from mien.data.store import Store
from mien.errors import DataError
from mien.training.online_balance import BalancedOrder, balanced_order, tied

SPLITS = SplitSettings(carve=True, shares={"test": 0.1}, balanced={"validation": 2})


def with_leaks() -> Listed:
    """FER2013-like, official splits, few "disgust"; most of those in Training are copies of PublicTest, three ways."""
    noise = np.random.default_rng(0).integers(-6, 7, (48, 48))
    items = [Sample(f"train/{i:03d}", blob(1000 + i), ("happy", "sad", "angry", "fear")[i % 4], "training")
             for i in range(120)]  # fmt: skip
    items += [Sample(f"eval/{i:03d}", blob(2000 + i), ("happy", "sad", "angry", "disgust")[i % 4], "public_test")
              for i in range(40)]  # fmt: skip
    nearly = np.clip(blob(2007).astype(int) + noise, 0, 255).astype(np.uint8)
    blank = np.full((48, 48), 7, np.uint8)
    disgust = {"same": blob(2003), "nearly": nearly, "mirrored": blob(2011)[:, ::-1], "blank": blank}
    disgust |= {f"own{i}": blob(3000 + i) for i in range(9)}
    items += [Sample(f"train/{name}", pixels, "disgust", "training") for name, pixels in disgust.items()]
    items.append(Sample("eval/blank", blank, "disgust", "public_test"))
    return Listed(items, "fer2013")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    home = tmp_path_factory.mktemp("sources")
    class_folders(home / "mine")
    ckplus_crops(home / "ck")
    return [with_leaks(), open_source("folder", home / "mine"), open_source("ckplus", home / "ck")]


def build(sources, out: Path) -> Path:
    standard = Standard(size=48, color="grey", labels="seven")
    build_store(sources, out, standard=standard, splits=SPLITS, balance=BalanceSettings(target=60))
    return out


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory) -> Path:
    """Not to be changed."""
    return build(sources, tmp_path_factory.mktemp("built") / "s")


def blocks(pixels: np.ndarray) -> np.ndarray:
    """Means of 4×4 pixels, less their mean and of length 1, so that a product is a correlation; zeros where alike."""
    means = pixels.reshape(12, 4, 12, 4).mean(axis=(1, 3)).ravel()
    apart = means - means.mean()
    return apart / np.linalg.norm(apart) if np.ptp(means) else apart * 0


def same_or_nearly(a: np.ndarray, others: list[np.ndarray], of_others: np.ndarray) -> bool:
    nearly = np.stack([blocks(a), blocks(a[:, ::-1])]) @ of_others.T
    return any(np.array_equal(a, other) for other in others) or bool(nearly.max() > 0.99)


def offenders(rows: list[dict], shown: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of the (source, path) stand in an evaluation split, or are the same or nearly as what stands there."""
    originals = {(row["source"], row["image"]["path"]): row for row in rows if row["generated_from"] is None}
    evaluation = [pixels_of(row) for row in originals.values() if row["split"] != "training"]
    assert evaluation
    of_evaluation = np.stack([blocks(pixels) for pixels in evaluation])
    found = set()
    for name in set(shown):
        pixels = pixels_of(originals[name])
        if originals[name]["split"] != "training" or same_or_nearly(pixels, evaluation, of_evaluation):
            found.add(name)
    return found


def origins(rows: list[dict]) -> list[tuple[str, str]]:
    return [(row["source"], row["generated_from"]) for row in rows if row["generated_from"] is not None]


def test_nothing_is_generated_from_an_evaluation_image_or_its_like(built):
    rows = rows_of(built)
    per_class = {label: [r["label"] for r in rows if r["split"] == "validation"].count(label) for label in
                 {r["label"] for r in rows if r["split"] == "validation"}}  # fmt: skip
    assert len(per_class) == 7
    assert set(per_class.values()) == {2}  # evaluation sets are balanced
    made = origins(rows)
    assert len(made) > 100
    assert {source for source, _ in made} == {"fer2013", "folder", "ckplus"}
    assert ("fer2013", "train/own0") in made
    assert offenders(rows, made) == set()
    assert {row["split"] for row in rows if row["generated_from"] is not None} == {"training"}
    evaluation = {pixels_of(row).tobytes() for row in rows if row["split"] != "training"}
    assert not evaluation & {pixels_of(row).tobytes() for row in rows if row["generated_from"] is not None}


def test_the_check_fails_where_ties_are_not_heeded(sources, tmp_path, monkeypatch):
    def careless(index, plan, **options):
        return plan_balance(index, replace(plan, crossing=np.zeros(len(index), bool)), **options)

    monkeypatch.setattr(plan_module, "plan_balance", careless)
    rows = rows_of(build(sources, tmp_path / "s"))
    assert offenders(rows, origins(rows)) == {("fer2013", f"train/{name}") for name in ("same", "nearly", "mirrored")}
    mistaken = [(row["source"], row["image"]["path"]) for row in rows if row["split"] == "public_test"]
    assert offenders(rows, mistaken) == set(mistaken)


def test_an_online_order_draws_nothing_like_an_evaluation_image(built):
    store = Store.open(built)
    rows = [row for row in rows_of(store.path) if row["split"] == "training"]
    split = store.read("training")
    assert [row["image"]["path"] for row in rows] == split.paths
    where = [(row["source"], row["generated_from"] or row["image"]["path"]) for row in rows]

    def drawn(order):
        return [where[row] for epoch in range(12) for row in order(epoch)]

    order = balanced_order(store, split, seed=3)
    shown = drawn(order)
    assert offenders(rows_of(store.path), shown) == set()
    assert set(where) - set(shown) == {("fer2013", f"train/{name}") for name in ("same", "nearly", "mirrored", "blank")}
    for epoch in range(3):
        counts = np.bincount(split.labels[order(epoch)], minlength=7)
        assert np.ptp(counts) == 0
    # the control: an order that looks at labels alone draws them
    careless = offenders(rows_of(store.path), drawn(BalancedOrder(split.labels, seed=3)))
    assert careless == {("fer2013", f"train/{name}") for name in ("same", "nearly", "mirrored", "blank")}


def test_only_the_first_rows_take_part(built):
    store = Store.open(built)
    split = store.read("training")
    assert tied(store, split.limited(10)).shape == (10,)
    assert max(balanced_order(store, split.limited(100))(0)) < 100


def test_a_class_that_is_all_evaluation_images_cannot_be_drawn(tmp_path):
    items = [Sample(f"t{i}", blob(i), "happy", "training") for i in range(20)]
    items += [Sample("t", blob(50), "fear", "training"), Sample("e", blob(50), "fear", "test")]
    build_store([Listed(items)], tmp_path / "s")
    store = Store.open(tmp_path / "s")
    with pytest.raises(DataError, match=r"got none in fear .* set data\.balance to none"):
        balanced_order(store, store.read("training"))
