"""``data.balance: online``: every epoch shows the classes equally often, and a resumed run draws as an unbroken one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.store import Store
from mien.errors import RecipeError
from mien.training.module import FerModule
from mien.training.recipe import Recipe
from mien.training.run import train
from small_run import small_recipe


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """101 pictures of Training, most of them of one class; 14 of PublicTest."""
    from mien.data.build.run import build_store
    from mien.data.sources import open_source

    random = np.random.default_rng(1)
    lines = ["emotion,pixels,Usage"]
    for usage, count in (("Training", [65, 10, 8, 7, 6, 4, 1]), ("PublicTest", [2] * 7)):
        for code, number in enumerate(count):
            for _ in range(number):
                lines.append(f"{code},{' '.join(map(str, random.integers(0, 256, 48 * 48)))},{usage}")
    home = tmp_path_factory.mktemp("lopsided")
    (home / "fer2013.csv").write_text("\n".join(lines) + "\n")
    build_store([open_source("fer2013", home)], home / "store")
    return Store.open(home / "store")


def recipe(balance: str) -> Recipe:
    return small_recipe(data={"balance": balance}, epochs=3)


def watched(monkeypatch: pytest.MonkeyPatch, *, fails_in: int | None = None) -> list[tuple[int, list[int]]]:
    """(epoch, rows) of every step from now on; the second step of epoch ``fails_in`` does not survive."""
    seen: list[tuple[int, list[int]]] = []
    step = FerModule.training_step

    def watch(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        if self.current_epoch == fails_in and batch_idx == 1:
            raise RuntimeError("the power failed")
        seen.append((self.current_epoch, batch["index"].tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FerModule, "training_step", watch)
    return seen


def test_epochs_are_balanced_and_a_resumed_run_draws_the_same(
    lopsided: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = lopsided.read("training").labels
    with monkeypatch.context() as patch:
        unbroken = watched(patch)
        train(recipe("online"), lopsided, tmp_path / "unbroken", accelerator="cpu", threads=1)
    assert len(unbroken) == 3 * (98 // 20)  # 101 pictures, rounded to a multiple of seven
    shown = np.bincount(labels[[row for _, rows in unbroken for row in rows]], minlength=7)
    assert shown.sum() == 3 * 80
    assert np.ptp(shown) <= 3 * 14  # an epoch's last 18 draws are dropped; whole epochs are equal
    assert shown[6] > 20  # its one picture

    with monkeypatch.context() as patch:
        before = watched(patch, fails_in=1)
        with pytest.raises(RuntimeError, match="power"):
            train(recipe("online"), lopsided, tmp_path / "broken", accelerator="cpu", threads=1)
    with monkeypatch.context() as patch:
        after = watched(patch)
        train(recipe("online"), lopsided, tmp_path / "broken", accelerator="cpu", threads=1, resume=True)
    assert [entry for entry in before if entry[0] == 0] + after == unbroken
    one, two = (torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("unbroken", "broken"))
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())

    with monkeypatch.context() as patch:  # the control: as the data are, one class prevails
        plain = watched(patch)
        train(recipe("none"), lopsided, tmp_path / "plain", accelerator="cpu", threads=1)
    assert np.bincount(labels[[row for _, rows in plain for row in rows]], minlength=7)[0] > 3 * 45


def test_another_word_is_named() -> None:
    with pytest.raises(RecipeError, match=r"data\.balance: .*'none' or 'online', got 'offline'"):
        recipe("offline")
