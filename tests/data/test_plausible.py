"""Votes of other pictures: what no single row shows, and what a build refuses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build_cases import blob, fer2013_csv, png

from list_source import Listed
from mien.data.build.plausible import FITTING, ROWS, STRETCH, with_votes_that_fit
from mien.data.build.run import build_store
from mien.data.sources import VOTE_NAMES, Sample, open_source
from mien.data.store import Store
from mien.errors import DataError
from mien.labels import SEVEN, canonical

COLUMN = {canonical(name): i for i, name in enumerate(VOTE_NAMES[:8])}


def voted(n: int, *, seed: int = 0, split: str = "training") -> list[Sample]:
    """Rows without pictures, labels in FER2013's shares, whose voters agree as often as FER+'s do."""
    random = np.random.default_rng(seed)
    shares = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965]) / 28709
    rows = []
    for number, code in enumerate(random.choice(7, n, p=shares)):
        label = SEVEN[code]
        others = [name for name in ("neutral", "neutral", "happy", "sad", "surprise", "angry") if name != label]
        first = label if random.random() < FITTING[label] else str(random.choice(others))
        votes = [0] * 10
        votes[COLUMN[first]] = 7
        votes[COLUMN["contempt"]] = 3
        rows.append(Sample(f"{number}.png", None, label, split, votes=tuple(votes)))
    return rows


def others_votes(rows: Sequence[Sample], order: Sequence[int]) -> list[Sample]:
    return [replace(row, votes=rows[other].votes) for row, other in zip(rows, order, strict=True)]


def passed(rows: Sequence[Sample]) -> list[str]:
    """The warnings; all rows come through unchanged."""
    warnings: list[str] = []
    assert list(with_votes_that_fit(rows, source="s", warnings=warnings)) == list(rows)
    return warnings


def refusal(rows: Sequence[Sample]) -> str:
    with pytest.raises(DataError, match="expected votes about the same pictures") as caught:
        list(with_votes_that_fit(rows, source="s", warnings=[]))
    return str(caught.value)


def shuffled(n: int, *, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).permutation(n).tolist()


@pytest.fixture(scope="module")
def real(fer2013_dir: Path) -> list[Sample]:
    """Labels and votes of FER2013's Training, in its order."""
    table = pq.read_table(fer2013_dir / "training.parquet", columns=["emotion", "ferplus_votes"]).to_pylist()
    return [
        Sample(str(i), None, SEVEN[row["emotion"]], "training", row["ferplus_votes"] and tuple(row["ferplus_votes"]))
        for i, row in enumerate(table)
    ]


def test_the_shares_are_those_of_fer2013(real: list[Sample]) -> None:
    """Recounted with NumPy; and in every order of the rows, and for every label alone, the true votes pass."""
    rows = [row for row in real if row.votes]
    votes = np.array([row.votes for row in rows])
    labels = np.array([SEVEN.index(str(row.label)) for row in rows])
    first = votes == votes.max(1, keepdims=True)
    for code, name in enumerate(SEVEN):
        agree = first[labels == code][:, COLUMN[name]].mean()
        assert FITTING[name] == pytest.approx(agree, abs=5e-4)
        assert first[:, COLUMN[name]].mean() < 0.42 * agree  # what shuffled rows would have
        assert passed([row for row in rows if row.label == name]) == []
    assert passed(real) == []
    assert passed(sorted(real, key=lambda row: SEVEN.index(str(row.label)))) == []
    for seed in range(20):
        assert passed([rows[i] for i in shuffled(len(rows), seed=seed)[: 20 + 40 * seed]]) == []


@pytest.mark.parametrize("how", ["shuffled", "shifted", "shifted for 3,000 rows", "codes of another order"])
def test_real_votes_on_the_wrong_rows_are_refused(real: list[Sample], how: str) -> None:
    n = len(real)
    order = {
        "shuffled": shuffled(n),
        "shifted": [n - 1, *range(n - 1)],
        "shifted for 3,000 rows": [*range(9000), *range(9001, 12001), 9000, *range(12001, n)],
    }.get(how, range(n))
    rows = others_votes(real, order)
    if how == "codes of another order":
        rows = [replace(row, label=SEVEN[SEVEN.index(str(row.label)) - 1]) for row in rows]
    said = refusal(rows)
    assert "successive rows of training" in said
    assert "% where the votes are about the same pictures; rows were shuffled, sorted or shifted" in said
    assert "move the votes (fer2013new.csv, or their column) away" in said


def test_one_split_of_three_is_enough_and_is_named() -> None:
    first, second, third = (voted(300, seed=len(name), split=name) for name in ("training", "public_test", "test"))
    assert passed([*first, *second, *third]) == []
    assert " in public_test " in refusal([*first, *others_votes(second, shuffled(300)), *third])


def test_a_stretch_of_a_long_split_is_enough() -> None:
    rows = voted(8 * STRETCH)
    at = 2 * STRETCH
    order = [*range(at), *range(at + 1, at + 2 * STRETCH), at, *range(at + 2 * STRETCH, 8 * STRETCH)]
    assert f"in {STRETCH} successive rows of training" in refusal(others_votes(rows, order))


@pytest.mark.parametrize("n", [1, 5, 12, 30, ROWS - 1, ROWS, 200, 450])
def test_few_rows_are_never_refused_by_chance(n: int) -> None:
    """Of 100 subsets of fitting rows none is refused; of shuffled ones every one from ROWS on, and below it is told."""
    for seed in range(100):
        rows = voted(n, seed=seed)
        assert passed(rows) == [] or n < 12
        if seed < 10 and n >= 30:
            wrong = others_votes(rows, shuffled(n, seed=seed))
            if n >= ROWS:
                refusal(wrong)
            else:
                (warning,) = passed(wrong)
                assert "too few rows to tell" in warning


def test_rows_without_votes_or_labels_say_nothing() -> None:
    rows = voted(400)
    assert passed([replace(row, votes=None) for row in rows]) == []
    assert passed([replace(row, label=None) for row in others_votes(rows, shuffled(400))]) == []
    assert passed([replace(row, label="contempt") for row in rows]) == []


def test_votes_of_other_people_are_not_held_against_those_of_ferplus(tmp_path: Path) -> None:
    rows = [replace(row, pixels=blob(i)) for i, row in enumerate(others_votes(voted(120), shuffled(120)))]
    assert refusal(rows)
    assert build_store([Listed(rows)], tmp_path / "store")["splits"]["training"]["with_votes"] == 120


def test_csv_beside_ferplus_whose_rows_moved_builds_no_store(tmp_path: Path) -> None:
    """Both Usages in file order; the second is shifted by one row: counts and Usages fit, the votes do not."""
    rows, votes = [], []
    for usage, samples in (("Training", voted(200)), ("PublicTest", voted(150, seed=1))):
        rows += [(SEVEN.index(str(sample.label)), usage) for sample in samples]
        votes += [(usage, sample.votes) for sample in samples]
    sound = fer2013_csv(tmp_path / "sound", rows, votes)
    summary = build_store([open_source("fer2013", sound)], tmp_path / "store")
    assert [split["with_votes"] for split in summary["splits"].values()] == [200, 150]
    shifted = fer2013_csv(tmp_path / "shifted", rows, [*votes[:200], *votes[201:], votes[200]])
    with pytest.raises(DataError, match=r"fer2013: expected votes .* in public_test .*move the votes"):
        build_store([open_source("fer2013", shifted)], tmp_path / "none")
    short = fer2013_csv(tmp_path / "short", rows, votes[:-1])
    with pytest.raises(DataError, match=r"fer2013new\.csv ends before fer2013\.csv; complete the copy"):
        build_store([open_source("fer2013", short)], tmp_path / "none")
    assert not list(tmp_path.glob("*none*"))


def test_parquet_with_votes_of_other_rows_and_a_store_of_ours_read_again(tmp_path: Path) -> None:
    samples = voted(300)

    def written(folder: Path, rows: Sequence[Sample]) -> Path:
        folder.mkdir()
        image = [{"bytes": png(blob(i)), "path": row.path} for i, row in enumerate(rows)]
        codes = [float(SEVEN.index(str(row.label))) for row in rows]
        votes = [[float(v) for v in row.votes or ()] for row in rows]
        pq.write_table(
            pa.table({"image": image, "emotion": codes, "ferplus_votes": votes}), folder / "training.parquet"
        )
        return folder

    build_store([open_source("fer2013", written(tmp_path / "sound", samples))], tmp_path / "store")
    assert Store.open(tmp_path / "store").summary["splits"]["training"]["with_votes"] == 300
    build_store([open_source("parquet", tmp_path / "store" / "data")], tmp_path / "again")
    wrong = others_votes(samples, shuffled(300))
    with pytest.raises(DataError, match="expected votes about the same pictures"):
        build_store([open_source("fer2013", written(tmp_path / "wrong", wrong))], tmp_path / "none")
    shard = next((tmp_path / "store" / "data").glob("*.parquet"))
    table = pq.read_table(shard)
    moved = table.set_column(table.schema.get_field_index("votes"), "votes", table.column("votes").take(shuffled(300)))
    pq.write_table(moved, shard)
    with pytest.raises(DataError, match="parquet: expected votes about the same pictures"):
        build_store([open_source("parquet", shard.parent)], tmp_path / "none")


@pytest.mark.parametrize("cells", [["x"] * 10, [1] * 9, [2.5] * 10, [-1] * 10, [None] * 10])
def test_what_is_no_count_of_votes_is_refused(cells: list, tmp_path: Path) -> None:
    table = {"image": [{"bytes": png(blob(0)), "path": "0"}], "emotion": [0], "ferplus_votes": [cells]}
    pq.write_table(pa.table(table), tmp_path / "training.parquet")
    with pytest.raises(DataError, match=r"expected ten counts of votes at training\.parquet:0"):
        list(open_source("fer2013", tmp_path).stream())
    if len(cells) == 10:
        folder = fer2013_csv(tmp_path / "csv", [(0, "Training")], [("Training", [cells[0] or "x"] * 10)])
        with pytest.raises(DataError, match=r"expected ten counts of votes at fer2013\.csv:2"):
            list(open_source("fer2013", folder).stream())
