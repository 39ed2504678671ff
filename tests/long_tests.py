"""Hooks that count the tests marked ``long``, and say so where they are left out (``make test``)."""

from typing import Any

import pytest

#: Of all collected tests, before any is taken away: (id, whether it is marked long).
ALL_COLLECTED = pytest.StashKey[list[tuple[str, bool]]]()
#: A list of one number: tests that are marked long, and not run.
_LEFT_OUT = pytest.StashKey[list[int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_OUT] = [0]


@pytest.hookimpl(tryfirst=True)  # before -m and -k take any away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[ALL_COLLECTED] = [(item.nodeid, item.get_closest_marker("long") is not None) for item in items]


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_LEFT_OUT][0] += item.get_closest_marker("long") is not None


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # pytest-xdist: a worker collects, the controller prints
        session.config.workeroutput["left out"] = session.config.stash[_LEFT_OUT][0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_LEFT_OUT][0] = getattr(node, "workeroutput", {}).get("left out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr and (number := config.stash[_LEFT_OUT][0]):
        terminalreporter.write_line(f"{number} tests marked long were left out; CI and `make test-all` run them")
