"""Batches: every row once an epoch, an order that (seed, epoch) alone decides."""

import numpy as np
import torch

from mien.training.loader import BatchSampler, CropDataset, make_loader
from mien.training.online_balance import BalancedOrder


def dataset(n: int = 10) -> CropDataset:
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    return CropDataset(images, np.eye(7, dtype=np.float32)[np.arange(n) % 7], np.arange(n) % 7)


def test_rows_stay_together() -> None:
    for batch in make_loader(dataset(), 4, train=True, seed=1):
        assert batch["images"].shape == (4, 1, 4, 4)
        assert torch.equal(batch["images"][:, 0, 0, 0].long(), batch["index"])
        assert torch.equal(batch["expression"].argmax(1), batch["labels"])


def test_training_drops_the_ragged_end_and_validation_does_not() -> None:
    assert len(list(make_loader(dataset(), 4, train=True))) == 2
    seen = torch.cat([b["index"] for b in make_loader(dataset(), 4, train=False)])
    assert torch.equal(seen, torch.arange(10))


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = BatchSampler(10, 5, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return [rows.tolist() for rows in sampler]

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    assert sorted(row for rows in order(1, 3) for row in rows) == list(range(10))


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    assert [len(b["index"]) for b in make_loader(dataset(3), 128, train=True)] == [3]


def test_several_processes_share_each_batch_of_one() -> None:
    alone = [b["index"].tolist() for b in make_loader(dataset(), 4, train=True, seed=1)]
    shares = [make_loader(dataset(), 4, train=True, seed=1, rank=rank, world=2) for rank in range(2)]
    together = [a["index"].tolist() + b["index"].tolist() for a, b in zip(*shares, strict=True)]
    assert together == alone
    ragged = [make_loader(dataset(), 4, train=False, rank=rank, world=3) for rank in range(3)]
    assert len({len(list(share)) for share in ragged}) == 1  # as many batches for each, or they would wait forever
    assert sorted(row for share in ragged for b in share for row in b["index"].tolist()) == list(range(10))


def test_valence_and_arousal_travel_along() -> None:
    affect = np.full((10, 2), np.nan, np.float32)
    affect[3] = 0.5, -0.25
    data = CropDataset(np.zeros((10, 1, 4, 4), np.uint8), np.eye(10, 7, dtype=np.float32), np.arange(10), affect)
    assert torch.equal(data[[3]]["valence_arousal"], torch.tensor([[0.5, -0.25]]))
    assert data[[4]]["valence_arousal"].isnan().all()
    assert "valence_arousal" not in dataset()[[0]]


def test_an_order_decides_what_an_epoch_shows() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    order = BalancedOrder(labels, size=12, seed=5)
    for world in (1, 2, 3):
        loaders = [make_loader(dataset(), 6, train=True, rank=rank, world=world, order=order) for rank in range(world)]
        assert {len(loader) for loader in loaders} == {2}  # 12 rows, though there are 10: steps follow the order
        for epoch in (0, 4):
            for loader in loaders:
                loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            shares = [[b["index"].tolist() for b in loader] for loader in loaders]
            together = [row for batches in zip(*shares, strict=True) for rows in batches for row in rows]
            assert together == order(epoch).tolist()
            assert np.bincount(labels[together]).tolist() == [6, 6]
    ragged = make_loader(dataset(), 5, train=True, order=order)
    assert [len(b["index"]) for b in ragged] == [5, 5]  # full batches only
    assert len(make_loader(dataset(), 100, train=True, order=order)) == 1
