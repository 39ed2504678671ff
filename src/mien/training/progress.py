"""What a run reports while it trains: Lightning's bar on a terminal, a line an epoch in the log, and ``log.csv``.

epoch, step        counted from 1; optimiser steps so far
lr                 of the epoch's last step
train_*            means over the epoch's augmented, mixed pictures, as the network was at each step
valid_*            on the validation split after the epoch, with the averaged weights where the recipe has an ema
seconds            of the epoch, validation included
"""

import csv
import io
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

from mien.atomic import write_text
from mien.errors import RecipeError
from mien.training.module import FerModule

log = logging.getLogger(__name__)

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")


class EpochLog(Callback):
    """One row an epoch into ``log.csv``; rows that a resumed run repeats are replaced, not doubled."""

    def __init__(self, path: Path) -> None:
        self.path, self._rows, self._started, self._rate = path, list[dict[str, Any]](), 0.0, 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()  # a run that resumes within an epoch starts none
        if self.path.is_file():
            with self.path.open(newline="") as file:
                self._rows = list(csv.DictReader(file))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]  # after the step the schedule has moved on

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, FerModule)
        measured = {k: float(v) for k, v in trainer.callback_metrics.items()} | pl_module.epoch_figures()
        if not math.isfinite(measured["train_loss"]):
            raise RecipeError(
                f"the training loss became {measured['train_loss']} in epoch {trainer.current_epoch + 1}",
                hint="lower optimizer.lr, or set optimizer.clip_norm",
            )
        epoch = trainer.current_epoch + 1
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": trainer.global_step,
            "lr": f"{self._rate:.6g}",
            "seconds": f"{time.perf_counter() - self._started:.1f}",
        }
        row |= {name: f"{value:.5f}" for name, value in measured.items()}
        self._rows = [r for r in self._rows if int(r["epoch"]) < epoch] + [row]
        if not trainer.is_global_zero:
            return
        columns = [name for name in COLUMNS if name in row] + [name for name in row if name not in COLUMNS]
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, table.getvalue())
        for logger in trainer.loggers:
            logger.log_metrics(measured, step=epoch)
        left = (trainer.max_epochs or epoch) - epoch
        log.info(
            f"epoch {epoch}/{trainer.max_epochs}  loss {row.get('train_loss')}  {self._validated(pl_module, measured)}"
            f"  {row['seconds']} s  (about {left * float(row['seconds']) / 60:.0f} min left)"
        )

    def _validated(self, module: FerModule, measured: dict[str, float]) -> str:
        """The figure that selects the best epoch, now and at its best so far."""
        name, better = module.objective.monitor, max if module.objective.mode == "max" else min
        best = better(float(row[name]) for row in self._rows if row.get(name))
        return f"{name} {measured[name]:.4f}  best {best:.4f}"


def progress_bar() -> list[Callback]:
    """Lightning's Rich bar on stderr where that is a terminal; otherwise the epoch lines suffice."""
    return [RichProgressBar(console_kwargs={"stderr": True})] if sys.stderr.isatty() else []
