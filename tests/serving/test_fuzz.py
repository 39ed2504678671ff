"""schemathesis over the service's own OpenAPI document. It is no dev package: skipped where it is not installed.

pip install schemathesis   # into an environment of its own, with its bin on PATH or its path in $MIEN_SCHEMATHESIS
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from service import Service

PROGRAM = os.environ.get("MIEN_SCHEMATHESIS") or shutil.which("schemathesis")


def fuzz(url: str, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    if PROGRAM is None:
        pytest.skip("schemathesis is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [PROGRAM, "run", f"{url}/openapi.json", "--no-color", "--seed", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)


@pytest.mark.long
def test_no_request_of_the_schema_or_beside_it_ends_in_a_fault(crops: Service, tmp_path: Path) -> None:
    """All checks but one: that whatever fits the schema is accepted; bytes fit it, and few of them are pictures."""
    done = fuzz(crops.url, tmp_path, "--max-examples", "30", "--exclude-checks", "positive_data_acceptance")
    assert done.returncode == 0, done.stdout[-4000:]
    control = fuzz(crops.url, tmp_path, "--max-examples", "30", "--checks", "positive_data_acceptance")
    assert control.returncode != 0  # it does send what is no picture
