"""Writers: the contract's columns and types, whole files or none, names that are no UTF-8."""

import csv
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.errors import OutputError, UsageError
from mien.labels import EIGHT, SEVEN
from mien.reading.outputs import choose_format, open_writer
from mien.results import Box, Face, ReadFailure, Reading

# fmt: off
COLUMNS = [
    "source", "time_s", "face", "x", "y", "w", "h", "score", "expression", "confidence",
    "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "track", "error",
    "roll", "yaw", "pitch", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "nose_x", "nose_y",
    "left_mouth_x", "left_mouth_y", "right_mouth_x", "right_mouth_y",
    "raw_angry", "raw_disgust", "raw_fear", "raw_happy", "raw_sad", "raw_surprise", "raw_neutral",
]
# fmt: on
SHARES = dict(zip(SEVEN, (0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05), strict=True))
FACE = Face(Box(1.0, 2.0, 3.0, 4.0), 0.9, "angry", 0.5, SHARES)
UNSURE = Face(Box(5.0, 6.0, 7.0, 8.0), 0.8, None, 0.5, SHARES)
RESULTS = [
    ReadFailure("gone.jpg", "missing", "no such file"),
    Reading("two, faces.jpg", 100, 50, (FACE, UNSURE)),
    Reading("über.jpg", 10, 10),
]


def written(chosen: str, results: list[Reading | ReadFailure], labels: tuple[str, ...] = SEVEN) -> bytes:
    stream = io.BytesIO()
    with open_writer(chosen, output=None, labels=labels, stdout=stream) as writer:
        for result in results:
            writer.write(result)
    return stream.getvalue()


def write_then(error: BaseException | None, chosen: str, path: Path) -> None:
    """Write a row to the file, then raise within the block."""
    with open_writer(chosen, output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
        writer.write(RESULTS[1])
        if error is not None:
            raise error


def test_json_lines() -> None:
    text = written("jsonl", RESULTS).decode()
    assert text.endswith("\n")
    gone, two, none = (json.loads(line) for line in text.splitlines())
    assert gone == {"source": "gone.jpg", "error": {"type": "missing", "message": "no such file"}}
    assert list(two) == ["source", "width", "height", "time_s", "faces"]
    assert two["faces"][0] == {
        "box": [1, 2, 3, 4],
        "score": 0.9,
        "expression": "angry",
        "confidence": 0.5,
        "probabilities": SHARES,
        "track": None,
        "landmarks": None,
        "roll": None,
        "yaw": None,
        "pitch": None,
    }
    assert two["faces"][1]["expression"] is None
    assert none["faces"] == []
    assert "über" in text  # UTF-8, not escapes


def test_csv() -> None:
    rows = list(csv.reader(io.StringIO(written("csv", RESULTS).decode())))
    assert rows[0] == COLUMNS
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["source"] for row in table] == ["gone.jpg", "two, faces.jpg", "two, faces.jpg", "über.jpg"]
    assert [row["face"] for row in table] == ["", "0", "1", ""]
    assert table[0]["error"] == "missing: no such file"
    assert table[2]["expression"] == ""
    assert table[1]["angry"] == "0.5"
    assert table[3]["error"] == table[3]["x"] == ""


def test_contempt_comes_after_the_seven() -> None:
    header = written("csv", [], EIGHT).decode().strip().split(",")
    assert header == [*COLUMNS[:17], "contempt", *COLUMNS[17:], "raw_contempt"]


def test_parquet_is_typed_even_if_all_failed(tmp_path: Path) -> None:
    schemas = []
    for name, results in (("all.parquet", RESULTS), ("failed.parquet", RESULTS[:1]), ("none.parquet", [])):
        path = tmp_path / name
        with open_writer("parquet", output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
            for result in results:
                writer.write(result)
        schemas.append(pq.read_schema(path))
    assert schemas[0].names == COLUMNS
    assert schemas[0] == schemas[1] == schemas[2]
    assert schemas[0].field("angry").type == pa.float64()
    assert schemas[0].field("face").type == pa.int32()
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["face"] for row in table] == [None, 0, 1, None]
    assert table[1]["h"] == 4.0
    assert table[0]["error"] == "missing: no such file"


def test_the_three_formats_agree(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with open_writer("parquet", output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
        for result in RESULTS:
            writer.write(result)
    typed = [["" if v is None else str(v) for v in row.values()] for row in pq.read_table(path).to_pylist()]
    text = list(csv.reader(io.StringIO(written("csv", RESULTS).decode())))[1:]
    assert typed == text


@pytest.mark.parametrize("chosen", ["jsonl", "csv", "parquet"])
def test_names_that_are_no_utf8(chosen: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    path = tmp_path / "out"
    with open_writer(chosen, output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
        writer.write(ReadFailure(name, "missing", "no such file"))
    if chosen == "jsonl":
        assert json.loads(path.read_text("utf-8"))["source"] == name
    elif chosen == "csv":
        assert "caf\\udce9.jpg" in path.read_text("utf-8")
    else:
        assert pq.read_table(path)["source"][0].as_py() == "caf\\udce9.jpg"


@pytest.mark.parametrize("chosen", ["jsonl", "csv", "parquet"])
def test_an_exception_leaves_the_old_file(chosen: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_then(KeyboardInterrupt(), chosen, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_the_file_is_not_there_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_writer("jsonl", output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
        writer.write(RESULTS[0])
        assert not path.exists()
        assert all(name.startswith(".") for name in os.listdir(tmp_path))
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_mode_and_links_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.touch(mode=0o640)
    real.chmod(0o640)
    link.symlink_to(real)
    with open_writer("csv", output=str(link), labels=SEVEN, stdout=io.BytesIO()):
        pass
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_text().startswith("source,")


def test_devices_are_written_directly() -> None:
    with open_writer("csv", output="/dev/null", labels=SEVEN, stdout=io.BytesIO()) as writer:
        writer.write(RESULTS[1])
    assert not os.path.isfile("/dev/null")


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_then(AssertionError("the block was entered"), "csv", tmp_path / "no" / "x.csv")
    with pytest.raises(OutputError, match="is a directory"):
        write_then(AssertionError("the block was entered"), "csv", tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("chosen", ["jsonl", "csv"])
def test_a_full_disk_is_one_line(chosen: str) -> None:
    with pytest.raises(OutputError, match="No space left"):
        write_then(None, chosen, Path("/dev/full"))


def test_other_errors_of_the_block_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        write_then(PermissionError("of something else"), "csv", tmp_path / "x.csv")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="this system has no /dev/fd")
def test_a_pipe_by_its_descriptor_is_written(tmp_path: Path) -> None:
    """``-o /dev/stdout`` before a pipe, ``-o >(gzip > x)``: such a link leads to a name that is no path."""
    end, start = os.pipe()
    write_then(None, "jsonl", Path(f"/dev/fd/{start}"))
    os.close(start)
    with os.fdopen(end, "rb") as stream:
        assert json.loads(stream.read())["source"] == "two, faces.jpg"


@pytest.mark.parametrize(
    ("given", "output", "chosen"),
    [
        (None, None, "jsonl"),
        (None, "a.CSV", "csv"),
        (None, "a.parquet", "parquet"),
        (None, "a", "jsonl"),
        (None, "/dev/null", "jsonl"),
        ("csv", "a.txt", "csv"),
        ("csv", "a.parquet", "csv"),
        ("csv", None, "csv"),
    ],
)
def test_format(given: str | None, output: str | None, chosen: str) -> None:
    assert choose_format(given, output) == chosen


@pytest.mark.parametrize(
    ("given", "output"),
    [(None, "a.xlsx"), (None, "a.txt"), (None, "photo.JPG"), ("csv", "photo.jpg"), ("csv", "a.mp4")],
)
def test_a_suffix_of_something_else_is_refused(given: str | None, output: str) -> None:
    with pytest.raises(UsageError, match=r"expected a (file|table) \.jsonl, \.csv or \.parquet"):
        choose_format(given, output)


def test_format_refusals() -> None:
    with pytest.raises(UsageError, match=r"-o FILE\.parquet"):
        choose_format("parquet", None)
    with pytest.raises(UsageError, match="xml"):
        choose_format("xml", None)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("chosen", ["jsonl", "csv"])
def test_a_full_disk_behind_stdout(chosen: str) -> None:
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OutputError, match="cannot write to stdout: No space"),
        open_writer(chosen, output=None, labels=SEVEN, stdout=full) as writer,
    ):
        writer.write(RESULTS[0])


def test_a_carriage_return_in_a_name_is_quoted() -> None:
    text = written("csv", [Reading("a\rb.jpg", 100, 50, (FACE,)), Reading("c.jpg", 100, 50, (FACE,))]).decode()
    assert [row["source"] for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)] == [
        "a\rb.jpg",
        "c.jpg",
    ]
