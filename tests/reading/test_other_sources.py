"""Open files, data: texts and URLs, in Python, on the command line, on stdin and in tables."""

import base64
import gzip
import io
import tempfile
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien import Reader, ReadFailure, Reading
from mien.errors import ImageError
from mien.imaging import load_rgb
from mien.reading.inputs import count, expand
from mien.reading.items import Item

CROP = np.random.default_rng(0).integers(20, 256, (48, 48), dtype=np.uint8)


def encoded(kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(CROP).save(buffer, kind)
    return buffer.getvalue()


PNG = encoded()
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def error_of(source: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_rgb(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return caught.value


class Wire(io.RawIOBase):
    """A stream that cannot be sought, as a connection's."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> Reader:
    return Reader(str(tiny_model), detector="none", threads=1)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", [0, 5, len(PNG)])
def test_a_file_is_read_from_its_start_and_left_where_it_was(place: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with gzip.open(tmp_path / "a.png.gz", "wb") as packed:
        packed.write(PNG)
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    spooled.write(PNG)
    files: list[IO[bytes]] = [
        BytesIO(PNG),
        open(tmp_path / "a.png", "rb"),  # noqa: SIM115
        open(tmp_path / "a.png", "rb", buffering=0),  # noqa: SIM115
        open(tmp_path / "a.png", "r+b"),  # noqa: SIM115
        gzip.open(tmp_path / "a.png.gz", "rb"),  # type: ignore[list-item]  # noqa: SIM115
        spooled,
    ]
    for file in files:
        file.seek(place)
        for _ in range(2):
            assert np.array_equal(load_rgb(file)[..., 0], CROP)
            assert file.tell() == place
            assert not file.closed
        file.close()


def test_a_stream_that_cannot_be_sought() -> None:
    assert np.array_equal(load_rgb(Wire(PNG))[..., 0], CROP)
    assert np.array_equal(load_rgb(io.BufferedReader(Wire(PNG)))[..., 0], CROP)


def test_files_that_give_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with open(tmp_path / "a.png", encoding="latin-1") as text:
        assert "open(path, 'rb')" in str(error_of(text))
    assert "text mode" in str(error_of(io.StringIO("abc")))
    closed = BytesIO(PNG)
    closed.close()
    assert "got a closed one" in str(error_of(closed))
    with open(tmp_path / "b.png", "wb") as writing:
        assert error_of(writing).type == "unreadable"
    assert error_of(BytesIO()).type == "empty"
    assert error_of(BytesIO(PNG[:500])).type == "truncated"

    class Odd:
        def read(self) -> Any:
            return 5

    assert "gives bytes, got int" in str(error_of(Odd()))


def test_files_in_read_and_read_many(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    right = reader.read(CROP).faces
    with open(tmp_path / "a.png", "rb") as file:
        assert reader.read(file).source == str(tmp_path / "a.png")
        results = list(reader.read_many([BytesIO(PNG), file, io.StringIO("x"), BytesIO(PNG)]))
        assert not file.closed
    assert [result.source for result in results] == ["<file>", str(tmp_path / "a.png"), "<file>", "<file>"]
    assert isinstance(results[2], ReadFailure)
    assert all(isinstance(result, Reading) and result.faces == right for result in (*results[:2], results[3]))
    (result,) = reader.stream([Item("mine", BytesIO(PNG))], keep_pictures=True)
    assert result.reading.source == "mine"
    assert result.picture is not None


# ── data: texts ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        DATA_URL,
        "DATA:image/png;BASE64," + DATA_URL.split(",")[1],
        "data:;base64," + DATA_URL.split(",")[1],
        "data:image/png;charset=utf-8;base64," + DATA_URL.split(",")[1],
        "data:image/png;base64," + quote(DATA_URL.split(",")[1], safe=""),
        "data:image/png;base64," + "\n".join(DATA_URL.split(",")[1][i : i + 76] for i in range(0, 9999, 76)),
        DATA_URL.rstrip("="),
        "data:image/png," + quote(PNG),
    ],
    ids=["plain", "upper case", "no type", "parameters", "percent", "lines", "no padding", "no base64"],
)
def test_data_urls(text: str, reader: Reader) -> None:
    assert np.array_equal(load_rgb(text)[..., 0], CROP)
    reading = reader.read(text)
    assert len(reading.source) < 50  # never the picture itself
    assert reading.faces == reader.read(CROP).faces


def test_every_length_of_padding() -> None:
    from mien.imaging.data_url import decode

    for length in range(9):
        raw = bytes(range(length))
        for text in (base64.b64encode(raw).decode(), base64.b64encode(raw).decode().rstrip("=")):
            assert decode(f"data:x;base64,{text}") == raw


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("data:image/png;base64", "unreadable", "with a comma"),
        ("data:image/png;base64,", "empty", "no bytes"),
        ("data:image/png;base64,A", "unreadable", "expected base64"),
        ("data:image/png;base64,AAA?AAAA", "unreadable", "expected base64"),
        ("data:image/png;base64,AA=A", "unreadable", "expected base64"),
        ("data:image/png;base64,A===", "unreadable", "expected base64"),
        ("data:image/png;base64," + "!" * 9999, "unreadable", "expected base64"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg></svg>").decode(), "unreadable", "an unknown format"),
        ("data:text/plain,hello", "unreadable", "an unknown format"),
        (DATA_URL[: len(DATA_URL) // 8 * 4], "truncated", "ends before"),
    ],
)
def test_wrong_data_urls(text: str, kind: str, words: str) -> None:
    error = error_of(text)
    assert error.type == kind
    assert words in str(error)


def test_the_pixel_limit_holds_for_data_urls() -> None:
    with pytest.raises(ImageError, match="at most 100 pixels"):
        load_rgb(DATA_URL, max_pixels=100)


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data:image,x").write_bytes(PNG)
    assert np.array_equal(load_rgb("data:image,x")[..., 0], CROP)


def test_data_urls_among_the_inputs(reader: Reader, tmp_path: Path) -> None:
    """As an argument, as a line on stdin, and in a table's column of texts or of {bytes, path}."""
    pq.write_table(pa.table({"image": [DATA_URL, DATA_URL]}), tmp_path / "texts.parquet")
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": None, "path": DATA_URL}, {"bytes": PNG, "path": DATA_URL}])}),
        tmp_path / "both.parquet",
    )
    right = reader.read(CROP).faces
    arguments = expand([DATA_URL])
    lines = expand(["-"], stdin=BytesIO(f"{DATA_URL}\n{DATA_URL}\n".encode()))
    tables = expand([str(tmp_path / "texts.parquet"), str(tmp_path / "both.parquet")])
    for stream, many in ((arguments, 1), (lines, 2), (tables, 4)):
        results = list(reader.read_many(stream))
        assert len(results) == many
        for result in results:
            assert isinstance(result, Reading)
            assert result.faces == right
            assert len(result.source) < 200
    assert count([DATA_URL]) is None


# ── URLs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    ["https://a.org/b.jpg", "http://a.org/b.jpg?size=[1]*", "HTTPS://a.org", "s3://bucket/b.png", "file:///b.png"],
)
def test_a_url_gets_one_sentence_everywhere(url: str, reader: Reader, tmp_path: Path) -> None:
    sentence = "expected a local file, got a URL; download it first"
    if url.startswith("file://"):
        sentence = "expected a path, got a file: URL; leave out file://"
    assert str(error_of(url)) == sentence
    assert error_of(url).type == "unsupported"
    pq.write_table(pa.table({"image": [url]}), tmp_path / "urls.parquet")
    streams = (
        [url],
        expand([url]),
        expand(["-"], stdin=BytesIO(url.encode())),
        expand([str(tmp_path / "urls.parquet")]),
    )
    for stream in streams:
        (result,) = reader.read_many(stream)
        assert isinstance(result, ReadFailure)
        assert result.message == sentence
        assert result.source == url


def test_a_url_that_pathlib_has_shortened() -> None:
    assert "got a URL" in str(error_of(Path("https://a.org/b.jpg")))
