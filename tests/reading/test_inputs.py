"""PATHs → items: directories, globs, tables and stdin, each in its order and with its failures in place."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.errors import UsageError
from mien.reading.inputs import count, expand
from mien.reading.items import PAUSE, Item, Pause


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ with pictures in two levels, a video, hidden files and others; the working directory is above it."""
    for name in ("b.jpg", "a.PNG", "sub/c.webp", ".hidden.jpg", ".git/d.jpg", "notes.txt", "sub/film.mp4"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def items(*paths: str, **options: object) -> list[Item]:
    return [item for item in expand(paths, **options) if isinstance(item, Item)]  # type: ignore[arg-type]


def sources(*paths: str, **options: object) -> list[str]:
    return [item.source for item in items(*paths, **options)]


def failure_of(path: str) -> tuple[str, str]:
    (item,) = items(path)
    assert item.failure is not None
    assert item.data is None
    return item.failure.type, item.failure.message


def test_directory_is_walked_in_order(tree: Path) -> None:
    assert sources("photos") == ["photos/a.PNG", "photos/b.jpg", "photos/sub/c.webp", "photos/sub/film.mp4"]
    assert [item.relative for item in items("photos")] == ["a", "b", "sub/c", "sub/film"]


def test_excluded_directory_is_left_out(tree: Path) -> None:
    assert sources("photos", exclude=["photos/sub"]) == ["photos/a.PNG", "photos/b.jpg"]


def test_a_closed_directory_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may enter any directory, so the system's refusal is played."""
    path = str(tmp_path / "closed" / "a.jpg")
    assert failure_of(path) == ("missing", "no such file or directory")
    seen = os.lstat

    def closed(asked: str, **options: object) -> os.stat_result:
        if asked == path:
            raise PermissionError(13, "Permission denied", asked)
        return seen(asked, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "lstat", closed)
    assert failure_of(path) == ("unreadable", "Permission denied")


def test_directory_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    kind, message = failure_of(str(tmp_path))
    assert kind == "empty"
    assert "no pictures" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
def test_directory_that_cannot_be_listed(tree: Path) -> None:
    (tree / "sub").chmod(0)
    try:
        assert items("photos")[-1].failure is not None
    finally:
        (tree / "sub").chmod(0o755)


def test_globs(tree: Path) -> None:
    assert sources("photos/*.jpg") == ["photos/b.jpg"]
    assert sources("photos/*.PNG", "photos/b*") == ["photos/a.PNG", "photos/b.jpg"]
    assert sources("photos/**") == ["photos/a.PNG", "photos/b.jpg", "photos/sub/c.webp", "photos/sub/film.mp4"]
    assert sources("photos/**/*.webp") == ["photos/sub/c.webp"]
    assert sources("pho*") == sources("photos")
    assert sources("photos/*.txt") == ["photos/notes.txt"]  # asked for by name: it is tried, and fails later
    assert failure_of("photos/*.gif")[0] == "missing"


def test_a_literal_name_wins_over_a_glob(tree: Path) -> None:
    (tree / "b[1].jpg").write_bytes(b"x")
    (tree / "b1.jpg").write_bytes(b"x")
    assert sources("photos/b[1].jpg") == ["photos/b[1].jpg"]
    (tree / "b[1].jpg").unlink()
    assert sources("photos/b[1].jpg") == ["photos/b1.jpg"]


def test_missing_and_url() -> None:
    assert failure_of("no/such.jpg") == ("missing", "no such file or directory")
    assert failure_of("https://example.org/a.jpg")[0] == "unsupported"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_stdin(tree: Path, end: str) -> None:
    text = "photos/b.jpg\r\n\n  \nphotos/sub" + end
    stdin = io.BytesIO(text.encode())
    assert sources("-", stdin=stdin) == ["photos/b.jpg", "photos/sub/c.webp", "photos/sub/film.mp4"]


def test_stdin_keeps_names_that_are_no_utf8() -> None:
    (name,) = sources("-", stdin=io.BytesIO(b"caf\xe9.jpg\n"))
    assert os.fsencode(name) == b"caf\xe9.jpg"


def test_stdin_pauses_before_it_waits() -> None:
    """A program that writes one path and waits for the answer gets it: the stream says when nothing more has come."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        os.write(writing, b"one.jpg\ntwo")
        stream = expand(["-"], stdin=stdin)
        first = next(stream)
        assert isinstance(first, Item)
        assert first.source == "one.jpg"
        assert next(stream) is PAUSE
        os.write(writing, b".jpg")
        os.close(writing)
        rest = [item.source for item in stream if not isinstance(item, Pause)]
        assert rest == ["two.jpg"]


def test_count(tree: Path) -> None:
    assert count(["photos", "photos/b.jpg"]) == 5
    assert count(["-"]) is None
    assert count(["photos"], limit=2) is None


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_table(path: Path, columns: dict[str, object], **options: int) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def test_table_of_hugging_face(tmp_path: Path) -> None:
    rows = [
        {"bytes": png(1), "path": "one.png"},
        {"bytes": png(2), "path": None},
        {"bytes": None, "path": "three.png"},
        {"bytes": None, "path": None},
        None,
    ]
    table = write_table(tmp_path / "t.parquet", {"label": [0] * 5, "image": rows})
    found = items(table)
    gone = [f"{table}#3", f"{table}#4"]
    assert [item.source for item in found] == ["one.png", f"{table}#1", "three.png", *gone]
    assert [item.data for item in found[:3]] == [png(1), png(2), str(tmp_path / "three.png")]
    assert [item.failure.type for item in found[3:] if item.failure] == ["empty", "empty"]
    assert [item.relative for item in found[:3]] == ["one", "t-1", "three"]


def test_table_of_bytes_and_of_paths(tmp_path: Path) -> None:
    bare = write_table(tmp_path / "bytes.parquet", {"image": [png(1), png(2)]})
    assert sources(bare) == [f"{bare}#0", f"{bare}#1"]
    named = write_table(tmp_path / "named.parquet", {"image": [png(1)], "path": ["mine.png"]})
    assert sources(named) == ["mine.png"]
    (tmp_path / "a.png").write_bytes(png(3))
    paths = write_table(tmp_path / "paths.pq", {"image": ["a.png"]})
    assert sources(paths) == ["a.png"]
    assert items(paths)[0].data == str(tmp_path / "a.png")


def test_table_without_images_names_its_columns(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.parquet", {"img": [1], "label": [2]})
    kind, message = failure_of(table)
    assert kind == "data"
    assert message == "expected a column 'image', got columns img, label"
    assert failure_of(write_table(tmp_path / "n.parquet", {"image": [1.5]}))[0] == "data"


def test_broken_tables(tmp_path: Path) -> None:
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "zero.parquet").touch()
    assert failure_of(str(tmp_path / "half.parquet"))[0] == "unreadable"
    assert failure_of(str(tmp_path / "zero.parquet"))[0] == "empty"
    assert failure_of(write_table(tmp_path / "no_rows.parquet", {"image": pa.array([], pa.binary())}))[0] == "empty"


def test_directory_of_tables(tmp_path: Path) -> None:
    for part in range(2):
        write_table(tmp_path / f"part-{part}.parquet", {"image": [png(part)]})
    write_table(tmp_path / "readings.parquet", {"source": ["an earlier result"]})
    assert [os.path.basename(source) for source in sources(str(tmp_path))] == ["part-0.parquet#0", "part-1.parquet#0"]


def test_only_foreign_tables_in_a_directory_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "readings.parquet", {"source": ["x"]})
    assert failure_of(str(tmp_path))[0] == "data"


def test_a_table_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row is out before the second batch of rows has been read."""
    from mien.reading import tables

    monkeypatch.setattr(tables, "ROWS_A_BATCH", 2)
    seen: list[int] = []
    real = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, **options: object) -> Iterator[pa.RecordBatch]:
        for batch in real(self, **options):
            seen.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    table = write_table(tmp_path / "t.parquet", {"image": [png(i) for i in range(10)]})
    stream = expand([table])
    next(stream)
    assert seen == [2]
    assert len(list(stream)) == 9


def test_recursive_glob_does_not_follow_links_in_circles(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to("..")
    (tree / "sub" / "again").symlink_to("../sub")
    assert sources("photos/**/*.webp") == sources("**/*.webp") == ["photos/sub/c.webp"]
    assert sources(f"{tree}/**/c.*") == [f"{tree}/sub/c.webp"]
    assert sources("photos/**") == sorted(sources("photos"))
    assert sources("photos/**/sub/*.webp") == ["photos/sub/c.webp"]


def test_linked_folders_are_followed_once(tree: Path, tmp_path: Path) -> None:
    """Each real folder a single time; what the walk reaches by itself keeps its own name; circles end."""
    for name in ("far/x.jpg", "far/deep/y.jpg", "far/.git/z.jpg", "other/w.jpg", "photos/.cache/v.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tree / "linked").symlink_to(tmp_path / "far")
    (tree / "once more").symlink_to(tmp_path / "far")
    (tree / "part").symlink_to(tmp_path / "far" / "deep")
    (tree / "to cache").symlink_to(tree / ".cache")  # the only way to it
    (tree / "a first name").symlink_to(tree / "sub")  # reached by itself, though later
    (tree / "broken").symlink_to(tmp_path / "nothing")
    (tree / "loop").symlink_to("loop")
    (tree / "self").symlink_to(".")
    (tree / "whole").symlink_to(tmp_path)  # above: holds photos again, and "other"
    (tmp_path / "far" / "back").symlink_to(tree)
    (tmp_path / "far" / "deep" / "up").symlink_to(tmp_path / "far")
    found = sources("photos")
    assert sorted(found) == [
        "photos/a.PNG",
        "photos/b.jpg",
        "photos/linked/x.jpg",
        "photos/part/y.jpg",
        "photos/sub/c.webp",
        "photos/sub/film.mp4",
        "photos/to cache/v.jpg",
        "photos/whole/other/w.jpg",
    ]
    real = [os.path.realpath(path) for path in found]
    assert len(set(real)) == len(real)
    assert count(["photos"]) == len(found)
    assert sorted(sources("photos/**")) == sorted(found)
    assert sorted(sources("photos/**/*.jpg")) == sorted(path for path in found if path.endswith(".jpg"))
    (tmp_path / "link to all").symlink_to(tree)
    assert len(sources("link to all")) == len(found) == count(["link to all"])


def test_an_excluded_folder_is_not_reached_by_a_link(tree: Path) -> None:
    (tree / "sub" / "in").mkdir()
    (tree / "sub" / "in" / "d.jpg").write_bytes(b"x")
    (tree / "link").symlink_to("sub")
    (tree / "deeper").symlink_to("sub/in")
    assert sources("photos", exclude=["photos/sub"]) == ["photos/a.PNG", "photos/b.jpg"]


def test_brackets_of_a_folder_that_exists_are_no_pattern(tree: Path) -> None:
    tree.rename("trip [2]")
    assert sources("trip [2]/*.PNG") == ["trip [2]/a.PNG"]
    assert [item.relative for item in items("trip [2]/s*/*")] == ["sub/c", "sub/film"]
    Path("trip [2]").rename("trip 2")
    assert sources("trip [2]/*.PNG") == ["trip 2/a.PNG"]


def test_paths_on_stdin_may_end_in_nul(tree: Path, tmp_path: Path) -> None:
    """``find -print0``: the only way to give a name that holds a line break."""
    (tree / "new\nline.jpg").touch()
    names = ["photos/new\nline.jpg", "photos/b.jpg"]
    (tmp_path / "list").write_bytes(b"".join(name.encode() + b"\0" for name in names))
    with (tmp_path / "list").open("rb") as stream:
        assert sources("-", stdin=stream) == names


def test_a_nul_within_a_path_is_a_missing_file(tree: Path) -> None:
    assert failure_of("photos/b.jpg\0")[0] == "missing"


def test_a_picture_instead_of_paths_on_stdin(tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as stream, pytest.raises(UsageError, match="expected paths on stdin"):
        sources("-", stdin=stream)


def test_tables_with_two_image_columns_or_none_to_fill(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([b"x"])] * 2, names=["image", "image"]), path)
    assert failure_of(path)[0] == "data"
    pq.write_table(pa.table({"image": pa.array([b"xy"], pa.binary(2))}), path)
    assert [item.data for item in items(path)] == [b"xy"]
    pq.write_table(pa.table({"image": pa.array([b""])}), path)
    assert failure_of(path) == ("empty", f"row 0 of {path} holds no image")
