"""The SpinalNet head: small fully connected layers in a chain, each fed with one half of the features.

Kabir et al. 2020, *SpinalNet: Deep Neural Network with Gradual Input*, arXiv 2007.03347. Layer i sees half i mod 2 of
the features and the output of layer i − 1; the classifier sees the outputs of all layers. As in the authors' scripts
for VGG there are four layers, each with dropout before and batch norm behind its matrix. Ours: any even number of
features and any number of layers; no bias in front of a batch norm, which would cancel it.
"""

import torch
from torch import Tensor, nn


class SpinalHead(nn.Module):
    """float N×features → logits N×num_classes.

    features: length of the vectors, even. width: outputs of each layer. layers: how many of them. dropout: before
    every matrix, training only. Raises ValueError for an odd ``features`` or no layer.
    """

    def __init__(self, features: int, num_classes: int, *, width: int, layers: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        if features % 2 or features < 2:
            raise ValueError(f"expected an even number of features, got {features}")
        if width < 1 or layers < 1:
            raise ValueError(f"expected a width and a number of layers of at least 1, got {width} and {layers}")
        half = features // 2
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(half + (width if number else 0), width, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(inplace=True),
            )
            for number in range(layers)
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width * layers, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        halves = x.chunk(2, dim=1)  # two of N×features/2
        outputs = [self.layers[0](halves[0])]  # N×width
        for number, layer in enumerate(self.layers[1:], start=1):
            outputs.append(layer(torch.cat([halves[number % 2], outputs[-1]], dim=1)))
        return self.classifier(torch.cat(outputs, dim=1))  # N×(layers·width) → N×num_classes
