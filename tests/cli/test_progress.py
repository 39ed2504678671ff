"""What long work says on stderr: now and then, with the time that is left, measured on what was really done."""

import io
import sys
from collections.abc import Callable, Iterable

import pytest

from mien.cli import progress
from mien.cli.progress import Countdown, duration


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Plays (seconds since the last, done) of a total; returns the lines."""

    def play(calls: Iterable[tuple[float, int]], total: int, noun: str = "views") -> list[str]:
        now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        with Countdown("fitting", noun=noun) as advance:
            for seconds, done in calls:
                now += seconds
                advance(done, total)
        return capsys.readouterr().err.splitlines()

    return play


def test_a_log_gets_a_line_now_and_then_with_the_time_left(run: Callable[..., list[str]]) -> None:
    lines = run([(2.0, done) for done in range(10, 1001, 10)], 1000)
    assert lines[0] == "fitting: 30 of 1,000 views, about 3 min left"
    assert 10 < len(lines) < 35  # 200 s in steps of at least 5 s, then of a tenth
    assert lines[-1] == "fitting: 1,000 of 1,000 views"


def test_short_work_says_that_it_is_done(run: Callable[..., list[str]]) -> None:
    assert run([(0.1, 10), (0.1, 20)], 20, "") == ["fitting: 20 of 20"]


def test_what_was_there_took_no_time(run: Callable[..., list[str]]) -> None:
    """40 of 46 from before, then one a minute: six minutes, not the nine seconds that 40 in no time would promise."""
    lines = run([(0.0, 40), *((60.0, done) for done in range(41, 47))], 46)
    assert lines[0] == "fitting: 41 of 46 views, about 5 min left"
    assert lines[-2:] == ["fitting: 45 of 46 views, about 60 s left", "fitting: 46 of 46 views"]


def test_nothing_is_promised_before_anything_is_measured(run: Callable[..., list[str]]) -> None:
    assert run([(90.0, 40)], 46) == ["fitting: 40 of 46 views"]


def test_another_round_has_an_estimate_of_its_own(run: Callable[..., list[str]]) -> None:
    """As ``mien compare`` counts: the images of one model, then those of the next, which is ten times slower."""
    lines = run([*((1.0, done) for done in range(10, 101, 10)), *((10.0, done) for done in range(10, 101, 10))], 100)
    second = lines[lines.index("fitting: 100 of 100 views") + 1 :]
    assert second[:2] == ["fitting: 10 of 100 views", "fitting: 20 of 100 views, about 80 s left"]


def test_a_terminal_gets_a_bar_with_the_same_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown, now = Terminal(), 0.0
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now)}))
    with Countdown("landscape") as advance:
        advance(40, 46)
        now = 60.0
        advance(41, 46)
        advance._bar.refresh()
    assert "41/46" in shown.getvalue()
    assert "about 5 min left" in shown.getvalue()


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 40, 720, 25_200)] == ["0 s", "40 s", "12 min", "7.0 h"]
