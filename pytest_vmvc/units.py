"""Figures as people read them: 312 ms, 14.2 MB, 7.10×. Decimal units, three significant digits."""

from __future__ import annotations

import math
from typing import Final

NBSP: Final = "\u00a0"
_STEPS: Final = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")),
    "ratio": ((1.0, "×"),),
}


def quantity(value: float, unit: str, *, exact: bool = False) -> str:
    """A figure in the unit a person would choose; ``exact`` drops zeros (for thresholds).

    Known units are ``s``, ``bytes`` and ``ratio``, also ``s/byte``; any other is written after the
    number.
    """
    if unit.endswith("/byte"):
        return f"{quantity(value * 1e9, unit.removesuffix('/byte'), exact=exact)}/GB"
    steps = _STEPS.get(unit, ((1.0, unit),))
    fits = (step for step in steps if abs(value) >= step[0] or (value == 0 and step[0] == 1))
    size, name = next(fits, steps[-1])
    figure = number(value / size)
    if exact and "." in figure and "e" not in figure:
        figure = figure.rstrip("0").rstrip(".")
    return f"{figure}{'' if name in ('×', '%', '') else NBSP}{name}"


def number(value: float) -> str:
    """Three significant digits, never an exponent below a million millions."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "—"
    if abs(value) >= 1e12 or abs(value) < 1e-4:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
    return f"{value:,.{digits}f}".replace(",", "\u202f")
