"""What is trained in which stage, in the order of what it is worth: jobs, which are shipped recipes with few changes.

A stage is rounds, one after the other; a round's jobs run at the same time, and what they need has been trained in a
round before. Jobs of a group are compared with each other, so they get the same number of epochs, in every call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.reproduce.papers import PAPER_A
from mien.reproduce.plan import reduce
from mien.training.networks import read_meta
from mien.training.recipe import Recipe, load_recipe, parse_recipe, set_key

#: How a job's passes are made: see ``mien train --compile`` and ``--cuda-graphs``.
EAGER, COMPILED, GRAPHS = "eager", "compiled", "cuda graphs"


@dataclass(frozen=True, slots=True)
class Job:
    """name: of its run and its record. changes: dotted key → value, laid over the shipped recipe. group: jobs that get
    as many epochs, at most ``most``. kernels: jobs that compile to the same, so that one can do it for all. weights:
    how much its weights are wanted back (1 is most, 0 not at all)."""

    name: str
    recipe: str
    group: str
    kernels: str
    most: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    mode: str = COMPILED
    weights: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """jobs: made when its turn comes, from the folder of runs. share: of the stage's time."""

    share: float
    jobs: Callable[[Path], list[Job]]


def stage_a(seeds: Sequence[int]) -> list[Round]:
    """compact for a long time from several seeds; then compact and nano learn from all of them together."""

    def teachers(runs: Path) -> list[Job]:
        return [
            Job(
                f"compact-seed{seed}", "compact-base", "compact-base", "compact-base", 240, {"seed": seed}, GRAPHS,
                weights=3,
            )
            for seed in seeds
        ]  # fmt: skip

    def students(runs: Path) -> list[Job]:
        ensemble = [str(runs / f"compact-seed{seed}") for seed in seeds]
        ensemble = [run for run in ensemble if finished(Path(run))] or [str(runs / "compact-base")]
        return [
            Job(
                "compact-distilled", "compact-clean", "compact-distilled", "compact-distilled", 160,
                {"model.init": f"run:{ensemble[0]}", "distill.runs": ensemble}, GRAPHS, weights=1,
            ),
            Job(
                "nano-distilled", "nano-base", "nano-distilled", "nano-distilled", 400, {"distill.runs": ensemble},
                GRAPHS, weights=2,
            ),
        ]  # fmt: skip

    return [Round(0.55, teachers), Round(0.45, students)]


def stage_b(seeds: Sequence[int]) -> list[Round]:
    """Paper B's network with softmax and sigmoid masks, without masks, by both readings; and ResMaskingNet."""
    arms = {
        "resnet34_unet_eca": "resnet34_unet_eca/scratch",
        "resnet34_unet_eca-sigmoid": "resnet34_unet_eca/scratch-sigmoid",
        "resnet34_unet_eca-doubling": "resnet34_unet_eca/scratch-doubling",
        "resnet34": "resnet34_unet_eca/scratch-nomask",
        "resmaskingnet": "resmaskingnet/scratch",
    }

    def jobs(runs: Path) -> list[Job]:
        return [
            Job(f"{arm}-seed{seed}", recipe, "masks", arm, 80, {"seed": seed})
            for seed in seeds
            for arm, recipe in arms.items()
        ]

    return [Round(1.0, jobs)]


def _swins(recipe: str, group: str, seeds: Sequence[int], changes: Mapping[str, Any]) -> list[Job]:
    """Paper A's arms (Swin-T, with SE, with SE and SAM), each with the study's learning rates."""
    lr = load_recipe(recipe).optimizer.lr
    return [
        Job(
            f"{arm.key}{'-' + group if group != 'scratch' else ''}-lr{lr * rate:.2g}-seed{seed}",
            recipe, f"swin-{group}", arm.key, 120, {**arm.changes, **changes, "optimizer.lr": lr * rate, "seed": seed},
        )
        for seed in seeds
        for arm in PAPER_A.arms[:3]
        for rate in PAPER_A.rates
    ]  # fmt: skip


def stage_c(seeds: Sequence[int]) -> list[Round]:
    """Paper A's three arms from scratch, one grid of learning rates for all."""
    return [Round(1.0, lambda runs: _swins("swin_t/scratch", "scratch", seeds, {}))]


def stage_p(seeds: Sequence[int]) -> list[Round]:
    """The same after masked-image pretraining on the same pictures."""

    def pretraining(runs: Path) -> list[Job]:
        return [Job("swin_t-pretrain", "swin_t/pretrain", "swin_t-pretrain", "swin_t-pretrain", 300)]

    def arms(runs: Path) -> list[Job]:
        start = {"model.init": f"ssl:{runs / 'swin_t-pretrain'}"}
        return _swins("swin_t_se/scratch-ssl", "pretrained", seeds, start)

    return [Round(0.4, pretraining), Round(0.6, arms)]


def stage_d(seeds: Sequence[int]) -> list[Round]:
    """The other networks of the papers' tables, from scratch."""
    names = (
        "vggnet", "cbam_resnet50", "vgg_spinalnet", "lhcnet", "emonext", "vit_hybrid_se", "efficientnet_b2_multitask",
        "dan",
    )  # fmt: skip

    def jobs(runs: Path) -> list[Job]:
        recipes = {name: f"{name}/scratch" for name in names}
        return [
            Job(f"{name}-seed{seed}", recipe, name, name, load_recipe(recipe).epochs, {"seed": seed})
            for seed in seeds
            for name, recipe in recipes.items()
        ]

    return [Round(1.0, jobs)]


@dataclass(frozen=True, slots=True)
class Stage:
    title: str
    rounds: Callable[[Sequence[int]], list[Round]]
    seeds: tuple[int, ...]


STAGES = {
    "a": Stage("compact and nano, long schedules, learning from an ensemble", stage_a, (0, 1, 2, 3, 4)),
    "b": Stage("masks: softmax, sigmoid, none, both readings; resmaskingnet", stage_b, (0,)),
    "c": Stage("swin_t, swin_t_se, with SAM, from scratch", stage_c, (0,)),
    "p": Stage("the same from masked-image pretraining", stage_p, (0,)),
    "d": Stage("the other baselines", stage_d, (0,)),
}


#: A job for trying the machinery: two steps of the smallest network that has every part of the whole one.
TINY_BATCH = 8


def recipe_of(job: Job, *, epochs: int, tiny: bool = False) -> Recipe:
    """The recipe that a job trains. Raises RecipeError."""
    raw = load_recipe(job.recipe).model_dump(mode="json")
    for key, value in job.changes.items():
        set_key(raw, key, value)
    raw |= {"name": job.name, "epochs": epochs}
    if tiny:
        own = {key.rpartition(".")[2]: value for key, value in job.changes.items() if key.startswith("model.args.")}
        reduce(raw, own)
        raw["masking"] |= {"patch": 8}
        raw["data"]["limit"] = 2 * TINY_BATCH
        raw["batch_size"] = TINY_BATCH
    return parse_recipe(raw, origin=f"{job.name} ({job.recipe})")


def finished(run: Path) -> bool:
    """Whether a run's schedule came to its end."""
    return (run / "best.ckpt").is_file() and "result" in read_meta(run)
