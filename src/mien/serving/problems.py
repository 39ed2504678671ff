"""Failures as problem details (RFC 9457): what was expected, what came, what to do.

``kind`` is the machine-readable word; for pictures it is the ``type`` of the command's error record.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from mien.errors import MienError

MEDIA_TYPE = "application/problem+json"
#: Kind → status and title. Kinds of pictures are those of ``errors.ImageError``.
KINDS: dict[str, tuple[int, str]] = {
    "missing": (422, "No picture"),
    "empty": (422, "Empty picture"),
    "unreadable": (422, "Not a readable picture"),
    "truncated": (422, "Truncated picture"),
    "unsupported": (422, "Unsupported picture"),
    "too_large": (413, "Picture too large"),
    "too_many_faces": (422, "Too many faces"),
    "body_too_large": (413, "Body too large"),
    "too_many_pictures": (413, "Too many pictures"),
    "malformed": (400, "Malformed request"),
    "truncated_upload": (400, "Truncated upload"),
    "invalid": (422, "Invalid request"),
    "unknown_model": (404, "Unknown model"),
    "not_found": (404, "Not found"),
    "no_page": (503, "Page not available"),
    "method": (405, "Method not allowed"),
    "content_type": (415, "Unsupported content type"),
    "content_encoding": (415, "Unsupported content encoding"),
    "unauthorized": (401, "Missing or wrong API key"),
    "slow_client": (408, "Upload too slow"),
    "busy": (503, "Busy"),
    "stopping": (503, "Stopping"),
    "timeout": (503, "Time limit reached"),
    "internal": (500, "Internal error"),
}


class Problem(MienError):
    """A request that is answered with a failure. kind: one of ``KINDS``; headers: of the answer."""

    def __init__(
        self, kind: str, message: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.type = kind
        self.status, self.title = KINDS[kind]
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": f"urn:mien:problem:{self.type}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            "kind": self.type,
        }

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", errors="backslashreplace")


def of_picture(kind: str, message: str) -> Problem:
    """The problem for an error record of a picture."""
    if not message.startswith("expected"):
        message = f"expected a picture that can be read, got another: {message}"
    hint = "send the whole file" if kind == "truncated" else None
    return Problem(kind if kind in KINDS else "internal", message, hint=hint)


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem for a failure that the web framework noticed."""
    kind = {404: "not_found", 405: "method"}.get(status, "malformed" if status < 500 else "internal")
    problem = Problem(kind, detail, headers=headers)
    if problem.status != status:
        problem.status, problem.title = status, HTTPStatus(status).phrase
    return problem
