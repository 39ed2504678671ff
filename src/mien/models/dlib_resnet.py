"""dlib's face-recognition ResNet as an expression reader: 29 convolutions, the backbone that dlib trained on 3 M faces.

Source: Davis King's network in dlib's ``dnn_face_recognition_ex.cpp`` (Boost licence), a ResNet-34 (He et al. 2015,
arXiv 1512.03385) with half the filters and fewer layers. Ours is written anew after it:

    7×7 convolution, stride 2 → max pool 3×3, stride 2 → five stages of blocks, 32 to 256 channels → global average
    → dropout → linear classifier (dlib's is a 128-number descriptor)

Two habits of dlib are kept, because the weights were trained with them: strided convolutions and pools do not pad, and
a sum of maps of different sizes fills the smaller one up with zeros, below, on the right and in channels. So a stage
that halves the side has a plain average-pooled shortcut.

Where dlib trained with batch norms, its file has their effect alone: a factor and an offset per channel. Here they
are batch norms again. With mean 0 and variance 1 they compute what dlib computes; before training, the statistics of
its pictures take their place, and factor and offset change so that the function does not
(``models/packaged/statistics.py``). With fixed factors the network learns more slowly (results/LOG.md).
``init: package:dlib_resnet`` starts from the weights in PyPI's ``face_recognition_models``.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from mien.models.registry import register

#: Channels and blocks of each stage; all but the first halve the side.
WIDTHS = (32, 64, 128, 256, 256)
DEPTHS = (3, 4, 3, 3, 1)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm; padded where it keeps the side. N×inputs×H×W → N×outputs×H'×W'."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """ReLU(conv-norm-ReLU-conv-norm(x) + x); where ``halve``, at half the side, with x averaged over 2×2."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, kernel=3, stride=2 if halve else 1)
        self.second = ConvNorm(outputs, outputs, kernel=3, stride=1)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(_sum(y, F.avg_pool2d(x, 2) if self.halve else x))


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """a + b, N×C×H×W each, where what one lacks in channels, height or width is zero."""
    sides = [max(a.shape[d], b.shape[d]) for d in (1, 2, 3)]
    a, b = (_filled(x, sides) for x in (a, b))
    return a + b


def _filled(x: Tensor, sides: list[int]) -> Tensor:
    missing = [side - x.shape[d] for d, side in zip((1, 2, 3), sides, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]))


@register(
    "dlib_resnet",
    source="dlib's face-recognition network (King 2017), after He et al. 2015 (arXiv 1512.03385)",
    summary="ResNet of 29 convolutions; init: package:dlib_resnet starts from 3 M faces (CC0)",
    color="rgb",
    input_sizes=(112, 150),
    reduced={"widths": (8, 12, 16, 16, 16), "depths": (1, 1, 1, 1, 1)},
)
class DlibResNet(nn.Module):
    """N×3×S×S → logits N×num_classes; S at least 104 at the full depth. widths, depths: of each stage.

    5.6 M parameters, 0.15 GMAC at 112×112.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, widths[0], kernel=7, stride=2)
        blocks: list[nn.Module] = []
        for number, ((inputs, outputs), depth) in enumerate(zip(pairwise((widths[0], *widths)), depths, strict=True)):
            for position in range(depth):
                first = position == 0
                blocks.append(Block(inputs if first else outputs, outputs, halve=first and number > 0))
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """N×3×S×S → N×widths[-1]: what dlib's descriptor is computed from."""
        x = F.max_pool2d(F.relu(self.stem(x), inplace=True), 3, 2)
        return self.blocks(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(x)))
