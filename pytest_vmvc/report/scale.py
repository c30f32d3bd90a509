"""The horizontal axis of a chart: linear or logarithmic, with its ticks and their words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_vmvc.units import quantity

LOG_FROM = 10.0
"""Range (largest over smallest) from which the axis is logarithmic."""
EDGES = (1e-290, 1e290)
"""What is smaller is drawn as nothing, what is larger at the edge: an axis needs room beyond it."""


class Scale:
    """Maps values to places; made from everything that must be visible."""

    def __init__(self, values: Sequence[float], *, unit: str, log: bool | None = None) -> None:
        low, high = _drawable(min(values)), _drawable(max(values))
        self.unit = unit
        self.log = low > 0 and (high / low > LOG_FROM if log is None else log)
        if self.log:
            margin = max((high / low) ** 0.08, 1.15)
            self.low, self.high = low / margin, high * margin
        else:
            self.low = min(0.0, low * 1.1)
            self.high = high * 1.1 if high > 0 else 1.0

    def fraction(self, value: float) -> float:
        """Place of a value: 0 at the left edge, 1 at the right one."""
        if self.log:
            value = max(value, self.low)
            place = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            place = (value - self.low) / (self.high - self.low)
        return float(place)

    def ticks(self) -> list[float]:
        """At most seven round values within the scale."""
        if not self.log:
            return self._linear_ticks()
        first = math.floor(math.log10(self.low))
        powers = range(first, math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [digit * 10.0**power for power in powers for digit in digits]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) <= 5:
                break
        # Very wide ranges: every second or third decade.
        ticks = ticks[:: math.ceil(len(ticks) / 6)]
        return ticks if len(ticks) > 1 else self._linear_ticks()

    def _linear_ticks(self) -> list[float]:
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
        first = math.ceil(self.low / step)
        return [
            index * step
            for index in range(first, math.floor(self.high / step) + 1)
            if not (self.log and index == 0)
        ]

    def axis(self) -> dict[str, Any]:
        """The axis of a Vega-Lite ``x`` channel."""
        ticks = self.ticks()
        words = "''"
        for tick in reversed(ticks):
            same = f"abs(datum.value / {tick!r} - 1) < 1e-9" if tick else "datum.value == 0"
            words = f"{same} ? {json.dumps(quantity(tick, self.unit, exact=True))} : {words}"
        return {"values": ticks, "labelExpr": words, "title": None, "orient": "bottom"}

    def channel(self, field: str) -> dict[str, Any]:
        """A Vega-Lite ``x`` channel on this scale."""
        kind = "log" if self.log else "linear"
        scale = {"type": kind, "domain": [self.low, self.high], "nice": False, "zero": False}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": self.axis()}


def _drawable(value: float) -> float:
    least, most = EDGES
    return 0.0 if abs(value) < least else max(-most, min(most, value))


def shares(parts: Iterable[tuple[str, int]]) -> tuple[tuple[str, float, float], ...]:
    """Where each named part of a whole begins and how wide it is, in per cent; empty ones not."""
    known = [(name, number) for name, number in parts if number]
    whole, before, found = sum(number for _, number in known), 0, []
    for name, number in known:
        found.append((name, round(100 * before / whole, 3), round(100 * number / whole, 3)))
        before += number
    return tuple(found)
