"""Users' tables: stray quotes, old encodings, gaps, absolute paths, stores of ours, and folders of shards."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_datasets import CODES_WARNING, encoded, save, split_items
from mien.data.sources import open_source
from mien.errors import DataError


def listing(root: Path, n: int = 12) -> list[str]:
    """Lines of a table without its header, and the pictures that they name."""
    for i in range(n):
        save(root / f"{i}.png", i)
    return [f"{i}.png,{('sad', 'happy')[i % 2]}" for i in range(n)]


def table(root: Path, lines: list[str], *, header: str = "image,label", encoding: str = "utf-8") -> Path:
    file = root / "t.csv"
    file.write_bytes("\n".join([header, *lines]).encode(encoding))
    return file


# --- quotes and encodings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stray", "wrong"),
    [
        ({4: '"4.png,sad'}, [4]),
        ({11: '"11.png,happy'}, [11]),  # at the end of the file
        ({4: '"4.png,sad', 7: '"7.png,happy'}, [4, 7]),
        ({4: '4.png,"sad', 7: '7.png,"happy'}, [4, 7]),
        ({4: '4.png,"sad', 7: '7.png,happy"'}, [4]),  # closes: three rows in one label; the last is a wrong label
    ],
)
def test_a_stray_quote_costs_its_own_line(tmp_path, stray, wrong):
    lines = listing(tmp_path)
    for i, line in stray.items():
        lines[i] = line
    samples, drops = split_items(open_source("csv", table(tmp_path, lines)))
    assert [d.where for d in drops if d.reason == "malformed row"] == [f"t.csv:{i + 2}" for i in wrong]
    assert [s.path for s in samples] == [f"{i}.png" for i in range(12) if i not in stray]
    assert len(samples) + len(drops) == 12


def test_a_quoted_newline_is_part_of_its_row(tmp_path):
    lines = [f"{line},plain" for line in listing(tmp_path)]
    lines[3] = '3.png,happy,"two\nlines, of text"'
    samples, drops = split_items(open_source("csv", table(tmp_path, lines, header="image,label,note")))
    assert (len(samples), drops) == (12, [])


def test_a_stray_quote_in_a_long_file(tmp_path):
    """The csv module gives up within a field of 131,072 characters: what it has taken is read again."""
    lines = listing(tmp_path)
    lines[2] = '"' + lines[2]
    lines += ["0.png,sad"] * 20_000
    samples, drops = split_items(open_source("csv", table(tmp_path, lines)))
    assert (len(samples), [d.where for d in drops]) == (20_011, ["t.csv:4"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8", "cp1252", "utf-32"])
def test_encodings(tmp_path, encoding):
    for i, name in enumerate(("jörg.png", "zoë.png")):
        save(tmp_path / name, i)
    source = open_source("csv", table(tmp_path, ["jörg.png,sad", "zoë.png,happy"], encoding=encoding))
    samples, drops = split_items(source)
    assert ([s.path for s in samples], drops) == (["jörg.png", "zoë.png"], [])
    assert any("read as cp1252" in w for w in source.warnings) == (encoding == "cp1252")


def test_one_damaged_byte_leaves_utf8_what_it_is(tmp_path):
    for i, name in enumerate(("jörg.png", "zoë.png")):
        save(tmp_path / name, i)
    (tmp_path / "t.csv").write_bytes("image,label\njörg.png,sad\nzoë.png,happy\n".encode() + b"b\xff.png,sad\n")
    samples, drops = split_items(open_source("csv", tmp_path))
    assert ([s.path for s in samples], [d.reason for d in drops]) == (["jörg.png", "zoë.png"], ["file missing"])


def test_a_picture_is_no_table(tmp_path):
    save(tmp_path / "a.png", 1)
    with pytest.raises(DataError, match=r"expected a text table, got a PNG: .*a\.png; save the table as CSV in UTF-8"):
        open_source("csv", tmp_path / "a.png")
    (tmp_path / "b.csv").write_bytes("image,label\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="expected a text table, got binary data"):
        open_source("csv", tmp_path / "b.csv")


# --- gaps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "codes", "read"),
    [
        ([3.0, 6.0], True, ["happy", "neutral"]),
        ([float("nan"), 3.0], True, [None, "happy"]),
        (["3", "6"], True, ["happy", "neutral"]),
        ([None, "", "3"], True, [None, None, "happy"]),
        (["sad", "6"], True, ["sad", "neutral"]),
        (["sad", None], False, ["sad", None]),
        (pa.array(["3", "3"]).dictionary_encode(), True, ["happy", "happy"]),
    ],
)
def test_codes_of_any_type_are_warned_of(tmp_path, labels, codes, read):
    pq.write_table(
        pa.table({"image": [encoded(i) for i in range(len(labels))], "label": labels}), tmp_path / "a.parquet"
    )
    source = open_source("parquet", tmp_path)
    assert any(w.startswith(CODES_WARNING) for w in source.warnings) == codes
    assert [s.label for s in split_items(source)[0]] == read


def test_codes_are_warned_of_where_the_first_label_is_empty(tmp_path):
    listing(tmp_path, 3)
    file = table(tmp_path, ["0.png,", "1.png,3", "2.png,6"])
    assert any(w.startswith(CODES_WARNING) for w in open_source("csv", file).warnings)
    said = {"3": "sad", "6": "happy"}
    assert not any(w.startswith(CODES_WARNING) for w in open_source("csv", file, names=said).warnings)
    assert any(w.startswith(CODES_WARNING) for w in open_source("csv", file, names={"3": "sad"}).warnings)


def test_words_for_nobody_are_no_subject(tmp_path):
    words = ["NA", "NaN", "nan", "null", "None", "", " ", "N/A", "#N/A", "<NA>", "Nancy", "0"]
    lines = [f"{line},{word}" for line, word in zip(listing(tmp_path), words, strict=True)]
    samples, drops = split_items(open_source("csv", table(tmp_path, lines, header="image,label,subject")))
    assert ([s.group for s in samples], drops) == ([None] * 10 + ["Nancy", "0"], [])
    people = {"image": [encoded(0), encoded(1)], "label": ["sad"] * 2, "subject": [float("nan"), 3.0]}
    pq.write_table(pa.table(people), tmp_path / "a.parquet")
    assert [s.group for s in split_items(open_source("parquet", tmp_path))[0]] == [None, "3"]


def test_a_person_is_one_in_a_column_with_gaps_and_in_one_without(tmp_path):
    words = ["7", "7.0", " 7.0 ", "7.5", "007", "7.0.0", "v7.0", "1e3"]
    lines = [f"{line},{word}" for line, word in zip(listing(tmp_path, len(words)), words, strict=True)]
    samples, _ = split_items(open_source("csv", table(tmp_path, lines, header="image,label,subject")))
    assert [s.group for s in samples] == ["7", "7", "7", "7.5", "007", "7.0.0", "v7.0", "1e3"]


# --- names -----------------------------------------------------------------------------------------------------------


def moved(root: Path, lists: Path) -> tuple[list[str], list[str]]:
    """Names and details of drops, from a table of absolute paths below it, beside it and to nowhere."""
    for i, name in enumerate(("lists/in/a.png", "faces/x/a.png", "faces/y/a.png", "lists/b.png")):
        save(root / name, i)
    cells = [root / "lists/in/a.png", root / "faces/x/a.png", root / "faces/x/../y/a.png", "b.png"]
    lines = [f"{cell},sad" for cell in [*cells, root / "faces/gone.png", root / "lists/gone.png"]]
    samples, drops = split_items(open_source("csv", table(lists, lines)))
    assert all(s.file.is_file() for s in samples)
    return [s.path for s in samples], [d.detail for d in drops]


def test_absolute_paths_stay_out_of_the_store(tmp_path):
    for home in ("home/me", "moved"):
        names = moved(tmp_path / home, tmp_path / home / "lists")
        assert names == (["in/a.png", "x/a.png", "y/a.png", "b.png"], ["gone.png", "gone.png"])


def test_absolute_paths_by_a_link_and_a_relative_table(tmp_path, monkeypatch):
    (tmp_path / "real/lists").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert moved(tmp_path / "real", tmp_path / "link/lists")[0][0] == "in/a.png"
    assert moved(tmp_path / "link", tmp_path / "link/lists")[0][0] == "in/a.png"
    monkeypatch.chdir(tmp_path / "real")
    assert moved(tmp_path / "real", Path("lists"))[0][0] == "in/a.png"


@pytest.mark.parametrize("drive", ["/home/me", "C:\\Users\\me"])
def test_absolute_paths_in_parquet(tmp_path, drive):
    slash = drive[2] if drive[1] == ":" else "/"
    cells = [{"bytes": encoded(i), "path": f"{drive}{slash}{name}{slash}p.png"} for i, name in enumerate("ab")]
    rows = {"image": [*cells, {"bytes": encoded(2), "path": "c/p.png"}], "label": ["sad"] * 3}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert [s.path for s in split_items(open_source("parquet", tmp_path))[0]] == ["a/p.png", "b/p.png", "c/p.png"]
    save(tmp_path / "faces/p.png", 1)
    pq.write_table(pa.table({"image": [str(tmp_path / "faces/p.png")], "label": ["sad"]}), tmp_path / "a.parquet")
    assert [s.path for s in split_items(open_source("parquet", tmp_path))[0]] == ["faces/p.png"]


def test_shards_of_one_name_are_told_apart(tmp_path):
    for folder in "ab":
        save(tmp_path / folder / "p.png", ord(folder))
        rows = {"image": [encoded(1), b"none"], "label": ["sad"] * 2}
        pq.write_table(pa.table(rows), tmp_path / folder / "train-00000-of-00002.parquet")
    samples, drops = split_items(open_source("parquet", tmp_path))
    assert [s.path for s in samples] == [f"{folder}/train-00000-of-00002.parquet:0" for folder in "ab"]
    assert [d.where for d in drops] == [f"{folder}/train-00000-of-00002.parquet:1" for folder in "ab"]
    for folder in "ab":
        rows = {"image": ["p.png"], "label": ["sad"]}
        pq.write_table(pa.table(rows), tmp_path / folder / "train-00000-of-00002.parquet")
    assert [s.path for s in split_items(open_source("parquet", tmp_path))[0]] == ["a/p.png", "b/p.png"]


# --- stores of ours --------------------------------------------------------------------------------------------------


def test_a_store_of_ours_without_what_was_generated(tmp_path):
    from mien.data.build.shards import schema

    votes, points = [0, 8, 0, 0, 1, 0, 0, 0, 1, 0], [1.0, 2.0, 3.0, 4.0]
    row = {"label": "happy", "label_code": 3, "source": "a", "split": "training", "group": "s1", "valence": 0.5}
    row |= {"arousal": -0.5, "votes": votes, "landmarks": points, "generated_from": None, "near_duplicate": None}
    rows = [row | {"image": {"bytes": encoded(i), "path": f"{i}.png"}} for i in range(3)]
    rows[1] |= {"generated_from": "0.png", "image": {"bytes": encoded(1), "path": "0.png+1"}}
    rows[2] |= {"votes": None, "landmarks": None, "valence": None}
    file = tmp_path / "data/training-00000-of-00001.parquet"
    file.parent.mkdir()
    ours = schema(("valence", "arousal", "landmarks", "generated_from"))
    pq.write_table(pa.Table.from_pylist(rows, ours), file)
    source = open_source("parquet", tmp_path)
    samples, drops = split_items(source)
    assert [(d.reason, d.detail) for d in drops] == [("generated image", "from 0.png")]
    assert [(s.path, s.split, s.group, s.votes) for s in samples] == [
        ("0.png", "training", "s1", tuple(votes)),
        ("2.png", "training", "s1", None),
    ]
    assert [s.landmarks for s in samples] == [((1.0, 2.0), (3.0, 4.0)), None]
    assert [(s.valence, s.arousal) for s in samples] == [(0.5, -0.5), (None, -0.5)]
    assert source.layout.endswith("generated: generated_from, votes: votes, landmarks: landmarks)")


def test_columns_called_votes_elsewhere_are_left_alone(tmp_path):
    rows = {"image": [encoded(0)], "label": ["sad"], "votes": [[1, 2]], "landmarks": [["x"]]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    ((sample,), drops) = split_items(open_source("parquet", tmp_path))
    assert (sample.votes, sample.landmarks, drops) == (None, None, [])
