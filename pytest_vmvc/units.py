"""Figures as people read them: 0.31 s, 14.2 MB, 7.1×. Decimal units throughout."""

from __future__ import annotations


def quantity(value: float, unit: str) -> str:
    """``value`` with its unit, three significant digits, scaled to a readable size.

    Known units are ``s``, ``bytes`` and ``ratio``; any other is written after the number.
    """
    match unit:
        case "s" if 0 < abs(value) < 0.995:
            return f"{value * 1000:.3g} ms"
        case "s":
            return f"{value:.3g} s" if abs(value) < 1000 else f"{value:.0f} s"
        case "bytes":
            for scale, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
                if abs(value) >= scale:
                    return f"{_three(value / scale)} {name}"
            return f"{value:.0f} bytes"
        case "ratio":
            return f"{_three(value)}×"
        case _:
            return f"{_three(value)} {unit}".strip()


def _three(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
