"""Masked-image pretraining: hide patches of a picture, predict their pixels, keep the encoder.

SimMIM (Xie et al. 2021, arXiv 2111.09886): random square patches are hidden, 60 % of the picture; in the encoder a
learnt token stands in for the embedding of a hidden place; one 1×1 convolution and a pixel shuffle turn the last
features into pixels; L1 over hidden pixels alone. Ours: the number of hidden patches is rounded, not rounded up; the
sides are free (SimMIM has 192 pixels, patches of 32; faces of 48 pixels take patches of 8); an encoder whose
embedding overlaps (a convolutional stem) blanks hidden pixels first, so that nothing hidden reaches the features.

An encoder is any network with the members of :class:`MaskedEncoder`: swin_t, swin_t_se, vit_hybrid_se.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class MaskedEncoder(Protocol):
    """A network that can encode pictures of which parts are hidden.

    image_size: side S of its pictures. embedding_stride: pixels between tokens where the mask token is put in;
    embedding_channels: that token's width. feature_stride, feature_channels: the same of the last features.
    head_parameters, optional_parameters: prefixes of state-dict names. The first (classifier and what stands before
    it) are unused in pretraining and never loaded from it; the second are loaded where both networks have them.
    """

    image_size: int
    embedding_stride: int
    embedding_channels: int
    feature_stride: int
    feature_channels: int
    head_parameters: tuple[str, ...]
    optional_parameters: tuple[str, ...]

    def masked_features(self, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        """images float N×C×S×S, mask bool N×s×s (True = hidden), mask_token float D → float N×F×h×w.

        The result does not depend on hidden pixels.
        """
        ...


class MaskedImageModel(nn.Module):
    """An encoder and a linear decoder that reconstructs what was hidden.

    encoder: a :class:`MaskedEncoder`; its head is frozen here (no loss reaches it). patch: side of a hidden square in
    pixels. ratio: proportion of the squares that is hidden, rounded to whole squares.
    Raises ValueError for an encoder without masked_features, or sizes that do not divide one another.
    """

    def __init__(self, encoder: nn.Module, *, in_channels: int, patch: int = 32, ratio: float = 0.6) -> None:
        super().__init__()
        if not isinstance(encoder, MaskedEncoder):
            raise ValueError(
                f"expected a network with masked_features (swin_t, swin_t_se, vit_hybrid_se), "
                f"got {type(encoder).__name__}"
            )
        side, token, stride = encoder.image_size, encoder.embedding_stride, encoder.feature_stride
        if patch < 1 or side % patch:
            raise ValueError(f"masking.patch: expected a divisor of the image's side {side}, got {patch}")
        if patch % token:
            raise ValueError(
                f"masking.patch: expected a multiple of {token}, the network's embedding patch, got {patch}"
            )
        if side % stride:
            raise ValueError(
                f"image_size: expected a multiple of {stride}, the stride of the last features, for their pixels to "
                f"tile the image; got {side}"
            )
        self.grid = side // patch
        self.hidden = round(ratio * self.grid**2)
        if not 0 < self.hidden < self.grid**2:
            raise ValueError(
                f"masking.ratio: expected to hide some of {self.grid**2} patches and to show some, got {ratio}"
            )
        self.encoder = encoder
        for name, parameter in encoder.named_parameters():
            if name.startswith(encoder.head_parameters):
                parameter.requires_grad_(False)
        self.mask_token = nn.Parameter(torch.zeros(encoder.embedding_channels))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.feature_channels, stride**2 * in_channels, 1), nn.PixelShuffle(stride)
        )

    def no_weight_decay(self) -> set[str]:
        """What the encoder spares."""
        spared: Callable[[], set[str]] = getattr(self.encoder, "no_weight_decay", set)
        return {f"encoder.{name}" for name in spared()}

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """images float N×C×S×S, mask bool N×grid×grid (True = hidden) → reconstruction N×C×S×S."""
        encoder = cast(MaskedEncoder, self.encoder)
        features = encoder.masked_features(images, mask.to(images.device), self.mask_token)  # N×F×S/stride×S/stride
        return self.decoder(features)

    def loss(self, images: Tensor, mask: Tensor) -> Tensor:
        """Mean absolute difference over the hidden pixels of the batch, in the images' own (normalised) units."""
        _, channels, side, _ = images.shape
        difference = (self(images, mask).float() - images.float()).abs()
        hidden = spread(mask.to(images.device), side)[:, None]  # N×1×S×S
        return torch.where(hidden, difference, 0).sum() / (hidden.sum() * channels).clamp(min=1)

    def draw_mask(self, n: int, generator: torch.Generator) -> Tensor:
        """bool n×grid×grid on the CPU, with exactly ``hidden`` True in each row; a function of the generator alone."""
        order = torch.rand(n, self.grid**2, generator=generator).argsort(dim=1)  # a random permutation in each row
        return (order < self.hidden).view(n, self.grid, self.grid)


def spread(mask: Tensor, side: int) -> Tensor:
    """A mask N×s×s for squares → N×side×side for what they are made of. Raises ValueError where s does not divide."""
    _, rows, columns = mask.shape
    if rows != columns or side % rows:
        raise ValueError(f"mask: expected N×s×s where s divides {side}, got {tuple(mask.shape)}")
    return mask.repeat_interleave(side // rows, 1).repeat_interleave(side // rows, 2)


def load_encoder(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Copy a pretrained encoder (``MaskedImageModel.encoder.state_dict()``) into a network of the same family.

    All but the network's ``head_parameters`` must be there and fit, and nothing else may be in ``state``; nothing is
    copied otherwise. ``optional_parameters`` (an SE at the stem) are copied where both have them.
    Returns the names of the parameters that stay freshly initialised. Raises ValueError that names the first misfit.
    """
    if not isinstance(network, MaskedEncoder):
        raise ValueError(f"expected a network that can be pretrained, got {type(network).__name__}")
    heads, optional = network.head_parameters, network.optional_parameters
    own = network.state_dict()
    loaded: dict[str, Tensor] = {}
    for name, value in own.items():
        if name.startswith(heads) or (name.startswith(optional) and name not in state):
            continue
        if name not in state:
            raise ValueError(f"expected pretrained weights with {name}, which the network has; it is not there")
        if state[name].shape != value.shape:
            raise ValueError(f"{name}: expected shape {tuple(value.shape)}, got {tuple(state[name].shape)}")
        loaded[name] = state[name]
    for name in state:
        if name not in own and not name.startswith((*heads, *optional)):
            raise ValueError(f"expected pretrained weights of the same network, got {name}, which it does not have")
    network.load_state_dict(loaded, strict=False)
    return [name for name, _ in network.named_parameters() if name not in loaded]
