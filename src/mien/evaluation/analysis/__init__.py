"""Analyses: what accuracy alone does not say. One kind a module, one command: ``mien analyse KIND RUN…``.

Every kind writes ``KIND.json`` (the truth: all numbers, their definitions and where they come from) and figures as PNG
and SVG, and returns that report; its ``headline(report)`` is what the command prints. Nothing is imported here.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """module: holds the function that runs the kind, and ``headline``."""

    module: str
    function: str


_HERE = "mien.evaluation.analysis."
KINDS = {
    "features": Kind(_HERE + "features", "features"),
    "landscape": Kind(_HERE + "landscape", "landscape"),
    "attention": Kind(_HERE + "attention", "attention"),
    "errors": Kind(_HERE + "errors", "errors"),
    "corruptions": Kind(_HERE + "corruptions", "corruptions"),
    "masks": Kind(_HERE + "masks", "masks"),
}
