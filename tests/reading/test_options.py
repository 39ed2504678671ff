"""The options of reading are written in several places: all name the same ones, with the same defaults."""

import inspect
import pickle
from dataclasses import MISSING, fields, replace
from enum import Enum
from typing import Any

import pytest

from mien import Reader
from mien.cli.read import DetectorName, Device, Format, Precision, read
from mien.cli.serve import serve
from mien.errors import UsageError
from mien.faces.detector import DETECTORS
from mien.onnx_runtime import DEVICES
from mien.reading.classifier import PRECISIONS
from mien.reading.options import ReaderOptions
from mien.reading.outputs import FORMATS
from mien.serving.settings import ReaderSettings

DEFAULTS = {option.name: option.default for option in fields(ReaderOptions)}


def defaults(function: Any) -> dict[str, Any]:
    """Keyword → default of a function, or of a command made with typer."""
    values = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    plain = {name: getattr(value, "default", value) for name, value in values.items()}
    return {name: value.value if isinstance(value, Enum) else value for name, value in plain.items()}


def test_reader_and_commands_take_the_same_options() -> None:
    of_reader = defaults(Reader)
    assert {name: value for name, value in of_reader.items() if name != "model"} == DEFAULTS
    assert DEFAULTS.items() <= defaults(read).items()
    served = defaults(serve)
    assert set(DEFAULTS) - set(served) == {"reduced_jpegs"}
    settings = {option.name: option.default for option in fields(ReaderSettings) if option.default is not MISSING}
    differ = {name for name in DEFAULTS if settings[name] != DEFAULTS[name]}
    assert differ == {"max_pixels"}
    assert all(settings[name] == served[name] for name in set(DEFAULTS) & set(served))


def test_commands_offer_what_reading_knows() -> None:
    """They have lists of their own, because importing what reads costs more than the help of a command may."""
    for offered, known in ((DetectorName, DETECTORS), (Device, DEVICES), (Precision, PRECISIONS), (Format, FORMATS)):
        assert [one.value for one in offered] == list(known)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("threads", 0, "expected threads of at least 1, got 0"),
        ("max_pixels", 0, "expected max_pixels of at least 1, got 0"),
        ("batch_size", -1, "expected batch_size of at least 1, got -1"),
        ("min_confidence", 1.5, "expected min_confidence 0-1, got 1.5"),
        ("min_confidence", float("nan"), "expected min_confidence 0-1, got nan"),
        ("min_score", 0.0, "expected min_score above 0 and up to 1, got 0.0"),
        ("min_face", float("inf"), "expected min_face in pixels, 0 or more, got inf"),
        ("device", "tpu", "expected a device of cpu, cuda, got 'tpu'"),
    ],
)
def test_a_value_out_of_range_is_refused_everywhere(option: str, value: Any, message: str) -> None:
    for make in (ReaderOptions, Reader, lambda **given: ReaderSettings(models=("nano",), **given)):
        with pytest.raises(UsageError) as caught:
            make(**{option: value})
        assert caught.value.message == message


def test_options_as_keywords_make_the_same_options() -> None:
    class Own:
        def detect(self, image: Any, /) -> list[Any]:
            return []

    detector = Own()
    options = ReaderOptions(detector=detector, tta=True, min_face=20.0)
    assert options.to_dict()["detector"] is detector  # no copy: it may hold a network
    assert ReaderOptions(**options.to_dict()) == options
    assert replace(options, tta=False) != options
    assert pickle.loads(pickle.dumps(replace(options, detector="none"))) == replace(options, detector="none")
    settings = ReaderSettings(models=("nano", "compact"), detector="none", max_pixels=5)
    assert settings.to_dict() == DEFAULTS | {"detector": "none", "max_pixels": 5}  # what each model's Reader takes
