"""EmoNeXt: ConvNeXt with a spatial transformer in front, SE between the stages, and an attention regulariser.

El Boudouri & Bohi 2023 (IEEE MMSP, DOI 10.1109/MMSP59012.2023.10337732; preprint 2025, arXiv 2501.08199); public
code: yelboudouri/EmoNeXt. ConvNeXt: Liu et al. 2022, arXiv 2201.03545; SE: Hu et al. 2017, arXiv 1709.01507.

    picture → spatial transformer → 4×4 patches → stage 1 → [down, SE → stage] × 3 → mean → norm → classifier
    training only: self-attention among the batch's pooled vectors; the spread of its weights is added to the loss

Where paper and code differ, or are silent:
- SE. The paper puts one after each stage; the code puts it behind the 2×2 convolution of each of the three
  down-samplings, so that it acts on the doubled channels, and there is none after the last stage. The code's: with it
  were the published weights and figures made. Reduction 16, no biases (the paper gives neither).
- The regulariser. Its attention runs between the pictures of a batch (the pooled vectors are its only sequence), so
  its size depends on the batch's; its output is discarded, and a reading does not compute it. Scores are scaled by
  D^-1/4 in the code. The paper writes a weight λ; the code adds the term as it is: ``attention_weight`` 1. It is
  small: at most (N - 1) / N², 0.015 for a batch of 64.
- Parameters that the code has and that can never learn are left out: the values' projection, the keys' bias, and
  biases of the transformer's convolutions (a batch norm follows).
- The spatial transformer starts as the identity (its last layer's weights are zero), as in the code. It fixes the
  input's side: ``image_size``.
- Stochastic depth: 0 at the first block to 0.1 at the last in every variant (code; the paper names no rate).
- Weights to start from: ImageNet-22k without the later ImageNet-1k tuning, as paper and code have it (xlarge has no
  other). Label smoothing 0.2 belongs to the recipe.

The last layer of the original is freshly made by torch's default; the added layers start from a normal of 0.02, as
ConvNeXt's own.
"""

from typing import Any

from torch import Tensor, nn

from mien.models.auxiliary import Targets
from mien.models.backbones import timm_model
from mien.models.layers.batch_attention import BatchAttentionSpread
from mien.models.layers.spatial_transformer import SpatialTransformer
from mien.models.registry import register

#: The paper's, with ImageNet-22k weights; and a narrow one for training without any, timm's sizes of that name.
VARIANTS = ("tiny", "small", "base", "large", "xlarge", "pico")
PICO: dict[str, tuple[int, ...]] = {"depths": (2, 2, 6, 2), "dims": (64, 128, 256, 512)}


@register(
    "emonext",
    source="El Boudouri & Bohi 2023, arXiv 2501.08199",
    summary="ConvNeXt with a spatial transformer in front, SE in the down-samplings, an attention regulariser",
    color="rgb",
    input_sizes=(224, 48),
    reduced={"variant": None, "depths": (1, 1, 2, 1), "dims": (16, 32, 64, 128), "drop_path": 0.0},
)
class EmoNeXt(nn.Module):
    """tiny … xlarge: 30.0, 51.6, 90.7, 202, 358 M parameters; 4.5, 8.8, 15.4, 34.4, 61.0 GMAC at 224×224.

    variant: tiny where None; pico (10.0 M, 1.4 GMAC) is not the paper's. depths, dims: blocks and channels of the four
    stages in place of a variant, tiny's where one is None. Raises ValueError for an unknown variant, a variant beside
    sizes, stages that are not four, a side below 32, or ImageNet weights where the paper's variants are left.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        image_size: int = 224,
        pretrained: bool = False,
        variant: str | None = None,
        depths: tuple[int, ...] | None = None,
        dims: tuple[int, ...] | None = None,
        drop_path: float = 0.1,
        attention_weight: float = 1.0,
    ) -> None:
        super().__init__()
        from timm.layers import SEModule

        if variant is not None and variant not in VARIANTS:
            raise ValueError(f"expected variant to be one of {', '.join(VARIANTS)}, got {variant!r}")
        own = {"depths": depths, "dims": dims}
        changed = {name: tuple(value) for name, value in own.items() if value is not None}
        for name, value in changed.items():
            if len(value) != 4 or min(value) < (16 if name == "dims" else 1):
                raise ValueError(f"expected {name} to be four numbers (channels from 16), got {value}")
        if variant is not None and changed:
            raise ValueError(f"expected variant or {' and '.join(changed)}, not both: set one to null")
        if variant == "pico":
            variant, changed = None, PICO
        if changed and pretrained:
            raise ValueError(f"expected no {' or '.join(changed)} with ImageNet weights, got {changed}")
        options = {"in_chans": in_channels, "num_classes": 0, "drop_path_rate": drop_path, **changed}
        self.transformer = SpatialTransformer(in_channels=in_channels, image_size=image_size)
        backbone: Any = timm_model(f"convnext_{variant or 'tiny'}.fb_in22k", pretrained=pretrained, options=options)
        for stage in list(backbone.stages)[1:]:
            channels = stage.downsample[1].out_channels
            excite = SEModule(channels, rd_channels=channels // 16, bias=False)
            for layer in (excite.fc1, excite.fc2):
                nn.init.trunc_normal_(layer.weight, std=0.02)
            stage.downsample = nn.Sequential(*stage.downsample, excite)
        self.trunk = backbone
        self.attention = BatchAttentionSpread(backbone.num_features)
        self.attention_weight = attention_weight
        self.classifier = nn.Linear(backbone.num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))

    def forward_with_losses(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits N×K and ``attention``, the weighted spread of the batch's attention. No target is looked at."""
        x = self.features(images)
        return self.classifier(x), {"attention": self.attention_weight * self.attention(x)}

    def features(self, images: Tensor) -> Tensor:
        """N×C×S×S → pooled and normalised N×features."""
        return self.trunk(self.transformer(images))
