"""Streams over several threads: order, bounds, notes, and the same results as with one."""

import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien import Reader
from mien.reading.items import PAUSE, Item
from mien.reading.overlap import in_order


def slow(number: int) -> int:
    time.sleep(0.02 * (number % 3 == 0))  # the first of each three ends last
    return number


def test_results_keep_the_order_of_the_sources() -> None:
    ended: list[int] = []

    def work(number: int) -> int:
        slow(number)
        ended.append(number)
        return number

    assert list(in_order(range(30), work, threads=3, movable=lambda _: True, ahead=2)) == list(range(30))
    assert ended != sorted(ended)  # the control: they did not end in that order


def test_it_fetches_no_further_than_the_bound() -> None:
    fetched = 0
    gate = threading.Event()

    def sources() -> Iterator[int]:
        nonlocal fetched
        for number in range(1000):
            fetched += 1
            if fetched > 2 * 2 + 3:
                gate.set()
            yield number

    def work(number: int) -> int:
        if number == 1:
            gate.wait(0.5)
        return number

    made = in_order(sources(), work, threads=2, movable=lambda _: True, ahead=2)
    assert next(made) == 0
    assert fetched == 1  # the first result waits for nobody
    assert next(made) == 1
    assert fetched <= 2 * 2 + 3


def test_a_pause_comes_after_all_that_was_before_it() -> None:
    given = [1, 2, 3, PAUSE, 4, PAUSE]
    assert list(in_order(given, slow, threads=2, movable=lambda _: True, ahead=2)) == given


def test_what_may_change_is_worked_on_before_the_next_is_fetched() -> None:
    """A buffer that is written again: with reading ahead its pictures would be one."""
    buffer = np.zeros(1, int)

    def sources() -> Iterator[Any]:
        for number in range(10):
            buffer[0] = number
            yield buffer

    def work(array: Any) -> int:
        time.sleep(0.002)
        return int(array[0])

    assert list(in_order(sources(), work, threads=2, movable=lambda _: False, ahead=2)) == list(range(10))
    wrong = list(in_order(sources(), work, threads=2, movable=lambda _: True, ahead=2))
    assert wrong != list(range(10))  # the control


def test_an_error_comes_in_its_turn_and_threads_end() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    made = in_order(range(100), work, threads=2, movable=lambda _: True, ahead=2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mien")]


@pytest.fixture
def photos(grace_hopper: Path) -> list[Item]:
    """Eight photos of different sizes as bytes, one of them broken, one with a note."""
    made = []
    with Image.open(grace_hopper) as picture:
        for number in range(6):
            out = BytesIO()
            picture.resize((200 + 20 * number, 240)).save(out, "jpeg")
            made.append(Item(f"p{number}", out.getvalue()))
        out = BytesIO()
        picture.resize((64, 64)).save(out, "gif", save_all=True, append_images=[picture.resize((64, 64)).rotate(90)])
    return [*made[:3], Item("broken", b"no picture"), *made[3:], Item("animated", out.getvalue())]


def test_threads_change_neither_results_nor_notes(photos: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.onnx_runtime.default_threads", lambda: 2)
    told: dict[int, list[str]] = {1: [], 2: []}
    read = {
        threads: [
            result.to_dict()
            for result in Reader("nano", threads=threads).read_many(photos, on_note=told[threads].append)
        ]
        for threads in (1, 2)
    }
    assert [one["source"] for one in read[2]] == [item.source for item in photos]
    assert told[1] == told[2] != []
    for one, two in zip(read[1], read[2], strict=True):
        assert len(one.get("faces", [])) == len(two.get("faces", []))
        for a, b in zip(one.get("faces", []), two.get("faces", []), strict=True):
            assert a["expression"] == b["expression"]
            assert a["box"] == pytest.approx(b["box"], abs=0.01)
    assert sum(len(one.get("faces", [])) for one in read[1]) >= 6  # the control: there was something to read
