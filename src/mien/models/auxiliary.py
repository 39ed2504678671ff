"""How a network declares auxiliary losses, and what a training step passes to it.

Most networks learn from cross-entropy on their logits alone, and the training step computes that. A network whose
paper adds terms (EmoNeXt's attention regulariser, DAN's affinity and partition losses, a valence/arousal head)
implements ``forward_with_losses``; the one training path calls it in place of ``forward`` and adds the terms.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

#: What is known of a batch, by name.
#: ``expression``: float N×K, rows sum to 1 (soft where labels are smoothed, mixed or voted).
#: ``valence_arousal``: float N×2 in -1…1, NaN where an image has none; absent where the data set has none at all.
Targets = Mapping[str, Tensor]


@runtime_checkable
class AuxiliaryLosses(Protocol):
    """images: float N×C×S×S, normalised. Returns logits N×K and named scalar terms, already weighted, to be added."""

    def forward_with_losses(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]: ...
