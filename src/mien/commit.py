"""Which state of the code made a result: the commit of the checkout that mien runs from."""

import subprocess
from pathlib import Path


def checkout_commit() -> str | None:
    """The checkout's commit, "+" appended where files differ from it; None outside a checkout of mien."""
    here = Path(__file__)
    try:
        # An installed mien may lie in a virtual environment inside somebody's repository: that commit is not ours.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", here.name],
            cwd=here.parent,
            capture_output=True,
            timeout=10,
            check=True,
        )
        shown = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=here.parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None
