"""A process that starts Ray or joins a cluster and gives blocks to its workers: ``python -m mien.bulk.scheduler``.

It is a process of its own because Ray may end or stop the process it runs in (when its raylet dies), prints on both
standard streams, and can wait for an address without end. The first line on stdin is the job; when stdin ends, its
parent is gone, and it ends as well. It writes one JSON object a line to the descriptor it found as stdout:

    {"event": "connected"}  {"event": "ready", "workers": 2}  {"event": "done", …}  {"event": "note", "text": …}
    {"event": "error", "kind": …, "message": …, "hint": …}

Exit status: 0 all blocks read; 1 after an error that was told; LOST where Ray went down, and starting again may help.
"""

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any, NoReturn

LOST = 75
DEATHS_BEFORE_CARE = 2  # of workers, in one block, before its inputs are read one by one
DEATHS_OF_AN_INPUT = 3  # of workers that read it alone, before it is an error row
DEATHS_OF_A_BLOCK = 24
STORE_TRIES = 4
WAIT_NOTE_S = 30.0
#: No report of usage; workers with the priority of other processes; no metrics; a warning less.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE = 80 << 20  # bytes; no pictures go through it


class Channel:
    """Lines to the parent."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what anybody prints on stdout is talk

    def send(self, event: str, **values: Any) -> None:
        self._out.write(json.dumps({"event": event, **values}) + "\n")
        self._out.flush()

    def fail(self, kind: str, message: str, hint: str | None = None) -> NoReturn:
        self.send("error", kind=kind, message=message, hint=hint)
        _leave(1)


def main() -> None:
    """Read the job, run it."""
    channel = Channel()
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(job["scratch"],), daemon=True).start()
    os.environ |= _ENVIRONMENT
    import ray

    quiet: dict[str, Any] = {"log_to_driver": job["debug"], "logging_level": "INFO" if job["debug"] else "FATAL"}
    try:
        if job["address"] is None:
            ray.init(
                address="local",
                num_cpus=job["workers"],
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                _temp_dir=job["scratch"],
                **quiet,
            )
        else:
            ray.init(address=job["address"], **quiet)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if job["address"] is None:
            print(f"cannot start Ray: {text}", file=sys.stderr, flush=True)
            _leave(LOST)  # on a busy machine it comes up the next time
        hint = "does the cluster ask for a token? then RAY_AUTH_MODE=token and its ~/.ray/auth_token are needed here"
        channel.fail("ray", f"Ray at {job['address']}: {text}", hint)
    channel.send("connected")
    Scheduler(ray, job, channel).run()
    _leave(0)


def _end_with_parent(scratch: str) -> None:
    sys.stdin.read()
    _leave(LOST, scratch)


def _leave(status: int, scratch: str | None = None) -> NoReturn:
    """Take the cluster down, if it is ours, and end; whatever Ray's threads do meanwhile.

    scratch: a directory to remove, which the parent cannot do any more if it was killed.
    """
    threading.Timer(5.0, lambda: os._exit(status)).start()
    with suppress(Exception):
        import ray

        ray.shutdown()
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(status)


class Scheduler:
    """One block at a time for each worker that is there; the driver itself takes no CPU of the cluster.

    Workers that Ray has not placed yet (a busy cluster) are waited for by nobody, so that no share of CPUs can block
    the run. ``ray``: the module, connected.
    """

    def __init__(self, ray: Any, job: dict[str, Any], channel: Channel) -> None:
        self._ray, self._job, self._channel = ray, job, channel
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < 1:
            channel.fail("usage", "expected a Ray cluster with CPUs, got one without")
        self._workers = job["workers"] or cpus
        self._todo: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self._fatal: dict[int, Counter[int]] = {}
        self._store_failures: Counter[int] = Counter()
        self._socket = next((n["RayletSocketName"] for n in ray.nodes() if self._is_ours(n)), None)
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._gcs = (host, int(port))

    def run(self) -> None:
        from mien.bulk.plan import Plan
        from mien.bulk.worker import BlockReader

        ray, plan = self._ray, Plan.from_json(self._job["plan"])
        self._work = plan.work
        self._todo.extend(b for b in range(plan.blocks) if not os.path.exists(plan.shard(b)))
        # a worker that ended is replaced: one that Ray restarts refuses calls for a while
        remote = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(BlockReader)
        held = None
        if (model := self._job["model"]) is not None:
            with open(model, "rb") as file:
                held = ray.put(file.read())
        running: dict[Any, tuple[Any, int | None]] = {}

        def add() -> None:
            actor = remote.remote(self._job["plan"], self._job["host"], self._job["seen"], held)
            running[actor.start.remote()] = (actor, None)

        for _ in range(min(self._workers, len(self._todo))):
            add()
        ready, waited = 0, time.monotonic()
        idle: list[Any] = []
        while self._todo or any(block is not None for _, block in running.values()):
            done, _ = ray.wait(list(running), num_returns=1, timeout=1.0) if running else ([], [])
            for reference in done:
                actor, block = running.pop(reference)
                result = self._result(reference, block)
                if result is None:
                    add()
                    continue
                if block is None:
                    ready += 1
                    self._channel.send("ready", workers=ready)
                elif "error" not in result:
                    self._channel.send("done", **result)
                idle.append(actor)
            while idle and self._todo:
                actor, block = idle.pop(), self._todo.popleft()
                running[self._start(actor, block)] = (actor, block)
            if not done:
                self._check()
                if ready == 0 and time.monotonic() - waited > WAIT_NOTE_S:
                    waited = time.monotonic()
                    self._channel.send("note", text="waiting for a free CPU of the cluster")

    def _start(self, actor: Any, block: int) -> Any:
        if self._deaths[block] < DEATHS_BEFORE_CARE:
            return actor.read.remote(block)
        fatal = [i for i, deaths in self._fatal.get(block, Counter()).items() if deaths >= DEATHS_OF_AN_INPUT]
        return actor.read.remote(block, True, fatal)

    def _result(self, reference: Any, block: int | None) -> dict[str, Any] | None:
        """What a worker gave; None where it died, and its block is to be read again."""
        try:
            result: dict[str, Any] = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            text = " ".join(str(error).split())
            if "ModuleNotFoundError" in text or "No module named" in text:
                self._channel.fail(
                    "usage", f"a node of the cluster lacks mien: {text[-200:]}", "pip install 'mien[ray]'"
                )
            self._died(block, text)
            return None
        if "error" not in result:
            return result
        if result["error"] == "store" and block is not None:
            self._store_failures[block] += 1
            if self._store_failures[block] < STORE_TRIES:
                self._todo.append(block)
                return result
        hint = result["hint"] or "what was read is kept; the same command goes on"
        self._channel.fail(result["error"], result["message"], hint)

    def _died(self, block: int | None, text: str) -> None:
        self._check()  # it may have died with its raylet, which is no fault of the block
        self._channel.send(
            "note", text=f"a worker ended unasked{'' if block is None else f' in block {block}'}", debug=text
        )
        self._deaths[-1 if block is None else block] += 1
        if self._deaths[-1 if block is None else block] >= DEATHS_OF_A_BLOCK:
            what = "before they read anything" if block is None else f"in block {block}"
            self._channel.fail("ray", f"workers ended {DEATHS_OF_A_BLOCK} times {what}: {text[-200:]}")
        if block is None:
            return
        with suppress(OSError, ValueError):
            path = os.path.join(self._work, f"at-{block:08d}")
            with open(path, encoding="ascii") as file:
                self._fatal.setdefault(block, Counter())[int(file.read())] += 1
            os.unlink(path)
        self._todo.appendleft(block)

    def _check(self) -> None:
        """Leave where the raylet of this node or the cluster's GCS is gone; Ray itself may wait for ever."""
        for family, address in ((socket.AF_UNIX, self._socket), (socket.AF_INET, self._gcs)):
            if address is None:
                continue
            for attempt in range(3):
                try:
                    with socket.socket(family, socket.SOCK_STREAM) as probe:
                        probe.settimeout(5.0)
                        probe.connect(address)
                    break
                except OSError:
                    if attempt == 2:
                        _leave(LOST)
                    time.sleep(0.2)

    def _is_ours(self, node: dict[str, Any]) -> bool:
        return bool(node["NodeID"] == self._ray.get_runtime_context().get_node_id())


if __name__ == "__main__":
    main()
