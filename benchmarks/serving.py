"""What the service costs and bears: throughput beside ``mien read``, overload, memory.

    python benchmarks/serving.py throughput PHOTO.jpg [--repeats 3] [--pictures 400] [--cores 1] [--clients 16]
    python benchmarks/serving.py overload PHOTO.jpg --locust /path/to/locust [--seconds 30] [--times 4]
    python benchmarks/serving.py memory [--requests 10000]

throughput: the same pictures through both, in turn, on the same cores: the service with a worker a core, the command
with a thread a core; the clients run on the other cores, if there are any.
Besides pictures a second it gives CPU milliseconds a picture, of all processes, which other load disturbs less.
overload: capacity is measured with a closed loop, then locust offers ``--times`` as much.
memory: resident memory of all processes every tenth of the requests, pictures of 96×96 pixels
without a face, searched once.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MIEN = [sys.executable, "-m", "mien.cli.app"]
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def service(*options: str, cores: str | None = None) -> Iterator[tuple[int, int]]:
    """Port and process id of a running service."""
    pin = [] if cores is None else ["taskset", "-c", cores]
    process = subprocess.Popen([*pin, *MIEN, "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        yield int(line.split()[0].rsplit(":", 1)[1]), process.pid
    finally:
        process.terminate()
        process.wait()


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in file.read_text().split()]
    return found


def cpu(pid: int) -> float:
    """CPU seconds so far of a process and its children."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pid: int) -> float:
    """Resident megabytes of a process and its children."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def send(port: int, pictures: list[bytes], *, clients: int) -> list[tuple[int, bytes]]:
    """All pictures in a closed loop of so many clients, each with a connection of its own."""
    answers: list[tuple[int, bytes]] = [(0, b"")] * len(pictures)

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for number in range(first, len(pictures), clients):
            path = "/v1/read?name=photo.jpg"
            connection.request("POST", path, pictures[number], {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            answers[number] = response.status, response.read()
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return answers


def throughput(photo: Path, *, repeats: int, pictures: int, model: str, cores: int, clients: int) -> dict[str, Any]:
    """Service beside command."""
    mine = sorted(os.sched_getaffinity(0))
    pin, others = ",".join(map(str, mine[:cores])), set(mine[cores:])
    data, rows = photo.read_bytes(), []
    os.sched_setaffinity(0, others or set(mine))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(pictures):
            (folder / f"{number:04}.jpg").write_bytes(data)
        one = folder / "one"
        one.mkdir()
        (one / "photo.jpg").write_bytes(data)
        with service("--model", model, "--workers", str(cores), cores=pin) as (port, pid):
            send(port, [data] * 4, clients=2)
            for _ in range(repeats):
                start, before = time.monotonic(), cpu(pid)
                answers = send(port, [data] * pictures, clients=clients)
                wall, spent = time.monotonic() - start, cpu(pid) - before
                assert {status for status, _ in answers} == {200}
                row = {"service_per_s": pictures / wall, "service_cpu_ms": 1000 * spent / pictures}
                took = [
                    command(path, pin, "--model", model, "--threads", str(cores)) for path in (one, folder / "*.jpg")
                ]
                wall, spent = took[1][0] - took[0][0], took[1][1] - took[0][1]
                rows.append(row | {"read_per_s": (pictures - 1) / wall, "read_cpu_ms": 1000 * spent / (pictures - 1)})
    told = {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
    told["ratio_per_s"] = round(statistics.median(row["service_per_s"] / row["read_per_s"] for row in rows), 3)
    told["ratio_cpu"] = round(statistics.median(row["read_cpu_ms"] / row["service_cpu_ms"] for row in rows), 3)
    return told | {
        "cores": cores,
        "clients": clients,
        "photo": photo.name,
        "model": model,
        "pictures": pictures,
        "repeats": repeats,
    }


def command(path: Path, pin: str, *options: str) -> tuple[float, float]:
    """Wall and CPU seconds of ``mien read``; those for one picture are taken off for the start."""
    start, before = time.monotonic(), os.times()
    words = ["taskset", "-c", pin, *MIEN, "read", str(path), "-q", *options]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, spent


def overload(photo: Path, *, locust: str, seconds: int, times: float, model: str) -> dict[str, Any]:
    """Several times what the service can do, by locust."""
    data, users = photo.read_bytes(), 400
    with service("--model", model) as (port, pid), tempfile.TemporaryDirectory() as name:
        expected, told = Path(name) / "expected", Path(name) / "told"
        (status, answer), *_ = send(port, [data], clients=1)
        assert status == 200
        command = [*MIEN, "read", "photo.jpg", "-q", "--model", model]
        (Path(name) / "photo.jpg").write_bytes(data)
        line = subprocess.run(command, cwd=name, capture_output=True, check=True).stdout.rstrip(b"\n")
        assert answer == line
        expected.write_bytes(line)
        start, count = time.monotonic(), 60
        send(port, [data] * count, clients=8)
        capacity = count / (time.monotonic() - start)
        rate = times * capacity / users
        environment = os.environ | {
            "MIEN_PHOTO": str(photo), "MIEN_EXPECTED": str(expected), "MIEN_RATE": str(rate), "MIEN_TOLD": str(told)
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        words = [locust, "-f", str(Path(__file__).with_name("serve_locust.py")), "--headless", "--only-summary"]
        words += [
            "-u",
            str(users),
            "-r",
            str(users // 15),
            "-t",
            f"{seconds}s",
            "-s",
            "60",
            "-H",
            f"http://127.0.0.1:{port}",
        ]
        before = resident(pid)
        quiet = subprocess.DEVNULL
        with subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet) as clients:
            health = probe(port, clients)
        result: dict[str, Any] = json.loads(told.read_text()) | {"health_s": health}
        after = send(port, [data], clients=1)[0]
        result |= {"after": after == (200, line), "mb_before": round(before), "mb_after": round(resident(pid))}
    offered = (result["accepted"] + result["refused"] + result["wrong"]) / seconds
    return {"capacity_per_s": round(capacity, 1), "offered_per_s": round(offered, 1), "limit_s": 30} | result


def probe(port: int, clients: "subprocess.Popen[bytes]") -> dict[str, float]:
    """How long ``/health`` takes meanwhile: locust's own times include its waiting for the processor."""
    seconds = []
    while clients.poll() is None:
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        seconds.append(time.monotonic() - start)
        time.sleep(0.2)
    seconds.sort()
    return {"p50": round(seconds[len(seconds) // 2], 3), "p99": round(seconds[int(0.99 * len(seconds))], 3)}


def memory(*, requests: int, model: str) -> dict[str, Any]:
    """Resident memory over many small pictures."""
    random, pictures = np.random.default_rng(0), []
    for _ in range(50):
        stream = BytesIO()
        small = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((96, 96)).save(stream, "JPEG")
        pictures.append(stream.getvalue())
    with service("--model", model, "--detect-size", "96", "--no-turned", "--workers", "1") as (port, pid):
        series, start = [], time.monotonic()
        for _ in range(10):
            answers = send(port, pictures * (requests // 500), clients=8)
            assert {status for status, _ in answers} == {200}
            series.append(round(resident(pid), 1))
        return {"requests": requests, "mb": series, "per_s": round(requests / (time.monotonic() - start), 1)}


def main() -> None:
    """One JSON object on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "overload", "memory"))
    parser.add_argument("photo", type=Path, nargs="?")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--locust", default="locust")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--times", type=float, default=4)
    given = parser.parse_args()
    if given.what == "memory":
        told = memory(requests=given.requests, model=given.model)
    elif given.what == "overload":
        told = overload(given.photo, locust=given.locust, seconds=given.seconds, times=given.times, model=given.model)
    else:
        told = throughput(
            given.photo,
            repeats=given.repeats,
            pictures=given.pictures,
            model=given.model,
            cores=given.cores,
            clients=given.clients,
        )
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
