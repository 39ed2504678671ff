"""A training loop of timm's public parts, combined as in its own training script: the baseline of our speed benchmarks.

timm's wheel has no training script, so the assembly is ours: its loader with prefetcher and worker processes, its
augmentation and mixup, its optimiser, schedule and moving average, autocast in bf16, channels last. Pictures come from
memory, as PIL images, so that no file is read or decoded. Where the recipe has a strength that timm has too (mirroring,
colour, erasing, mixup, smoothing), that is taken; timm crops where ours rotates, scales and shifts.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
import timm.data
import timm.optim
import timm.scheduler
import timm.utils
import torch
from PIL import Image
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch.utils.data import Dataset

from mien.data.store import Split
from mien.training.device import tf32
from mien.training.networks import build_network, recipe_preprocess
from mien.training.precision import in_bf16
from mien.training.recipe import Recipe
from steps import decided, now


class Pictures(Dataset[tuple[Any, int]]):
    """A split as timm takes a data set: a picture, transformed, and its label. transform: set by timm's loader."""

    def __init__(self, split: Split, *, mode: str) -> None:
        self.images, self.labels, self.mode = split.images, np.asarray(split.labels), mode
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[row]).convert(self.mode)), int(self.labels[row])


class TimmLoop:
    """timm's loop over a recipe's network. workers: processes that read and augment."""

    def __init__(self, recipe: Recipe, split: Split, *, device: torch.device, workers: int) -> None:
        recipe = decided(recipe, device)
        self.recipe, self.split, self.device, self.workers = recipe, split, device, workers
        self.batch = min(recipe.batch_size, len(split))

    def images_per_second(self, steps: int, *, warmup: int) -> float:
        """Over ``steps`` steps after the warm-up, by a network and an optimiser made for it."""
        ahead = 2 * self.workers  # batches that were made while the first steps were slow
        with tf32(True, self.device), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            loader, step, number = self._loader(), self._step(), 0
            while True:
                for images, targets in loader:
                    if number == warmup + ahead:
                        started = now()
                    step(images, targets, number)
                    number += 1
                    if number == warmup + ahead + steps:
                        return self.batch * steps / (now() - started)

    def _loader(self) -> Any:
        recipe, preprocess = self.recipe, recipe_preprocess(self.recipe)
        changes, side = recipe.augment, preprocess.input_size
        mixed = timm.data.FastCollateMixup(
            mixup_alpha=changes.mixup, label_smoothing=recipe.targets.smoothing, num_classes=7
        )
        return timm.data.create_loader(
            Pictures(self.split, mode="L" if preprocess.channels == 1 else "RGB"),
            input_size=(preprocess.channels, side, side),
            batch_size=self.batch,
            is_training=True,
            hflip=changes.flip,
            color_jitter=changes.brightness,
            re_prob=changes.erase,
            re_mode="pixel",
            mean=preprocess.mean,
            std=preprocess.std,
            num_workers=self.workers,
            collate_fn=mixed if changes.mixup else None,
            pin_memory=self.device.type == "cuda",
            device=self.device,
            persistent_workers=False,
        )

    def _step(self) -> Any:
        recipe, device = self.recipe, self.device
        network = build_network(recipe).to(device, memory_format=torch.channels_last).train()
        optimizer = timm.optim.create_optimizer_v2(
            network,
            opt=recipe.optimizer.name,
            lr=recipe.optimizer.lr,
            weight_decay=recipe.optimizer.weight_decay,
            momentum=recipe.optimizer.momentum,
        )
        schedule, _ = timm.scheduler.create_scheduler_v2(
            optimizer, num_epochs=recipe.epochs, step_on_epochs=False, updates_per_epoch=len(self.split) // self.batch
        )
        averages = timm.utils.ModelEmaV3(network, decay=recipe.ema.decay) if recipe.ema else None
        smoothing = recipe.targets.smoothing
        loss_of = SoftTargetCrossEntropy() if recipe.augment.mixup else LabelSmoothingCrossEntropy(smoothing)
        bf16 = in_bf16(recipe)

        def step(images: torch.Tensor, targets: torch.Tensor, number: int) -> None:
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
                loss = loss_of(network(images), targets)
            loss.backward()
            if recipe.optimizer.clip_norm:
                timm.utils.dispatch_clip_grad(network.parameters(), recipe.optimizer.clip_norm, mode="norm")
            optimizer.step()
            optimizer.zero_grad()
            if averages is not None:
                averages.update(network, step=number)
            schedule.step_update(num_updates=number + 1)

        return step
