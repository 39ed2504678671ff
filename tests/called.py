"""The command in process."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result


class Call:
    """``call("read", …)`` with the tiny model; status, out and err of the last call."""

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self.status, self.out, self.err = -1, "", ""

    def __call__(self, *words: str | Path, input: bytes | None = None) -> "Call":
        from mien.cli.app import app

        model = ["--model", self._model] if words[:1] == ("read",) and "--model" not in words else []
        result: Result = CliRunner().invoke(app, [*map(str, words), *model], input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stderr
        self.status, self.out, self.err = result.exit_code, result.stdout, result.stderr
        return self

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]
