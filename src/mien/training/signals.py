"""SIGTERM ends a run of several processes.

Lightning's handler for it broadcasts from inside the handler; where the other process is in the middle of a step, both
wait for each other for ever, and only SIGKILL is left. Here the first process takes the others with it and leaves with
status 143. What is on the disk is the last whole epoch, as after any kill.
"""

import signal
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class LeaveOnSigterm(Callback):
    """Takes the place of the handler that Lightning has registered by then; afterwards Lightning restores the first."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            return
        launcher: Any = trainer.strategy.launcher

        def leave(number: int, frame: FrameType | None) -> None:
            if launcher is not None:
                launcher.kill(signal.SIGKILL)
            sys.exit(128 + number)

        signal.signal(signal.SIGTERM, leave)
