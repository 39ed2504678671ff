"""One service for all tests that only ask it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "httpx")):
    collect_ignore_glob = ["test_*.py"]

from service import Service, running


@pytest.fixture(scope="session")
def crops(tiny_model: Path) -> Iterator[Service]:
    """A service with the tiny model, whose answers have a closed form; each picture is one crop. Small limits."""
    limits = ("--max-body", 200_000, "--max-pixels", 250_000, "--max-batch", 4, "--client-timeout", 1)
    with running("--model", tiny_model, "--detector", "none", "--threads", "1", *map(str, limits)) as service:
        yield service
