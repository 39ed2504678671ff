"""The one training step of the project, as a Lightning module.

A batch of uint8 crops goes to the device and is drawn (augmented, mixed, normalised) once; the optimiser gets a
closure that computes its loss and gradients, and may call that twice (SAM). All draws of a step depend on (seed, step)
alone: on the same CPU a resumed run equals an uninterrupted one bit for bit.

Optimisation is Lightning's "manual" kind, for every optimiser alike: with the automatic one a closure that is called
twice draws twice, and under accumulation it perturbs along a part of the gradient. Autocast is opened here, for the
forward pass only: its cache of bf16 weights must not outlive the pass, or SAM's second one would see the first one's.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mien.preprocess import Preprocess
from mien.training.compiling import Compiler, as_written
from mien.training.device import seed_dropout, tf32
from mien.training.loader import Batch
from mien.training.objectives import Drawn, build_objective
from mien.training.optimizers import build_optimizer, build_schedule
from mien.training.part import Part
from mien.training.precision import in_bf16
from mien.training.recipe import Recipe
from mien.training.sam import climbs_locally, frozen_statistics

#: Images of the first validation batch on which a network that has masks describes them.
DESCRIBED = 64


class FerModule(L.LightningModule):
    """network: images float32 N×C×S×S (normalised) → logits N×K, or a masked-image model, as the recipe's task says.

    recipe: with its precision decided. teachers: frozen networks that take the same crops. steps_per_epoch: optimiser
    steps. class_weights: float K, what an image of each class counts in the cross-entropy; all alike where None.
    compiler: makes what training computes of what is written here; see ``compiling.py``.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        preprocess: Preprocess,
        *,
        steps_per_epoch: int,
        teachers: Sequence[nn.Module] = (),
        class_weights: Tensor | None = None,
        compiler: Compiler = as_written,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self._bf16 = in_bf16(recipe)
        # The objective is no module: teachers inside it are not trained, averaged or saved.
        self.objective = build_objective(
            recipe, preprocess, network, teachers=teachers, class_weights=class_weights, compiler=compiler
        )
        self._loss = compiler(self.objective.loss)
        # Sums stay tensors on the device until an epoch ends: a step never waits for the host.
        self._train, self._valid = _Sums(), _Sums()
        self._described: dict[str, float] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        step = self.global_step
        drawn = self.objective.draw(batch, step=step, part=Part(self.global_rank, self.trainer.world_size))
        optimizer: Any = self.optimizers()
        passes = 0

        def gradients() -> Tensor:
            nonlocal passes
            seed_dropout(self.recipe.seed * 1_000_003 + step + self.global_rank * 7_368_787, self.device)  # both alike
            optimizer.zero_grad()
            loss, figures = self.backward_in_parts(drawn)
            if self.recipe.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.clip_norm)
            if passes == 0:  # SAM comes twice; a batch counts once, as it was at the unperturbed weights
                self._train.add(figures, len(drawn["images"]))
            passes += 1
            return loss

        with tf32(True, self.device):
            optimizer.step(closure=gradients)
        schedule: Any = self.lr_schedulers()
        if not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()

    def backward_in_parts(self, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of the mean loss over the whole batch, computed in ``accumulate`` equal parts."""
        parts = [dict(zip(drawn, rows, strict=True)) for rows in zip(*map(self._chunks, drawn.values()), strict=True)]
        total, sums = torch.zeros((), device=self.device), dict[str, Tensor]()
        for number, part in enumerate(parts):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
                loss, figures = self._loss(self.network, part)
            weight = len(part["images"]) / len(drawn["images"])
            with self._unsynced() if number < len(parts) - 1 else nullcontext():
                self.manual_backward(loss * weight)
            total += loss.detach() * weight
            for name, value in figures.items():
                sums[name] = sums.get(name, 0) + value * weight
        return total, {name: value * len(drawn["images"]) for name, value in sums.items()}

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.chunk(self.recipe.accumulate)

    @contextmanager
    def _unsynced(self) -> Iterator[None]:
        """Within, gradients of several processes are not averaged."""
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            with strategy.block_backward_sync():
                yield
        else:
            yield

    def _ascent(self) -> AbstractContextManager[None]:
        return self._unsynced() if climbs_locally(self.recipe) else nullcontext()

    def on_train_epoch_start(self) -> None:
        self._train.clear()

    def on_validation_epoch_start(self) -> None:
        self._valid.clear()
        if self.trainer.world_size > 1:  # score the network that is saved: the first process's batch-norm statistics
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """In full single precision: what is selected is what evaluation will see."""
        with torch.autocast(self.device.type, enabled=False), tf32(False, self.device):
            rows = len(batch["images"])
            if rows:
                self._valid.add(self.objective.validate(self.network, batch), rows)
            describe = getattr(self.network, "mask_statistics", None)
            if describe and batch_idx == 0:
                shown = describe(self.objective.plain({"images": batch["images"][:DESCRIBED]}))
                self._described = {f"mask_std_{stage}": value for stage, value in shown.items()}

    def on_validation_epoch_end(self) -> None:
        means = self._valid.means(everywhere=self.trainer.world_size > 1)
        self.log_dict(means)
        schedule: Any = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(means[self.objective.monitor])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The epoch's sums so far, of all processes, for a run that resumes within it."""
        checkpoint["epoch_sums"] = self._train.everywhere() if self.trainer.world_size > 1 else self._train.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.global_rank == 0:
            self._train.load(checkpoint.get("epoch_sums"))

    def epoch_figures(self) -> dict[str, float]:
        """Training figures of the epoch so far (augmented, mixed images: lower than on clean ones), and of masks."""
        means = self._train.means(everywhere=self.trainer.world_size > 1)
        return {name: float(value) for name, value in means.items()} | self._described

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(
            self.recipe.optimizer,
            self.network,
            ascent_pass=self._ascent,
            descent_pass=partial(frozen_statistics, self.network),
        )
        schedule = build_schedule(
            self.recipe.schedule,
            optimizer,
            total_steps=self.recipe.epochs * self.steps_per_epoch,
            steps_per_epoch=self.steps_per_epoch,
            mode=self.objective.mode,
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class _Sums:
    """Running sums by name and the number of rows behind them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows = 0

    def clear(self) -> None:
        self._sums, self._rows = {}, 0

    def state(self) -> dict[str, Any]:
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "rows": self._rows}

    def load(self, state: dict[str, Any] | None) -> None:
        self._sums, self._rows = (dict(state["sums"]), int(state["rows"])) if state else ({}, 0)

    def everywhere(self) -> dict[str, Any]:
        """The state of all processes together."""
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, self.state())
        names = next((list(one["sums"]) for one in states if one["sums"]), [])
        sums = {name: torch.stack([one["sums"][name] for one in states if one["sums"]]).sum(0) for name in names}
        return {"sums": sums, "rows": sum(one["rows"] for one in states)}

    def add(self, sums: dict[str, Tensor], rows: int) -> None:
        for name, value in sums.items():
            self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value.clone()
        self._rows += rows

    def means(self, *, everywhere: bool = False) -> dict[str, Tensor]:
        """everywhere: over the rows of all processes, of which one may have seen none."""
        state: dict[str, Any] = self.everywhere() if everywhere else {"sums": self._sums, "rows": self._rows}
        return {name: value / state["rows"] for name, value in state["sums"].items()}
