"""Clients for ``benchmarks/serving.py``, run by locust: a photo a request, each answer compared with the command's.

Environment: MIEN_PHOTO, the picture; MIEN_EXPECTED, the file with the answer; MIEN_RATE, requests a second of one user.
A refusal (503 with Retry-After) is no failure; a wrong answer, a reset connection and any other status is one.
"""

import json
import os
from pathlib import Path

from locust import FastHttpUser, constant_throughput, events, task

PHOTO = Path(os.environ["MIEN_PHOTO"]).read_bytes()
EXPECTED = Path(os.environ["MIEN_EXPECTED"]).read_bytes()
accepted: list[float] = []
refused: list[float] = []
wrong: list[str] = []


class Client(FastHttpUser):
    """Sends at its rate whatever comes back, and does not heed Retry-After."""

    wait_time = constant_throughput(float(os.environ["MIEN_RATE"]))
    connection_timeout = network_timeout = 60.0

    @task
    def read(self) -> None:
        headers = {"Content-Type": "image/jpeg"}
        url = "/v1/read?name=photo.jpg"
        with self.client.post(url, data=PHOTO, headers=headers, catch_response=True) as response:
            seconds = response.request_meta["response_time"] / 1000
            if response.status_code == 200 and response.content == EXPECTED:
                accepted.append(seconds)
            elif response.status_code == 503 and response.headers.get("Retry-After"):
                refused.append(seconds)
            else:
                wrong.append(f"{response.status_code} {response.error} {(response.content or b'')[:200]!r}")
                response.failure("wrong")
                return
            response.success()


@events.quitting.add_listener
def tell(environment: object, **_: object) -> None:
    """One JSON object for the driver."""

    def quantiles(values: list[float]) -> dict[str, float]:
        values = sorted(values)
        at = {name: values[min(int(q * len(values)), len(values) - 1)] for name, q in (("p50", 0.5), ("p99", 0.99))}
        return {name: round(value, 3) for name, value in at.items()} | {"max": round(values[-1], 3)}

    told = {
        "accepted": len(accepted), "refused": len(refused), "wrong": len(wrong), "examples": wrong[:3],
        "accepted_s": quantiles(accepted or [0]), "refused_s": quantiles(refused or [0]),
    }  # fmt: skip
    Path(os.environ["MIEN_TOLD"]).write_text(json.dumps(told))
