"""Small pictures for the tests of bulk reading."""

from io import BytesIO

import numpy as np
from PIL import Image


def png(seed: int) -> bytes:
    """A grey picture of 48×48, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48)).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
