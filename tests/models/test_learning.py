"""Every network, reduced, overfits 32 real FER2013 pictures in a short run."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from test_contract import NAMED, preprocess_of, reduced, reduced_side
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mien.data.sources import Sample, open_source
from mien.labels import SEVEN
from mien.models import registry
from mien.training.objectives import Expression
from mien.training.recipe import parse_recipe

STEPS, EACH = 160, 10
#: Of batch norms. With the usual 0.1 most steps only wait for the running statistics, which eval uses, to come near.
MOMENTUM = 0.3

Faces = tuple[np.ndarray, Tensor]


@pytest.fixture(scope="module")
def faces(fer2013_dir: Path) -> Faces:
    """The first 32 Training pictures with at most five of a class; uint8 32×48×48 and their labels."""
    chosen: list[Sample] = []
    with closing(open_source("fer2013", fer2013_dir).stream()) as stream:  # type: ignore[type-var]
        for sample in stream:
            if isinstance(sample, Sample) and sum(sample.label == other.label for other in chosen) < 5:
                chosen.append(sample)
            if len(chosen) == 32:
                break
    assert {sample.split for sample in chosen} == {"training"}
    return np.stack([s.pixels for s in chosen]), torch.tensor([SEVEN.index(str(s.label)) for s in chosen])


def learns(entry: registry.ModelSpec, faces: Faces, *, steps: int = STEPS, rate: float = 1e-3) -> bool:
    """Full-batch AdamW on the training path's own loss: are 95 % right, in eval, within so many steps?"""
    images, labels = faces
    preprocess = preprocess_of(entry, reduced_side(entry))
    batch = torch.from_numpy(preprocess.normalise(preprocess.stack(images)))
    network = reduced(entry)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = MOMENTUM
    objective = Expression(
        parse_recipe({"name": "x", "model": {"name": entry.name}, "epochs": 1}, origin=""), preprocess
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0)
    drawn = {"images": batch, "expression": torch.eye(7)[labels]}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        objective.loss(network.train(), drawn)[0].backward()
        optimizer.step()
        if step % EACH == 0:
            with torch.no_grad():
                right = (network.eval()(batch).argmax(1) == labels).float().mean()
            if right >= 0.95:
                return True
    return False


@pytest.mark.long
@pytest.mark.fer2013
@NAMED
def test_learns_32_faces_by_heart(entry: registry.ModelSpec, faces: Faces) -> None:
    assert learns(entry, faces)


@pytest.mark.fer2013
def test_without_learning_it_does_not(faces: Faces) -> None:
    """The negative control: with a rate of zero the same run fails."""
    assert not learns(registry.spec("nano"), faces, rate=0.0, steps=40)
