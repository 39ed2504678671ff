"""Both detectors for all tests here, and the two public-domain portraits."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from mien.faces import Detector, make_detector

Uint8 = NDArray[np.uint8]


@pytest.fixture(scope="session", params=["yunet", "centerface"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make_detector(request.param)


@pytest.fixture(scope="session")
def astronaut() -> Uint8:
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def grace_hopper() -> Uint8:
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
