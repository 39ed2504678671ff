"""A vision transformer behind a convolutional stem, with squeeze-and-excitation on its class token.

The other network in Vats & Chadha 2023, arXiv 2301.10906, §3.1 and §3.5: "a stack of eleven encoders preceded by a
hybrid patch embedding", the excitation on the class token's vector, after Aouayeb et al. 2021, arXiv 2107.03107.
Encoders are those of ViT (Dosovitskiy et al. 2020, arXiv 2010.11929): timm's pre-norm ``Block``.

The paper gives no sizes. Ours: ViT-Base's width (768, 12 heads, MLP 3072); a stem in ResNet's style, one 3×3
convolution of stride 2 and a residual block of stride 2 for each further width (64-128-256-512: stride 16), and a 1×1
convolution to the width; learnt positions; the SE (reduction 16) on the class token after the last LayerNorm, then
the classifier. Fewer stem widths give more tokens: three of them suit 48-pixel faces. Weights start as DeiT's do
(normal, 0.02); there are no ImageNet weights for this stem. Silent in the paper and off here: dropout; stochastic
depth is 0.1 as in ``swin_t``.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.models.hook_points import HookPoint
from mien.models.layers.residual import ResidualBlock, conv_bn
from mien.models.layers.se import ChannelGate
from mien.models.masked_image import spread
from mien.models.registry import register


@register(
    "vit_hybrid_se",
    source="Vats & Chadha 2023, arXiv 2301.10906, after Aouayeb et al. 2021, arXiv 2107.03107; sizes ours",
    summary="convolutional stem, eleven ViT encoders, squeeze-and-excitation on the class token",
    color="rgb",
    input_sizes=(224, 64),
    reduced={
        "stem_widths": (16, 32, 48),
        "width": 64,
        "depth": 3,
        "num_heads": 4,
        "mlp_width": 128,
        "reduction": 4,
        "drop_path": 0.0,
    },
)
class ViTHybridSE(nn.Module):
    """Stem, class token and positions, blocks, norm, SE, classifier. 83.4 M parameters, 18.3 GMAC at 224×224.

    stem_widths: channels after each halving of the side; their number sets the stride (four: 16). depth: encoders.
    reduction: of the SE. drop_path: stochastic depth of the last block, growing linearly from 0. dropout: on the
    vector before the classifier.
    """

    head_parameters = ("head.", "se_head.")
    optional_parameters: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        image_size: int = 224,
        stem_widths: tuple[int, ...] = (64, 128, 256, 512),
        width: int = 768,
        depth: int = 11,
        num_heads: int = 12,
        mlp_width: int = 3072,
        reduction: int = 16,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not stem_widths or min(stem_widths) < 1:
            raise ValueError(f"stem_widths: expected one or more positive widths, got {tuple(stem_widths)}")
        stride = 2 ** len(stem_widths)
        if image_size < stride or image_size % stride:
            raise ValueError(f"image_size: expected a multiple of {stride}, the stem's stride, got {image_size}")
        if num_heads < 1 or width < 1 or width % num_heads:
            raise ValueError(f"width: expected a multiple of num_heads {num_heads}, got {width}")
        if depth < 1 or mlp_width < 1:
            raise ValueError(f"expected depth and mlp_width of at least 1, got {depth} and {mlp_width}")
        from timm.layers import LayerNorm
        from timm.models.vision_transformer import Block

        self.image_size = image_size
        self.embedding_stride = self.feature_stride = stride
        self.embedding_channels = self.feature_channels = width

        stem: list[nn.Module] = [conv_bn(in_channels, stem_widths[0], stride=2), nn.ReLU(inplace=True)]
        for inputs, outputs in pairwise(stem_widths):
            stem.append(ResidualBlock(inputs, outputs, stride=2))
        self.stem = nn.Sequential(*stem, nn.Conv2d(stem_widths[-1], width, 1))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // stride) ** 2, width))
        self.blocks = nn.Sequential(
            *[
                Block(
                    width,
                    num_heads,
                    mlp_ratio=(mlp_width + 0.5) / width,  # timm rounds the product down
                    qkv_bias=True,
                    drop_path=drop_path * number / max(1, depth - 1),
                )
                for number in range(depth)
            ]
        )
        self.norm = LayerNorm(width)
        self.se_head = ChannelGate(width, reduction=reduction)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

        for part in (self.blocks, self.head):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """As in timm's ViT: the class token and the positions."""
        return {"cls_token", "pos_embed"}

    def se_layer(self) -> HookPoint:
        """The SE on the class token (``models/hook_points.py``)."""
        return HookPoint("se_head", "output", "vector")

    def target_layer(self) -> HookPoint:
        """Before the last attention: after it, only the class token is looked at, and the others get no gradient."""
        return HookPoint(f"blocks.{len(self.blocks) - 1}.norm1", "output", "tokens", leading_tokens=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encode(self.embed(x))  # N×C×S×S → N×L×D → N×(1 + L)×D
        v = self.se_head(x[:, 0])  # the class token, N×D
        return self.head(self.dropout(v))

    def embed(self, x: Tensor) -> Tensor:
        """N×C×S×S → N×L×D, L = (S / stride)² tokens row by row."""
        return self.stem(x).flatten(2).transpose(1, 2)

    def encode(self, tokens: Tensor) -> Tensor:
        """N×L×D → N×(1 + L)×D, the class token first, after the last norm."""
        first = self.cls_token.expand(tokens.shape[0], -1, -1)
        x = torch.cat([first.to(tokens.dtype), tokens], dim=1) + self.pos_embed
        return self.norm(self.blocks(x))

    def masked_features(self, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        """images N×C×S×S, mask bool N×s×s, mask_token D → N×D×h×w; as ``MaskedEncoder`` says.

        Hidden pixels are blanked (0, the mean) because the stem's convolutions would carry them into visible tokens.
        """
        n, _, side, _ = images.shape
        tokens = self.embed(torch.where(spread(mask, side)[:, None], 0, images))  # N×L×D
        grid = side // self.embedding_stride
        hidden = spread(mask, grid).flatten(1)[..., None]  # N×L×1
        x = self.encode(torch.where(hidden, mask_token.to(tokens.dtype), tokens))[:, 1:]  # N×L×D
        return x.transpose(1, 2).reshape(n, -1, grid, grid)
