"""EfficientNet-B2 with an expression head and, where the data have them, valence and arousal.

Savchenko, Savchenko & Makarov 2022 (IEEE Trans. Affective Computing, DOI 10.1109/TAFFC.2022.3188390) and Savchenko
2021 (arXiv 2103.17107); public code: av-savchenko/face-emotion-recognition. EfficientNet: Tan & Le 2019, arXiv
1905.11946, the TensorFlow port with "same" padding, as there.

What they did, from their code: pretrained on VGGFace2 identities, then one linear layer on the pooled vector, tuned on
AffectNet with SAM around Adam. Their B2 has the expression alone (66.29 % of AffectNet's seven classes). The joint
model is their B0 (``variant="b0"``), two further outputs in the same linear layer and

    cross-entropy + (1 - CCC of valence) / 2 + (1 - CCC of arousal) / 2

(2207.09508 calls it MT-EmotiEffNet). What is ours:
- the joint loss on B2, their two models in one; ``valence_arousal`` decides whether those outputs exist at all, and
  ``affect_weight`` (theirs 1) weighs their term. Data without valence/arousal: build without, or only the expression
  is learned and ``affect`` gets zero gradients.
- rows without valence/arousal (NaN) are left out of that term; a batch without any adds 0.
- the outputs are linear and learn unbounded, as theirs; ``valence_arousal()`` clamps what it returns to -1…1.
- their weights from VGGFace2 identities cannot be had here: ``init: imagenet`` takes the "noisy student" ImageNet
  weights of the very network that they name (tf_efficientnet_b2_ns). No dropout, as timm builds it by default.
- their cross-entropy weighs the classes inversely to their counts: ``targets.class_weights: inverse`` in a recipe.
"""

from typing import Any

from torch import Tensor, nn

from mien.models.auxiliary import Targets
from mien.models.backbones import timm_model
from mien.models.losses.concordance import concordance_loss
from mien.models.registry import register


@register(
    "efficientnet_b2_multitask",
    source="Savchenko et al. 2022, DOI 10.1109/TAFFC.2022.3188390; arXiv 2103.17107",
    summary="EfficientNet-B2, expression head; optional valence/arousal outputs with the joint loss",
    color="rgb",
    input_sizes=(260, 32),
    reduced={"variant": "b0"},
)
class EfficientNetMultitask(nn.Module):
    """7.7 M parameters, 1.0 GMAC at 260×260. variant: "b2", or "b0", the authors' joint model (4.0 M, 224×224).

    valence_arousal: with the two further outputs and their loss. Raises ValueError for another variant.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        pretrained: bool = False,
        variant: str = "b2",
        valence_arousal: bool = False,
        affect_weight: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if variant not in ("b0", "b2"):
            raise ValueError(f"expected variant to be b0 or b2, got {variant!r}")
        options = {"in_chans": in_channels, "num_classes": 0}
        backbone: Any = timm_model(f"tf_efficientnet_{variant}.ns_jft_in1k", pretrained=pretrained, options=options)
        self.trunk = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.num_features, num_classes)
        self.affect = nn.Linear(backbone.num_features, 2) if valence_arousal else None
        self.affect_weight = affect_weight

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))

    def forward_with_losses(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits N×K, and ``valence_arousal`` where the network has the outputs and the targets name them."""
        x = self.features(images)
        losses: dict[str, Tensor] = {}
        logits = self.classifier(x)
        if self.affect is not None and "valence_arousal" in targets:
            losses["valence_arousal"] = self.affect_weight * concordance_loss(
                self.affect(x), targets["valence_arousal"]
            )
        elif self.affect is not None:  # part of the graph, or processes would wait for each other's gradients of it
            logits = logits + 0 * self.affect(x).sum()
        return logits, losses

    def valence_arousal(self, images: Tensor) -> Tensor:
        """N×C×S×S → N×2 in -1…1. Raises ValueError for a network that was built without these outputs."""
        if self.affect is None:
            raise ValueError("expected a network built with valence_arousal=True, got one for the expression alone")
        return self.affect(self.features(images)).clamp(-1, 1)

    def features(self, images: Tensor) -> Tensor:
        return self.dropout(self.trunk(images))
