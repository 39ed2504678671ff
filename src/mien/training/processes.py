"""The processes of a run: how many there are, which one this is, who started it, and what happens when one ends.

Three ways to start them (docs/scale.md): ``mien train --devices N``, where Lightning starts the other N − 1 of this
machine; ``torchrun`` on one or more nodes; ``srun`` of SLURM. In the last two each process is started from outside,
and all of them run through the checks at the same time; ``join`` is where they meet.

A process that waits for one that has ended would wait for ever on some networks (NCCL), so a thread looks twice a
second whether the others of this machine are there. Whoever is left ends the run, with one message.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import Callback

from mien.errors import MienError, UsageError

Starter = Literal["mien", "torchrun", "slurm"]

#: Seconds between two looks at the others, and for a process to end by itself once another one has.
_LOOK, _GRACE, _GRACE_OF_SIGNALS = 0.5, 5.0, 60.0
#: How gloo, NCCL and torch's store begin to say that another process is gone.
_GONE = ("connection closed", "connection reset", "broken pipe", "gloo", "nccl", "socket", "recvvalue", "tcpstore")


@dataclass(frozen=True, slots=True)
class Processes:
    """devices: processes on this node; nodes: how many there are, each with so many. rank: of all, from 0.

    local_rank: on this node. starter: who started them.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    local_rank: int = 0
    starter: Starter = "mien"

    @property
    def world(self) -> int:
        return self.devices * self.nodes

    @property
    def first(self) -> bool:
        """Whether this one talks and writes."""
        return self.rank == 0

    @property
    def all_run_already(self) -> bool:
        """Whether the others were started from outside, and not by Lightning once this one is past its checks."""
        return self.world > 1 and self.starter != "mien"

    def environment(self) -> ClusterEnvironment | None:
        """Lightning's name for who started the processes; None for a process alone."""
        if self.world == 1:
            return None
        if self.starter == "mien":
            return LightningEnvironment()
        # mien resumes by --resume; a job that Lightning puts back into the queue would start without it
        return TorchElasticEnvironment() if self.starter == "torchrun" else SLURMEnvironment(auto_requeue=False)

    def join(self, device: torch.device) -> None:
        """Meet the processes that were started from outside; one that ends before makes its starter end the others."""
        if not self.all_run_already or torch.distributed.is_initialized():
            return
        environment = self.environment()
        assert environment is not None
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, rank=self.rank, world_size=self.world)

    def decided(self, choose: Callable[[], Any]) -> Any:
        """What the first process chooses, in all that have joined. choose: called in the first one alone."""
        box = [choose() if self.first else None]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


def processes_of(devices: int | None = None, nodes: int | None = None) -> Processes:
    """The processes of this run, from the options and what ``torchrun`` or ``srun`` put into the environment.

    None: as many as were started; 1 where nobody started any. Raises UsageError where the options say something else.
    """
    env = os.environ
    if TorchElasticEnvironment.detect():
        local = int(env.get("LOCAL_WORLD_SIZE", "1"))
        found = Processes(
            local, int(env["WORLD_SIZE"]) // local, int(env["RANK"]), int(env["LOCAL_RANK"]), starter="torchrun"
        )
        # one process a node, started by hand in several places on one machine, is several nodes to torchrun
        return _agreed(found, devices, nodes, "torchrun", "--nproc-per-node", "--nnodes")
    if "SLURM_STEP_ID" in env and int(env.get("SLURM_NTASKS", "1")) > 1:  # a batch script itself is in no step
        tasks, there = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
        if tasks % there:
            raise UsageError(f"expected as many tasks on each of {there} nodes, got {tasks} in all")
        found = Processes(tasks // there, there, int(env["SLURM_PROCID"]), int(env["SLURM_LOCALID"]), starter="slurm")
        return _agreed(found, devices, nodes, "srun", "--ntasks-per-node", "--nodes")
    devices, nodes = devices or 1, nodes or 1
    if nodes > 1:
        raise UsageError(
            f"--nodes {nodes}: expected each node's processes to be started by torchrun or srun, found neither",
            hint=f"on each node: torchrun --nnodes {nodes} --nproc-per-node {devices} … (docs/scale.md)",
        )
    rank = int(env.get("LOCAL_RANK", "0")) if devices > 1 else 0
    return Processes(devices, 1, rank, rank)


def _agreed(
    found: Processes, devices: int | None, nodes: int | None, starter: str, per_node: str, of_nodes: str
) -> Processes:
    for asked, got, option, their in (
        (devices, found.devices, "--devices", per_node),
        (nodes, found.nodes, "--nodes", of_nodes),
    ):
        if asked not in (None, got):
            raise UsageError(f"{option} {asked}: {starter} started {got}", hint=f"leave it out, or {their} {asked}")
    return found


def check_strategy(strategy: str, world: int) -> None:
    """Raises UsageError for anything but "ddp": each process holds the whole network."""
    if strategy == "ddp":
        return
    if strategy != "fsdp":
        raise UsageError(f"--strategy: expected ddp, got {strategy!r}")
    raise UsageError(
        f"--strategy fsdp: expected ddp for {world} processes; Lightning shards on GPUs alone, and SAM's norm, "
        "clipping and the moving average here need whole tensors",
        hint="the largest network takes 3.4 GB with Adam, SAM and averages: leave it out (docs/scale.md)",
    )


class ProcessLost(MienError):
    """Another process of the run has ended."""

    type = "process_lost"


def says_that_another_is_gone(error: BaseException) -> bool:
    """Whether an exception is what a collective raises where another process has ended."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _GONE)


class Watch(Callback):
    """Ends the run where a process of this machine has ended, within seconds, with one message.

    resume: what the message says about going on.
    """

    def __init__(self, processes: Processes, *, resume: str) -> None:
        self.processes, self.resume = processes, resume
        self._over, self._lost = threading.Event(), threading.Event()
        self._parent = os.getppid()
        self._message, self._interrupted = "", False
        self._children: list[Any] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lightning has started the others by then."""
        if self.processes.world == 1:
            return
        self._children = list(getattr(trainer.strategy.launcher, "procs", []))
        for thread in threading.enumerate():  # Lightning's own watch would kill this process before it could say why
            if thread.name == "child-process-observer":
                thread._child_processes = []  # type: ignore[attr-defined]
        if self.processes.starter == "mien":
            threading.Thread(target=self._look, daemon=True, name="mien-watch").start()

    def over(self) -> None:
        """The run has come to its end; processes may now go."""
        self._over.set()

    def lost(self, error: BaseException) -> ProcessLost | SystemExit | None:
        """What to raise for an exception of this process, None where it is its own.

        SystemExit(1) in all processes but the one that says what has happened.
        """
        if self.processes.world == 1 or not says_that_another_is_gone(error):
            return None
        if self.processes.starter == "mien":
            self._lost.wait(2 * _LOOK + 0.5)  # the thread may know which one
        self._over.set()
        self._kill()
        # Where the first one is gone under torchrun or srun, these report it themselves.
        speaks = self.processes.first or self._first_is_gone()
        return ProcessLost(*self._words()) if speaks else SystemExit(1)

    def failed(self) -> None:
        """This process ends by an error of its own: the others of this machine shall not wait for it."""
        self._over.set()
        self._kill()

    def _words(self) -> tuple[str]:
        lost = self._message or f"a process of this run of {self.processes.world} has ended"
        return (f"{lost}; {self.resume}",)

    def _first_is_gone(self) -> bool:
        return self.processes.local_rank == 1 and os.getppid() != self._parent

    def _kill(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            self._message = self._somebody_gone()
            if not self._message:
                continue
            self._lost.set()
            if not self._over.wait(
                _GRACE_OF_SIGNALS if self._interrupted else _GRACE
            ):  # the main thread hangs in a collective
                self._kill()
                if self.processes.first or self._first_is_gone():
                    print(f"error: {self._words()[0]}", file=sys.stderr, flush=True)
                os._exit(2)

    def _somebody_gone(self) -> str:
        if self.processes.local_rank:
            return "" if os.getppid() == self._parent else f"the first of {self.processes.world} processes has ended"
        for number, child in enumerate(self._children, start=1):
            status = child.poll()
            if status:
                self._interrupted = status in (130, 143)  # by Ctrl-C or SIGTERM, and so is this one, after its step
                how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
                return f"process {number + 1} of {self.processes.world} has ended ({how})"
        return ""
