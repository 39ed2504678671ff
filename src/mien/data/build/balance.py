"""Balancing the classes of Training by augmented copies (Paper A): which originals are used, and how.

``plan_balance`` says how many variations each Training original gets and ``variations`` makes them: rotated within
±10°, autocontrast, mirrored, slightly shifted, scaled, brightened. A class that has the target already keeps all its
originals; only as many images are generated as the target asks for, so none has to be dropped afterwards. Without a
written copy, ``training/online_balance.py`` does the same for each epoch.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mien.arrays import Uint8
from mien.data.build.index import Index, row_hash
from mien.data.build.splits import TRAINING, SplitPlan
from mien.documents import Section
from mien.errors import DataError, UsageError
from mien.labels import code, is_own

#: Seeds in a row that may give nothing new before an image counts as one that cannot be varied.
_PATIENCE = 20
#: Per cent of the darkest and of the brightest pixels that autocontrast lets saturate.
_CUTOFF = 1.0


class Variation(Section):
    """Strengths of ``balance.generate``; part of a build recipe.

    rotate: degrees either way; an angle is never below a tenth of it. autocontrast, mirror: probabilities; were
    autocontrast certain, a network could tell generated images, and so the small classes, by it. shift: part of the
    side either way. scale, brightness: relative range either way.
    """

    rotate: float = Field(default=10.0, ge=0, le=180)
    autocontrast: float = Field(default=0.5, ge=0, le=1)
    mirror: float = Field(default=0.5, ge=0, le=1)
    shift: float = Field(default=0.04, ge=0, le=0.5)
    scale: float = Field(default=0.05, ge=0, lt=1)
    brightness: float = Field(default=0.1, ge=0, lt=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSettings:
    """Training is oversampled to ``target`` images per class by augmented copies; see :func:`plan_balance`."""

    target: int | Mapping[str, int] | None = None
    variation: Variation = field(default_factory=Variation)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        target = self.target if self.target is None or isinstance(self.target, int) else dict(self.target)
        return {"target": target, "variation": self.variation.model_dump(), "seed": self.seed}


@dataclass(frozen=True, slots=True, eq=False)
class BalancePlan:
    """rows, copies, seeds: int64 M, the originals that are varied, how often, and the seed of their variations.

    before, after: expression → labelled images of Training, without and with what is to be generated, in label order.
    warnings: one sentence each.
    """

    rows: NDArray[np.int64]
    copies: NDArray[np.int64]
    seeds: NDArray[np.int64]
    before: dict[str, int]
    after: dict[str, int]
    warnings: list[str]


def plan_balance(
    index: Index,
    plan: SplitPlan,
    *,
    target: int | Mapping[str, int] | None = None,
    seed: int = 0,
    usable: NDArray[np.bool_] | None = None,
) -> BalancePlan:
    """How often each Training original is varied: equally often within a class, the remainder by a seeded order.

    target: images per class; None: as many as the largest class has; a mapping leaves the classes that it does not
    name as they are. usable: bool N, False for what cannot be varied (:func:`can_vary`). Rows that are tied to an
    evaluation image (``plan.crossing``) are never varied. A class that nothing can be generated for stays as it is,
    and a warning says so. Raises UsageError for a wrong target, DataError for an unknown expression.
    """
    if len(plan.split) != len(index):
        raise DataError(f"expected a split plan of the index's {len(index)} rows, got {len(plan.split)}")
    training = plan.rows(TRAINING)
    labels = np.asarray(index.label)[training]
    count = {c: int((labels == c).sum()) for c in np.unique(labels[labels >= 0]).tolist()}
    targets = _targets(target, count, index.labels)
    allowed = ~plan.crossing if usable is None else ~plan.crossing & usable
    after, warnings = dict(count), list[str]()
    jobs: list[tuple[int, int, int]] = []  # row, copies, seed
    for c, n in count.items():
        missing = max(0, targets.get(c, 0) - n)
        if not missing:
            continue
        rows = training[(labels == c) & allowed[training]].tolist()
        if not rows:
            warnings.append(
                f"{index.labels[c]}: {missing} images short of the target, none of its {n} images can be varied"
            )
            continue
        # hashes of 62 bits, so that counting on from one stays within int64
        ordered = sorted((row_hash("balance", seed, index.source[row], index.path[row]) >> 2, row) for row in rows)
        each, more = divmod(missing, len(ordered))
        jobs += [(row, each + (i < more), key) for i, (key, row) in enumerate(ordered) if each + (i < more)]
        after[c] += missing
    table = np.array(sorted(jobs), np.int64).reshape(-1, 3)
    return BalancePlan(
        rows=table[:, 0],
        copies=table[:, 1],
        seeds=table[:, 2],
        before={index.labels[c]: n for c, n in count.items()},
        after={index.labels[c]: n for c, n in after.items()},
        warnings=warnings,
    )


def _targets(
    target: int | Mapping[str, int] | None, count: Mapping[int, int], labels: tuple[str, ...]
) -> dict[int, int]:
    """code → images; what is not in it stays as it is. labels: the names of the codes."""
    if target is None:
        return dict.fromkeys(count, max(count.values(), default=0))
    named = (
        {_code(name, labels): n for name, n in target.items()}
        if isinstance(target, Mapping)
        else dict.fromkeys(count, target)
    )
    for c, n in named.items():
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise UsageError(f"expected a target of at least 1 image for {labels[c]}, got {n!r}")
        if c not in count:
            raise UsageError(
                f"expected targets for the classes of Training ({', '.join(labels[k] for k in count)}), "
                f"got one for {labels[c]}, which has no image to vary"
            )
    return named


def _code(name: str, labels: tuple[str, ...]) -> int:
    """The code of a class by its name. Raises UsageError, or DataError for no expression."""
    if not is_own(labels):
        return code(name)
    if name not in labels:
        raise UsageError(f"expected targets for classes of the store ({', '.join(labels)}), got one for {name!r}")
    return labels.index(name)


def can_vary(pixels: Uint8) -> bool:
    """False for a blank image (one value in each channel), of which every variation is blank again."""
    flat = pixels.reshape(-1, *pixels.shape[2:])
    return bool((flat != flat[:1]).any())


def generate(pixels: Uint8, seed: int, *, strength: Variation | None = None) -> Uint8:
    """One variation of the same shape: uint8 H×W or H×W×3. The same bytes for the same arguments, in any process.

    One bilinear resampling does rotation, scale, shift and mirror; beyond the border the picture is reflected. Then
    autocontrast (of the brightness alone, so that colours keep their tone) and brightness.
    Raises DataError for anything but an image of at least 2×2 pixels.
    """
    from PIL import Image, ImageOps

    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,))
        or min(pixels.shape[:2]) < 2
    ):
        raise DataError(f"expected a picture of uint8 H×W or H×W×3, at least 2×2, got {pixels.dtype} {pixels.shape}")
    strength = strength or Variation()
    turn, zoom, right, down, mirrored, contrast, light = _draws(seed)[:7]
    height, width = pixels.shape[:2]
    signed = 2 * turn - 1
    angle = math.radians(strength.rotate) * math.copysign(0.1 + 0.9 * abs(signed), signed)
    scale = 1 + strength.scale * (2 * zoom - 1)
    mirror = -1.0 if mirrored < strength.mirror else 1.0
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])  # of output (x, y) about the centre → input
    centre = np.array([width, height]) / 2
    shift = strength.shift * (2 * np.array([right, down]) - 1) * (width, height)
    corners = linear @ (np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]]) * centre[:, None]) + (centre + shift)[:, None]
    beyond = np.maximum(-corners, corners - 2 * centre[:, None]).max()
    margin = math.ceil(max(beyond, 0)) + 1  # one more for the neighbour that bilinear resampling looks at
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0))[: pixels.ndim], mode="symmetric")
    offset = centre + shift + margin - linear @ centre
    (a, b), (d, e) = linear.tolist()
    image = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, (a, b, offset[0], d, e, offset[1]), Image.Resampling.BILINEAR
    )
    if contrast < strength.autocontrast:
        image = ImageOps.autocontrast(image, cutoff=_CUTOFF, preserve_tone=True)
    factor = 1 + strength.brightness * (2 * light - 1)
    table = [min(255, round(value * factor)) for value in range(256)]
    return np.array(image.point(table * len(image.getbands())))


def variations(pixels: Uint8, copies: int, seed: int, *, strength: Variation | None = None) -> list[Uint8]:
    """Up to ``copies`` variations, none equal to the original or to another one; a longer list begins with a shorter.

    The seeds are ``seed``, ``seed + 1``, …; one that gives nothing new is passed over. The list is shorter than asked
    for, down to empty, where many in a row give nothing new; it is empty for a blank image. The caller counts that.
    """
    made: list[Uint8] = []
    if not can_vary(pixels):
        return made
    seen = {pixels.tobytes()}
    failures = 0
    while len(made) < copies and failures < _PATIENCE:
        image = generate(pixels, seed, strength=strength)
        seed += 1
        if image.tobytes() in seen or not can_vary(image):
            failures += 1
            continue
        failures = 0
        seen.add(image.tobytes())
        made.append(image)
    return made


def generated_name(path: str, number: int) -> str:
    """The name of an original's ``number``-th variation (from 1) in a store."""
    return f"generated-{number:04d}/{path}"


def _draws(seed: int) -> list[float]:
    """Eight numbers in [0, 1), by a hash: no generator's version can change them."""
    digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=64, person=b"mien variation").digest()
    return [int.from_bytes(digest[i : i + 8], "big") / 2**64 for i in range(0, 64, 8)]
