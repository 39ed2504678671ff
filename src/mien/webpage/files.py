"""The files of the page, by their paths: what ``mien page`` writes and what the service shows at ``/``."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np

from mien import weights
from mien.errors import UsageError
from mien.faces.yunet_weights import WEIGHTS
from mien.reading.classifier import SHIPPED, Classifier, model_bytes, model_name
from mien.webpage.settings import READERS, model_path, settings_json
from mien.webpage.third_party import third_party

INDEX = "index.html"
#: What the page may do. In the static form it stands in ``index.html`` itself; frame-ancestors works as a header alone.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob:; media-src blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
#: Of every answer, where the page comes from a server that can say them.
HEADERS: dict[str, str] = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
_SERVICE_WORKER = "sw.js"
_FILES_MARK = b"/* files: written by mien */ {}"
_POLICY_MARK = b"<!-- policy: written by mien -->"
_READERS_MARK = b"<!-- readers: written by mien -->"
_GOODNESS_MARK = b"<!-- goodness: written by mien -->"
_ABOUT = {"nano": "fast", "compact": "more accurate"}
#: How far a reading can be trusted; key: whether the readers come with mien.
_GOODNESS = {
    True: "On photos like those it learned from, about 7 of 10 readings agree with the raters; it was not measured "
    "whether that holds for every group of people.",
    False: "This reader does not come with mien: only who trained it can say how often it is right, and for whom.",
}


@dataclass(frozen=True)
class PageFile:
    """One file: its bytes, media type, and entity tag; ``packed`` are its bytes compressed by gzip, made once."""

    content: bytes
    media_type: str
    _packed: bytes | None = field(default=None, repr=False)

    @cached_property
    def packed(self) -> bytes:
        return self._packed if self._packed is not None else gzip.compress(self.content, mtime=0)

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def page_files(runtime: Mapping[str, bytes], models: Sequence[str] = READERS) -> dict[str, PageFile]:
    """Path → file of the whole page; ``index.html`` is the page itself.

    runtime: as :func:`mien.webpage.onnxruntime_web.obtain` gives it. models: the readers that it offers, names of
    shipped ones or files; the first is loaded with the page. Raises ModelError where a network is missing or broken,
    UsageError where a file is not there, two have one name, or their classes differ.
    """
    readers = {model_name(model): _model(model) for model in models}
    if len(readers) < len(models):
        raise UsageError(f"expected models with names of their own, got {', '.join(models)}")
    networks = {WEIGHTS.name: WEIGHTS.model_bytes(), "orientation": weights.read("orientation.onnx")}

    contents = dict(_static(files("mien.webpage") / "static", ""))
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    contents["settings.json"] = settings_json(networks, runtime, readers)
    ours = all(model in SHIPPED for model in models)
    written = ((_POLICY_MARK, policy), (_READERS_MARK, _switch(list(readers), ours)), (_GOODNESS_MARK, _GOODNESS[ours]))
    for mark, text in written:
        contents[INDEX] = contents[INDEX].replace(mark, text.encode())
    contents |= {f"models/{name}.onnx": content for name, content in networks.items()}
    contents |= {model_path(name): content for name, content in readers.items()}
    packed = {}
    for name, content in runtime.items():
        if name.endswith(".gz"):
            packed[f"runtime/{name.removesuffix('.gz')}"] = content
        else:
            contents[f"runtime/{name}"] = content
    contents["third-party.txt"] = third_party(contents)
    later = [model_path(name) for name in list(readers)[1:]]
    contents[_SERVICE_WORKER] = contents[_SERVICE_WORKER].replace(_FILES_MARK, _service_worker_files(contents, later))
    return {
        path: PageFile(content, MEDIA_TYPES[path[path.rindex(".") :]], packed.get(path))
        for path, content in sorted(contents.items())
    }


def _static(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _static(entry, f"{prefix}{entry.name}/")
        elif entry.name[entry.name.rfind(".") :] in MEDIA_TYPES:
            found.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return found


def _model(model: str) -> bytes:
    """The file of a reader: a shipped one checked by its hash, the user's as ``mien read`` does, and tried once."""
    if model not in SHIPPED:
        reader = Classifier.load(model, threads=1)
        reader.probabilities(reader.preprocess.pixels(np.zeros((48, 48, 3), np.uint8))[None])
    return model_bytes(model)


def _switch(names: Sequence[str], ours: bool) -> str:
    """The choice between the readers. ours: they come with mien."""
    rows = []
    for name in names:
        small = f" <small>{_ABOUT[name]}</small>" if ours else ""
        on = " checked" if name == names[0] else ""
        rows.append(
            f'<label><input type="radio" name="model" value="{escape(name)}"{on} disabled>'
            f"<span>{escape(name)}{small}</span></label>"
        )
    return "\n    ".join(rows)


def _service_worker_files(contents: Mapping[str, bytes], later: Sequence[str]) -> bytes:
    """What the service worker keeps: its version changes with any byte of the page. later: once they are chosen."""
    digest = hashlib.sha256()
    for path in sorted(contents):
        digest.update(f"{path}\0{len(contents[path])}\0".encode() + contents[path])
    first = [path for path in sorted(contents) if path not in (*later, _SERVICE_WORKER)]
    return json.dumps({"version": digest.hexdigest()[:16], "first": first, "later": later}).encode()
