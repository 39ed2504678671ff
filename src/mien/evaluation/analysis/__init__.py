"""Analyses: what accuracy alone does not say. One kind a module, one command: ``mien analyse KIND RUN…``.

Every kind writes ``KIND.json`` (the truth: all numbers, their definitions and where they come from) and figures as PNG
and SVG, and returns that report; its ``headline(report)`` is what the command prints. Nothing is imported here.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """module: holds the function that runs the kind and ``headline``. about: one line for ``--help``."""

    module: str
    function: str
    about: str


_HERE = "mien.evaluation.analysis."
KINDS = {
    "features": Kind(_HERE + "features", "features", "clusters of features before and after the SE block"),
    "landscape": Kind(_HERE + "landscape", "landscape", "the loss around the weights, and how sharp it is"),
    "attention": Kind(_HERE + "attention", "attention", "where the network looks: Grad-CAM and U-Net masks"),
    "errors": Kind(_HERE + "mistakes", "mistakes", "the most confident errors, the pairs most confused"),
    "corruptions": Kind(_HERE + "robustness", "robustness", "accuracy under nine corruptions, five severities each"),
    "masks": Kind(_HERE + "masks", "masks", "what the U-Net masks are worth: accuracy with and without them"),
}
