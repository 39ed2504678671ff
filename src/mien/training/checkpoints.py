"""Lightning's checkpoints and early stopping, for runs that are killed, moved and resumed."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from mien.atomic import AtomicFile
from mien.training.loader import BatchSampler

#: What a checkpoint keeps that is not resumed from.
WEIGHTS_AND_WHEN = ("state_dict", "epoch", "global_step", "pytorch-lightning_version")


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically. Lightning's own is built under $TMPDIR and then copied.

    weights_alone: the file that holds what is evaluated and exported; under Adam a quarter of a full checkpoint.
    """

    def __init__(self, *, weights_alone: Path | None = None) -> None:
        super().__init__()
        self.weights_alone = weights_alone

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OutputError, on a full disk say; the checkpoint before is still there."""
        if Path(path) == self.weights_alone:
            checkpoint = {key: checkpoint[key] for key in WEIGHTS_AND_WHEN}
        file = AtomicFile(path)
        try:
            torch.save(checkpoint, file.stream)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            file.discard()
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit):
                raise error.__context__ from None  # Ctrl-C or SIGTERM: torch's writer fails on its way out
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise file.failed(cause) from error
        except BaseException:
            file.discard()
            raise
        file.commit()


class RunCheckpoint(ModelCheckpoint):
    """Checkpoints of a run that was moved: Lightning would forget its best score."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        here = Path(self.dirpath)

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"dirpath": self.dirpath, "best_k_models": kept})


class LastCheckpoint(RunCheckpoint):
    """Saved after every epoch, or after the first one that ends ``seconds`` after the last save.

    On a fast device an epoch can be over before its checkpoint is written. The run's last epoch is always saved.
    steps: within an epoch too, whenever the run has done a multiple of so many.
    """

    def __init__(self, *, seconds: float = 0.0, steps: int | None = None, **options: Any) -> None:
        super().__init__(monitor=None, save_on_train_epoch_end=True, **options)
        self.seconds, self.steps, self._saved = seconds, steps, time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        inside = batch_idx + 1 < trainer.num_training_batches
        if self.steps and inside and trainer.global_step % self.steps == 0:
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.monotonic() - self._saved >= self.seconds
        if trainer.strategy.broadcast(due):  # saving is collective: one process decides for all
            super().on_train_epoch_end(trainer, pl_module)
            self._saved = time.monotonic()


class Position(Callback):
    """A resumed run goes on at the step of its checkpoint, within an epoch too; the sampler is all that must know."""

    def __init__(self, sampler: BatchSampler) -> None:
        self.sampler = sampler

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.sampler.start_at(int(checkpoint["global_step"]))


class PatientStop(EarlyStopping):
    """Early stopping that survives a resume: a run that had stopped trains no further epoch."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience
