"""``mien read`` in process: formats, exit statuses, where each word goes."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from called import Call
from mien.cli.app import app
from mien.labels import SEVEN


@pytest.fixture
def run(tiny_model: Path) -> Call:
    return Call(tiny_model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three crops, one of them broken, one deeper."""
    random = np.random.default_rng(0)
    for name in ("a.png", "sub/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 48), dtype=np.uint8)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "b.jpg").write_bytes(b"a text, renamed")
    return tmp_path / "in"


def test_one_photo(run: Call, grace_hopper: Path) -> None:
    run("read", grace_hopper)
    assert run.status == 0
    assert run.err == ""
    (record,) = run.records
    assert list(record) == ["source", "width", "height", "time_s", "faces"]
    assert (record["source"], record["width"], record["height"]) == (str(grace_hopper), 512, 600)
    (face,) = record["faces"]
    assert list(face) == [
        *("box", "score", "expression", "confidence", "probabilities", "track"),
        *("landmarks", "roll", "yaw", "pitch"),
    ]
    assert len(face["landmarks"]) == 5
    assert abs(face["roll"]) < 25
    assert tuple(face["probabilities"]) == SEVEN
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=5e-4)


def test_some_inputs_fail(run: Call, folder: Path) -> None:
    run("read", folder, "nope.jpg", "--detector", "none")
    assert run.status == 1
    assert [record["source"] for record in run.records] == [
        str(folder / "a.png"),
        str(folder / "b.jpg"),
        str(folder / "sub/c.png"),
        "nope.jpg",
    ]
    assert [record.get("error", {}).get("type") for record in run.records] == [None, "unreadable", None, "missing"]
    assert "warning:" in run.err
    assert "2 pictures read, 2 faces, 2 failed" in run.err


def test_quiet_says_nothing(run: Call, folder: Path) -> None:
    assert run("read", folder, "--detector", "none", "--quiet").err == ""
    assert run.status == 1


def test_csv_on_stdout(run: Call, folder: Path) -> None:
    run("read", folder, "--detector", "none", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(run.out)))
    assert [row["face"] for row in rows] == ["0", "", "0"]
    assert rows[1]["error"].startswith("unreadable: ")
    assert rows[0]["time_s"] == rows[0]["track"] == rows[0]["error"] == ""


def test_parquet_file_by_suffix(run: Call, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.parquet"
    run("read", folder, "--detector", "none", "-o", out)
    assert run.out == ""
    assert pq.read_table(out).num_rows == 3


def test_a_table_in(run: Call, tmp_path: Path, folder: Path) -> None:
    images = [{"bytes": (folder / "a.png").read_bytes(), "path": f"row/{i}.png"} for i in range(5)]
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    run("read", tmp_path / "t.parquet", "--detector", "none", "--batch-size", "2")
    assert run.status == 0
    assert [record["source"] for record in run.records] == [f"row/{i}.png" for i in range(5)]


def test_table_without_images(run: Call, tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "t.parquet")
    run("read", tmp_path / "t.parquet")
    assert run.status == 1
    (record,) = run.records
    assert record["error"]["type"] == "data"
    assert "picture" in record["error"]["message"]


def test_stdin(run: Call, folder: Path) -> None:
    run("read", "-", "--detector", "none", input=f"{folder}/a.png\n\n{folder}/sub\n".encode())
    assert run.status == 0
    assert [record["source"] for record in run.records] == [str(folder / "a.png"), str(folder / "sub" / "c.png")]


def test_quoted_glob(run: Call, folder: Path) -> None:
    run("read", f"{folder}/**/*.png", "--detector", "none")
    assert len(run.records) == 2
    assert run("read", f"{folder}/*.gif").status == 1
    assert run.records[0]["error"]["type"] == "missing"


def test_directory_without_pictures(run: Call, tmp_path: Path) -> None:
    assert run("read", tmp_path).status == 1
    assert run.records[0]["error"]["type"] == "empty"


def test_min_confidence(run: Call, folder: Path) -> None:
    assert run("read", folder / "a.png", "--detector", "none").records[0]["faces"][0]["expression"] is not None
    run("read", folder / "a.png", "--detector", "none", "--min-confidence", "1")
    assert run.records[0]["faces"][0]["expression"] is None
    assert run.status == 0


def test_tta_changes_the_numbers(run: Call, folder: Path) -> None:
    plain = run("read", folder / "a.png", "--detector", "none").records
    ten = run("read", folder / "a.png", "--detector", "none", "--tta").records
    assert plain[0]["faces"][0]["probabilities"] != ten[0]["faces"][0]["probabilities"]


def test_max_pixels(run: Call, folder: Path) -> None:
    run("read", folder / "a.png", "--max-pixels", "2303", "--detector", "none")
    assert run.records[0]["error"]["type"] == "too_large"
    assert run.status == 1
    assert run("read", folder / "a.png", "--max-pixels", "2304", "--detector", "none").status == 0


def test_annotate(run: Call, folder: Path, tmp_path: Path) -> None:
    run("read", folder, "--detector", "none", "--annotate", tmp_path / "seen")
    assert sorted(str(p.relative_to(tmp_path / "seen")) for p in (tmp_path / "seen").rglob("*.*")) == [
        "a.png",
        "sub/c.png",
    ]
    with Image.open(tmp_path / "seen" / "a.png") as image:
        assert image.width > 48


def test_annotate_inside_the_input_is_not_read_again(run: Call, folder: Path) -> None:
    for _ in range(2):
        run("read", folder, "--detector", "none", "--annotate", folder / "seen")
        assert len(run.records) == 3


def test_annotate_never_replaces_originals(run: Call, folder: Path) -> None:
    before = (folder / "a.png").read_bytes()
    for path in (folder, folder / "a.png"):
        assert run("read", path, "--detector", "none", "--annotate", folder).status == 2
        assert "overwrite" in run.err
    assert (folder / "a.png").read_bytes() == before


def test_animation_is_noted_on_stderr(run: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.new("L", (48, 48)).save(path, save_all=True, append_images=[Image.new("L", (48, 48), 200)])
    run("read", path, "--detector", "none")
    assert run.err == f"note: {path}: has 2 frames; only the first is read\n"
    assert run.status == 0


@pytest.mark.parametrize(
    "words", [("-o", "photo.jpg"), ("-o", "photo.jpg", "--format", "csv"), ("-o", "./crops.parquet")]
)
def test_what_is_read_is_never_overwritten(
    run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(words[1]).name
    Image.new("L", (48, 48)).save("photo.jpg")
    Path("crops.parquet").write_bytes(b"of months")
    before = Path(name).read_bytes()
    run("read", name, "--detector", "none", *words)
    assert run.status == 2
    assert run.err.startswith("error: expected")
    assert name in run.err
    assert Path(name).read_bytes() == before
    run("read", "photo.jpg", "--detector", "none", "-o", "crops.parquet")  # the control: an older output gives way
    assert run.status == 0
    assert Path("crops.parquet").read_bytes() != b"of months"


@pytest.mark.parametrize("given", ["-", "in", "in/*.parquet"])
def test_nor_is_what_a_list_a_folder_or_a_pattern_leads_to(
    run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """The control: another file in the same folder is written, and written again."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    stream = io.BytesIO()
    Image.new("L", (48, 48)).save(stream, "PNG")
    pq.write_table(pa.table({"image": [{"bytes": stream.getvalue(), "path": "a.png"}]}), "in/crops.parquet")
    before = Path("in/crops.parquet").read_bytes()
    for output, status in (("in/crops.parquet", 2), ("in/faces.csv", 0), ("in/faces.csv", 0)):
        run("read", given, "--detector", "none", "-o", output, input=b"in/crops.parquet\n" if given == "-" else None)
        assert run.status == status
        assert ("an output beside the input" in run.err) == (status == 2)
    assert Path("in/crops.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["read"], "missing argument"),
        (["read", "x", "--anotate", "d"], "no option --anotate; did you mean --annotate"),
        (["read", "x", "--conf", "1"], "did you mean --min-confidence?"),
        (["raed", "x"], "no command 'raed'; did you mean read?"),
        (["read", "x", "--format", "xml"], "'jsonl', 'csv', 'parquet'"),
        (["read", "x", "--detector", "haar"], "'yunet', 'centerface', 'none'"),
        (["read", "x", "--threads", "many"], "--threads"),
        (["read", "x", "--threads", "0"], "threads"),
        (["read", "x", "--batch-size", "0"], "batch_size"),
        (["read", "x", "--min-confidence", "7"], "min_confidence 0-1, got 7"),
        (["read", "x", "--model", "huge"], "compact, nano"),
        (["read", "x", "--format", "parquet"], "-o FILE.parquet"),
        (["read", "x", "-o", "/no/such/dir/x.csv"], "does not exist"),
        (["read", "x", "-o", "/"], "is a directory"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Call, words: list[str], message: str) -> None:
    run(*words)
    assert run.status == 2
    assert run.out == ""
    assert run.err.startswith("error: ")
    assert run.err.count("\n") == 1
    assert message in run.err


@pytest.mark.parametrize("data", [b"", b"not a model"])
def test_broken_model(run: Call, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(data)
    run("read", "x", "--model", tmp_path / "bad.onnx")
    assert run.status == 2
    assert run.err.count("\n") == 1
    assert "expected an ONNX model" in run.err


def test_a_path_where_a_command_belongs(run: Call, folder: Path) -> None:
    assert run(folder / "a.png").status == 2
    assert f"did you mean: mien read {folder}/a.png?" in run.err


@pytest.mark.parametrize("words", [("--debug", "read", "x"), ("read", "x", "--debug")])
def test_debug_shows_the_exception(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--model", "huge"])
    assert type(result.exception).__name__ == "UsageError"


def test_help_and_version(run: Call) -> None:
    assert run("--version").out.startswith("mien ")
    assert run("--help").status == 0
    assert "read" in run.out
    text = run("read", "--help").out
    assert "Examples" in text
    assert all(option in text for option in ("--annotate", "--format", "--tta", "--min-confidence", "--max-pixels"))
    assert run().status == 2
