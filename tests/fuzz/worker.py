"""The process that reads inputs: ``python -m tests.fuzz.worker KIND SEED FOLDER``.

A line on stdin is a number, or ``!NAME`` for a hand-made attack; a line of JSON on stdout is what became of it. The
supervisor kills this process where it takes too long, and starts another one.
"""

import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from .attacks import CANARY, attacks
from .kinds import READ, REFUSED, Kind, kinds

DATA_MB = 6144  # of private memory, so that nothing can take the machine's


def make_case(kind: Kind, seed: int, number: int) -> tuple[str, bytes]:
    return kind.case(Random(f"{seed} {kind.name} {number}"))


def attend(kind: Kind, name: str, data: bytes) -> dict[str, object]:
    """Read one input: outcome ("read", "refused" or "fault"), traceback, seconds of processor time, peak growth."""
    before, began, clock = _resident_mb(), time.process_time(), time.monotonic()
    _reset_peak()
    told: dict[str, object] = {}
    try:
        told["outcome"] = kind.outcome(name, data)
        assert not CANARY.exists(), "code out of the file was run"
    except Exception as error:
        told = {"outcome": "fault", "error": f"{type(error).__name__}: {error}"[:500], "trace": traceback.format_exc()}
    told["seconds"] = round(time.process_time() - began, 3)
    told["clock_s"] = round(time.monotonic() - clock, 3)
    told["grown_mb"] = round(max(0.0, _peak_mb() - before), 1)
    return told


def main(name: str, seed: str, folder: str) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_MB << 20, DATA_MB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    home = Path(folder)
    kind = kinds()[name](home)
    made = {attack.name: attack for attack in attacks(name)}
    print(json.dumps({"ready": True, "attacks": list(made)}), file=replies, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word.startswith("!"):
            attack = made[word[1:]]
            file, data = attack.file, attack.content()
            told = attend(kind, file, data)
            if attack.read is not None and told["outcome"] == (REFUSED if attack.read else READ):
                told |= {"outcome": "fault", "error": f"expected another end of this attack, got {told['outcome']}"}
        else:
            file, data = make_case(kind, int(seed), int(word))
            told = attend(kind, file, data)
        if told["outcome"] == "fault":
            kept = home.parent / "faults" / f"{name}-{word.strip('!')}-{Path(file).name}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(data)
            told["kept"] = str(kept)
        print(json.dumps(told), file=replies, flush=True)


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status(key: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) for line in file if line.startswith(key)) / 1024


def _resident_mb() -> float:
    return _status("VmRSS:")


def _peak_mb() -> float:
    return _status("VmHWM:")


if __name__ == "__main__":
    main(*sys.argv[1:])
