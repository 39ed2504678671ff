"""Object stores (``s3://…``, ``gs://…``, …) through pyarrow's file systems, or fsspec's where pyarrow has none.

Credentials come from the environment, as the stores' own tools take them. ``s3://bucket/photos?endpoint_override=
host:9000&scheme=http`` reaches an S3-compatible server, as ``$AWS_ENDPOINT_URL`` does; ``region`` and ``anonymous`` are
further options of that kind. They are no part of a picture's name in the output.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mien.bulk.entries import Entry, Kind
from mien.errors import DataError, ImageError, MissingExtra, UsageError
from mien.imaging import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.imaging.data_url import is_url, refuse_url
from mien.reading import tables
from mien.reading.inputs import NO_PICTURES, TABLE_SUFFIXES
from mien.showable import one_line

MAX_BYTES = 1 << 30  # of one object
_OPTIONS = re.compile(r"\?(?:(?:region|scheme|endpoint_override|anonymous)=[^&]*&?)+$")
_ELSEWHERE = ("http", "https", "ftp", "ftps", "file", "rtsp", "rtsps", "data")  # no stores, or not asked for
_CONNECT_S = 10.0


class StoreFailure(Exception):
    """The store did not answer as it should; asking again may help."""


def is_object(text: str) -> bool:
    """Whether a text is the URL of something in an object store."""
    return is_url(text) and urlsplit(text).scheme.lower() not in _ELSEWHERE and "://" in text


def name_of(url: str) -> str:
    """The URL without the options of the connection."""
    return _OPTIONS.sub("", url)


def open_object(url: str) -> Any:
    """An open ``pyarrow.NativeFile``. Raises ImageError where it cannot be had, StoreFailure where the store fails."""
    system, path, _ = _resolve(url)
    try:
        return system.open_input_file(path)
    except OSError as error:
        raise _told(error) from error


def fetch(url: str) -> bytes:
    """The bytes of an object. Raises ImageError and StoreFailure as :func:`open_object` does."""
    with open_object(url) as file:
        try:
            size = file.size()
            if size > MAX_BYTES:
                raise ImageError(f"expected an object of at most 1 GiB, got {size:,} bytes", kind="too_large")
            data: bytes = file.read()
        except OSError as error:
            raise _told(error) from error
    if not data:
        raise ImageError("the file is empty (0 bytes)", kind="empty")
    return data


def list_objects(url: str) -> Iterator[Entry]:
    """The entries of a URL: one object, or all pictures and tables below a prefix, in the order of a walk of files.

    Each prefix is listed for itself, so that memory is bounded by the largest one. Raises DataError where the store
    does not answer, UsageError for a pattern.
    """
    system, path, options = _resolve(url)
    if "*" in path:
        raise UsageError(
            f"expected a prefix or an object, got the pattern {name_of(url)}", hint="object stores are listed by prefix"
        )
    from pyarrow.fs import FileType

    root, name = name_of(url).rstrip("/"), path.rstrip("/")
    try:
        info = system.get_file_info(name)
        if info.type == FileType.NotFound:
            yield Entry(Kind.FAILED, root, failure=("missing", "no such object or prefix"))
        elif info.type == FileType.File:
            yield from _object(root, options, info)
        else:
            found = False
            for entry in _below(system, name, root, options):
                found = True
                yield entry
            if not found:
                yield Entry(Kind.FAILED, root, failure=("empty", NO_PICTURES))
    except OSError as error:
        raise DataError(f"cannot list {root}: {one_line(error)}") from error


def _below(system: Any, folder: str, url: str, options: str) -> Iterator[Entry]:
    from pyarrow.fs import FileSelector, FileType

    infos = sorted(system.get_file_info(FileSelector(folder)), key=lambda info: info.base_name)
    for info in infos:
        name = info.base_name
        suffix = os.path.splitext(name)[1].lower()
        if info.type != FileType.File or name.startswith("."):
            continue
        if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            yield from _object(f"{url}/{name}", options, info)
        elif suffix in TABLE_SUFFIXES:
            entries = list(_object(f"{url}/{name}", options, info))
            if not (entries[0].failure and entries[0].failure[0] == "data"):  # a result beside the pictures
                yield from entries
    for info in infos:
        if info.type == FileType.Directory and not info.base_name.startswith("."):
            yield from _below(system, f"{folder}/{info.base_name}", f"{url}/{info.base_name}", options)


def _object(url: str, options: str, info: Any) -> Iterator[Entry]:
    stamp = f"{info.size} {info.mtime_ns}"
    suffix = os.path.splitext(url)[1].lower()
    if suffix in TABLE_SUFFIXES:
        yield from table_entries(url, options=options, stamp=stamp)
    elif suffix in VIDEO_SUFFIXES:
        yield video(url)
    else:
        yield Entry(Kind.OBJECT, url, data=url + options if options else None, stamp=stamp)


def video(source: str) -> Entry:
    """A video: no input of a bulk run."""
    problem = "expected a picture, got a video; mien read FILE reads it, without --engine ray"
    return Entry(Kind.FAILED, source, failure=("unsupported", problem))


def table_entries(table: str, *, options: str = "", stamp: str | None = None) -> Iterator[Entry]:
    """A table as one entry for all of its rows, which its footer counts, or the reason why it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = open_object(table + options) if is_object(table) else None
    try:
        refused = tables.refusal(table, file)
        if refused is not None and refused.failure is not None:
            yield Entry(Kind.FAILED, table, failure=(refused.failure.type, refused.failure.message))
            return
        count = pq.read_metadata(table if file is None else file).num_rows
        if stamp is None:
            status = os.stat(table)
            stamp = f"{status.st_size} {status.st_mtime_ns}"
    except (pa.ArrowException, OSError) as error:
        yield Entry(Kind.FAILED, table, failure=("unreadable", f"expected a Parquet file: {one_line(error)}"))
        return
    finally:
        if file is not None:
            file.close()
    if count == 0:
        failure = tables.no_rows(table).failure
        assert failure is not None
        yield Entry(Kind.FAILED, table, failure=(failure.type, failure.message))
        return
    yield Entry(Kind.ROWS, table, data=table + options if options else None, count=count, stamp=stamp)


def _told(error: OSError) -> Exception:
    """An error of a store as what it means for one picture, or StoreFailure."""
    text = one_line(error)
    if isinstance(error, FileNotFoundError):
        return ImageError("no such file", kind="missing")
    if isinstance(error, PermissionError) or re.search(r"ACCESS_DENIED|AccessDenied|HTTP status 403", text):
        return ImageError("the object store denies access", kind="unreadable")
    return StoreFailure(text)


def _resolve(url: str) -> tuple[Any, str, str]:
    """(file system, path in it, the options as they stand in the URL)."""
    options = found[0] if (found := _OPTIONS.search(url)) else ""
    scheme, bucket, path = (urlsplit(url).scheme.lower(), *_split(name_of(url)))
    return _system(scheme, bucket, options), f"{bucket}/{path}" if path else bucket, options


def _split(url: str) -> tuple[str, str]:
    """(bucket, path): not by urlsplit, for a name may hold # and ?."""
    bucket, _, path = url.partition("://")[2].partition("/")
    return bucket, path


@lru_cache(maxsize=64)
def _system(scheme: str, bucket: str, options: str) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise MissingExtra("pyarrow", "ray") from error
    asked = dict(parse_qsl(options.lstrip("?")))
    try:
        if scheme == "s3":
            return fs.S3FileSystem(**_s3(bucket, asked))
        if scheme in ("gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"):
            return fs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot reach {scheme}://{bucket}: {one_line(error)}") from error
    except (ImportError, ValueError) as error:  # fsspec: an unknown scheme, or its package is missing
        raise UsageError(f"expected an object store, got {scheme}://{bucket}: {one_line(error)}") from error


def _s3(bucket: str, asked: dict[str, str]) -> dict[str, Any]:
    from pyarrow.fs import AwsStandardS3RetryStrategy, resolve_s3_region

    endpoint = (
        asked.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    given: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=4),
    }
    if asked.get("anonymous", "").lower() in ("1", "true"):
        given["anonymous"] = True
    region = asked.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        given |= {"endpoint_override": host.rstrip("/"), "scheme": asked.get("scheme") or scheme or "https"}
        region = region or "us-east-1"
    given["region"] = region or resolve_s3_region(bucket)
    return given


def refused(url: str) -> Entry:
    """A URL that is none of an object store."""
    error = refuse_url(url)
    return Entry(Kind.FAILED, url, failure=(error.type, str(error)))
