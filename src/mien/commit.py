"""The version of the code that produced a result: the commit of the checkout from which mien runs."""

import os
import subprocess
from functools import partial
from pathlib import Path


def checkout_commit() -> str | None:
    """The checkout's commit, "+" appended where files differ from it.

    Outside a checkout of mien: what ``$MIEN_COMMIT`` says, which whoever copied the files there may set; else None.
    """
    here = Path(__file__)
    git = partial(subprocess.run, cwd=here.parent, capture_output=True, text=True, timeout=10, check=True)
    try:
        # An installed mien may lie in a virtual environment inside somebody's repository: that commit is not ours.
        git(["git", "ls-files", "--error-unmatch", here.name])
        shown = git(["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"])
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("MIEN_COMMIT")
    return shown.stdout.strip() or None
