"""Results by group: a published interval, gaps that are there and gaps that are not, small groups, bad tables."""

from pathlib import Path

import numpy as np
import pytest

from eval_store import picture
from list_source import Listed
from mien.data.build.run import build_store
from mien.data.sources import Sample
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.groups import SMALL, UNKNOWN, by_group, load_groups, newcombe, proportion_gap, store_column
from mien.labels import SEVEN


def case(skills: dict[str, float], n: int = 700, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """n images a group, right with the group's skill."""
    random = np.random.default_rng(seed)
    groups: list[str | None] = [name for name in skills for _ in range(n)]
    y = np.arange(len(groups)) % 7
    right = random.random(len(groups)) < np.array([skills[g or ""] for g in groups])
    answers = np.where(right, y, (y + random.integers(1, 7, len(y))) % 7)
    return y, np.eye(7)[answers], groups


def test_newcombe_as_published() -> None:
    """Newcombe 1998, Statistics in Medicine 17:873, table II, method 10: 56/70 − 48/80 = 0.2."""
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert newcombe(10, 10, 0, 10) == pytest.approx((0.6075, 1.0), abs=5e-5)


def test_a_gap_that_is_there_is_found() -> None:
    y, p, groups = case({"young": 0.8, "middle": 0.78, "old": 0.6})
    found = by_group(y, p, groups, SEVEN)
    gap = found["gaps"]["accuracy"]
    right = p.argmax(1) == y
    shares = [right[i * 700 : (i + 1) * 700].mean() for i in range(3)]
    assert gap["lowest"] == "old"
    assert gap["value"] == pytest.approx(max(shares) - shares[2])
    assert gap["low"] > 0
    assert gap["p"] == pytest.approx(1 / 10_001)
    for name, share in zip(("young", "middle", "old"), shares, strict=True):
        assert found["groups"][name]["accuracy"]["value"] == pytest.approx(share)
        assert found["groups"][name]["n"] == 700
    f1 = found["gaps"]["macro_f1"]
    assert (f1["lowest"], f1["low"] > 0) == ("old", True)
    recall = found["gaps"]["recall"]["happy"]
    assert recall["value"] == pytest.approx(
        recall_of(y, p, 0, recall["highest"]) - recall_of(y, p, 0, recall["lowest"])
    )


def recall_of(y: np.ndarray, p: np.ndarray, _: int, group: str) -> float:
    start = ("young", "middle", "old").index(group) * 700
    rows = slice(start, start + 700)
    happy = y[rows] == SEVEN.index("happy")
    return float((p[rows].argmax(1) == y[rows])[happy].mean())


def test_groups_at_random_have_gaps_by_chance() -> None:
    """The control: p is uniform where there is nothing, so 5 % of trials are below 0.05."""
    random = np.random.default_rng(0)
    small = []
    for _ in range(200):
        right = random.random(600) < 0.7
        rows = [(str(i), right[i * 150 : (i + 1) * 150]) for i in range(4)]
        gap = proportion_gap(rows)
        assert gap is not None
        small.append(gap["p"] < 0.05)
    assert np.mean(small) < 0.09


def test_the_interval_covers_the_gap() -> None:
    random = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        gap = newcombe(int((random.random(120) < 0.8).sum()), 120, int((random.random(60) < 0.6).sum()), 60)
        covered.append(gap[0] <= 0.2 <= gap[1])
    assert 0.92 <= np.mean(covered) <= 0.98


def test_small_and_nameless_groups_are_shown_and_enter_no_gap() -> None:
    y, p, groups = case({"a": 0.7, "b": 0.7}, n=210)
    groups = [*groups[:400], *[None] * 20]
    y, p = np.concatenate([y, np.zeros(7, int)]), np.concatenate([p, np.eye(7)[np.ones(7, int)]])
    groups += ["few"] * 7
    found = by_group(y, p, groups, SEVEN)
    assert list(found["groups"]) == ["a", "b", "few", UNKNOWN]
    assert found["groups"]["few"]["small"]
    assert not found["groups"]["a"]["small"]
    assert found["groups"][UNKNOWN]["n"] == 20
    assert {found["gaps"]["accuracy"]["highest"], found["gaps"]["accuracy"]["lowest"]} == {"a", "b"}
    assert found["groups"]["few"]["recall"]["happy"]["value"] is None  # no happy image there
    alone = by_group(y[:30], p[:30], groups[:30], SEVEN)
    assert alone["gaps"]["accuracy"] is None
    assert SMALL == 30


def test_failures_count_in_their_group() -> None:
    y, p, groups = case({"a": 1.0, "b": 1.0}, n=70)
    p[70:105] = np.nan
    found = by_group(y, p, groups, SEVEN)
    assert found["groups"]["b"]["accuracy"]["value"] == 0.5
    assert found["groups"]["b"]["failures"] == 35
    assert found["gaps"]["accuracy"]["value"] == 0.5


def test_groups_come_from_the_store_or_a_table(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    split = store.read("public_test")
    assert load_groups("source", store, "public_test", split.paths) == ("source", ["fer2013"] * 70)
    table = tmp_path / "ages.csv"
    lines = [f"{path},{'old' if i % 2 else 'young'}" for i, path in enumerate(split.paths[:60])]
    table.write_text("Path, Age Band \n" + "\n".join([*lines, "other.png,old"]) + "\n")
    name, groups = load_groups(f"{table}:age band", store, "public_test", split.paths)
    assert name == "age band"
    assert groups[:2] == ["young", "old"]
    assert groups[60:] == [None] * 10


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        ("gender", "", "expected a column of the store"),
        ("image", "", "expected a column of the store"),
        ("group", "", "got none of them"),
        (":age", "", "expected COLUMN or FILE:COLUMN"),
        ("{file}: ", "", "expected COLUMN or FILE:COLUMN"),
        ("{file}:age", "path,sex\na,f\n", "expected a column 'age'"),
        ("{file}:age", "name,age\na,1\n", "expected a column 'path'"),
        ("{file}:age", "path,age\nelsewhere.png,1\n", "got none of them"),
        ("{file}:age", "path,age\na,1\na,2\n", "got 'a' in two"),
        ("{file}.absent:age", "path,age\na,1\n", "does not exist"),
    ],
)
def test_what_cannot_be_grouped_by(small_store: Path, tmp_path: Path, spec: str, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    store = Store.open(small_store)
    paths = store.read("public_test").paths
    with pytest.raises(DataError, match=message):
        load_groups(spec.format(file=tmp_path / "t.csv"), store, "public_test", paths)


def test_a_column_may_have_a_colon_and_no_group_the_name_of_none(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    paths, table = store.read("public_test").paths, tmp_path / "t.csv"
    table.write_text("path,age:band,odd\n" + "".join(f"{path},old,(no group)\n" for path in paths))
    assert load_groups(f"{table}:age:band", store, "public_test", paths) == ("age:band", ["old"] * len(paths))
    with pytest.raises(DataError, match=r"expected no group named '\(no group\)', which stands for images without"):
        load_groups(f"{table}:odd", store, "public_test", paths)


def test_ages_want_bands(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    paths = store.read("public_test").paths
    (tmp_path / "t.csv").write_text("path,age\n" + "\n".join(f"{path},{i}" for i, path in enumerate(paths)))
    with pytest.raises(DataError, match=r"at most 20 groups, got 70 .*bands"):
        load_groups(f"{tmp_path / 't.csv'}:age", store, "public_test", paths)


def test_a_path_of_two_sources_needs_the_source(tmp_path: Path) -> None:
    one, two = (
        Listed([Sample(f"{i}.png", picture(seed + i), SEVEN[i % 7], "test") for i in range(4)], name=name)
        for name, seed in (("one", 0), ("two", 100))
    )
    build_store([one, two], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    paths, table = store.read("test").paths, tmp_path / "t.csv"
    table.write_text("path,source,camera\n" + "".join(f"{i}.png,one,front\n" for i in range(4)) + "1.png,two,side\n")
    sources = store_column(store, "test", "source")
    expected = [
        "front" if source == "one" else "side" if path == "1.png" else None
        for source, path in zip(sources, paths, strict=True)
    ]
    assert load_groups(f"{table}:camera", store, "test", paths) == ("camera", expected)
    rows = np.array([0, 5])
    picked = load_groups(f"{table}:camera", store, "test", paths, rows=np.arange(8))[1]
    assert [picked[row] for row in rows] == [expected[row] for row in rows]
    table.write_text("path,camera\n1.png,front\n")
    with pytest.raises(DataError, match=r"expected a column 'source' .*pictures of several sources"):
        load_groups(f"{table}:camera", store, "test", paths)
