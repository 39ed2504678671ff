"""A run directory read back for comparison."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Run:
    """now: the trained weights; saved: those that are evaluated, averaged where the recipe asks for it."""

    def __init__(self, path: Path, *, checkpoint: str = "last") -> None:
        self.path = path
        self.checkpoint: dict[str, Any] = torch.load(path / f"{checkpoint}.ckpt", weights_only=True)
        self.saved = _network(self.checkpoint["state_dict"])
        self.now = _network(self.checkpoint.get("current_model_state", self.checkpoint["state_dict"]))
        self.log = list(csv.DictReader((path / "log.csv").read_text().splitlines()))

    def column(self, name: str) -> list[float]:
        return [float(row[name]) for row in self.log]

    def everything(self) -> dict[str, Tensor]:
        """Both sets of weights and the optimiser's tensors, to be compared to the bit."""
        held = {f"saved.{k}": v for k, v in self.saved.items()} | {f"now.{k}": v for k, v in self.now.items()}
        for number, entry in self.checkpoint["optimizer_states"][0]["state"].items():
            held |= {f"optimizer.{number}.{k}": v for k, v in entry.items() if isinstance(v, Tensor)}
        return held


TrainTiny = Callable[..., Run]


def _network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """To the bit."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def close(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, atol: float = 1e-6) -> bool:
    """As far as rounding goes; ``got`` may hold more."""
    assert got.keys() >= expected.keys()
    return all(torch.allclose(got[name], value, atol=atol, rtol=1e-5) for name, value in expected.items())
