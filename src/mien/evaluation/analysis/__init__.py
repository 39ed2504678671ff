"""Analyses beyond accuracy. One module per kind, one command: ``mien analyse KIND RUN…``.

The module of a kind holds a function of its name, which takes ``Settings`` and options of its own, writes ``KIND.json``
(all numbers, their definitions and where they come from) and figures as PNG and SVG, and returns that report; and
``headline(report)``, what the command prints. Nothing is imported here.
"""

KINDS = ("features", "landscape", "attention", "errors", "corruptions", "masks")
