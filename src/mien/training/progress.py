"""What a run says while it works: a bar on a terminal, a line an epoch elsewhere (both on stderr), and ``log.csv``."""

import csv
import io
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

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")


class EpochLog(Callback):
    """One row an epoch into ``log.csv``; rows that a resumed run repeats are replaced, not doubled."""

    def __init__(self, path: Path) -> None:
        self.path, self._rows, self._started, self._best = path, list[dict[str, Any]](), 0.0, 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.path.is_file():
            with self.path.open(newline="") as file:
                self._rows = list(csv.DictReader(file))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()

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
            "lr": f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}",
            "seconds": f"{time.perf_counter() - self._started:.1f}",
        }
        row |= {k: f"{measured[k]:.5f}" for k in COLUMNS if k in measured}
        self._rows = [r for r in self._rows if int(r["epoch"]) < epoch] + [row]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, table.getvalue())
        for logger in trainer.loggers:
            logger.log_metrics({k: measured[k] for k in COLUMNS if k in measured}, step=epoch)
        self._best = max(float(r.get("valid_accuracy") or 0) for r in self._rows)
        left = (trainer.max_epochs or epoch) - epoch
        print(
            f"epoch {epoch}/{trainer.max_epochs}  loss {row.get('train_loss')}"
            f"  valid {measured.get('valid_accuracy', 0):.2%}  best {self._best:.2%}"
            f"  {row['seconds']} s  (about {left * float(row['seconds']) / 60:.0f} min left)",
            file=sys.stderr,
            flush=True,
        )


def progress_bar() -> list[Callback]:
    """Lightning's Rich bar on stderr where that is a terminal; otherwise the epoch lines suffice."""
    return [RichProgressBar(console_kwargs={"stderr": True})] if sys.stderr.isatty() else []
