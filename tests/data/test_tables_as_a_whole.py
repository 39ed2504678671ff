"""Codes as tables write them, and sources most of whose rows are left out: never a quiet success."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build_cases import blob, fer2013_csv, png
from typer.testing import CliRunner

from fake_datasets import rafdb_official, save, split_items, truth_of
from list_source import Listed
from mien.cli.data import data
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.sources import Sample, open_source
from mien.errors import DataError
from mien.labels import SEVEN, is_empty, whole

# --- codes as tables write them --------------------------------------------------------------------------------------

CELLS: list[tuple[object, int | None]] = [
    (3, 3), ("3", 3), (" 3 ", 3), (3.0, 3), ("3.0", 3), ("3.", 3), ("3e0", 3), (np.float32(3), 3), (np.int8(-1), -1),
    ("-1.0", -1), ("7", 7), ("3.5", None), (3.5, None), ("3,0", None), ("happy", None), ("", None), (None, None),
    (float("nan"), None), ("inf", None), (float("-inf"), None), ([3], None), (True, None), (False, None),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "number"), CELLS)
def test_whole(cell: object, number: int | None) -> None:
    assert whole(cell) == number


def test_is_empty() -> None:
    assert all(map(is_empty, (None, float("nan"), np.float32("nan"), "", "  ", "nan", "NaN", "<NA>")))
    assert not any(map(is_empty, (0, "0", 0.0, "none", "neutral", False)))


def test_a_column_of_floats_is_a_column_of_codes_in_every_layout_of_fer2013(tmp_path: Path) -> None:
    """What pandas writes once a cell is missing; what is no code is dropped and counted, an empty cell is held back."""
    cells = ["0.0", "1", " 2 ", "3.0", "4e0", "5.", "6.0", "", "nan", "3.5", "3,0", "-1.0", "7.0", "happy"]
    wanted = [*SEVEN, None, None]
    folder = fer2013_csv(tmp_path / "csv", [(cell, "Training") for cell in [*cells, *["2.0"] * 20]])
    samples, drops = split_items(open_source("fer2013", folder))
    assert [s.label for s in samples] == [*wanted, *["fear"] * 20]
    assert [(d.reason, d.detail) for d in drops] == [
        ("emotion out of 0-6", text) for text in ("3.5", "3,0", "-1.0", "7.0", "happy")
    ]
    (tmp_path / "parquet").mkdir()
    codes = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, float("nan"), 3.5, -1.0, 7.0]
    image = [{"bytes": png(blob(i)), "path": f"{i}.png"} for i in range(len(codes))]
    for column in ("emotion", "label"):
        table = pa.table({"image": image, column: pa.array(codes, pa.float64(), from_pandas=False)})
        pq.write_table(table, tmp_path / "parquet" / "training.parquet")
        samples, drops = split_items(open_source("fer2013", tmp_path / "parquet"))
        assert [s.label for s in samples] == wanted
        assert [d.detail for d in drops] == ["3.5", "-1.0", "7.0"]


def test_own_tables_read_floats_as_codes_and_as_the_classes_that_the_table_declares(tmp_path: Path) -> None:
    for i in range(7):
        save(tmp_path / f"{i}.png", i)
    cells = ["0.0", "3.0", " 6 ", "", "NaN", "2.5", "8.0"]
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells)))
    samples, drops = split_items(open_source("csv", tmp_path / "t.csv"))
    assert [s.label for s in samples] == ["angry", "happy", "neutral", None, None]
    assert [(d.reason, d.detail) for d in drops] == [
        ("unknown label", "2.5"),
        ("label code out of range", "8.0, expected 0-7"),
    ]
    schema = pa.schema([("image", pa.string()), ("label", pa.float32())]).with_metadata(
        {"huggingface": '{"info": {"features": {"label": {"names": ["sad", "happy"], "_type": "ClassLabel"}}}}'}
    )
    table = pa.table({"image": [f"{i}.png" for i in range(5)], "label": [0.0, 1.0, None, float("nan"), -1.0]}, schema)
    pq.write_table(table, tmp_path / "t.parquet")
    samples, drops = split_items(open_source("parquet", tmp_path / "t.parquet"))
    assert [s.label for s in samples] == ["sad", "happy", None, None, None]
    assert drops == []


def test_rafdbs_list_may_hold_floats(tmp_path: Path) -> None:
    true = rafdb_official(tmp_path)
    labels = tmp_path / "EmoLabel/list_patition_label.txt"
    labels.write_text("".join(f"{line}.0\n" for line in labels.read_text().splitlines()))
    samples, drops = split_items(open_source("rafdb", tmp_path))
    assert (truth_of(samples), drops) == (true, [])


# --- most rows left out ----------------------------------------------------------------------------------------------


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(data, [str(word) for word in words])
    return result.exit_code, str(result.exception or "") + result.stderr


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["happy"] * 9, r"9 of 9 have one fault: emotion out of 0-6 such as 'happy'; FER2013's codes are 0 angry,"),
        (["3.5"] * 9, "such as '3.5'"),
        (
            ["0", "1", "2", *["happy"] * 6],
            r"6 of 9 have one fault: .* by --source csv=PATH or parquet=PATH, folders by",
        ),
    ],
)
def test_names_in_fer2013s_column_of_codes_are_an_error_with_a_way_out(cells, says, tmp_path) -> None:
    folder = fer2013_csv(tmp_path / "in", [(cell, "Training") for cell in cells])
    with pytest.raises(DataError, match=says):
        build_store([open_source("fer2013", folder)], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    status, said = run("build", "--source", f"fer2013={folder}", "-o", tmp_path / "store")
    assert status != 0
    assert "have one fault" in said


def test_half_the_rows_are_counted_and_the_store_is_built(tmp_path) -> None:  # the control
    folder = fer2013_csv(tmp_path / "in", [(cell, "Training") for cell in "01xy"])
    summary = build_store([open_source("fer2013", folder)], tmp_path / "store")
    assert summary["dropped"] == {"emotion out of 0-6": 2}
    assert summary["warnings"] == []


def test_pictures_of_another_size_as_fer2013_are_an_error_with_a_way_out(tmp_path) -> None:
    for i, name in enumerate(SEVEN):
        save(tmp_path / "train" / name / "1.png", i, width=224, height=224)
    with pytest.raises(
        DataError,
        match=r"wrong number of pixels such as '224×224.*48×48 pixels; write yours as picture files: .* folder=PATH",
    ):
        build_store([open_source("fer2013", tmp_path)], tmp_path / "store")
    summary = build_store([open_source("folder", tmp_path)], tmp_path / "store", standard=Standard(size=48))
    assert sum(split["rows"] for split in summary["splits"].values()) == 7
    wide = tmp_path / "csv"
    wide.mkdir()
    (wide / "fer2013.csv").write_text("emotion,pixels,Usage\n" + f"0,{' '.join(['127'] * 224 * 224)},Training\n" * 3)
    with pytest.raises(DataError, match=r"50176 values, expected 2304.*csv=PATH"):
        build_store([open_source("fer2013", wide)], tmp_path / "store2")


def test_codes_that_begin_at_one_are_an_error(tmp_path) -> None:
    """Each label would be the next one's, and only those of the last code would be missed."""
    folder = fer2013_csv(tmp_path / "one", [(cell, "Training") for cell in "1234567" * 3])
    with pytest.raises(DataError, match=r"expected codes from 0 on, 3 rows have 7 and none has 0; subtract 1"):
        build_store([open_source("fer2013", folder)], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    folder = fer2013_csv(tmp_path / "zero", [(cell, "Training") for cell in "01234567" * 3])  # the control
    assert build_store([open_source("fer2013", folder)], tmp_path / "store")["dropped"] == {"emotion out of 0-6": 3}


def test_a_table_of_paths_as_fer2013_gets_the_hint_on_opening(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.png,happy\n")
    with pytest.raises(DataError, match="missing pixels; any other table of pictures is read by --source csv=PATH"):
        open_source("fer2013", tmp_path / "t.csv")
    pq.write_table(pa.table({"path": ["a.png"], "label": ["happy"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="any other table of pictures is read by --source csv=PATH or parquet=PATH"):
        open_source("fer2013", tmp_path / "t.parquet")


def test_most_of_a_source_missing_or_without_labels_is_said_aloud(tmp_path) -> None:
    """What is about the pictures is no error: the rest is sound. What the user asked for is not even a warning."""
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    lines = [f"{i}.png,happy,train\n" for i in range(12)]
    (tmp_path / "t.csv").write_text("path,label,split\n" + "".join(lines))
    summary = build_store([open_source("csv", tmp_path / "t.csv")], tmp_path / "store")
    assert summary["warnings"] == ["most of csv is NOT in the store: 8 of 12 were left out (8 file missing)"]
    (tmp_path / "u.csv").write_text("path,label,split\n0.png,sad,train\n1.png,,train\n2.png,,train\n3.png,,train\n")
    summary = build_store([open_source("csv", tmp_path / "u.csv")], tmp_path / "store2")
    assert summary["warnings"] == ["most of csv has no label: 3 of 4 pictures"]
    bored = "".join(f"{i}.png,bored,train\n" for i in (1, 2, 3))
    (tmp_path / "v.csv").write_text(f"path,label,split\n0.png,sad,train\n{bored}")
    asked = open_source("csv", tmp_path / "v.csv", names={"bored": None})
    assert build_store([asked], tmp_path / "store3")["warnings"] == []
    with pytest.raises(DataError, match=r"3 of 4 have one fault: unknown label such as 'bored'; rename them, or say"):
        build_store([open_source("csv", tmp_path / "v.csv")], tmp_path / "store4")


def test_one_sound_source_does_not_hide_another_one(tmp_path) -> None:
    good = Listed([Sample(f"{i}", blob(100 + i), "sad", "") for i in range(50)], "good")
    bad = fer2013_csv(tmp_path / "in", [("happy", "Training")] * 5)
    with pytest.raises(DataError, match="fer2013: expected rows that can be read, 5 of 5"):
        build_store([good, open_source("fer2013", bad)], tmp_path / "store")
