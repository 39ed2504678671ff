"""The page in a real Chromium: one browser for all tests, a plain static server, and a camera that shows a clip."""

import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from static_site import Site, Tab

from mien.errors import UsageError
from mien.webpage.files import PageFile, page_files
from mien.webpage.onnxruntime_web import obtain

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def page() -> dict[str, PageFile]:
    """The files of the page. Fetches ONNX Runtime Web where it is not cached, and skips where that cannot be had."""
    try:
        return page_files(obtain())
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(page: dict[str, PageFile]) -> Iterator[Site]:
    with Site(page) as served:
        yield served


@pytest.fixture(scope="session")
def frames(astronaut: Path) -> list[Image.Image]:
    """A clip's pictures, 320×240: a real face that moves."""
    with Image.open(astronaut) as photo:
        upper = photo.convert("RGB").crop((60, 0, 460, 300)).resize((320, 240))
    shifts = (20 * np.sin(np.linspace(0, 2 * np.pi, 15))).round().astype(int)
    return [Image.fromarray(np.roll(np.asarray(upper), shift, axis=1)) for shift in shifts]


@pytest.fixture(scope="session")
def browser(frames: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, whose camera shows the clip. Skips, and says so, where there is none."""
    chromium = os.environ.get("MIEN_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip("no Chromium: set MIEN_CHROMIUM, or install it (apt-get install chromium)")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives Chromium: pip install playwright")
    film = tmp_path_factory.mktemp("camera") / "clip.mjpeg"
    film.write_bytes(b"".join(_jpeg(frame) for frame in frames))
    options = [
        "--no-sandbox",  # CI runs as root
        "--disable-gpu",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


def _jpeg(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture(scope="session")
def loaded(browser: Any, site: Site) -> Iterator[Tab]:
    """One tab with the page for all tests that leave it as they found it: loading takes a second of the processor."""
    with Tab.opened(browser, site) as opened:
        opened.ready()
        yield opened


@pytest.fixture
def tab(loaded: Tab) -> Iterator[Tab]:
    """The page, ready and empty."""
    yield loaded
    assert loaded.errors == []
    loaded.clear()
