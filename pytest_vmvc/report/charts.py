"""Charts as plain Vega-Lite data: samples with their bound, ratios with their margin, phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_vmvc.report import layers
from pytest_vmvc.report.layers import ROW, Row
from pytest_vmvc.report.palette import BAND, INK, PHASES, SURFACE
from pytest_vmvc.report.scale import Scale
from pytest_vmvc.report.svg import LEFT, RIGHT, WIDTH, specification
from pytest_vmvc.units import quantity

MARGIN: Final = (0.8, 1.25)
"""Ratios that are practically equal."""
_TEXT_PX: Final = 6.4
"""About the width of a character at the size of the labels in bars."""


def strip(rows: Sequence[Row], *, unit: str, bounds: Sequence[float]) -> dict[str, Any]:
    """Every sample of every subject, blocks joined by lines, bounds as vertical rules."""
    values = [sample.value for row in rows for sample in row.samples]
    values += [*bounds, *(end for row in rows for end in row.ends)]
    scale = Scale(values, unit=unit)
    offsets = layers.offsets(sorted({sample.block for row in rows for sample in row.samples}))
    height = ROW * len(rows)
    stack = [layers.rule(scale, bound, height) for bound in bounds]
    stack += [layers.rule_text(scale, b, f"bound {quantity(b, unit, exact=True)}") for b in bounds]
    stack += layers.pair_lines(rows, scale, offsets)
    for index, row in enumerate(rows):
        stack += layers.row(row, scale, offsets, middle=ROW * index + 24)
    return specification(layers.gridded(stack, scale, height), height=height, top=24, bottom=34)


def ratios(row: Row, *, threshold: float, words: str) -> dict[str, Any]:
    """The ratio of each pair, the margin of practical equivalence, 1, bound and interval."""
    values = [sample.value for sample in row.samples] + row.ends
    values = [value for value in values if value > 0]
    scale = Scale([*values, threshold, MARGIN[0] / 1.1, MARGIN[1] * 1.1], unit="×", log=True)
    offsets = layers.offsets(sorted({sample.block for sample in row.samples}))
    height = ROW + 8
    band = {
        "data": {"values": [{"x": MARGIN[0], "x2": MARGIN[1]}]},
        "mark": {"type": "rect", "color": BAND},
        "encoding": {
            "x": scale.channel("x"),
            "x2": {"field": "x2"},
            "y": {"value": 0},
            "y2": {"value": height},
        },
    }
    stack = [
        layers.rule(scale, 1.0, height, dashed=False),
        layers.rule(scale, threshold, height),
        layers.rule_text(scale, threshold, f"bound {quantity(threshold, '×', exact=True)}"),
        *layers.row(row, scale, offsets, middle=28, name=words),
    ]
    return specification(
        [band, *layers.gridded(stack, scale, height)], height=height, top=24, bottom=34
    )


def phases(parts: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """One bar a subject, 100 % its own start: the share of each phase, in order."""
    names = phase_names(parts)
    width = WIDTH - LEFT - RIGHT
    bars: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    for index, (subject, times) in enumerate(parts.items()):
        total = sum(times.values()) or 1.0
        texts.append({"x": -12, "y": index * 48 + 14, "text": subject, "side": "row"})
        texts.append({"x": -12, "y": index * 48 + 29, "text": quantity(total, "s"), "side": "sub"})
        place = 0.0
        for name, seconds in times.items():
            end = place + seconds / total * width
            fill = PHASES[names.index(name) % len(PHASES)]
            bars.append({"x": place, "x2": end, "y": index * 48 + 6, "fill": fill})
            if (len(name) + 3) * _TEXT_PX < end - place:
                middle = (place + end) / 2
                texts.append({"x": middle, "y": index * 48 + 20, "text": name, "side": "bar"})
            place = end
    stack = [_bars(bars, fill) for fill in PHASES if any(bar["fill"] == fill for bar in bars)]
    stack += [
        layers.texts([t for t in texts if t["side"] == "bar"], {"align": "center", "color": INK}),
        layers.texts([t for t in texts if t["side"] == "row"], layers.ROW_NAME),
        layers.texts([t for t in texts if t["side"] == "sub"], {"align": "right", "fontSize": 12}),
    ]
    return specification(stack, height=48 * len(parts), top=4, bottom=2)


def phase_names(parts: Mapping[str, dict[str, float]]) -> list[str]:
    """All phases in an order that respects each subject's own wherever that is possible."""
    names: list[str] = []
    for times in parts.values():
        place = len(names)
        for name in reversed(times):
            if name in names:
                place = names.index(name)
            else:
                names.insert(place, name)
    return names


def _bars(bars: list[dict[str, Any]], fill: str) -> dict[str, Any]:
    return {
        "data": {"values": [{**bar, "y2": bar["y"] + 28} for bar in bars if bar["fill"] == fill]},
        "mark": {"type": "rect", "color": fill, "stroke": SURFACE, "strokeWidth": 1.5},
        "encoding": {
            "x": layers.raw("x"),
            "y": layers.raw("y"),
            "x2": {"field": "x2"},
            "y2": {"field": "y2"},
        },
    }
