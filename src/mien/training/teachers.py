"""Finished runs as teachers (distillation): each gets the student's pictures in its own preprocessing.

A step's pictures are drawn once, for the student: augmented, mixed, normalised. What a teacher is shown of them is

    undo the student's mean and std → colour → resize → window → the teacher's mean and std

as ``mien.preprocess`` does it with files, on floats and on the device. A teacher with the student's own preprocess gets
the very same tensor. No teacher sees more than the student does: a grey student's teachers see grey, one with 48 pixels
enlarges them, and where the student has a window, its teachers see that part of the picture.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.training.device import channels
from mien.training.networks import load_network

#: ITU-R 601, in the whole numbers by which Pillow turns RGB into grey, of 65,536.
LUMA = (19595, 38470, 7471)


class Teacher(nn.Module):
    """A frozen network behind its own preprocess: the student's input N×C×S×S → the network's logits N×K.

    seen: the student's preprocess. preprocess: the network's own.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, *, seen: Preprocess) -> None:
        super().__init__()
        self.network = network
        self.preprocess, self.seen = preprocess, seen

    def forward(self, images: Tensor) -> Tensor:
        return self.network(convert(images, self.seen, self.preprocess))


def load_teacher(run: Path, student: Preprocess, *, labels: Sequence[str] = SEVEN) -> nn.Module:
    """A finished run's best network that takes what a student with that preprocess takes.

    labels: the student's, which the teacher must share. Raises DataError for no run, RecipeError for other labels.
    """
    network, _, its_own, meta = load_network(run)
    theirs = meta.get("labels", SEVEN)
    if list(theirs) != list(labels):
        raise RecipeError(f"distill.runs: expected a teacher of {', '.join(labels)}, got {run}, of {', '.join(theirs)}")
    return network if its_own == student else Teacher(network, its_own, seen=student)


def convert(images: Tensor, source: Preprocess, target: Preprocess) -> Tensor:
    """Normalised pictures of one preprocess, N×C×S×S of any values → what another one would have made of them.

    The same tensor where both are equal.
    """
    if source == target:
        return images
    device = images.device
    pixels = images.float() * channels(source.std, device) + channels(source.mean, device)
    if (source.color, target.color) == ("rgb", "grey"):
        pixels = (pixels * channels(LUMA, device)).sum(1, keepdim=True) / sum(LUMA)
    pixels = _windowed(pixels, source, target)
    if (source.color, target.color) == ("grey", "rgb"):
        pixels = pixels.expand(-1, 3, -1, -1)
    normalised = (pixels - channels(target.mean, device)) / channels(target.std, device)
    return normalised.contiguous(memory_format=torch.channels_last)


def _windowed(pixels: Tensor, source: Preprocess, target: Preprocess) -> Tensor:
    """N×C×S×S → N×C×input×input: the picture at the target's scale, and its middle where the target has a window.

    The source's window shows a part of the picture, which is that part at the target's scale too; where it is smaller
    than the target's own window, it is enlarged to it.
    """
    visible = source.input_size / source.size
    side = max(target.input_size, round(target.size * visible))
    if side != pixels.shape[-1]:
        # antialias: what Pillow does when it shrinks; without effect when it enlarges
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    start = (side - target.input_size) // 2
    return pixels[:, :, start : start + target.input_size, start : start + target.input_size]
