"""What a long analysis has computed already, so that a call which was stopped goes on instead of beginning anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.atomic import write_text


class Rows:
    """What has been computed of one question, on disk after every row: a killed call loses one row.

    question: whatever makes the answer another one; a file of another question is begun anew.
    """

    def __init__(self, file: Path, question: str) -> None:
        self.file, self.question = file, question
        self.known: dict[str, Any] = {}
        try:
            content = json.loads(file.read_text("utf-8"))
            if content["question"] == question:
                self.known = dict(content["rows"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or not ours: computed again

    def __contains__(self, key: str) -> bool:
        """Whether the row is known: getting it takes no time."""
        return key in self.known

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """The row, computed where it is not known yet (JSON values)."""
        if key not in self:
            self.known[key] = compute()
            write_text(self.file, json.dumps({"question": self.question, "rows": self.known}, allow_nan=False) + "\n")
        return self.known[key]
