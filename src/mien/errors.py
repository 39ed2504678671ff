"""The error tree. Each message says what was expected, what was given, and what to do.

Exit status 1 for ImageError and ExportError, 2 for every other MienError.

``type`` is the machine-readable word that stands in an error record.
"""

from mien.showable import showable

MOST = 2000  # characters of a message: it may quote a file


def _one_line(text: str) -> str:
    line = showable(" ".join(text.split()))
    return line if len(line) <= MOST else f"{line[: MOST - 2]} …"


class MienError(Exception):
    """Base of every error that mien raises on purpose.

    message: one line, "expected …, got …". hint: what to do about it, appended after a semicolon.
    """

    type: str = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint) if hint else None
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(MienError):
    """A call or option that cannot work."""

    type = "usage"


class ImageError(MienError):
    """One input that cannot be read.

    kind is one of ``IMAGE_ERROR_KINDS`` and becomes ``type`` of the error record.
    """

    IMAGE_ERROR_KINDS = ("missing", "empty", "unreadable", "truncated", "too_large", "unsupported")

    def __init__(self, message: str, *, kind: str, hint: str | None = None) -> None:
        assert kind in self.IMAGE_ERROR_KINDS, kind
        self.type = kind
        super().__init__(message, hint=hint)


class ModelError(MienError):
    """An ONNX file that is broken or not ours."""

    type = "model"


class DataError(MienError):
    """A data set, store or table that is wrong."""

    type = "data"


class RecipeError(MienError):
    """A recipe with a wrong key or value."""

    type = "recipe"


class WeightsError(MienError):
    """Pretrained weights that cannot be obtained."""

    type = "weights"


class OutputError(MienError):
    """A result that cannot be written."""

    type = "output"


class ExportError(MienError):
    """A network that did not pass the parity gate."""

    type = "export"


class MissingExtra(MienError):
    """A package of an optional extra is not installed."""

    type = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this command needs the package {package!r}, which is not installed",
            hint=f"install it with: pip install 'mien[{extra}]'",
        )
