"""docs/video.md says what results/ holds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "video_tables.py"


def test_the_tables_are_current() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_figure_is_seen() -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    import video_tables

    page = video_tables.PAGE.read_text("utf-8")
    assert video_tables.written(page) == page
    assert video_tables.written(page.replace("| **all** | **", "| **all** | **9")) == page
