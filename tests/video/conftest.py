"""The command in process, and a folder of real clips where there is one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

CLIPS = Path(os.environ.get("MIEN_VIDEO", Path(__file__).parents[3] / "shared" / "data" / "video"))
if not CLIPS.is_dir():
    CLIPS = Path("/work/shared/data/video")


class Call:
    """``call("read", …)`` with the tiny model; status, out and err of the last call."""

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self.status, self.out, self.err = -1, "", ""

    def __call__(self, *words: str | Path, input: bytes | None = None) -> "Call":
        from mien.cli.app import app

        model = ["--model", self._model] if words[0] == "read" and "--model" not in words else []
        result: Result = CliRunner().invoke(app, [*map(str, words), *model], input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stderr
        self.status, self.out, self.err = result.exit_code, result.stdout, result.stderr
        return self

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def call(tiny_model: Path) -> Call:
    return Call(tiny_model)


@pytest.fixture(scope="session")
def real_clip() -> Callable[[str], Path]:
    """A clip of the shared folder by name; skips where there is none."""

    def find(name: str) -> Path:
        if not (CLIPS / name).is_file():
            pytest.skip(f"needs the clip {name} in ../shared/data/video (or $MIEN_VIDEO)")
        return CLIPS / name

    return find
