"""DAN, "Distract your attention": ResNet18, four attention heads, two losses that shape features and heads.

Wen et al. 2021, arXiv 2109.07270 (Biomimetics 2023); public code: yaoing/DAN.

    picture → ResNet18 → N×512×H×W ─┬─ head 1 … head 4 → log-softmax over the heads → sum → linear → batch norm
                                    └─ mean → affinity loss

The paper's full text was not at hand when this was written: sizes, losses and their weights are the code's. Choices:
- Both losses have weight 1 in the code, and so here (``affinity_weight``, ``partition_weight``).
- The affinity loss divides by the summed variance of the class centres, which the code learns by the same optimiser as
  the network. The centres are part of the network here, so that a checkpoint has them; a reading does not use them.
- The partition loss looks at the heads after their log-softmax, and takes the logarithm of the mean variance (not the
  mean of logarithms, which is without bound as soon as the heads agree on one channel of one picture).
- A batch norm on the logits ends the network. Layers that a batch norm follows have no bias, unlike in the code:
  19,716,430 parameters and 3,584 of centres, where the code has 19,723,733 and 3,584.
- Soft targets (mixup, smoothing, votes): the affinity loss weighs each centre by its class's probability.
- With one head there is nothing to fuse or to keep apart: no log-softmax, no partition loss (code).

The authors start from a ResNet18 trained on MS-Celeb-1M faces (others' weights of a withdrawn data set), which cannot
be had here; ``init: imagenet`` takes torchvision's first weights. Residual branches are not zeroed at the start, as in
torchvision's ResNet.
"""

import torch
from torch import Tensor, nn

from mien.models.auxiliary import Targets
from mien.models.backbones import timm_model
from mien.models.hook_points import HookPoint
from mien.models.layers.cross_attention_head import CrossAttentionHead
from mien.models.losses.affinity import AffinityLoss, partition_loss
from mien.models.registry import register


@register(
    "dan",
    source="Wen et al. 2021, arXiv 2109.07270",
    summary="ResNet18, four heads of spatial then channel attention, affinity and partition losses",
    color="rgb",
    input_sizes=(224, 48),
    reduced={"widths": (16, 32, 48, 64), "heads": 2},
)
class DistractYourAttention(nn.Module):
    """ResNet18, heads of attention, classifier. 19.7 M parameters, 2.2 GMAC at 224×224.

    widths: channels of ResNet18's four stages, the last a multiple of 16. Raises ValueError for fewer than two
    classes (centres need a variance), no heads, or ImageNet weights for widths that are not ResNet18's.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        pretrained: bool = False,
        heads: int = 4,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        affinity_weight: float = 1.0,
        partition_weight: float = 1.0,
    ) -> None:
        super().__init__()
        own = (64, 128, 256, 512)
        if num_classes < 2:
            raise ValueError(f"expected num_classes of at least 2, got {num_classes}")
        if heads < 1:
            raise ValueError(f"expected at least one head, got {heads}")
        if len(widths) != 4 or min(widths) < 1 or (pretrained and tuple(widths) != own):
            raise ValueError(f"expected four widths, with ImageNet weights {own}, got {tuple(widths)}")
        options = {"in_chans": in_channels, "num_classes": 0, "global_pool": "", "zero_init_last": False}
        if tuple(widths) != own:
            options["channels"] = tuple(widths)
        width = widths[-1]
        self.trunk = timm_model("resnet18.tv_in1k", pretrained=pretrained, options=options)
        self.heads = nn.ModuleList(CrossAttentionHead(width) for _ in range(heads))
        self.classifier = nn.Sequential(nn.Linear(width, num_classes, bias=False), nn.BatchNorm1d(num_classes))
        self.affinity = AffinityLoss(num_classes=num_classes, features=width)
        self.affinity_weight = affinity_weight
        self.partition_weight = partition_weight

    def target_layer(self) -> HookPoint:
        """What every head attends to (``models/hook_points.py``)."""
        return HookPoint("trunk", "output", "channels_first")

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.attend(self.trunk(images)).sum(dim=1))

    def forward_with_losses(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits N×K, ``affinity`` (looks at ``expression``) and, with two heads or more, ``partition``; weighted."""
        x = self.trunk(images)  # N×width×H×W
        heads = self.attend(x)
        pooled = x.mean(dim=(2, 3))
        losses = {"affinity": self.affinity_weight * self.affinity(pooled, targets["expression"])}
        if len(self.heads) > 1:
            losses["partition"] = self.partition_weight * partition_loss(heads)
        return self.classifier(heads.sum(dim=1)), losses

    def attend(self, x: Tensor) -> Tensor:
        """N×width×H×W → N×heads×width, each channel normalised over the heads."""
        heads = torch.stack([head(x) for head in self.heads], dim=1)
        return heads.log_softmax(dim=1) if len(self.heads) > 1 else heads
