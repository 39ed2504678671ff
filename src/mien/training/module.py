"""The one training step of the project, as a Lightning module.

A batch of uint8 crops goes to the device, is augmented and mixed there, and meets its soft targets. All draws of a
step come from (seed, step): a resumed run repeats an uninterrupted one to the bit on the same CPU.
"""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data import augment
from mien.data.loader import Batch
from mien.preprocess import Preprocess
from mien.training.recipe import Recipe


class FerModule(L.LightningModule):
    """network: images float32 N×C×S×S (normalised) → logits N×K. teachers: frozen networks of the same shape."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        preprocess: Preprocess,
        *,
        total_steps: int,
        teachers: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.preprocess, self.total_steps = recipe, preprocess, total_steps
        self.augmentation = recipe.augment.settings()
        # In a tuple, so that they are no parameters of ours: not trained, averaged or saved.
        self.teachers = tuple(t.eval().requires_grad_(False).to(memory_format=torch.channels_last) for t in teachers)  # type: ignore[call-overload]
        # Sums stay tensors on the device until an epoch ends: a step never waits for the host.
        self._train_loss, self._train_hits, self._train_count = _zero(), _zero(), 0
        self._valid_loss, self._valid_hits, self._valid_count = _zero(), _zero(), 0

    def normalise(self, images: Tensor) -> Tensor:
        """float N×C×S×S in 0-1 → the network's input; the same numbers as ``Preprocess.normalise``."""
        mean = torch.tensor(self.preprocess.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.preprocess.std, device=images.device).view(1, -1, 1, 1)
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 N×C×S×S → float32 logits N×K, in single precision: what is selected is what evaluation will see."""
        with torch.autocast(images.device.type, enabled=False):
            return self.network(self.normalise(images.float() / 255))

    def draw(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """The augmented, mixed and normalised batch of a step, with its targets; a function of (seed, step) alone."""
        generator = augment.step_generator(self.recipe.seed, step)
        with torch.autocast(batch["images"].device.type, enabled=False):  # bf16 coordinates would blur the warp
            images = augment.augment(batch["images"].float() / 255, self.augmentation, generator)
            images, targets = augment.mixup(images, batch["targets"], self.augmentation.mixup, generator)
            return self.normalise(images), targets

    def on_fit_start(self) -> None:
        for teacher in self.teachers:  # no parameters of ours, so Lightning does not move them
            teacher.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.global_step)  # dropout, too, follows (seed, step)
        images, targets = self.draw(batch, self.global_step)
        logits = self.network(images).float()
        loss = torch.sum(-targets * F.log_softmax(logits, dim=1), dim=1).mean()
        if self.teachers and self.recipe.distill:
            share = self.recipe.distill.weight
            loss = (1 - share) * loss + share * self.distillation(images, logits)
        self._train_loss += loss.detach() * len(logits)
        self._train_hits += (logits.argmax(1) == targets.argmax(1)).sum()
        self._train_count += len(logits)
        return loss

    def distillation(self, images: Tensor, logits: Tensor) -> Tensor:
        """T² · KL(mean of the teachers ‖ student), both softened by T (Hinton et al. 2015, arXiv 1503.02531)."""
        assert self.recipe.distill is not None
        soft = self.recipe.distill.temperature
        with torch.no_grad():
            answers = [F.softmax(teacher(images).float() / soft, dim=1) for teacher in self.teachers]
            target = torch.stack(answers).mean(0)
        return soft**2 * F.kl_div(F.log_softmax(logits / soft, dim=1), target, reduction="batchmean")

    def on_train_epoch_start(self) -> None:
        self._train_loss, self._train_hits, self._train_count = _zero(self.device), _zero(self.device), 0

    def on_validation_epoch_start(self) -> None:
        self._valid_loss, self._valid_hits, self._valid_count = _zero(self.device), _zero(self.device), 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch["images"])
        self._valid_loss += F.cross_entropy(logits, batch["labels"], reduction="sum")
        self._valid_hits += (logits.argmax(1) == batch["labels"]).sum()
        self._valid_count += len(logits)

    def on_validation_epoch_end(self) -> None:
        n = max(self._valid_count, 1)
        self.log_dict({"valid_accuracy": self._valid_hits / n, "valid_loss": self._valid_loss / n})

    def epoch_figures(self) -> dict[str, float]:
        """Training loss and accuracy of the epoch so far (augmented, mixed images: lower than on clean ones)."""
        n = max(self._train_count, 1)
        return {"train_loss": float(self._train_loss) / n, "train_accuracy": float(self._train_hits) / n}

    def configure_optimizers(self) -> Any:
        recipe = self.recipe.optimizer
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer: torch.optim.Optimizer
        if recipe.name == "sgd":
            nesterov = recipe.nesterov and recipe.momentum > 0
            optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
        else:
            optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_factor(self, step: int) -> float:
        """Learning rate of a step as a share of the recipe's: warm-up, then decay to ``schedule.final``."""
        schedule = self.recipe.schedule
        warmup = schedule.warmup * self.total_steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1.0, self.total_steps - warmup))
        shape = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
        return schedule.final + (1 - schedule.final) * shape[schedule.name]


def _zero(device: torch.device | str = "cpu") -> Tensor:
    return torch.zeros((), device=device)
