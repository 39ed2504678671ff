"""Directories that a command reads back: of a bulk run, of ``datasets.save_to_disk``, and a store of own classes."""

import io
import json
import shutil
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from .kinds import READ, Kind, check_message, saved, tiny_onnx
from .mutate import JSON, mutated
from .workbench import drained, pictures

OWN = ("calm", "no one", "tense")


class Directory(Kind):
    """``whole`` is an intact directory; a case is one of its files, changed: as JSON where it is JSON, as bytes."""

    whole: Path

    def keep(self, *files: str) -> None:
        """These files are changed."""
        self.seeds = [(name, (self.whole / name).read_bytes()) for name in files]

    def case(self, random: Random) -> tuple[str, bytes]:
        name, content = random.choice(self.seeds)
        if name.endswith(".json"):
            return name, mutated(random, [content], 0, JSON)
        others = [other for file, other in self.seeds if not file.endswith(".json")]
        return name, mutated(random, others, others.index(content), self.mutations)

    def damaged(self, name: str, data: bytes) -> Path:
        """A copy of the directory in which one file is another one."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.whole, copy)
        (copy / name).write_bytes(data)
        return copy


class Bulk(Directory):
    """A directory of ``read --engine ray``, complete or begun. What is not refused ends with the rows of a plain read.

    Workers are those of this process: what Ray adds does not read these files.
    """

    name = "bulk"

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        from mien import Reader

        super().__init__(folder)
        (folder / "photos").mkdir()
        for number, picture in enumerate(pictures(7)):
            Image.fromarray(picture).save(folder / "photos" / f"{number}.png")
        (folder / "photos" / "none.png").write_bytes(b"no picture")
        self.reader = Reader(str(self.place("tiny.onnx", tiny_onnx())), detector="none", threads=1)
        self.whole = folder / "whole"
        self.read(self.whole)
        self.rows = pq.read_table(self.whole / "rows")
        manifest = json.loads((self.whole / "manifest.json").read_text())
        self.keep("manifest.json", "rows/part-00000001.parquet", *self.listings())
        begun = manifest | {"state": "reading", "counts": {}}
        self.seeds.append(("manifest.json", json.dumps(begun).encode()))

    def listings(self) -> list[str]:
        return [file.relative_to(self.whole).as_posix() for file in sorted((self.whole / "listing").iterdir())]

    def heard(self, note: str) -> None:
        check_message(note)

    def read(self, out: Path) -> Any:
        from mien.bulk.engine import Here
        from mien.bulk.run import read_bulk

        paths = [str(self.folder / "photos")]
        return read_bulk(self.reader, paths, out, engine=Here(), block_size=3, on_note=self.heard)

    def run(self, name: str, data: bytes) -> str:
        import pyarrow.parquet as pq

        beside = self.folder / "beside"  # where names that climb would lead
        beside.mkdir(exist_ok=True)
        copy = self.damaged(name, data)
        manifest = self.read(copy)
        assert manifest.state == "complete"
        assert pq.read_table(copy / "rows").equals(self.rows), "other rows than those of an undamaged directory"
        assert manifest.counts.inputs == manifest.counts.rows == len(self.rows)
        assert {file.name for file in copy.iterdir()} == {file.name for file in self.whole.iterdir()}
        assert beside.is_dir()
        return READ


class SavedData(Directory):
    """What ``datasets.save_to_disk`` wrote, as a source of ``data build``."""

    name = "hf"

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        super().__init__(folder)
        self.whole = folder / "whole"
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        features = {
            "image": {"_type": "Image"},
            "label": {"names": ["fear", "happy", "sad"], "_type": "ClassLabel"},
        }
        for split in ("train", "test"):
            home = self.whole / split
            home.mkdir(parents=True)
            images = [{"bytes": saved(Image.fromarray(one), "PNG"), "path": None} for one in pictures(6)]
            table = pa.table({"image": pa.array(images, kind), "label": [0, 1, 2, 0, 1, 2]})
            stream = io.BytesIO()
            with pa.ipc.new_stream(stream, table.schema) as out:
                out.write_table(table, max_chunksize=4)
            (home / "data-00000-of-00001.arrow").write_bytes(stream.getvalue())
            state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split, "_format_type": None}
            (home / "state.json").write_text(json.dumps(state))
            (home / "dataset_info.json").write_text(json.dumps({"features": features}))
        (self.whole / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
        files = ("state.json", "dataset_info.json", "data-00000-of-00001.arrow", "data-00000-of-00001.arrow")
        self.keep("dataset_dict.json", *(f"train/{file}" for file in files))

    def run(self, name: str, data: bytes) -> str:
        from mien.data.sources import open_source

        return drained(open_source("hf", self.damaged(name, data)))


def own_store(folder: Path, store: Path) -> Any:
    """A store of own classes whose pictures are noise."""
    from mien.data.build.normalise import Standard
    from mien.data.build.run import build_store
    from mien.data.sources import open_source
    from mien.data.store import Store

    random = np.random.default_rng(3)
    for label in OWN:
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(15):
            picture = random.integers(0, 256, (48, 48), dtype=np.uint8)
            Image.fromarray(picture).save(folder / "photos" / label / f"{number}.png")
    source = open_source("folder", folder / "photos", own=True)
    build_store([source], store, standard=Standard(labels="own", classes=OWN), workers=1)
    return Store.open(store)


class OwnClasses(Directory):
    """A store of own classes and predictions of it: evaluated and analysed (``errors``) without drawing."""

    name = "own"

    def __init__(self, folder: Path) -> None:
        from mien.evaluation import evaluate

        super().__init__(folder)
        evaluate.drawing = SimpleNamespace(save=lambda figure, stem: b"<svg/>")  # type: ignore[assignment]
        self.whole = folder / "whole"
        own_store(folder, self.whole)
        self.split = "test"
        shard = next((self.whole / "data").glob(f"{self.split}-*.parquet")).relative_to(self.whole).as_posix()
        self.keep("summary.json", shard)
        answers = self.predictions()
        (self.whole / "predictions.csv").write_bytes(answers)
        self.seeds += [("predictions.csv", answers)] * 2

    def predictions(self) -> bytes:
        from mien.data.store import Store

        lines = ["path," + ",".join(OWN)]
        for number, path in enumerate(Store.open(self.whole).read(self.split).paths):
            shares = ["0.2", "0.2", "0.2"]
            shares[number % 3] = "0.6"
            lines.append(f"{path}," + ",".join(shares))
        return ("\n".join(lines) + "\n").encode()

    def run(self, name: str, data: bytes) -> str:
        from mien.data.store import Store
        from mien.evaluation.evaluate import evaluate_file
        from mien.evaluation.predictions_file import read_predictions_file
        from mien.labels import coded

        copy = self.damaged(name, data)
        store = Store.open(copy)
        found = read_predictions_file(copy / "predictions.csv", label_set=coded(store.labels))
        report = evaluate_file(found, store, self.split, self.folder / "out", command="fuzz")
        json.dumps(report.as_dict(), allow_nan=False)
        return READ
