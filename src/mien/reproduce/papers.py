"""What the two papers' tables hold: their arms, as changes of a recipe, and the figures that they published.

A study is one table. Its arms differ by what the paper varies and by nothing else where they share a recipe (Paper A);
networks of other authors (Paper B's Table 3) each come with a recipe of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.errors import UsageError


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of the table.

    key: short name, used for directories. recipes: the folder of shipped recipes it starts from. changes: dotted key →
    value, laid over the recipe. small: the same for ``--preset cpu``, in place of sizes and epochs that need a GPU.
    published: figure → value in 0-1, as printed. caveat: what the published figure is not.
    """

    key: str
    title: str
    recipes: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """A table of a paper. arms: the first is what the others are compared with. rates: multiples of the recipe's
    learning rate that each arm tries alike; (1,) where every arm has a recipe of its own."""

    key: str
    source: str
    table: str
    claim: str
    arms: tuple[Arm, ...]
    rates: tuple[float, ...]
    curves_of: str
    """The arm whose training curves the paper draws."""


def _table2(accuracy: float, precision: float, recall: float, f1: float) -> dict[str, float]:
    return {"accuracy": accuracy, "weighted_precision": precision, "weighted_recall": recall, "weighted_f1": f1}


_SE = {"model.name": "swin_t_se"}
#: Half a core-hour an arm on a CPU with bf16, with SAM twice that. The recipe's augmentation is made for 200 epochs: in
#: 25 with it the network hardly learns (results/LOG.md, 2026-11-28), so it is lighter here.
_SMALL_SWIN = {
    "model.args.embed_dim": 32, "model.args.num_heads": [1, 2, 4, 8], "data.limit": 20000,
    "epochs": 25, "batch_size": 64, "optimizer.lr": 3e-4, "ema.decay": 0.995,
    "model.args.drop_path": 0.05, "targets.smoothing": 0.05, "augment.rotate": 8, "augment.scale": [0.92, 1.12],
    "augment.shift": 0.05, "augment.brightness": 0.1, "augment.contrast": 0.1, "augment.erase": 0, "augment.mixup": 0,
}  # fmt: skip

PAPER_A = Study(
    key="paper-a",
    source="Vats & Chadha 2023, arXiv 2301.10906",
    table="Table 2",
    claim="SE at the head and SAM each help Swin-T (on AffectNet, seven classes)",
    arms=(
        Arm("swin_t", "Swin-T", "swin_t", {"model.name": "swin_t"}, _SMALL_SWIN, _table2(0.4921, 0.5090, 0.5, 0.4943)),
        Arm(
            "swin_t_se",
            "Swin-T + SE",
            "swin_t",
            _SE | {"model.args.se_position": "head"},
            _SMALL_SWIN,
            _table2(0.5104, 0.5470, 0.5225, 0.5169),
        ),
        Arm(
            "swin_t_se_sam",
            "Swin-T + SE + SAM",
            "swin_t",
            _SE | {"model.args.se_position": "head", "optimizer.sam": {"rho": 0.05}},
            _SMALL_SWIN,
            _table2(0.5310, 0.5485, 0.5410, 0.5420),
            caveat="the text gives F1 0.5452",
        ),
        Arm(
            "swin_t_se_stem",
            "Swin-T + SE (stem)",
            "swin_t",
            _SE | {"model.args.se_position": "stem"},
            _SMALL_SWIN,
            caveat="the paper's other reading; it publishes no figure",
        ),
    ),
    rates=(1 / 3, 1.0, 3.0),
    curves_of="swin_t_se_sam",
)


#: An hour of a core for an arm with masks, at a quarter of the published width.
_SMALL = {"epochs": 12, "ema.decay": 0.998}
_NARROW = _SMALL | {"model.args.width": 16}


def _theirs(key: str, title: str, accuracy: float, caveat: str = "", *, small: Mapping[str, Any] = _SMALL) -> Arm:
    return Arm(key, title, key, small=small, published={"accuracy": accuracy}, caveat=caveat)


PAPER_B = Study(
    key="paper-b",
    source="Tian, Zhang & Huo 2024, HSMS",
    table="Table 3",
    claim="U-Net masks with ECA lift ResNet34 above every network of the table (on FER2013)",
    arms=(
        _theirs(
            "resnet34_unet_eca",
            "ResNet34 + U-Net + ECA",
            0.781,
            "which test set, and how many crops, is not said",
            small=_NARROW,
        ),
        Arm(
            "resnet34",
            "ResNet34 (no masks)",
            "resnet34_unet_eca",
            {"model.args.mask": "none"},
            _NARROW,
            caveat="the same network without its masks; not in the paper's table",
        ),
        Arm(
            "resnet34_unet_eca_sigmoid",
            "Sigmoid masks",
            "resnet34_unet_eca",
            {"model.args.mask": "sigmoid"},
            _NARROW,
            caveat="the paper does not name its activation; not in its table",
        ),
        Arm(
            "resnet34_unet",
            "ResNet34 + U-Net (no ECA)",
            "resnet34_unet_eca",
            {"model.args.eca": False},
            _NARROW,
            caveat="not in the paper's table",
        ),
        _theirs(
            "resmaskingnet",
            "ResMaskingNet",
            0.7414,
            "averages many random augmentations of a picture",
            small=_NARROW,
        ),
        _theirs("vggnet", "VGGNet", 0.7328, "PublicTest: its loader swaps the two test sets"),
        _theirs(
            "cbam_resnet50", "CBAM-ResNet50", 0.7339, "measured by Pham et al. 2021", small=_SMALL | {"data.size": 48}
        ),
        _theirs("vgg_spinalnet", "VGGSpinalNet", 0.7445),
        _theirs(
            "lhcnet",
            "LHC-Net",
            0.7442,
            "averages 62 views of a picture",
            small=_SMALL | {"data.size": 48, "model.args.heads": [4, 4, 3, 3, 1]},  # grids of 12, 12, 6, 3 and 2 pixels
        ),
        _theirs("emonext", "EmoNeXt", 0.7612, "the XLarge network", small=_SMALL | {"data.size": 64}),
        Arm(
            "dan",
            "DAN",
            "dan",
            small=_SMALL | {"data.size": 48},
            caveat="not in the paper's table; its authors give no figure for FER2013",
        ),
    ),
    rates=(1.0,),
    curves_of="resnet34_unet_eca",
)

STUDIES = {study.key: study for study in (PAPER_A, PAPER_B)}


def study(key: str) -> Study:
    """Raises UsageError for an unknown paper."""
    if key not in STUDIES:
        raise UsageError(f"expected {' or '.join(STUDIES)}, got {key!r}")
    return STUDIES[key]
