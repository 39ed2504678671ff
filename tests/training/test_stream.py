"""Pictures on the disk: the same training as in memory, at any place of an epoch, on any number of processes."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.data import pictures
from mien.data.build import parts, shards
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.pictures import Pictures
from mien.data.sources import open_source
from mien.data.store import Store
from mien.errors import DataError
from mien.training import stream
from mien.training.loader import BatchSampler, make_loader
from mien.training.module import FerModule
from mien.training.recipe import Recipe
from tiny_networks import tiny_recipe
from tiny_runs import Run, TrainTiny, same

BUSY = {
    "args": {"norm": True}, "augment": {}, "batch_size": 20, "epochs": 3, "ema": {"decay": 0.3},
    "optimizer": {"lr": 0.1, "momentum": 0.9, "sam": {"rho": 0.2}},
}  # fmt: skip


def streamed(changes: dict[str, Any]) -> Recipe:
    return tiny_recipe(**changes | {"data": changes.get("data", {}) | {"stream": "always"}})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small colour JPEGs in shards that are read in place, in several groups and files."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("val", 12)):
        for i in range(n):
            file = root / "in" / split / ("happy", "sad", "angry")[i % 3] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((48, 48), Image.Resampling.BICUBIC).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_PER_GROUP", 16)
        patch.setattr(shards, "GROUPS_PER_SHARD", 2)
        patch.setattr(shards, "IN_PLACE", 0)
        build_store([open_source("folder", root / "in")], root / "store", standard=Standard(size=48, jpeg=90))
    return root / "store"


def test_pictures_are_read_from_their_places(photos: Path) -> None:
    store = Store.open(photos)
    assert len(store.shards("training")) == 2
    column = pq.ParquetFile(store.shards("training")[0]).metadata.row_group(1).column(0)
    assert (column.path_in_schema, column.compression) == ("image.bytes", "UNCOMPRESSED")
    whole, left = store.read("training"), store.read("training", stream=True)
    assert isinstance(left.images, Pictures)
    assert left.images.places.held is None
    assert (left.images.shape, left.images.nbytes, store.pixels("training")) == (whole.images.shape, *[60 * 6912] * 2)
    rows = np.random.default_rng(1).permutation(60)
    assert np.array_equal(left.images.decoded(rows), whole.images[rows])
    some = left.rows(rows[:7]).images
    assert np.array_equal(some.decoded(np.array([6, 0])), whole.images[rows[:7]][[6, 0]])
    assert left.paths == whole.paths
    assert np.array_equal(left.labels, whole.labels)
    assert np.array_equal(np.concatenate(list(pictures.blocks(left.images))), whole.images)
    with pytest.raises(TypeError, match="the pictures are on the disk"):
        np.asarray(left.images)


def test_a_store_of_jpegs_holds_what_its_digests_say(photos: Path) -> None:
    store = Store.open(photos)
    table = pq.read_table(store.shards("training")[0])
    data = table.column("image").to_pylist()[0]["bytes"]
    assert data[:2] == b"\xff\xd8"
    assert store.summary["options"]["jpeg"] == 90
    assert np.array_equal(parts.decode(data), store.read("training").images[0])
    source = np.asarray(Image.open(photos.parent / "in" / "train" / store.read("training").paths[0].split("/", 1)[1]))
    away = np.abs(source.astype(int) - store.read("training").images[0])
    assert 0 < away.mean() < 8  # lossy, and not another picture


def test_compressed_shards_are_held_as_they_are_encoded(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(small_store)
    left = store.read("training", stream=True).images
    assert left.places.held is not None
    assert np.array_equal(left.decoded(np.arange(140)), store.read("training").images)
    monkeypatch.setattr(pictures, "HELD", 1000)
    with pytest.raises(
        DataError, match=r"expected pictures that can be read in place.*build the store again, or say --set"
    ):
        store.read("training", stream=True)


def test_a_vanished_shard_and_a_broken_picture_are_one_line(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    left = store.read("training", stream=True).images
    shard = store.shards("training")[1]
    data = bytearray(shard.read_bytes())
    place = int(left.places.offset[40])
    data[place : place + 20] = bytes(20)
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"expected a picture for .* cannot read it: .*; build it again") as caught:
        left.decoded(np.array([40]))
    assert "\n" not in str(caught.value)
    left = store.read("training", stream=True).images
    shard.unlink()
    with pytest.raises(
        DataError, match=r"expected the shard .*training-00001-of-00002.parquet, cannot read it: No such"
    ):
        left.decoded(np.array([40]))


@pytest.mark.long
def test_a_streamed_run_equals_one_in_memory_to_the_bit(train_tiny: TrainTiny) -> None:
    """Balanced sampling, SAM, averages; two worker processes decode."""
    changes = BUSY | {"data": {"balance": "online"}}
    memory = train_tiny(tiny_recipe(**changes))
    disk = train_tiny(streamed(changes), workers=2)
    assert same(disk.everything(), memory.everything())
    assert [r | {"seconds": 0} for r in disk.log] == [r | {"seconds": 0} for r in memory.log]
    other = train_tiny(streamed(changes | {"seed": 1}))  # the control: another order
    assert not same(other.everything(), memory.everything())


@pytest.mark.long
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_run_resumes_within_an_epoch_to_the_bit(
    on_disk: bool, train_tiny: TrainTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven steps an epoch; killed after the tenth, with the last checkpoint at the ninth."""
    recipe = streamed(BUSY) if on_disk else tiny_recipe(**BUSY)
    options = {"save_steps": 3, "workers": 1 if on_disk else None}
    whole = train_tiny(recipe, path=tmp_path / "whole", **options)
    step = FerModule.training_step

    def killed(self: FerModule, batch: Any, batch_idx: int) -> None:
        if self.global_step == 10:
            raise OSError("killed")
        step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(FerModule, "training_step", killed)
        with pytest.raises(OSError, match="killed"):
            train_tiny(recipe, path=tmp_path / "cut", **options)
    assert Run(tmp_path / "cut").checkpoint["global_step"] == 9
    seen: list[int] = []

    def noted(self: FerModule, batch: Any, batch_idx: int) -> None:
        seen.append(self.global_step)
        step(self, batch, batch_idx)

    monkeypatch.setattr(FerModule, "training_step", noted)
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True, **options)
    assert seen == list(range(9, 21))
    assert same(resumed.everything(), whole.everything())
    assert [r | {"seconds": 0} for r in resumed.log] == [r | {"seconds": 0} for r in whole.log]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("start", [0, 4])
def test_processes_share_an_epoch_without_loss_or_doubles(world: int, start: int) -> None:
    def epoch(rank: int, world: int, start: int) -> list[np.ndarray]:
        sampler = BatchSampler(100, 15, shuffle=True, seed=3, drop_last=True, rank=rank, world=world)
        sampler.start_at(2 * len(sampler) + start)
        return [rows.numpy() for rows in sampler]

    alone = epoch(0, 1, 0)
    assert len(np.unique(np.concatenate(alone))) == 90
    shared = [epoch(rank, world, start) for rank in range(world)]
    for number, whole in enumerate(alone[start:]):
        assert np.array_equal(np.concatenate([one[number] for one in shared]), whole)
    assert {len(one) for one in shared} == {6 - start}
    sampler = BatchSampler(100, 15, shuffle=True, seed=3, drop_last=True)
    sampler.start_at(2 * 6 + 4)
    sampler.set_epoch(3)  # the epoch after is whole again
    assert len(list(sampler)) == 6


def test_pictures_stream_where_their_pixels_would_fill_memory(photos: Path, tmp_path: Path) -> None:
    store = Store.open(photos)
    recipe = tiny_recipe(data={"validation": "validation"})
    pixels = 72 * 6912
    assert stream.streams(recipe, store, free=2 * pixels - 1)[0]
    assert not stream.streams(recipe, store, free=2 * pixels)[0]
    assert stream.streams(recipe, store, processes=2, free=2 * pixels)[0]  # each process holds them all
    few = tiny_recipe(data={"validation": "validation", "limit": 6})
    assert not stream.streams(few, store, free=pixels)[0]
    never = tiny_recipe(data={"validation": "validation", "stream": "never"})
    assert not stream.streams(never, store, free=1)[0]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   3000 kB\n")
    assert stream.available_memory(tmp_path) == 3000 << 10
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("500000\n")
    assert stream.available_memory(tmp_path) == 3000 << 10
    (group / "memory.max").write_text("2000000\n")
    assert stream.available_memory(tmp_path) == 1_500_000
    assert stream.available_memory(tmp_path / "nowhere") == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_an_error_in_a_worker_is_one_line(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = stream.StreamDataset(
        Store.open(photos).read("training", stream=True).images,
        lambda images: images,
        np.zeros((60, 7), np.float32),
        np.zeros(60, np.int64),
    )

    def broken(self: Pictures, chosen: Any) -> None:
        raise DataError("expected the shard x, cannot read it: gone", hint="build it again")

    monkeypatch.setattr(Pictures, "decoded", broken)
    with pytest.raises(DataError) as caught:
        next(iter(make_loader(dataset, 20, train=True, workers=1)))
    assert "Original Traceback" in str(caught.value)  # as torch gives it
    said = stream.of_a_worker(caught.value)
    assert str(said) == "expected the shard x, cannot read it: gone; build it again"
    assert stream.of_a_worker(said) is said
