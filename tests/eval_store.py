"""Stores made to measure for the tests of evaluation: labels, votes, groups, copies of Training images."""

from pathlib import Path
from typing import Any

import numpy as np

from list_source import Listed
from mien.data.build.run import build_store
from mien.data.sources import Sample
from mien.data.store import Store
from mien.evaluation.evaluate import evaluate, evaluate_file


def picture(seed: int) -> np.ndarray:
    """uint8 48×48 noise of 12×12 blocks: no two seeds are near-duplicates."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12))
    return np.kron(coarse, np.ones((4, 4))).astype(np.uint8)


def leaky_store(path: Path, *, images: int = 200, copied: int = 80, labels: tuple[str, ...], seed: int = 0) -> Store:
    """``test`` has ``images`` pictures of random label, the first ``copied`` of which are in ``training`` as well.

    Every second image has ten votes for its label; every image has votes of a kind FER+ has. Groups are a and b.
    """
    random = np.random.default_rng(seed)
    names = [labels[i] for i in random.integers(0, len(labels), images)]
    samples = [Sample(f"train_{i}.png", picture(i), names[i], "training") for i in range(copied)]
    samples += [Sample(f"train_x{i}.png", picture(10_000 + i), labels[i % len(labels)], "training") for i in range(40)]
    for i in range(images):
        votes = (10, 0, 0, 0, 0, 0, 0, 0, 0, 0) if i % 2 else (0, 6, 0, 4, 0, 0, 0, 0, 0, 0)
        samples.append(Sample(f"test_{i}.png", picture(i), names[i], "test", votes=votes, group="ab"[i % 2]))
    build_store([Listed(samples)], path)
    return Store.open(path)


def write_answers(path: Path, paths: list[str], probabilities: np.ndarray, labels: tuple[str, ...]) -> Path:
    """A predictions file, as another tool would write it; rows of NaN are left empty."""
    lines = ["path," + ",".join(labels)]
    for name, row in zip(paths, probabilities, strict=True):
        lines.append(name + "," + ",".join("" if np.isnan(p) else f"{p:.6f}" for p in row))
    path.write_text("\n".join(lines) + "\n")
    return path


def hot(codes: np.ndarray, classes: int, *, top: float = 0.9) -> np.ndarray:
    """Probabilities with ``top`` for the answer and the rest shared."""
    return np.where(np.eye(classes)[codes] > 0, top, (1 - top) / (classes - 1))


def model_report(*args: Any, **options: Any) -> dict[str, Any]:
    """What ``evaluate`` writes to report.json."""
    return evaluate(*args, **options).as_dict()


def file_report(*args: Any, **options: Any) -> dict[str, Any]:
    """What ``evaluate_file`` writes to report.json."""
    return evaluate_file(*args, **options).as_dict()
