"""Kills ``mien read --engine ray`` at random moments and counts what is lost or doubled.

    python benchmarks/bulk_kills.py PICTURES -o results/bulk_kills.json --trials 20

PICTURES: a folder of a few hundred pictures. A trial starts the command, kills one of its processes (−9) at a random
moment, and goes on to kill with probability one half; a command that ended early is given again, unchanged, until it
ends well. Then the shards must equal what plain ``mien read`` writes, row by row and bit by bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROLES = ("command", "scheduler", "worker", "raylet", "gcs", "command and scheduler", "both workers")


def family(command: int) -> dict[str, list[int]]:
    """Role → live process ids of a command, found by parent and session."""
    rows = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
                words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            state, parent, _, session = stat.rpartition(")")[2].split()[:4]
            if state != "Z":
                rows.append((int(entry), int(parent), int(session), words))
    schedulers = [pid for pid, parent, _, words in rows if parent == command and "mien.bulk.scheduler" in words]
    found: dict[str, list[int]] = {"command": [command], "scheduler": schedulers, "worker": [], "raylet": [], "gcs": []}
    for pid, _, session, words in rows:
        if session in schedulers and pid not in schedulers:
            if words.startswith("ray::BlockReader"):
                found["worker"].append(pid)
            elif "raylet/raylet " in words:
                found["raylet"].append(pid)
            elif "gcs/gcs_server " in words:
                found["gcs"].append(pid)
    found["command and scheduler"] = [command, *schedulers] if schedulers else []
    found["both workers"] = found["worker"] if len(found["worker"]) > 1 else []
    found["worker"] = found["worker"][:1]
    return found


def kill(role: str, command: int) -> bool:
    """Whether there was such a process."""
    victims = family(command)[role]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(victims)


def trial(words: list[str], out: Path, role: str, rng: random.Random, log: Any) -> dict[str, Any]:
    """One output directory, from the first start to the end."""
    kills: list[str] = []
    starts, wanted = 0, role
    begun = time.monotonic()
    while True:
        starts += 1
        process = subprocess.Popen([*words, "-o", str(out)], stdout=log, stderr=log)
        while wanted and process.poll() is None:
            if rng.random() < 0.25:  # while it starts
                time.sleep(rng.uniform(0, 12))
            else:  # while it reads
                before = len(list(out.glob("rows/*.parquet")))
                while process.poll() is None and len(list(out.glob("rows/*.parquet"))) == before:
                    time.sleep(0.05)
                time.sleep(rng.uniform(0, 4))
            if process.poll() is None and kill(wanted, process.pid):
                kills.append(wanted)
                wanted = rng.choice(ROLES) if rng.random() < 0.5 else ""
        status = process.wait()
        if status in (0, 1):
            return {"kills": kills, "starts": starts, "status": status, "seconds": round(time.monotonic() - begun, 1)}
        if starts > 20:
            return {"kills": kills, "starts": starts, "status": status, "seconds": -1.0}


def main() -> None:
    """All trials; exit status 1 where a row was lost, doubled or other than the plain one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--block-size", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    home = Path(tempfile.mkdtemp(prefix="bulk-kills-"))
    mien = [sys.executable, "-m", "mien.cli.app", "read", asked.pictures, str(home / "absent.jpg"), "--model", "nano"]
    bulk = [*mien, "--engine", "ray", "--workers", "2", "--block-size", str(asked.block_size)]
    results: list[dict[str, Any]] = []
    faults = 0
    with (home / "log").open("ab") as log:
        subprocess.run([*mien, "-q", "-o", str(home / "plain.parquet")], stderr=log, check=False)
        plain = pq.read_table(home / "plain.parquet")
        inputs = Counter(plain.column("source").to_pylist())
        for number in range(asked.trials):
            out = home / f"trial-{number:03d}"
            result = trial(bulk, out, ROLES[number % len(ROLES)], rng, log)
            rows = pq.read_table(out / "rows")
            got = Counter(rows.column("source").to_pylist())
            result["lost"] = sum((inputs - got).values())
            result["doubled"] = sum((got - inputs).values())
            result["equal"] = rows.equals(plain)
            result["half_written"] = len([p for p in out.rglob("*") if p.name.startswith(".work") or ".tmp" in p.name])
            manifest = json.loads((out / "manifest.json").read_text())
            result["complete"] = manifest["state"] == "complete" and manifest["counts"]["rows"] == plain.num_rows
            bad = result["lost"] or result["doubled"] or result["half_written"]
            faults += bool(bad) or not result["equal"] or not result["complete"]
            results.append(result)
            print(f"{number + 1:3} {json.dumps(result)}", file=sys.stderr, flush=True)
            shutil.rmtree(out)
    summary = {
        "trials": len(results),
        "kills": dict(Counter(role for result in results for role in result["kills"])),
        "inputs": sum(inputs.values()),
        "starts": sum(result["starts"] for result in results),
        "lost": sum(result["lost"] for result in results),
        "doubled": sum(result["doubled"] for result in results),
        "not_equal": sum(not result["equal"] for result in results),
        "half_written": sum(result["half_written"] for result in results),
        "each": results,
    }
    asked.output.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({name: value for name, value in summary.items() if name != "each"}))
    if faults:
        sys.exit(f"{faults} trials with faults; the log of all commands: {home / 'log'}")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
