"""How numbers are written: "value [low, high]", per cent, points, p-values; in pages, Markdown and messages.

A *figure* is a mapping with ``value``, ``low`` and ``high`` (a 95 % interval), as ``report.json`` has them: proportions
from 0 to 1 where a function writes per cent or points. What is not known (None) is written as a dash.
"""

import re
from collections.abc import Mapping
from typing import Any

Figure = Mapping[str, Any]
UNKNOWN = "–"


def interval(
    figure: Figure | None,
    *,
    scale: float = 1,
    digits: int = 3,
    bounds: int | None = None,
    unit: str = "",
    signed: bool = False,
    minus: str = "−",
) -> str:
    """``"value [low, high]"``, each times ``scale``.

    digits: decimals of the value. bounds: decimals of the interval, as many where None. unit: stands behind the value.
    signed: with "+" or ``minus`` before each number.
    """
    if figure is None or figure["value"] is None:
        return UNKNOWN
    bounds = digits if bounds is None else bounds
    sign = "+" if signed else ""
    value, low, high = (scale * figure[key] for key in ("value", "low", "high"))
    text = f"{value:{sign}.{digits}f}{unit} [{low:{sign}.{bounds}f}, {high:{sign}.{bounds}f}]"
    return text.replace("-", minus) if signed else text


def markdown(text: str) -> str:
    """A name as CommonMark shows it unchanged, in a table too."""
    return re.sub(r"([\\`*_<>|\[\]&~])", r"\\\1", text)


def percent(figure: Figure | None, *, digits: int = 2) -> str:
    """A proportion: ``"71.55 % [70.0, 73.0]"``; the interval has a decimal less, but at least one."""
    return interval(figure, scale=100, digits=digits, bounds=max(digits - 1, 1), unit=" %")


def number(figure: Figure | None) -> str:
    """NLL, Brier score, ECE: ``"0.027 [0.017, 0.037]"``."""
    return interval(figure, digits=3)


def points(figure: Figure | None, *, bounds: int = 2, minus: str = "−") -> str:
    """A difference of proportions in percentage points: ``"−4.01 [−5.16, +0.10]"``."""
    return interval(figure, scale=100, digits=2, bounds=bounds, signed=True, minus=minus)


def mean_over_seeds(figure: Figure) -> str:
    """A mean over training runs, in per cent: ``"71.55 [70.1, 73.0] ± 0.3"``. figure: has ``sd`` too, or None there."""
    spread = "" if figure["sd"] is None else f" ± {100 * figure['sd']:.1f}"
    return interval(figure, scale=100, digits=2, bounds=1) + spread


def p_value(p: float | None) -> str:
    """Four decimals, never 0: ``"0.0457"``, ``"< 0.0001"``."""
    if p is None:
        return UNKNOWN
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def thousands(count: float | None, *, digits: int = 0) -> str:
    """``"28,709"``."""
    return UNKNOWN if count is None else f"{count:,.{digits}f}"


def magnitude(count: float | None) -> str:
    """Parameters and multiply-accumulates: ``"2.72 M"``, ``"4.51 G"``."""
    if count is None:
        return UNKNOWN
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M"


def proportion(count: int | None, total: int) -> str:
    """A count and its proportion of a total: ``"332 (9.3%)"``; the count alone where either is 0."""
    return f"{count:,} ({count / total:.1%})" if count and total else thousands(count)


def plural(count: int, noun: str) -> str:
    """``"1 split"``, ``"3 splits"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
