"""The command and the scripts in process: to start Python with torch takes seconds."""

import importlib
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner, Result

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str) -> ModuleType:
    """A module of ``scripts/``, which finds those beside it."""
    with patch.object(sys, "path", [str(SCRIPTS), *sys.path]):
        return importlib.import_module(name)


def run_script(name: str, *words: str | Path) -> tuple[int, str, str]:
    """``python scripts/NAME.py WORDS``: its exit status, what it printed on stdout, and on stderr."""
    module = script(name)
    argv = [str(SCRIPTS / f"{name}.py"), *map(str, words)]
    with patch.object(sys, "argv", argv), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = module.main() or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return status, out.getvalue(), err.getvalue()


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
