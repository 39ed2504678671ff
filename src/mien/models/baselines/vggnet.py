"""VGGNet on 40×40 windows of the 48×48 picture.

Khaireddin & Chen 2021, *Facial Emotion Recognition: State of the Art Performance on FER2013*, arXiv 2105.03588: four
stages of two 3×3 convolutions with batch norm and ReLU, 64-128-256-512 channels, each stage closed by a 2×2 max-pool;
then 2048-4096-4096-7 fully connected with dropout. What the paper leaves open is taken from the authors' code
(github.com/usef-kh/fer): dropout 0.2 (its `drop: 0.1` is never passed on), and no dropout before the first matrix.

What we changed: the convolutions have no bias, because the batch norm behind each would cancel it (1,920 numbers of
the authors' network that never get a gradient). The first matrix follows ``image_size``, so that other windows work.

The published 73.28 % is PublicTest, not PrivateTest: their loader takes PrivateTest for validation and PublicTest for
the test (the printed confusion matrix has PublicTest's row sums), and the last 50 epochs also learn from the former.
It averages the logits of ten 40×40 windows.
"""

from itertools import pairwise

from torch import Tensor, nn

from mien.models.layers.residual import conv_bn
from mien.models.registry import register


@register(
    "vggnet",
    source="Khaireddin & Chen 2021, arXiv 2105.03588",
    summary="four double-convolution stages and two hidden layers of 4096, on 40×40 windows of 48×48",
    color="grey",
    input_sizes=(40, 48),
    reduced={"widths": (16, 32, 64, 128), "hidden": (128, 128)},
)
class VggNet(nn.Module):
    """Stages of two convolutions and a pool; a fully connected classifier on the last grid. N×C×S×S → N×num_classes.

    widths: channels of each stage; hidden: sizes of the hidden layers. 29.9 M parameters, 0.35 GMAC at 40×40.
    Raises ValueError for a side that the pools would reduce to nothing.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 1,
        image_size: int = 40,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        hidden: tuple[int, ...] = (4096, 4096),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not widths or not hidden:
            raise ValueError(f"expected at least one stage and one hidden layer, got {widths} and {hidden}")
        side = image_size // 2 ** len(widths)
        if side < 1:
            raise ValueError(
                f"image_size: expected at least {2 ** len(widths)} for {len(widths)} pools, got {image_size}"
            )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((in_channels, *widths)):
            layers += [conv_bn(inputs, outputs), nn.ReLU(inplace=True)]
            layers += [conv_bn(outputs, outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        head: list[nn.Module] = []
        for inputs, outputs in pairwise((widths[-1] * side * side, *hidden)):
            head += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*head, nn.Linear(hidden[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N×C×S×S → N×widths[-1]×S/16×S/16, rounded down at every pool
        return self.classifier(x.flatten(1))  # → N×(widths[-1]·S/16·S/16) → N×num_classes
