"""What ``mien analyse`` reads (stores, runs, readers, the rows of an interrupted call), and what ``mien page`` takes.

That is: the file of a reader, its name, the tarball of ONNX Runtime Web, and a folder in which something lies already.
"""

import json
import os
import shutil
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from .directories import OWN, Directory, own_store
from .kinds import READ, Kind, changed_onnx, tiny_onnx
from .mutate import JSON, TEXT, WORDS, mutated
from .workbench import changed_zip, trained

#: Which analyses take the file; a case names one of them before the file's own name.
BY_FILE = {
    "summary.json": ("errors", "features"),
    "shard": ("errors", "corruptions", "features"),
    "run/best.ckpt": ("features", "landscape", "attention", "masks"),
    "run/meta.json": ("features", "landscape", "attention", "errors", "corruptions"),
    "run/recipe.yaml": ("features", "attention", "masks"),
    "own.onnx": ("errors", "corruptions"),
    "out/landscape-run.rows.json": ("landscape",),
    "out/corruptions-own.rows.json": ("corruptions",),
}
OPTIONS: dict[str, dict[str, int]] = {
    "landscape": {"points": 3},
    "attention": {"examples": 1},
    "errors": {"examples": 4},
}


class Analyses(Directory):
    """A store of own classes with the pictures in it, a run on it, a reader, and the rows of finished analyses.

    Figures are made but not drawn. What is not refused ends with a report that is JSON; rows that were damaged are
    computed again, so that the report is that of an undamaged call.
    """

    name = "analyse"
    memory_mb = 1536

    def __init__(self, folder: Path) -> None:
        from mien.evaluation.analysis import outputs

        super().__init__(folder)
        outputs.drawing = SimpleNamespace(save=lambda figure, stem: b"<svg/>")  # type: ignore[assignment]
        self.whole = folder / "whole"
        store = own_store(folder, self.whole)
        trained(store, self.whole / "run")
        (self.whole / "own.onnx").write_bytes(tiny_onnx(labels=OWN))
        self.intact = {kind: self.analyse(kind, self.whole) for kind in ("landscape", "corruptions")}
        shard = next((self.whole / "data").glob("test-*.parquet")).relative_to(self.whole).as_posix()
        self.seeds = [
            (f"{kind}/{file.replace('shard', shard)}", (self.whole / file.replace("shard", shard)).read_bytes())
            for file, kinds in BY_FILE.items()
            for kind in kinds
        ]

    def case(self, random: Random) -> tuple[str, bytes]:
        name, content = random.choice(self.seeds)
        if name.endswith(".ckpt") and random.random() < 0.5:
            return name, changed_zip(random, content)
        if name.endswith(".onnx") and random.random() < 0.6:
            return name, changed_onnx(random, content)
        how = {".json": JSON, ".yaml": TEXT}.get(Path(name).suffix, self.mutations)
        return name, mutated(random, [content], 0, how)

    def analyse(self, kind: str, home: Path) -> dict[str, Any]:
        from mien.data.store import Store
        from mien.evaluation.analysis.inputs import Settings

        model = "own.onnx" if kind in ("errors", "corruptions") else "run"
        settings = Settings([str(home / model)], Store.open(home), "test", home / "out", limit=6, device="cpu")
        module = import_module(f"mien.evaluation.analysis.{kind}")
        report: dict[str, Any] = getattr(module, kind)(settings, **OPTIONS.get(kind, {}))
        assert "\n".join(module.headline(report)).strip()
        return report

    def run(self, name: str, data: bytes) -> str:
        kind, file = name.split("/", 1)
        copy = self.damaged(file, data)
        if file == "run/meta.json":  # the same network as a reader would be
            shutil.rmtree(copy / "out", ignore_errors=True)
        report = self.analyse(kind, copy)
        told = json.loads((copy / "out" / f"{kind}.json").read_text())
        json.dumps(told, allow_nan=False)
        if file.endswith(".rows.json"):
            assert report["runs"] == {key: self.moved(value) for key, value in self.intact[kind]["runs"].items()}
        return READ

    def moved(self, told: dict[str, Any]) -> dict[str, Any]:
        """As it is told of the copy."""
        text = json.dumps(told).replace(str(self.whole), str(self.folder / "copy"))
        return dict(json.loads(text))


class Page(Kind):
    """A reader for the page, by any name; another tarball; a folder with files, folders, links and pipes in the way.

    A page that is written is whole, names its files, and holds no markup out of a name. Links are followed, as the rest
    of mien does.
    """

    name = "page"

    def __init__(self, folder: Path) -> None:
        from mien.webpage.onnxruntime_web import FILES

        super().__init__(folder)
        self.runtime = dict.fromkeys(FILES, b"export default {}")
        obstacles = {"index.html": "folder", "models": "file", "reading/align.js": "link", "sw.js": "pipe", "ui": "out"}
        self.seeds = [
            ("model", tiny_onnx()),
            ("wide", tiny_onnx(channels=3)),
            ("site.json", json.dumps(obstacles).encode()),
        ]
        self.seeds.append(("onnxruntime.tgz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\0" * 50))

    def case(self, random: Random) -> tuple[str, bytes]:
        name, data = random.choice(self.seeds)
        if name == "site.json":
            names = (
                "index.html",
                "models",
                "models/tiny.onnx",
                "reading/align.js",
                "ui",
                "settings.json",
                ".",
                "sw.js.gz",
            )
            kinds = ("file", "folder", "link", "out", "nowhere", "pipe", "full")
            return name, json.dumps({random.choice(names): random.choice(kinds) for _ in range(3)}).encode()
        changed = mutated(random, [data], 0, self.mutations)
        if name.endswith(".tgz"):
            return name, changed
        if random.random() < 0.3:
            word = random.choice(WORDS).replace("/", "_").replace("\0", "")[:60]
            return f"{word}.onnx", data
        return "tiny.onnx", changed_onnx(random, data) if random.random() < 0.6 else changed

    def run(self, name: str, data: bytes) -> str:
        from mien.webpage.files import page_files
        from mien.webpage.onnxruntime_web import obtain
        from mien.webpage.write import write_page

        site, outside = self.folder / "site", self.folder / "outside"
        for place in (site, outside):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
        outside.mkdir()
        (outside / "kept").write_bytes(b"kept")
        model = self.folder / "tiny.onnx"
        model.write_bytes(tiny_onnx())
        if name.endswith(".tgz"):
            obtain(self.place(name, data))
            raise AssertionError("another tarball was taken")
        if name == "site.json":
            for path, how in json.loads(data).items():
                self.obstruct(site / path, how, outside)
        else:
            model = self.place(name, data)
        page = page_files(self.runtime, [str(model)])
        write_page(page, site)
        for path, file in page.items():
            assert (site / path).read_bytes() == file.content, path
        told = json.loads(page["settings.json"].content)
        assert [entry["file"] for entry in told["models"].values() if entry["file"] in page]
        index = page["index.html"].content.decode()
        assert index.count("<script") == 1
        assert index.count('<input type="radio"') == 1
        assert (outside / "kept").read_bytes() == b"kept"
        return READ

    def obstruct(self, place: Path, how: str, outside: Path) -> None:
        """Something lies where the page has a file or a folder."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # another obstacle lies there
            return
        if place.exists() or place.is_symlink():
            return
        if how == "file":
            place.write_bytes(b"other")
        elif how == "folder":
            place.mkdir()
        elif how == "full":
            place.mkdir()
            (place / "other").write_bytes(b"")
        elif how == "link":
            place.symlink_to(outside / place.name)
        elif how == "out":
            place.symlink_to(outside)
        elif how == "nowhere":
            place.symlink_to(outside / "none" / "none")
        else:
            os.mkfifo(place)
