"""The files of the page: complete, bounded in weight, alike in both forms, and fetched by hash alone."""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from called import Call
from mien.errors import MienError, UsageError
from mien.faces import yunet
from mien.webpage import onnxruntime_web
from mien.webpage.files import HEADERS, POLICY, PageFile, page_files
from mien.webpage.write import write_page

SOURCE = Path(onnxruntime_web.__file__).parent / "static"
MakeModel = Callable[..., Path]
FIRST_LOAD = 6_000_000  # bytes, compressed


def test_the_first_load_is_light_and_the_service_worker_knows_every_file(page: dict[str, PageFile]) -> None:
    told = re.search(rb"const \{ version, first, later \} = (\{.*\});", page["sw.js"].content)
    assert told, page["sw.js"].content[:300]
    kept = json.loads(told[1])
    assert {*kept["first"], *kept["later"], "sw.js"} == page.keys()
    assert kept["later"] == ["models/compact.onnx"]
    weight = sum(len(page[path].packed) for path in kept["first"])
    assert 4e6 < weight < FIRST_LOAD
    assert weight + len(page["models/compact.onnx"].packed) > FIRST_LOAD  # control: with compact it would be too heavy


def test_every_import_and_address_is_a_file_of_the_page(page: dict[str, PageFile]) -> None:
    for path, file in page.items():
        if path.endswith(".js"):
            for target in re.findall(rb'^import .* from "([^"]+)";$', file.content, re.M):
                assert str((Path("/") / path).parent.joinpath(target.decode()).resolve())[1:] in page, (path, target)
    for name in re.findall(rb'(?:href|src)="([^"#]+)"', page["index.html"].content):
        assert name.decode() in page
    assert b"://" not in page["index.html"].content + page["style.css"].content


def test_sources_are_short_and_their_heads_say_what_they_do() -> None:
    files = [file for file in SOURCE.rglob("*") if file.suffix in (".js", ".css", ".html")]
    assert len(files) > 20
    for file in files:
        lines = file.read_text("utf-8").splitlines()
        assert len(lines) < 400, file
        assert file.suffix == ".html" or lines[0].startswith("/* "), file


def test_the_policy_stands_in_the_page_and_in_the_headers(page: dict[str, PageFile]) -> None:
    assert f'content="{POLICY}"' in page["index.html"].content.decode()
    assert HEADERS["Content-Security-Policy"].startswith(POLICY)
    assert "unsafe-inline" not in POLICY
    assert re.search(r'\sstyle="|\son\w+="|<script>', page["index.html"].content.decode()) is None


def test_a_changed_number_reaches_the_page(page: dict[str, PageFile], monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(page["settings.json"].content)
    assert before["detector"]["min_score"] == yunet.MIN_SCORE
    monkeypatch.setattr(yunet, "MIN_SCORE", 0.125)
    changed = page_files(onnxruntime_web.obtain())
    assert json.loads(changed["settings.json"].content)["detector"]["min_score"] == 0.125
    assert changed["sw.js"].content != page["sw.js"].content  # so browsers take the new files


def test_third_parties_are_named_with_licence_and_hash(page: dict[str, PageFile]) -> None:
    text = page["third-party.txt"].content.decode()
    for path in page:
        if path.startswith(("runtime/", "models/")):
            assert f"{hashlib.sha256(page[path].content).hexdigest()}  {path}" in text
    for words in (onnxruntime_web.SHA512, "Microsoft Corporation", "Shiqi Yu", "Permission is hereby granted"):
        assert words in text


def test_it_is_written_with_compressed_copies_and_again_over_itself(page: dict[str, PageFile], tmp_path: Path) -> None:
    for _ in range(2):
        write_page(page, tmp_path / "site")
    written = {str(file.relative_to(tmp_path / "site")) for file in (tmp_path / "site").rglob("*") if file.is_file()}
    assert page.keys() == {name for name in written if not name.endswith(".gz")}
    assert gzip.decompress((tmp_path / "site/runtime/ort.wasm.gz").read_bytes()) == page["runtime/ort.wasm"].content


def test_a_page_with_readers_of_ones_own(page: dict[str, PageFile], make_model: MakeModel, tmp_path: Path) -> None:
    """Names as they are, in HTML and addresses too; and nothing that is said of the shipped readers."""
    runtime = {name: page[f"runtime/{name}"].content for name in onnxruntime_web.FILES}
    mine = shutil.copy(make_model(("<b>on", "off")), tmp_path / "on & off?#.onnx")
    other = shutil.copy(mine, tmp_path / "other.onnx")
    made = page_files(runtime, [str(mine), str(other)])
    index, told = made["index.html"].content.decode(), json.loads(made["settings.json"].content)
    assert 'value="on &amp; off?#" checked disabled><span>on &amp; off?#</span>' in index
    assert "only who trained it can say" in index
    assert "7 of 10" not in index
    assert "7 of 10" in page["index.html"].content.decode()  # negative control
    assert told["first_model"] == "on & off?#"
    assert list(told["models"]) == ["on & off?#", "other"]
    for model in told["models"].values():
        assert model["labels"] == ["<b>on", "off"]
        assert made[model["file"]].content == mine.read_bytes()
        assert re.fullmatch(r"models/[\w-]+\.onnx", model["file"])
    assert "models/compact.onnx" not in made
    yunet_too = page_files(runtime, [str(shutil.copy(mine, tmp_path / "yunet.onnx"))])  # the detector's name
    assert yunet_too["models/yunet.onnx"].content == page["models/yunet.onnx"].content
    (told,) = json.loads(yunet_too["settings.json"].content)["models"].values()
    assert yunet_too[told["file"]].content == mine.read_bytes()
    for models, said in (
        ([mine, "nano"], "same classes for one page, got <b>on, off and angry"),
        ([mine, mine], "names of their own"),
        ([tmp_path / "none.onnx"], "no model file"),
        ([Path(__file__)], "expected an ONNX model"),
    ):
        with pytest.raises(MienError, match=said):
            page_files(runtime, [str(model) for model in models])


def test_what_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    """No network, no file, another file: one line each, and nothing is cached."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(onnxruntime_web, "URL", "http://127.0.0.1:9/onnxruntime-web.tgz")
    with pytest.raises(UsageError, match=r"once, got: .*refused.*; give the file with --onnxruntime FILE\.tgz"):
        onnxruntime_web.obtain()
    call = Call(tiny_model)("page", tmp_path / "site", "--onnxruntime", tmp_path / "none.tgz")
    assert call.status == 2
    assert "none.tgz (No such file or directory); get it from" in call.err
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/dist/ort.wasm.bundle.min.mjs"), io.BytesIO())
    call = Call(tiny_model)("page", tmp_path / "site", "--onnxruntime", other)
    assert call.status == 2
    assert "expected onnxruntime-web-1.30.0.tgz with SHA-512 ab4cbe26" in call.err
    assert onnxruntime_web.cached() is None
    assert not (tmp_path / "site").exists()


def test_a_damaged_cache_is_noticed(page: dict[str, PageFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    folder = tmp_path / f"onnxruntime-web-{onnxruntime_web.VERSION}"
    folder.mkdir()
    for name in onnxruntime_web.FILES:
        (folder / f"{name}.gz").write_bytes(page[f"runtime/{name}"].packed)
    found = onnxruntime_web.cached()
    assert found is not None
    assert found["ort.mjs"] == page["runtime/ort.mjs"].content
    (folder / "ort.wasm.gz").write_bytes(page["runtime/ort.wasm"].packed[:-1000])
    assert onnxruntime_web.cached() is None
    (folder / "ort.wasm.gz").write_bytes(gzip.compress(b"other"))
    assert onnxruntime_web.cached() is None
