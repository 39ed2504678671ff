"""From a request's body to pictures: raw bytes, multipart/form-data, or JSON with base64.

Bytes are counted while they stream, and Content-Length is checked before. Bodies stay in memory: form parsers of web
frameworks write large files to disk, and nothing of a picture is stored here. No URL is fetched.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mien.errors import ImageError
from mien.imaging.data_url import decode, is_data_url, is_url
from mien.serving.problems import Problem
from mien.serving.schema import BatchInput, PictureInput
from mien.serving.settings import Limits

UNNAMED = "<bytes>"  # as Reader.read names the bytes of a file
NAME = 200  # characters of a name that are kept
_BIG = 1_000_000  # bytes from which on a body is parsed in a thread, so that others need not wait
_RAW = ("application/octet-stream",)
_EXPECTED = "expected Content-Type image/…, application/octet-stream, multipart/form-data or application/json"
Take = Callable[[int], None]
Input = TypeVar("Input", bound=BaseModel)


class Budget:
    """The bytes of all bodies that are held at once. Raises Problem (busy) where ``most`` is exceeded."""

    def __init__(self, most: int) -> None:
        self._left = self._most = most

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that counts further bytes; they are given back at the end of the block."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._left:
                raise Problem(
                    "busy",
                    f"expected bodies of at most {self._most:,} bytes at once, got more",
                    hint="send the request again after the seconds of Retry-After",
                    headers={"Retry-After": "1"},
                )
            taken += count
            self._left -= count

        try:
            yield take
        finally:
            self._left += taken


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bytes, and the name that its result has."""

    name: str
    data: bytes


async def one_picture(request: Request, limits: Limits, take: Take, *, name: str | None) -> Picture:
    """The picture of a request to ``/v1/read``. name: in place of the body's. Raises Problem."""
    picture = await _one(request, limits, take)
    return picture if name is None else replace(picture, name=clean_name(name))


async def _one(request: Request, limits: Limits, take: Take) -> Picture:
    kind, options = _content_type(request)
    if kind == "multipart/form-data":
        parts = await _parts(request, limits, take, options)
        if len(parts) != 1:
            raise Problem("invalid", f"expected one picture, got {len(parts)}", hint="send several to /v1/read/batch")
        return parts[0]
    if kind == "application/json":
        given = await _json(request, limits, take, PictureInput)
        return await _unpack(given)
    if kind in _RAW or kind.startswith("image/"):
        data = await _body(request, limits, take)
        if not data:
            raise Problem("empty", "expected the bytes of a picture, got an empty body")
        return Picture(clean_name(None), data)
    raise _wrong_type(kind)


async def many_pictures(request: Request, limits: Limits, take: Take) -> list[Picture]:
    """The pictures of a request to ``/v1/read/batch``. Raises Problem."""
    kind, options = _content_type(request)
    if kind == "multipart/form-data":
        pictures = await _parts(request, limits, take, options)
        if not pictures:
            raise Problem("invalid", "expected pictures as parts with a file name, got none")
    elif kind == "application/json":
        given = await _json(request, limits, take, BatchInput)
        _check_count(len(given.images), limits)
        pictures = [await _unpack(one) for one in given.images]
    else:
        raise _wrong_type(kind)
    _check_count(len(pictures), limits)
    return pictures


def clean_name(name: str | None) -> str:
    """A picture's name as it stands in the answer: printable, not long, never empty."""
    text = "".join(c for c in (name or "")[:NAME] if c.isprintable()).encode("utf-8", "replace").decode()
    return text or UNNAMED


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.max_batch:
        raise Problem("too_many_pictures", f"expected at most {limits.max_batch} pictures, got {count}")


def _content_type(request: Request) -> tuple[str, dict[bytes, bytes]]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            "content_encoding", f"expected a body without Content-Encoding, got {encoding[:40]!r}", hint="send it plain"
        )
    kind, options = parse_options_header(request.headers.get("content-type", "application/octet-stream"))
    return kind.decode("latin-1").strip().lower(), options


def _wrong_type(kind: str) -> Problem:
    hint = "with curl: -H 'Content-Type: image/jpeg' --data-binary @photo.jpg, or -F image=@photo.jpg"
    return Problem("content_type", f"{_EXPECTED}, got {kind[:80]!r}", hint=hint)


async def _body(request: Request, limits: Limits, take: Take) -> bytes:
    """The whole body, counted while it comes."""
    most, body = limits.max_body, bytearray()
    length = request.headers.get("content-length")
    announced = int(length) if length and length.isdecimal() else None

    def count(size: int) -> None:
        if size > most:
            came = f"{size:,}" if announced else "more"
            raise Problem("body_too_large", f"expected a body of at most {most:,} bytes, got {came}")

    count(announced or 0)
    pieces = request.stream()
    try:
        while True:
            try:
                piece = await asyncio.wait_for(anext(pieces), limits.client_timeout)
            except StopAsyncIteration:
                break
            count(len(body) + len(piece))
            take(len(piece))
            body += piece
    except TimeoutError:
        raise Problem(
            "slow_client", f"expected the next bytes within {limits.client_timeout:g} s, got none after {len(body):,}"
        ) from None
    except ClientDisconnect:
        raise Problem("truncated_upload", "expected the rest of the body, got a closed connection") from None
    if (announced is not None and len(body) < announced) or request.scope.get("mien.truncated"):
        whole = f"{announced:,} bytes" if announced is not None else "the last chunk"
        raise Problem("truncated_upload", f"expected {whole} of body, got an end after {len(body):,} bytes")
    return bytes(body)


async def _json(request: Request, limits: Limits, take: Take, model: type[Input]) -> Input:
    data = await _body(request, limits, take)
    try:
        if len(data) > _BIG:
            return await asyncio.to_thread(model.model_validate_json, data)
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        kind = "malformed" if first["type"] == "json_invalid" else "invalid"
        wanted = '{"images": [{"image": BASE64}, …]}' if model is BatchInput else '{"image": BASE64, "name": NAME}'
        raise Problem(kind, f"expected JSON {wanted}, got a fault at {where[:80]}: {first['msg'][:160]}") from None


async def _unpack(given: PictureInput) -> Picture:
    text = given.image
    if not is_data_url(text[:5]):
        if is_url(text[:40].strip()):
            raise Problem(
                "unsupported", "expected a picture in base64, got a URL", hint="no URL is fetched: send the bytes"
            )
        text = "data:;base64," + text
    try:
        data = await asyncio.to_thread(decode, text) if len(text) > _BIG else decode(text)
    except ImageError:
        shown = "characters that are none, or an end in the middle"
        raise Problem("unreadable", f"expected a picture in base64, got {shown}") from None
    except ValueError:  # lone surrogates
        raise Problem("unreadable", "expected a picture in base64, got other characters") from None
    if not data:
        raise Problem("empty", "expected the bytes of a picture, got none")
    return Picture(clean_name(given.name), data)


async def _parts(request: Request, limits: Limits, take: Take, options: dict[bytes, bytes]) -> list[Picture]:
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Problem("malformed", "expected multipart/form-data with a boundary, got none")
    body = await _body(request, limits, take)
    form = _Form(limits.max_batch)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        for start in range(0, len(body), _BIG):
            parser.write(body[start : start + _BIG])
            await asyncio.sleep(0)
        parser.finalize()
    except FormParserError as error:
        raise Problem("malformed", f"expected multipart/form-data, got a body that is none ({error})") from None
    if not form.ended:
        raise Problem("truncated_upload", "expected multipart/form-data with its closing boundary, got none")
    return form.pictures


class _Form:
    """Collects the parts of a form in memory."""

    def __init__(self, most: int) -> None:
        self.pictures: list[Picture] = []
        self.ended = False
        self._most = most
        self._field, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._headers = Message()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._data, self._headers = bytearray(), Message()

    def _header(self) -> None:
        name, value = self._field.decode("latin-1").lower(), self._value.decode("utf-8", "replace")
        self._headers[name] = value.replace("\r", " ").replace("\n", " ")
        self._field, self._value = bytearray(), bytearray()

    def _part(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        _, options = parse_options_header(disposition.encode("utf-8", "replace"))
        name = options.get(b"filename")
        if name is None:
            shown = options.get(b"name", b"").decode("utf-8", "replace")
            raise Problem(
                "invalid",
                f"expected parts with a file name alone, got the field {shown[:40]!r} without one",
                hint="with curl: -F image=@photo.jpg",
            )
        if not self._data:
            raise Problem("empty", "expected the bytes of a picture, got an empty part")
        if len(self.pictures) == self._most:
            raise Problem("too_many_pictures", f"expected at most {self._most} pictures, got more")
        self.pictures.append(Picture(clean_name(name.decode("utf-8", "replace")), bytes(self._data)))

    def _end(self) -> None:
        self.ended = True
