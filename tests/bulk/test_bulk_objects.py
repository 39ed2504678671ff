"""Pictures in an S3-compatible server (moto): the rows of the same files on the disk."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_inputs import png
from mien import Reader
from mien.bulk.engine import Here
from mien.bulk.objects import StoreFailure, fetch, is_object, name_of
from mien.bulk.run import read_bulk
from mien.errors import DataError, ImageError, UsageError

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print("\\nADDRESS %s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Any, str]]:
    """A file system of the server, and the options of a URL that reach it."""
    if any(find_spec(package) is None for package in ("moto", "flask", "flask_cors", "boto3")):
        pytest.skip("needs the S3 server of moto: pip install 'moto[s3]' flask flask-cors")
    from pyarrow.fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("EC2_METADATA_DISABLED", "true")):
            patch.setenv(f"AWS_{name}", value)
        command = [sys.executable, "-W", "ignore", "-c", SERVER]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            address = next((line.split()[1] for line in server.stdout if line.startswith("ADDRESS")), None)
            assert address is not None
            system = S3FileSystem(
                endpoint_override=address, scheme="http", region="us-east-1", allow_bucket_creation=True
            )
            system.create_dir("bucket")
            yield system, f"?endpoint_override={address}&scheme=http"
            server.kill()


def put(store: Any, name: str, data: bytes) -> None:
    with store.open_output_stream(name) as stream:
        stream.write(data)


def test_rows_are_those_of_the_same_files_on_the_disk(
    store: tuple[Any, str], inputs: Path, tiny_reader: Reader, tmp_path: Path
) -> None:
    system, options = store
    files = [path for path in inputs.rglob("*") if path.is_file() and path.name != "crops.parquet"]
    for path in files:
        put(system, f"bucket/set/{path.relative_to(inputs)}", path.read_bytes())
    images = [{"bytes": png(50), "path": None}, {"bytes": None, "path": "0/003.png"}]
    images += [{"bytes": None, "path": "0/none.png"}]
    pq.write_table(pa.table({"image": images}), tmp_path / "crops.parquet")
    put(system, "bucket/set/crops.parquet", (tmp_path / "crops.parquet").read_bytes())
    url = f"s3://bucket/set{options}"
    read_bulk(tiny_reader, [url], tmp_path / "far", engine=Here(), block_size=9)
    got = pq.read_table(tmp_path / "far" / "rows").to_pylist()
    here = tmp_path / "near"
    (inputs / "crops.parquet").rename(tmp_path / "aside")
    (tmp_path / "crops.parquet").rename(inputs / "crops.parquet")
    try:
        read_bulk(tiny_reader, [str(inputs)], here, engine=Here(), block_size=9)
    finally:
        (tmp_path / "aside").rename(inputs / "crops.parquet")
    expected = pq.read_table(here / "rows").to_pylist()
    expected = [row for row in expected if not row["source"].endswith("lost.png")]  # a dangling link is no object
    for row in expected:
        row["source"] = row["source"].replace(str(inputs), "s3://bucket/set")
    assert got == expected
    assert len(got) == len(files) - 1 + 3  # one table is no table of pictures


def test_a_changed_object_is_another_input(store: tuple[Any, str], tiny_reader: Reader, tmp_path: Path) -> None:
    system, options = store
    put(system, "bucket/one/a.png", png(1))
    url = f"s3://bucket/one/a.png{options}"
    read_bulk(tiny_reader, [url], tmp_path / "out", engine=Here())
    put(system, "bucket/one/a.png", png(2) + b"more")
    with pytest.raises(Exception, match=r"s3://bucket/one/a\.png changed"):
        read_bulk(tiny_reader, [url], tmp_path / "out", engine=Here())


def test_what_is_missing_is_a_row_and_a_store_that_does_not_answer_is_no_row(
    store: tuple[Any, str], tiny_reader: Reader, tmp_path: Path
) -> None:
    _, options = store
    with pytest.raises(ImageError, match="no such file"):
        fetch(f"s3://bucket/absent.png{options}")
    nobody = "?endpoint_override=127.0.0.1:9&scheme=http"
    with pytest.raises(StoreFailure, match="connect"):
        fetch(f"s3://bucket/absent.png{nobody}")
    with pytest.raises(DataError, match="cannot list s3://bucket/set"):
        read_bulk(tiny_reader, [f"s3://bucket/set{nobody}"], tmp_path / "out", engine=Here())
    with pytest.raises(UsageError, match="listed by prefix"):
        read_bulk(tiny_reader, [f"s3://bucket/*.png{options}"], tmp_path / "other", engine=Here())


def test_which_urls_are_objects_and_their_names() -> None:
    assert is_object("s3://bucket/a.jpg")
    assert not is_object("https://example.org/a.jpg")
    assert not is_object("photos/s3/a.jpg")
    assert name_of("s3://b/what?.jpg?region=eu-north-1&endpoint_override=h:1") == "s3://b/what?.jpg"
    assert name_of("s3://b/what?.jpg") == "s3://b/what?.jpg"
