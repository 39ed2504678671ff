"""What a run learns: expressions, orientations, or to fill in masked parts of faces (pretraining).

An objective draws a step's inputs once, as a function of (seed, step); computes the loss of them as often as the
optimiser asks; and says what a validation batch scores. The training step (``module.py``) is the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.models.auxiliary import AuxiliaryLosses
from mien.models.masked_image import MaskedImageModel
from mien.preprocess import Preprocess
from mien.training import augment
from mien.training.compiling import Compiler, as_written
from mien.training.degrade import degrade
from mien.training.device import channels
from mien.training.loader import Batch
from mien.training.orientation import orientation_targets, turned
from mien.training.part import WHOLE, Part
from mien.training.precision import in_bf16
from mien.training.recipe import Recipe

#: A step's inputs by name, each with one row an image, so that micro-batches are slices of them.
Drawn = dict[str, Tensor]


class Objective(ABC):
    """monitor, mode: the validated figure that selects the best epoch, and whether "max" or "min" is better."""

    monitor: str
    mode: str

    def __init__(self, recipe: Recipe, preprocess: Preprocess) -> None:
        self.recipe, self.preprocess = recipe, preprocess
        self.settings = recipe.augment.settings()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Objective":
        return self  # nothing in it trains: copies of the module (the moving average) share it

    @abstractmethod
    def draw(self, batch: Batch, *, step: int, part: Part = WHOLE) -> Drawn:
        """The inputs of a step, a function of (seed, step) alone. part: the rows of the step that the batch holds.

        Together the parts of several processes are what one process draws for the whole.
        """

    @abstractmethod
    def loss(self, network: nn.Module, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the rows, and figures to report (means over the rows, detached)."""

    @abstractmethod
    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Sums over the rows of a validation batch, by name."""

    def normalise(self, images: Tensor) -> Tensor:
        """float N×C×S×S in 0-1 → the network's input N×channels×S×S; the same numbers as ``Preprocess.normalise``."""
        mean, std = (channels(numbers, images.device) for numbers in (self.preprocess.mean, self.preprocess.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def augmented(self, batch: Batch, generator: torch.Generator, part: Part = WHOLE) -> Tensor:
        """uint8 N×C×S×S of any side → float N×C×input×input in 0-1, changed at random."""
        window = self.preprocess.input_size / self.preprocess.size
        pictures, side = batch["images"].float() / 255, self.preprocess.input_size
        return augment.augment(pictures, self.settings, generator, size=side, window=window, part=part)

    def changed(self, batch: Batch, step: int, part: Part) -> tuple[Tensor, torch.Generator]:
        """``augmented`` and degraded, and the step's generator for what is drawn after that."""
        generator = augment.step_generator(self.recipe.seed, step)
        images = self.augmented(batch, generator, part)
        return degrade(images, self.settings.degrade, generator, part=part), generator

    def plain(self, batch: Batch) -> Tensor:
        """uint8 N×C×S×S at the preprocess's side → the network's input, unchanged but for the window."""
        return self.normalise(self.preprocess.centre(batch["images"]).float() / 255)


class Expression(Objective):
    """Cross-entropy on soft targets, the network's own terms, and distillation (Hinton et al. 2015, arXiv 1503.02531).

    teachers: frozen networks that take the student's input; ``training/teachers.py`` makes them of any run.
    class_weights: float K, in the cross-entropy alone. compiler: for what the teachers compute.
    """

    monitor, mode = "valid_accuracy", "max"

    def __init__(
        self,
        recipe: Recipe,
        preprocess: Preprocess,
        *,
        teachers: Sequence[nn.Module] = (),
        class_weights: Tensor | None = None,
        compiler: Compiler = as_written,
    ) -> None:
        super().__init__(recipe, preprocess)
        self.class_weights = class_weights
        self.teachers = [t.eval().requires_grad_(False).to(memory_format=torch.channels_last) for t in teachers]
        self._device: torch.device | None = None
        self._teach = compiler(self.teach)

    def draw(self, batch: Batch, *, step: int, part: Part = WHOLE) -> Drawn:
        generator = augment.step_generator(self.recipe.seed, step)
        images = self.augmented(batch, generator, part)
        drawn = {"images": degrade(images, self.settings.degrade, generator, part=part)}
        if self.teachers and self.settings.degrade:
            drawn["clear"] = images
        drawn |= {name: batch[name] for name in ("expression", "valence_arousal") if name in batch}
        drawn = augment.mixup(drawn, self.settings.mixup, generator, part=part)
        drawn["images"] = self.normalise(drawn["images"])
        clear = self.normalise(drawn.pop("clear")) if "clear" in drawn else drawn["images"]
        if self._device != drawn["images"].device:
            self._move(drawn["images"].device)
        if self.teachers and self.recipe.distill:
            taught = self._teach(clear, self.recipe.distill.temperature)
            drawn["teachers"] = taught.clone()  # a CUDA graph's own would be overwritten by the next one
        return drawn

    def _move(self, device: torch.device) -> None:
        """What is no part of the network goes to its device at the first step."""
        self._device = device
        self.teachers = [teacher.to(device) for teacher in self.teachers]
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(device)

    @torch.no_grad()
    def teach(self, images: Tensor, temperature: float) -> Tensor:
        """The mean of the teachers' probabilities N×K, softened by the temperature."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=in_bf16(self.recipe)):
            logits = [teacher(images) for teacher in self.teachers]
        return torch.stack([F.softmax(one.float() / temperature, dim=1) for one in logits]).mean(0)

    def loss(self, network: nn.Module, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        targets = drawn["expression"]
        terms: dict[str, Tensor] = {}
        if isinstance(network, AuxiliaryLosses):
            logits, terms = network.forward_with_losses(drawn["images"], drawn)
        else:
            logits = network(drawn["images"])
        logits = logits.float()
        if self.class_weights is not None:
            targets = targets * self.class_weights
        loss = torch.sum(-targets * F.log_softmax(logits, dim=1), dim=1).mean()
        if "teachers" in drawn and self.recipe.distill:
            weight, soft = self.recipe.distill.weight, self.recipe.distill.temperature
            away = F.kl_div(F.log_softmax(logits / soft, dim=1), drawn["teachers"], reduction="batchmean")
            loss = (1 - weight) * loss + weight * soft**2 * away
        for term in terms.values():
            loss = loss + term.float()
        hits = (logits.argmax(1) == drawn["expression"].argmax(1)).float().mean()
        figures = {"train_loss": loss, "train_accuracy": hits}
        figures |= {f"train_{name}": term for name, term in terms.items()}
        return loss, {name: value.detach().float() for name, value in figures.items()}

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return _classified(network(self.plain(batch)).float(), batch["labels"])


class MaskedImage(Objective):
    """Fill in masked patches: L1 on their pixels (SimMIM, Xie et al. 2021, arXiv 2111.09886). Labels are not used.

    An image's validation mask follows its row, so that every epoch is scored on the same holes, in batches of any
    size and on any number of processes.
    """

    monitor, mode = "valid_loss", "min"

    def __init__(self, recipe: Recipe, preprocess: Preprocess, *, network: MaskedImageModel) -> None:
        super().__init__(recipe, preprocess)
        self.draw_mask = network.draw_mask

    def draw(self, batch: Batch, *, step: int, part: Part = WHOLE) -> Drawn:
        images, generator = self.changed(batch, step, part)
        images = self.normalise(images)
        mask = part.of(self.draw_mask(part.whole(len(images)), generator))
        return {"images": images, "mask": augment.upload(mask, images.device)}

    def loss(self, network: nn.Module, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(network, MaskedImageModel)
        loss = network.loss(drawn["images"], drawn["mask"])
        return loss, {"train_loss": loss.detach()}

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(network, MaskedImageModel)
        images = self.plain(batch)
        mask = torch.cat([self.draw_mask(1, augment.step_generator(0, row)) for row in batch["index"].tolist()])
        return {"valid_loss": network.loss(images, mask) * len(images)}


class Orientation(Objective):
    """Which way up a face is, or that there is none (``mien.faces.orientation``).

    Faces, which are upright in the data set, are turned by a random multiple of 90°; pictures without a face too, and
    stay what they are. In validation the multiple follows the image's row.
    """

    monitor, mode = "valid_accuracy", "max"

    def draw(self, batch: Batch, *, step: int, part: Part = WHOLE) -> Drawn:
        images, generator = self.changed(batch, step, part)
        turns = part.of(torch.randint(4, (part.whole(len(images)),), generator=generator))
        images = self.normalise(turned(images, augment.upload(turns, images.device)))
        return {"images": images, "orientation": orientation_targets(batch["labels"], turns)}

    def loss(self, network: nn.Module, drawn: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
        logits, targets = network(drawn["images"]).float(), drawn["orientation"]
        loss = F.cross_entropy(logits, targets, label_smoothing=self.recipe.targets.smoothing)
        hits = (logits.argmax(1) == targets).float().mean()
        return loss, {"train_loss": loss.detach(), "train_accuracy": hits.detach()}

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        turns = batch["index"] % 4
        logits = network(turned(self.plain(batch), turns)).float()
        return _classified(logits, orientation_targets(batch["labels"], turns))


def _classified(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Sums over the rows of a validation batch. logits: float N×K. targets: int64 N."""
    return {
        "valid_loss": F.cross_entropy(logits, targets, reduction="sum"),
        "valid_accuracy": (logits.argmax(1) == targets).sum().float(),
    }


def build_objective(
    recipe: Recipe,
    preprocess: Preprocess,
    network: nn.Module,
    *,
    teachers: Sequence[nn.Module] = (),
    class_weights: Tensor | None = None,
    compiler: Compiler = as_written,
) -> Objective:
    """The objective of the recipe's ``task``."""
    if recipe.task == "masked_image":
        assert isinstance(network, MaskedImageModel)
        return MaskedImage(recipe, preprocess, network=network)
    if recipe.task == "orientation":
        return Orientation(recipe, preprocess)
    return Expression(recipe, preprocess, teachers=teachers, class_weights=class_weights, compiler=compiler)
