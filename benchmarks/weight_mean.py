"""Means of two runs' weights, before and after a fine-tuning: what each point between them reads.

    python benchmarks/weight_mean.py runs/compact runs/compact-hybrid --data stores/hybrid [--shares 0.35 0.5 0.65]

Weight-space ensembles of a network and one fine-tuned from it (Wortsman et al. 2022, arXiv 2109.01903). share: of the
second run's weights, batch-norm statistics included. Columns: PublicTest and its leak-free part; recalls on LFW's
held-out persons; GENKI's held-out smiles, and pictures without one (stores/hybrid: scripts/further_faces.py).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from mien.data.store import Store
from mien.labels import code
from mien.training.datasets import as_inputs
from mien.training.networks import load_network

LFW = ("neutral", "happy", "surprise", "angry", "sad")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.35, 0.5, 0.65, 1.0])
    options = parser.parse_args()
    network, _, preprocess, _ = load_network(options.first)
    one, two = (load_network(run)[0].state_dict() for run in (options.first, options.second))
    store = Store.open(options.data)
    public, lfw, genki = (store.read(name) for name in ("public_test", "validation", "test"))
    lfw = lfw.labelled()
    print("share  PublicTest  leak-free  " + "  ".join(f"{name:>8}" for name in LFW) + "     smile  no smile")
    for share in options.shares:
        network.load_state_dict({
            name: torch.lerp(value, two[name], share) if value.is_floating_point() else value
            for name, value in one.items()
        })  # fmt: skip
        chosen = [predicted(network.eval(), as_inputs(split.images, preprocess)) for split in (public, lfw, genki)]
        right = chosen[0] == public.labels
        recalls = [np.mean(chosen[1][lfw.labels == code(name)] == code(name)) for name in LFW]
        happy = chosen[2] == code("happy")
        smiles = [happy[genki.labels == code("happy")].mean(), (~happy[genki.labels < 0]).mean()]
        told = [right.mean(), right[~public.leak].mean(), *recalls, *smiles]
        print(f"{share:5.2f}  " + "  ".join(f"{100 * value:8.2f}" for value in told), flush=True)


@torch.no_grad()
def predicted(network: torch.nn.Module, crops: torch.Tensor) -> np.ndarray:
    return torch.cat([network(part).argmax(1) for part in crops.split(256)]).numpy()


if __name__ == "__main__":
    main()
