"""A basic residual block with an average-pooled shortcut.

The two-convolution block of ResNet (He et al. 2015, arXiv 1512.03385); the shortcut of a block that halves the
side pools before its 1×1 convolution instead of striding it, so that no pixel is thrown away ("ResNet-D",
He et al. 2018, arXiv 1812.01187).
"""

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, "same" padding for odd kernels, then batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """ReLU(conv-bn-ReLU-conv-bn(x) + shortcut(x)); N×inputs×H×W → N×outputs×⌈H/stride⌉×⌈W/stride⌉."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride=stride)
        self.second = conv_bn(outputs, outputs)
        pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
        project = [conv_bn(inputs, outputs, kernel=1)] if inputs != outputs or stride > 1 else []
        self.shortcut = nn.Sequential(*pool, *project)  # empty = identity

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))  # N×outputs×H'×W'
        y = self.second(y)
        return F.relu(y + self.shortcut(x))
