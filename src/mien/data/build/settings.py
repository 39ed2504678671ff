"""Settings of a build apart from the picture format: how images are split, how Training is balanced."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from mien.errors import UsageError

#: Which copies: none, those with identical pixels, or near-duplicates too.
Copies = Literal["none", "exact", "near"]
Crossing = Literal["keep", "drop-from-training"]

TRAINING = "training"

#: A tenth each for validation and test, where nothing else is asked for.
_SHARES = {"validation": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How rows are placed. The defaults change nothing where every row has an official split.

    official: source → official split → split of the store, where the name shall be another one; "" makes its rows free.
    carve: rows of official Training are free as well, save those tied to an official evaluation image.
    shares: split → share of the free images of each class (a float below 1) or number of images (an int ≥ 1); Training
    takes the rest. None: a tenth each for validation and test, where these are not balanced. Single images meet a
    share exactly; units of several may go over it by a part of a unit.
    balanced: split → images per class, or None for as many as the smallest class allows. A split with official rows is
    only trimmed; another one is filled from the free rows.
    at_most: no balanced split takes more than this share of a class's free images, so that Training keeps some.
    crossing: what happens to a Training row that is tied to an official evaluation row.
    drop_conflicts: copies whose labels differ are dropped, all of them, save official evaluation rows.
    drop_copies: of copies with one label in one split all but the first are dropped, save official evaluation rows.
    seed: of the hash. Raises UsageError for a value that cannot work.
    """

    official: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    carve: bool = False
    shares: Mapping[str, float] | None = None
    balanced: Mapping[str, int | None] = field(default_factory=dict)
    at_most: float = 0.25
    crossing: Crossing = "keep"
    drop_conflicts: Copies = "none"
    drop_copies: Copies = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kinds in (("crossing", Crossing), ("drop_conflicts", Copies), ("drop_copies", Copies)):
            if getattr(self, name) not in get_args(kinds):
                raise UsageError(f"expected {name} to be {' or '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if not 0 < self.at_most <= 1:
            raise UsageError(f"expected at_most to be a proportion above 0 and up to 1, got {self.at_most}")
        for split, per_class in self.balanced.items():
            if split == TRAINING or (per_class is not None and per_class < 1):
                raise UsageError(
                    f"expected balanced splits other than {TRAINING}, of at least 1 image per class, "
                    f"got {split}: {per_class}"
                )
        for split, share in (self.shares or {}).items():
            number = isinstance(share, int) and not isinstance(share, bool)
            if split in (TRAINING, "") or not ((number and share >= 1) or 0 < share < 1):
                raise UsageError(
                    f"expected shares like validation: 0.1 or validation: 500, got {split}: {share}",
                    hint=f"{TRAINING} takes what the others leave",
                )
        if both := sorted(set(self.shares or {}) & set(self.balanced)):
            raise UsageError(f"expected a split to be balanced or to get a share, got both for {', '.join(both)}")
        if sum(share for share in self.free_shares.values() if share < 1) >= 1:
            raise UsageError(f"expected shares that leave something to {TRAINING}, got {dict(self.free_shares)}")

    @property
    def free_shares(self) -> Mapping[str, float]:
        """The shares, with the default filled in."""
        if self.shares is not None:
            return self.shares
        return {split: share for split, share in _SHARES.items() if split not in self.balanced}

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        official = {source: dict(names) for source, names in sorted(self.official.items())}
        return asdict(self) | {"official": official, "shares": dict(self.free_shares)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """Strengths of ``balance.generate``.

    rotate: degrees either way; an angle is never below a tenth of it. autocontrast, mirror: probabilities; were
    autocontrast certain, a network could tell generated images, and so the small classes, by it. shift: part of the
    side either way. scale, brightness: relative range either way.
    """

    rotate: float = 10.0
    autocontrast: float = 0.5
    mirror: float = 0.5
    shift: float = 0.04
    scale: float = 0.05
    brightness: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSettings:
    """Training is oversampled to ``target`` images per class by augmented copies; see ``balance.plan_balance``."""

    target: int | Mapping[str, int] | None = None
    variation: Variation = field(default_factory=Variation)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        target = self.target if self.target is None or isinstance(self.target, int) else dict(self.target)
        return {"target": target, "variation": asdict(self.variation), "seed": self.seed}
