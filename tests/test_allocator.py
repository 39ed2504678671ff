"""The allocator keeps what one picture needed: counted in page faults, in processes of their own."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from mien.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()

def work():  # as a picture does: several blocks of some megabytes, all freed
    blocks = [bytearray(9 << 20) for _ in range(8)]
    return [block.count(1) for block in blocks]

for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_picture_takes_the_memory_of_the_last() -> None:
    faults = {}
    for how in ("keep", "leave"):
        run = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        faults[how] = float(run.stdout)
    assert faults["keep"] < 10
    assert faults["leave"] > 1000  # the control


@pytest.mark.parametrize("set_by_user", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"])
def test_the_users_own_settings_stay(set_by_user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.allocator import keep_memory

    monkeypatch.setenv(set_by_user, "1")
    assert not keep_memory()
