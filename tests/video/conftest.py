"""The command in process, and a folder of real clips where there is one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from called import Call

CLIPS = Path(os.environ.get("MIEN_VIDEO", Path(__file__).parents[3] / "shared" / "data" / "video"))


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
