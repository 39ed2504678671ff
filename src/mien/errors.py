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
    """Base of every error that mien raises on purpose; ``str`` gives one line.

    Args:
        message: "expected …, got …".
        hint: what to do about it, appended after a semicolon.

    Examples:
        >>> from mien import MienError, Reader
        >>> try:
        ...     Reader("smile.onnx")
        ... except MienError as error:
        ...     print(error.type, "-", error.hint)
        usage - ...
    """

    type: str = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint) if hint else None
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(MienError):
    """A call or option that cannot work.

    Examples:
        >>> from mien import Reader
        >>> Reader(threads=0)
        Traceback (most recent call last):
        mien.errors.UsageError: expected threads of at least 1, got 0
    """

    type = "usage"


class ImageError(MienError):
    """One input that cannot be read.

    Args:
        message: "expected …, got …".
        kind: one of ``IMAGE_ERROR_KINDS``; becomes ``type`` of the error record.
        hint: what to do about it.

    Examples:
        >>> from mien import Reader
        >>> Reader("nano").read("gone.jpg")
        Traceback (most recent call last):
        mien.errors.ImageError: ...
    """

    IMAGE_ERROR_KINDS = ("missing", "empty", "unreadable", "truncated", "too_large", "unsupported")

    def __init__(self, message: str, *, kind: str, hint: str | None = None) -> None:
        assert kind in self.IMAGE_ERROR_KINDS, kind
        self.type = kind
        super().__init__(message, hint=hint)


class ModelError(MienError):
    """An ONNX file that is broken or not ours.

    Examples:
        >>> from mien import Reader
        >>> Reader(b"no model")
        Traceback (most recent call last):
        mien.errors.ModelError: ...
    """

    type = "model"


class DataError(MienError):
    """A data set, store or table that is wrong.

    Examples:
        >>> from mien.data.store import Store
        >>> Store.open("nowhere")
        Traceback (most recent call last):
        mien.errors.DataError: expected a store (summary.json and data/*.parquet) at nowhere, found nothing there; ...
    """

    type = "data"


class RecipeError(MienError):
    """A recipe with a wrong key or value.

    Examples:
        >>> from mien.training.recipe import load_recipe
        >>> load_recipe("own", overrides={"epochs": "many"})
        Traceback (most recent call last):
        mien.errors.RecipeError: ...
    """

    type = "recipe"


class WeightsError(MienError):
    """Pretrained weights that cannot be obtained.

    Examples:
        >>> from mien.errors import WeightsError
        >>> print(WeightsError("expected timm's weights, got no answer", hint="model.init=scratch needs none"))
        expected timm's weights, got no answer; model.init=scratch needs none
    """

    type = "weights"


class OutputError(MienError):
    """A result that cannot be written.

    Examples:
        >>> from mien.data.build.run import build_store
        >>> from mien.data.sources import open_source
        >>> build_store([open_source("folder", "pictures", own=True)], "photo.jpg")
        Traceback (most recent call last):
        mien.errors.OutputError: expected a directory for the store, got the file or link ...photo.jpg
    """

    type = "output"


class ExportError(MienError):
    """A network that did not pass the parity gate.

    Examples:
        >>> from mien.errors import ExportError
        >>> print(ExportError("expected probabilities within 0.0001 of torch's, got 0.2", hint="no file was written"))
        expected probabilities within 0.0001 of torch's, got 0.2; no file was written
    """

    type = "export"


class MissingExtra(MienError):
    """A package of an optional extra is not installed.

    Args:
        package: the package that is missing.
        extra: the extra of mien that brings it.

    Examples:
        >>> from mien.errors import MissingExtra
        >>> print(MissingExtra("ray", "ray"))
        this command needs the package 'ray', which is not installed; install it with: pip install 'mien[ray]'
    """

    type = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this command needs the package {package!r}, which is not installed",
            hint=f"install it with: pip install 'mien[{extra}]'",
        )


def require(*packages: str, extra: str) -> None:
    """Asked before heavy imports: raises MissingExtra for the first of the packages that is not installed."""
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(package, extra)
