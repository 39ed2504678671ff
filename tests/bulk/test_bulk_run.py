"""A bulk run in this process: the rows of plain ``mien read``, going on after what was lost, and what is refused."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bulk_inputs import png
from mien import Reader
from mien.bulk import block as block_module
from mien.bulk.block import check_shard, read_block
from mien.bulk.engine import Here
from mien.bulk.listing import read_block_entries
from mien.bulk.manifest import Manifest
from mien.bulk.plan import Done, Plan
from mien.bulk.run import read_bulk
from mien.errors import OutputError, UsageError

Plain = Callable[..., Any]


def bulk(reader: Reader, out: Path, *paths: Path | str, **options: Any) -> Manifest:
    options = {"engine": Here(), "block_size": 10} | options
    return read_bulk(reader, [str(path) for path in paths], out, **options)


def rows(out: Path) -> Any:
    return pq.read_table(out / "rows")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def finished(inputs: Path, tiny_reader: Reader, out: Path) -> Path:
    bulk(tiny_reader, out, inputs)
    return out


def test_rows_are_those_of_a_plain_read(inputs: Path, tiny_reader: Reader, plain: Plain, out: Path) -> None:
    twice = inputs / "0" / "001.png"
    paths = [inputs, twice, inputs / "absent.png", twice, "https://example.org/a.jpg", f"{inputs}/1/*.png"]
    seen: list[tuple[int, int]] = []
    manifest = bulk(tiny_reader, out, *paths, on_progress=lambda *counts: seen.append(counts))
    expected = plain(*paths)
    got = rows(out)
    assert got.equals(expected)  # columns, types, order, and every bit of every number
    assert got.schema.names == expected.schema.names
    counts = manifest.counts
    assert (counts.inputs, counts.rows) == (expected.num_rows, got.num_rows)
    errors = [text.partition(":")[0] for text in expected.column("error").to_pylist() if text]
    assert counts.failed == {kind: errors.count(kind) for kind in sorted(set(errors))}
    assert set(errors) == {"unreadable", "empty", "truncated", "missing", "unsupported"}
    assert counts.shards == len(list((out / "rows").iterdir())) == -(-counts.inputs // 10)
    assert seen[0] == (0, counts.inputs)
    assert seen[-1] == (counts.inputs, counts.inputs)
    moved = expected.slice(1)  # the control: a table that lacks a row
    assert not got.equals(moved)


def test_a_list_and_relative_paths(
    inputs: Path, tiny_reader: Reader, plain: Plain, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    bulk(tiny_reader, out, "-", stdin=BytesIO(b"0/001.png\ncrops.parquet\n0/001.png\n1\n"))
    assert rows(out).equals(plain("0/001.png", "crops.parquet", "0/001.png", "1"))


def test_the_manifest_says_what_was_read(finished: Path, inputs: Path, tiny_reader: Reader) -> None:
    raw = json.loads((finished / "manifest.json").read_text())
    assert raw["state"] == "complete"
    assert raw["inputs"]["paths"] == [str(inputs)]
    assert raw["model"]["sha256"] == tiny_reader.digest
    assert raw["options"]["detector"] == "none"
    assert {"python", "onnxruntime", "pyarrow", "mien"} <= raw["starts"][0]["versions"].keys()
    assert sorted(os.listdir(finished)) == [".lock", "listing", "manifest.json", "rows"]


def test_what_is_lost_or_damaged_is_read_again(
    finished: Path, inputs: Path, tiny_reader: Reader, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, damaged, kept = (finished / "rows" / f"part-{i:08d}.parquet" for i in (0, 2, 3))
    lost.unlink()
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 0xFF  # one byte within a page: its checksum tells
    damaged.write_bytes(data)
    (finished / "listing" / "part-00000.parquet").unlink()
    before, notes, read = kept.stat().st_mtime_ns, [], []
    monkeypatch.setattr("mien.bulk.engine.read_block", lambda p, b, r: read.append(b) or read_block(p, b, r))
    manifest = bulk(tiny_reader, finished, inputs, on_note=notes.append)
    assert read == [0, 2]
    assert kept.stat().st_mtime_ns == before
    assert len(notes) == 1
    assert "part-00000002.parquet is damaged" in notes[0]
    assert rows(finished).equals(plain(inputs))
    assert len(manifest.starts) == 2


def test_a_shard_that_vanishes_in_the_course_is_read_again(
    inputs: Path, tiny_reader: Reader, plain: Plain, out: Path
) -> None:
    class Thief(Here):
        stolen = False

        def read(self, plan: Plan, **about: Any) -> Iterator[Done]:
            for done in super().read(plan, **about):
                yield done
                if done.block == 3 and not self.stolen:
                    Path(plan.shard(1)).unlink()
                    self.stolen = True

    notes: list[str] = []
    bulk(tiny_reader, out, inputs, engine=Thief(), on_note=notes.append)
    assert [note.endswith("part-00000001.parquet is gone; its inputs are read again") for note in notes] == [True]
    assert rows(out).equals(plain(inputs))


@pytest.mark.parametrize("change", ["model", "option", "block size", "new input", "missing input", "paths", "version"])
def test_another_run_into_the_directory_is_refused(
    change: str,
    inputs: Path,
    tiny_reader: Reader,
    make_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes(png(i))
    bulk(tiny_reader, out, folder)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    reader, paths, options = tiny_reader, [folder], {}
    if change == "model":
        reader = Reader(str(make_model(mien__temperature="3")), detector="none", threads=1)
    elif change == "option":
        reader = Reader(**reader.options | {"min_confidence": 0.5})
    elif change == "block size":
        options = {"block_size": 3}
    elif change == "new input":
        (folder / "15.png").write_bytes(png(15))
    elif change == "missing input":
        (folder / "4.png").unlink()
    elif change == "version":
        monkeypatch.setattr("mien.bulk.run.__version__", "9.9")
    else:
        paths = [folder / "0.png"]
    words = {"new input": "15.png", "missing input": "4.png is gone", "option": "min_confidence = 0.0"}
    words |= {"model": "SHA-256", "block size": "block size 10", "paths": "the paths", "version": "9.9"}
    with pytest.raises(OutputError, match="was begun") as caught:
        bulk(reader, out, *paths, **options)
    assert words[change] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and ".work" not in str(path)} == before


def test_a_directory_with_something_else_is_refused_and_left_alone(
    inputs: Path, tiny_reader: Reader, tmp_path: Path
) -> None:
    (tmp_path / "listing").mkdir()
    (tmp_path / "listing" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"expected an empty directory or one with manifest\.json"):
        bulk(tiny_reader, tmp_path, inputs)
    assert [path.name for path in tmp_path.rglob("*")] == ["listing", "mine.txt"]
    with pytest.raises(OutputError, match="got the file"):
        bulk(tiny_reader, inputs / "crops.parquet", inputs)


def test_one_run_at_a_time_and_a_killed_one_leaves_no_lock(
    inputs: Path, tiny_reader: Reader, plain: Plain, out: Path
) -> None:
    out.mkdir()
    code = "import sys; from mien.locks import DirectoryLock\n"
    code += "with DirectoryLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run is writing there"):
            bulk(tiny_reader, out, inputs)
        other.send_signal(signal.SIGKILL)
        other.wait()
        bulk(tiny_reader, out, inputs)
    assert rows(out).equals(plain(inputs))


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    inputs: Path, tiny_reader: Reader, plain: Plain, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(block_module.os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            bulk(tiny_reader, out, inputs)
    assert not [path for path in out.rglob("*") if path.suffix == ".tmp"]
    bulk(tiny_reader, out, inputs)
    assert rows(out).equals(plain(inputs))


def test_a_table_that_breaks_off_has_an_error_for_each_row_behind(tiny_reader: Reader, tmp_path: Path) -> None:
    import pyarrow as pa

    table = tmp_path / "crops.parquet"
    pq.write_table(pa.table({"image": [png(i) for i in range(30)]}), table, row_group_size=10, use_dictionary=False)
    data = bytearray(table.read_bytes())
    start = pq.read_metadata(table).row_group(1).column(0).data_page_offset
    data[start : start + 40] = b"\xff" * 40  # the header of the second row group's first page
    table.write_bytes(data)
    manifest = bulk(tiny_reader, tmp_path / "out", table, block_size=5)
    errors = rows(tmp_path / "out").column("error").to_pylist()
    assert [text is not None for text in errors] == [False] * 10 + [True] * 10 + [False] * 10
    assert manifest.counts.inputs == 30


def test_videos_are_refused_with_a_sentence(tiny_reader: Reader, tmp_path: Path, out: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    manifest = bulk(tiny_reader, out, tmp_path / "clip.mp4")
    assert manifest.counts.failed == {"unsupported": 1}
    assert "mien read FILE reads it" in rows(out).column("error")[0].as_py()


def test_an_input_that_ends_its_process_is_an_error_row_and_the_others_are_read(
    finished: Path, inputs: Path, tiny_reader: Reader, plain: Plain
) -> None:
    raw = json.loads((finished / "manifest.json").read_text())
    options = tiny_reader.options
    plan = Plan(raw["id"], str(finished), os.getcwd(), 10, 6, options, tiny_reader.digest, tiny_reader.labels, "0")
    os.mkdir(plan.work)
    done = read_block(plan, 1, tiny_reader, one_by_one=True, fatal=[4])
    assert done.failed["internal"] == 1
    expected, got = plain(inputs).to_pylist(), rows(finished).to_pylist()
    different = [i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b]
    assert different == [14]
    assert "the process ended while it read this input" in got[14]["error"]
    assert isinstance(check_shard(plan, 1, 10), Done)
    assert check_shard(plan, 1, 9) == "expected 10 rows of 9 inputs, got 10 of 10"
    assert os.listdir(plan.work) == []


def test_a_listing_keeps_names_that_are_no_utf8(tiny_reader: Reader, tmp_path: Path, out: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(png(1))
    bulk(tiny_reader, out, tmp_path / name)
    assert rows(out).column("source").to_pylist() == [str(tmp_path) + "/caf\\udce9.png"]
    assert read_block_entries(str(out / "listing"), 0)[0].source == str(tmp_path / name)


def test_readers_that_cannot_travel_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got bytes"):
        bulk(Reader(tiny_model.read_bytes(), detector="none"), tmp_path / "out")
    with pytest.raises(UsageError, match="block size of at least 1"):
        bulk(Reader(str(tiny_model), detector="none"), tmp_path / "out", block_size=0)
