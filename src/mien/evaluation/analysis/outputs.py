"""The files that an analysis writes: figures, ``KIND.json``, and the partial results of an interrupted call."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mien import drawing
from mien.atomic import write_text
from mien.documents import first_fault
from mien.errors import DataError
from mien.evaluation.analysis.report import AnalysisReport


def save_figure(figure: Any, stem: Path) -> list[str]:
    """Write ``stem.png`` and ``stem.svg``; returns the names of the files. Raises OutputError."""
    drawing.save(figure, stem)
    return [f"{stem.name}.png", f"{stem.name}.svg"]


def save_report(report: dict[str, Any], out: Path) -> None:
    """Write ``KIND.json``: as its types say, no NaN in it, floats as they are. Raises OutputError, DataError."""
    try:
        AnalysisReport.model_validate(report)
    except ValidationError as error:  # what a run or a file says of itself is in it
        raise DataError(
            f"expected a report of the analysis as docs/files.md has it, got {': '.join(first_fault(error))}",
            hint="is the run's meta.json, or what the model file says of itself, as mien wrote it?",
        ) from error
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(out / f"{report['kind']}.json", text)


def images_of(report: dict[str, Any]) -> str:
    """Of which images a report speaks: "3,589 images of public_test"."""
    return f"{report['data']['images']:,} images of {report['data']['split']}"


def interval(figure: dict[str, float], form: str = ".2%") -> str:
    """A figure with its interval: "71.25% [69.80%, 72.70%]"."""
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


class Rows:
    """The finished rows of a long analysis, on disk after each: a killed call loses one row.

    question: a digest of all that the rows depend on; a file with another one, or whose rows are not those that were
    written, is started again.
    """

    def __init__(self, file: Path, question: str) -> None:
        self.file, self.question = file, question
        self.known: dict[str, Any] = {}
        try:
            content = json.loads(file.read_text("utf-8"))
            if content["question"] == question and content["sha256"] == _digest(content["rows"]):
                self.known = content["rows"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # none yet, or not ours: computed again

    def __contains__(self, key: str) -> bool:
        """Whether the row is known: getting it takes no time."""
        return key in self.known

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """The row, computed where it is not known yet (JSON values)."""
        if key not in self:
            self.known[key] = compute()
            told = {"question": self.question, "sha256": _digest(self.known), "rows": self.known}
            write_text(self.file, json.dumps(told, allow_nan=False) + "\n")
        return self.known[key]


def _digest(rows: Any) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
