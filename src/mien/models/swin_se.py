"""Swin-T, and Swin-T with squeeze-and-excitation.

Vats & Chadha 2023, arXiv 2301.10906: Swin-T (Liu et al. 2021, arXiv 2103.14030) and an SE layer. The backbone is timm's
swin_tiny_patch4_window7_224 with its module names, so timm's state dicts load; the SE is ours (``layers/se.py``).

Where the SE stands, the paper says twice: §3.5 on top of the encoder, on the vector that is classified, excitation
alone (``se_position="head"``, our default: the pooled vector after the last LayerNorm); §3 and Fig. 1 before the Swin
transformer (``se_position="stem"``: squeeze and excitation of the patch embedding's channels). Swin has no class
token; the pooled vector stands for it. Silent in the paper: the reduction (16, as in Hu et al.), stochastic depth (0.1,
timm's default), dropout (none).

Ours: sizes are arguments, so that small patches fit 48-pixel faces; and ``masked_features`` for pretraining
(``masked_image.py``): tokens are replaced right after the patch embedding, before an SE at the stem could squeeze
hidden pixels into its gate.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mien.models.backbones import timm_model
from mien.models.hook_points import HookPoint
from mien.models.layers.se import ChannelGate, SELayer
from mien.models.masked_image import spread
from mien.models.registry import register

_TIMM = "swin_tiny_patch4_window7_224"
_TINY = {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
_REDUCED = {"embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4), "drop_path": 0.0}


@register(
    "swin_t",
    source="Liu et al. 2021, arXiv 2103.14030; as Vats & Chadha 2023, arXiv 2301.10906, fine-tune it",
    summary="Swin-T, the first arm of Vats & Chadha's table",
    color="rgb",
    input_sizes=(224, 56),
    reduced=_REDUCED,
    fixed={"se_position": None, "reduction": 16},
)
@register(
    "swin_t_se",
    source="Vats & Chadha 2023, arXiv 2301.10906",
    summary="Swin-T with squeeze-and-excitation before the classifier (or after the patch embedding)",
    color="rgb",
    input_sizes=(224, 56),
    reduced=_REDUCED | {"reduction": 4},
)
class SwinSE(nn.Module):
    """timm's Swin, its modules under their own names, with or without an SE. 27.6 M parameters, 4.5 GMAC at 224×224.

    se_position: "head", "stem" or None. reduction: of the SE. embed_dim: width after the patch embedding, doubled by
    each stage after the first. window_size: of the attention, in tokens, at most a stage's own side. drop_path:
    stochastic depth of the last block, growing linearly from 0. dropout: on the vector before the classifier.
    pretrained: ImageNet-1K weights, interpolated for other patches and windows than 4 and 7.
    """

    head_parameters = ("head.", "se_head.")
    optional_parameters = ("se_stem.",)

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        image_size: int = 224,
        pretrained: bool = False,
        se_position: str | None = "head",
        reduction: int = 16,
        patch_size: int = 4,
        window_size: int = 7,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        depths = tuple(depths)
        if se_position not in ("head", "stem", None):
            raise ValueError(f"se_position: expected head or stem, got {se_position!r}")
        if not depths or len(depths) != len(num_heads) or min(*depths, *num_heads) < 1:
            raise ValueError(
                f"expected depths and num_heads of one length, all at least 1; got {depths} and {num_heads}"
            )
        if patch_size < 1 or image_size % patch_size:
            raise ValueError(f"image_size: expected a multiple of patch_size {patch_size}, got {image_size}")
        smallest = patch_size * 2 ** (len(depths) - 1)
        if image_size < smallest:
            raise ValueError(f"image_size: expected at least {smallest} for {len(depths)} stages, got {image_size}")
        if window_size < 1:
            raise ValueError(f"window_size: expected at least 1, got {window_size}")
        for stage, heads in enumerate(num_heads):
            if embed_dim * 2**stage % heads:
                raise ValueError(
                    f"num_heads: expected a divisor of {embed_dim * 2**stage}, stage {stage + 1}'s width, got {heads}"
                )
        sizes = {"embed_dim": embed_dim, "depths": depths, "num_heads": tuple(num_heads)}
        if pretrained and sizes != _TINY:
            raise ValueError(f"expected {_TINY}, the sizes that have ImageNet weights; got {sizes}")
        backbone: Any = timm_model(
            _TIMM,
            pretrained=pretrained,
            options={
                "num_classes": num_classes,
                "in_chans": in_channels,
                "img_size": image_size,
                "patch_size": patch_size,
                "window_size": window_size,
                "drop_path_rate": drop_path,
                "drop_rate": dropout,
                **sizes,
            },
        )
        self.image_size = image_size
        self.embedding_stride = backbone.patch_embed.patch_size[0]
        self.embedding_channels = backbone.embed_dim
        self.feature_stride = self.embedding_stride * 2 ** (backbone.num_layers - 1)
        self.feature_channels = backbone.num_features

        self.patch_embed = backbone.patch_embed
        self.se_stem = (
            SELayer(self.embedding_channels, reduction=reduction, channels_last=True)
            if se_position == "stem"
            else nn.Identity()
        )
        self.layers = backbone.layers
        self.norm = backbone.norm
        self.se_head = (
            ChannelGate(self.feature_channels, reduction=reduction) if se_position == "head" else nn.Identity()
        )
        self.head = backbone.head  # timm's: global_pool, drop, fc

    def no_weight_decay(self) -> set[str]:
        """As in the Swin paper's code: the tables of relative positions."""
        return {name for name, _ in self.named_parameters() if name.endswith("relative_position_bias_table")}

    def se_layer(self) -> HookPoint | None:
        """Where the SE stands (``models/hook_points.py``)."""
        if isinstance(self.se_head, ChannelGate):
            return HookPoint("se_head", "output", "vector")
        return HookPoint("se_stem", "output", "channels_last") if isinstance(self.se_stem, SELayer) else None

    def target_layer(self) -> HookPoint:
        return HookPoint("norm", "output", "channels_last")

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)  # N×C×S×S → N×H×W×D, H = W = S / patch
        x = self.norm(self.layers(self.se_stem(x)))  # → N×h×w×F, F = 8 D and h = H / 8 after four stages
        v = self.se_head(self.head.global_pool(x))  # → N×F
        return self.head.fc(self.head.drop(v))

    def masked_features(self, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        """images N×C×S×S, mask bool N×s×s, mask_token D → N×F×h×w; as ``MaskedEncoder`` says."""
        x = self.patch_embed(images)  # N×H×W×D
        hidden = spread(mask, x.shape[1])[..., None]  # N×H×W×1
        x = torch.where(hidden, mask_token.to(x.dtype), x)
        x = self.norm(self.layers(self.se_stem(x)))  # N×h×w×F
        return x.permute(0, 3, 1, 2)
