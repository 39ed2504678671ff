"""Inputs made by hand: what somebody would send who knows the format. Made when wanted; none lies on the disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .attack_pictures import HEICS, PICTURES, VIDEOS
from .attack_readers import ONNXES, REQUESTS
from .attack_tables import CANARY, CHECKPOINTS, DEEP, JSONS, LAUGHS, PARQUETS, TABLES, YAMLS

__all__ = ["CANARY", "Attack", "attacks"]


@dataclass(frozen=True)
class Attack:
    """file: its name, which says which call of the kind takes it. content: makes it. read: it is one that must be read;
    else it has to be refused; None where both are right."""

    kind: str
    name: str
    file: str
    content: Callable[[], bytes]
    read: bool | None = False


def attacks(kind: str) -> list[Attack]:
    """Those of a kind."""
    return [attack for attack in ALL if attack.kind == kind]


def _all() -> list[Attack]:
    def of(kind: str, entry: tuple[Any, ...], file: str | None = None) -> Attack:
        name, *rest = entry
        place = file or rest.pop(0)
        content = rest.pop(0)
        make = content if callable(content) else lambda: content
        return Attack(kind, name, place, make, *rest)

    made = [of("picture", entry) for entry in PICTURES] + [of("video", entry) for entry in VIDEOS]
    made += [of("heic", entry) for entry in HEICS]
    made += [of("csv", entry) for entry in TABLES] + [of("parquet", entry) for entry in PARQUETS]
    made += [of("onnx", entry, "attack.onnx") for entry in ONNXES] + [of("checkpoint", entry) for entry in CHECKPOINTS]
    made += [of("page", entry, "attack.onnx") for entry in ONNXES]
    made += [of("analyse", entry, "errors/own.onnx") for entry in ONNXES]
    made += [of("service", entry, "request") for entry in REQUESTS]
    for name, content in YAMLS:
        made += [of("yaml", (f"{name}-{file[:-5]}", file, content)) for file in ("recipe.yaml", "build.yaml")]
    made.append(of("yaml", ("billion-laughs-set", "set", b"model.args=" + LAUGHS.replace(b"\n", b", "))))
    made.append(of("yaml", ("deep-set", "set", b"model.args=" + DEEP)))
    made.append(of("yaml", ("huge-number-set", "set", b"epochs=" + b"9" * 5000)))
    made.append(of("yaml", ("no-such-day-set", "set", b"name=2001-99-99")))
    for name, content in JSONS:
        files = ("store/summary.json", "evaluation/report.json", "clip.jsonl")
        made += [of("json", (f"{name}-{Path(file).stem}", file, content)) for file in files]
    return made


ALL = _all()
