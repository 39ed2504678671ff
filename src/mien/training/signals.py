"""SIGTERM ends a run of several processes.

Lightning's handler for it broadcasts from inside the handler; where the other process is in the middle of a step, both
wait for each other for ever. Here the first process kills the others and exits with status 143. The last complete
epoch is on disk, as after any kill.
"""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class LeaveOnSigterm(Callback):
    """Takes the place of the handler that Lightning has registered by then; afterwards Lightning restores the first.

    before: is called first.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            return
        launcher: Any = trainer.strategy.launcher

        def leave(number: int, frame: FrameType | None) -> None:
            self.before()
            if launcher is not None:
                launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows has the second alone
            sys.exit(128 + number)

        signal.signal(signal.SIGTERM, leave)
