"""What is published: the sdist builds the same wheel, and the wheel reads a photo in an environment without torch."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
#: What a base install does not have.
ABSENT = (
    "torch", "cv2", "timm", "lightning", "scipy", "sklearn", "matplotlib", "pyarrow", "av", "fastapi", "ray", "jinja2",
)  # fmt: skip
SITES = [path for path in sys.path if path.endswith("site-packages")]
#: Finds the base's dependencies where this Python has them, and none of the others; the checkout is not among them.
BARE = """
import sys
from importlib.machinery import PathFinder
class Base:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and name not in {absent!r}:
            return PathFinder.find_spec(name, {sites!r}, target)
sys.meta_path.append(Base)
"""


def build(source: Path, out: Path, *what: str) -> None:
    words = [sys.executable, "-m", "hatchling", "build", *what, "-d", str(out)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, and the one that is built of the sdist."""
    import tarfile

    out = tmp_path_factory.mktemp("built")
    build(ROOT, out, "-t", "sdist", "-t", "wheel")
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    build(out / sdist.name.removesuffix(".tar.gz"), out / "again", "-t", "wheel")
    (again,) = (out / "again").glob("*.whl")
    return wheel, again


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_sdist_builds_the_same_wheel_with_all_that_reading_needs(built: tuple[Path, Path]) -> None:
    wheel, again = map(contents, built)
    assert wheel == again
    names = {name for name in wheel if not name.endswith("METADATA")}
    needed = ("mien/weights/SHA256SUMS", "mien/weights/nano.onnx", "mien/faces/geometry.json", "mien/py.typed",
              "mien/recipes/nano.yaml", "mien/webpage/static/index.html")  # fmt: skip
    assert set(needed) <= names
    tracked = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == {name.replace(os.sep, "/") for name in tracked}
    assert not [name for name in names if "test" in name.split("/")[0] or "__pycache__" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="paths of a venv are those of POSIX here")
def test_the_wheel_reads_a_photo_where_nothing_but_the_base_is(
    built: tuple[Path, Path], astronaut: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "bare")}))
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(site)
    (site / "bare.pth").write_text("import bare_environment\n")
    (site / "bare_environment.py").write_text(BARE.format(absent=ABSENT, sites=SITES))

    def mien(*words: str) -> "subprocess.CompletedProcess[str]":
        code = "from mien.cli.app import main; main()"
        return subprocess.run([python, "-I", "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)

    where = subprocess.run([python, "-I", "-c", "import mien; print(mien.__file__)"], capture_output=True, text=True)
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    done = mien("read", str(astronaut), "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert ",happy," in done.stdout
    refused = mien("train", "nano", "--data", "store", "-o", "run")
    assert refused.returncode == 2
    assert "pip install" in refused.stderr
    assert "Traceback" not in refused.stderr
