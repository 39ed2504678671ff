"""Files of the workbench: tables, stores, recipes, reports, run directories."""

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from .kinds import JSON, READ, REFUSED, TEXT, Kind, check_message, check_record, saved, tiny_onnx

SIDE = 24


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8) for _ in range(count)]


def fer2013_csv(rows: int = 21) -> str:
    lines = ["emotion,pixels,Usage"]
    for number, picture in enumerate(np.random.default_rng(1).integers(0, 256, (rows, 48 * 48))):
        usage = ("Training", "PublicTest", "PrivateTest")[number // 7 % 3]
        lines.append(f"{number % 7},{' '.join(map(str, picture))},{usage}")
    return "\n".join(lines) + "\n"


def predictions_csv(rows: int = 6) -> str:
    from mien.labels import SEVEN

    lines = ["path,answer," + ",".join(SEVEN)]
    for number in range(rows):
        shares = ["0.04"] * 7
        shares[number % 7] = "0.76"
        lines.append(f"p/{number}.png,{SEVEN[number % 7]}," + ",".join(shares))
    return "\n".join(lines) + "\n"


def own_csv(rows: int = 5) -> str:
    lines = ["image,label,split,group,valence,arousal"]
    lines += [f"{n}.png,{('happy', 'sad', 'fear')[n % 3]},train,p{n},0.{n},-0.{n}" for n in range(rows)]
    return "\n".join(lines) + "\n"


def video_readings(folder: Path, suffix: str) -> bytes:
    """What ``mien read`` writes of a video."""
    from mien import Reader
    from mien.reading.outputs import open_writer

    from .kinds import clip

    reader = Reader(tiny_onnx(), detector="none", threads=1)
    clip(folder / "clip.mp4", frames=4)
    out = folder / f"clip.{suffix}"
    with open_writer(suffix, output=str(out), labels=reader.labels, stdout=io.BytesIO()) as writer:
        for reading in reader.video(folder / "clip.mp4"):
            writer.write(reading)
    return out.read_bytes()


def drained(source: Any) -> str:
    """All of a source of pictures. REFUSED where nothing of it is a sample."""
    from mien.data.sources import Drop

    found = REFUSED
    for entry in source.stream():
        if isinstance(entry, Drop):
            check_message(f"{entry.reason} {entry.detail}")
        else:
            found = READ
    for warning in source.warnings:
        check_message(warning)
    return found


class Tables(Kind):
    """CSV: the user's own data, fer2013.csv, predictions, groups, the readings of a video."""

    name = "csv"
    mutations = TEXT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for number, picture in enumerate(pictures(5)):
            Image.fromarray(picture).save(folder / f"{number}.png")
        groups = "path,age\n" + "".join(f"p/{n}.png,{('old', 'young')[n % 2]}\n" for n in range(6))
        self.seeds = [
            ("own.csv", own_csv().encode()),
            ("own.tsv", own_csv().replace(",", "\t").encode("utf-16")),
            ("fer2013/fer2013.csv", fer2013_csv().encode()),
            ("predictions.csv", predictions_csv().encode()),
            ("groups.csv", groups.encode()),
            ("clip.csv", video_readings(folder, "csv")),
        ]

    def run(self, name: str, data: bytes) -> str:
        path = self.place(name, data)
        if name.startswith("own"):
            from mien.data.sources import open_source

            return drained(open_source("csv", path))
        if name.startswith("fer2013"):
            from mien.data.sources import open_source

            return drained(open_source("fer2013", path.parent))
        if name == "predictions.csv":
            from mien.evaluation.predictions_file import read_predictions_file

            found = read_predictions_file(path)
            assert len(found) > 0
            return READ
        if name == "groups.csv":
            from mien.evaluation.groups import load_groups

            store: Any = None
            load_groups(f"{path}:age", store, "x", [f"p/{n}.png" for n in range(6)])
            return READ
        from mien.timeline.export import encode
        from mien.timeline.summary import summarise

        encode(summarise(str(path)), "json")
        return READ


class Parquet(Kind):
    """Tables of pictures to read or to build from, predictions, a shard of a store."""

    name = "parquet"

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from mien import Reader
        from mien.labels import SEVEN

        super().__init__(folder)
        images = [saved(Image.fromarray(picture), "PNG") for picture in pictures(5)]
        labels = [("happy", "sad", "fear")[n % 3] for n in range(5)]
        nested = [{"bytes": image, "path": f"{n}.png"} for n, image in enumerate(images)]

        def written(table: dict[str, Any], **options: Any) -> bytes:
            stream = io.BytesIO()
            pq.write_table(pa.table(table), stream, **options)
            return stream.getvalue()

        rows = [line.split(",") for line in predictions_csv().splitlines()[1:]]
        answers: dict[str, Any] = {"path": [row[0] for row in rows]}
        answers |= {label: [float(row[2 + i]) for row in rows] for i, label in enumerate(SEVEN)}
        store = small_store(folder)
        shard = next((store / "data").glob("training-*.parquet"))
        self.store, self.shard = store, shard.relative_to(folder).as_posix()
        self.seeds = [
            ("read.parquet", written({"image": images})),
            ("read.parquet", written({"image": nested, "path": [f"{n}.png" for n in range(5)]}, compression="none")),
            ("own.parquet", written({"image": nested, "label": labels}, compression="none")),
            ("predictions.parquet", written(answers, compression="none")),
            (self.shard, shard.read_bytes()),
        ]
        self.reader = Reader(tiny_onnx(), detector="none", threads=1)

    def run(self, name: str, data: bytes) -> str:
        path = self.place(name, data)
        if name == "read.parquet":
            from mien.reading.inputs import expand

            results = list(self.reader.stream(expand([str(path)])))
            outcomes = [check_record(result.reading) for result in results]
            return READ if READ in outcomes else REFUSED
        if name == "own.parquet":
            from mien.data.sources import open_source

            return drained(open_source("parquet", path))
        if name == "predictions.parquet":
            from mien.evaluation.predictions_file import read_predictions_file

            read_predictions_file(path)
            return READ
        from mien.data.store import Store

        split = Store.open(self.store).read("training")
        assert len(split) == len(split.images) == len(split.labels)
        return READ


def small_store(folder: Path, *, rows: int = 42) -> Path:
    from mien.data.build.run import build_store
    from mien.data.sources import open_source

    source = folder / "source-of-the-store"
    source.mkdir(exist_ok=True)
    (source / "fer2013.csv").write_text(fer2013_csv(rows))
    build_store([open_source("fer2013", source)], folder / "store", workers=1)
    return folder / "store"


class Json(Kind):
    """A store's summary, an evaluation's report, a run's meta.json, the readings of a video as JSON Lines."""

    name = "json"
    mutations = JSON

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        store = small_store(folder)
        report = Path(__file__).parents[2] / "results" / "fer2013" / "nano" / "report.json"  # of the shipped reader
        self.seeds = [
            ("store/summary.json", (store / "summary.json").read_bytes()),
            ("clip.jsonl", video_readings(folder, "jsonl")),
            ("evaluation/report.json", report.read_bytes()),
        ]

    def run(self, name: str, data: bytes) -> str:
        path = self.place(name, data)
        if name == "store/summary.json":
            from mien.data.store import Store

            store = Store.open(path.parent)
            for split in store.splits:
                store.read(split)
            command("data", "stats", str(path.parent))
            return READ
        if name == "clip.jsonl":
            from mien.timeline.export import encode
            from mien.timeline.summary import summarise

            encode(summarise(str(path)), "json")
            return READ
        from mien.evaluation.report import Report

        Report.read(path.parent).as_dict()
        return READ


def command(*words: str) -> None:
    """A command in this process. A message that says a fault of ours is an AssertionError."""
    from mien.cli.app import app

    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            app(list(words))
    except SystemExit:
        pass
    assert "this should not happen" not in err.getvalue(), err.getvalue()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    for line in err.getvalue().splitlines():
        if line.startswith("error:"):
            check_message(line)


class Yaml(Kind):
    """Recipes of trainings and of builds, and values of ``--set``."""

    name = "yaml"
    mutations = TEXT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from mien.documents import shipped

        chosen = ("nano", "compact", "swin_t_se/paper", "resnet34_unet_eca/paper")
        ours = shipped(build=False)
        self.seeds = [("recipe.yaml", ours[name].read_bytes()) for name in chosen if name in ours]
        self.seeds += [("build.yaml", file.read_bytes()) for file in shipped(build=True).values()]
        self.seeds.append(("set", b"model.args={widths: [16, 32], depths: [1, 1]}"))

    def run(self, name: str, data: bytes) -> str:
        if name == "set":
            from mien.training.recipe import load_recipe, parse_overrides

            load_recipe("nano", overrides=parse_overrides([data.decode("utf-8", "surrogateescape")])).to_yaml()
            return READ
        path = self.place(name, data)
        if name == "build.yaml":
            from mien.data.build.recipe import load_build_recipe

            load_build_recipe(path)
            return READ
        from mien.training.recipe import differences, load_recipe

        recipe = load_recipe(path)
        recipe.to_yaml()
        differences(recipe, load_recipe("nano"))
        return READ


def trained(store: Any, run: Path) -> None:
    """A run directory of a small network."""
    from mien.training.recipe import parse_recipe
    from mien.training.run import train

    names = {} if "public_test" in store.splits else {"data": {"train": "training", "validation": "validation"}}
    recipe = parse_recipe(
        {
            "name": "small",
            "model": {"name": "nano", "args": {"stem": [4], "widths": [4, 8], "depths": [1, 1]}},
            "epochs": 1, "batch_size": 14, "precision": "fp32", "optimizer": {"name": "sgd", "lr": 0.1},
        } | names,
        origin="fuzz",
    )  # fmt: skip
    train(recipe, store, run, accelerator="cpu", threads=1)


class Checkpoints(Kind):
    """A run directory: weights, meta.json, recipe.yaml; loaded, applied, and looked at for a resume."""

    name = "checkpoint"
    memory_mb = 1536

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from mien.data.store import Store
        from mien.training.recipe import load_recipe

        self.store = Store.open(small_store(folder))
        self.whole = folder / "whole"
        trained(self.store, self.whole)
        self.recipe = load_recipe(self.whole / "recipe.yaml")
        names = ("best.ckpt", "best.ckpt", "last.ckpt", "meta.json", "recipe.yaml")
        self.seeds = [(name, (self.whole / name).read_bytes()) for name in names]

    def case(self, random: Random) -> tuple[str, bytes]:
        name, content = random.choice(self.seeds)
        if name.endswith(".ckpt"):
            return super().case(random) if random.random() < 0.5 else (name, changed_zip(random, content))
        from .mutate import mutated

        return name, mutated(random, [content], 0, JSON if name.endswith(".json") else TEXT)

    def run(self, name: str, data: bytes) -> str:
        from mien.evaluation.predictors import RunPredictor
        from mien.training.run_directory import check_same_run

        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.whole, run, ignore=shutil.ignore_patterns("tensorboard"))
        (run / name).write_bytes(data)
        check_same_run(run, self.recipe, self.store, devices=1)
        predictor = RunPredictor(run)
        side = predictor.preprocess.input_size
        predictor.run(np.zeros((1, predictor.preprocess.channels, side, side), np.float32))
        predictor.describe()
        return READ


def changed_zip(random: Random, data: bytes) -> bytes:
    """A checkpoint whose pickle is changed within its archive, or that has another entry."""
    import zipfile

    from .mutate import BYTES, mutated

    source = zipfile.ZipFile(io.BytesIO(data))
    entries = [(info.filename, source.read(info)) for info in source.infolist()]
    chosen = random.choice([n for n, (file, _) in enumerate(entries) if file.endswith("data.pkl")] or [0])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (file, content) in enumerate(entries):
            changed = mutated(random, [content], 0, BYTES) if number == chosen and content else content
            archive.writestr(file, changed)
        if random.random() < 0.2:
            archive.writestr("../../escaped", b"x")
    return out.getvalue()
