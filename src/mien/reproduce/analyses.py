"""What a study shows beyond its table: Paper A's landscape and clusters (Fig. 4, §3.6), Paper B's masks (§3.1).

Each is one call of ``evaluation/analysis`` on the first seed of the arms it is about, into ``DIR/analysis/KIND``; what
is there already, for the same weights, is not made again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.atomic import write_text
from mien.data.store import Store
from mien.errors import MienError
from mien.evaluation.analysis.features import features
from mien.evaluation.analysis.features import headline as features_headline
from mien.evaluation.analysis.inputs import Settings
from mien.evaluation.analysis.landscape import headline as landscape_headline
from mien.evaluation.analysis.landscape import landscape
from mien.evaluation.analysis.masks import headline as masks_headline
from mien.evaluation.analysis.masks import masks
from mien.evaluation.costs import sha256
from mien.reproduce.execute import Outcome
from mien.reproduce.papers import Study


@dataclass(frozen=True, slots=True)
class Analysis:
    """A finished analysis. title: what it shows of the paper. files: SVG figures. lines: its headline numbers."""

    kind: str
    title: str
    directory: Path
    files: list[Path]
    lines: list[str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    kind: str
    title: str
    arms: tuple[str, ...]
    run: Callable[..., dict[str, Any]]
    headline: Callable[[dict[str, Any]], list[str]]


_WANTED = {
    "paper-a": (
        _Wanted("landscape", "Fig. 4: the loss around the weights, without and with SAM",
                ("swin_t_se", "swin_t_se_sam"), landscape, landscape_headline),
        _Wanted("features", "§3.6: clusters before and after the SE", ("swin_t_se",), features, features_headline),
    ),
    "paper-b": (
        _Wanted("masks", "The effect of the masks: M replaced by its mean", ("resnet34_unet_eca",), masks,
                masks_headline),
    ),
}  # fmt: skip


def analyse(
    study: Study,
    outcome: Outcome,
    store: Store,
    split: str,
    home: Path,
    *,
    grid: Mapping[str, int],
    limit: int | None,
    device: str,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[list[Analysis], dict[str, str], list[str]]:
    """All analyses whose arms finished; those that failed, kind → why; and what was left out. split: a labelled one.

    grid: images and points of a landscape.
    """
    done: list[Analysis] = []
    failed: dict[str, str] = {}
    skipped: list[str] = []
    for wanted in _WANTED[study.key]:
        if not set(wanted.arms) <= set(outcome.kept):
            skipped.append(f"{wanted.kind}, which needs {' and '.join(wanted.arms)}")
            continue
        runs = [outcome.kept[arm][0].run.directory for arm in wanted.arms]
        out = home / "analysis" / wanted.kind
        options: dict[str, Any] = {"limit": limit}
        if wanted.kind == "landscape":
            options = dict(grid)
        mark = _mark(runs, store, split, options)
        try:
            report = _existing(out, wanted.kind, mark)
            if report is None:
                say(f"analysing {wanted.kind}: {', '.join(run.name for run in runs)}")
                command = f"mien analyse {wanted.kind} {' '.join(map(str, runs))} --data {store.path} --split {split}"
                own = {key: value for key, value in options.items() if key != "limit"}
                models = [str(run) for run in runs]
                settings = Settings(models, store, split, out, limit=options["limit"], device=device, command=command)
                report = wanted.run(settings, **own)
                write_text(out / "made-of.txt", mark + "\n")
        except MienError as error:
            failed[wanted.kind] = str(error)
            say(f"warning: {wanted.kind} failed: {error}")
            continue
        done.append(Analysis(wanted.kind, wanted.title, out, sorted(out.glob("*.svg")), wanted.headline(report)))
    return done, failed, skipped


def _existing(out: Path, kind: str, mark: str) -> dict[str, Any] | None:
    """The report that is there, if it is of these very weights."""
    file, made_of = out / f"{kind}.json", out / "made-of.txt"
    if not file.is_file() or not made_of.is_file() or made_of.read_text("utf-8").strip() != mark:
        return None
    report: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return report


def _mark(runs: list[Path], store: Store, split: str, options: dict[str, Any]) -> str:
    weights = [sha256(run / "best.ckpt") for run in runs]
    about = f"{store.fingerprint} {split} {sorted(options.items())} {weights}"
    return hashlib.sha256(about.encode()).hexdigest()[:16]
