"""Charts as plain Vega-Lite data: samples with their bound, ratios with their margin, phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from pytest_vmvc.report import layers
from pytest_vmvc.report.layers import ROW, Row
from pytest_vmvc.report.palette import (
    BAND,
    GRID,
    INK,
    MUTED,
    PHASES,
    SURFACE,
    colour,
    shape,
)
from pytest_vmvc.report.scale import Scale
from pytest_vmvc.report.svg import LEFT, RIGHT, WIDTH, specification
from pytest_vmvc.units import quantity

MARGIN: Final = (0.8, 1.25)
"""Ratios that are practically equal."""
DOSES_HEIGHT: Final = 180
_TEXT_PX: Final = 6.4
"""About the width of a character at the size of the labels in bars."""


def strip(
    rows: Sequence[Row],
    *,
    unit: str,
    bounds: Sequence[float],
    others: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Every sample of every subject, blocks joined by lines, bounds as vertical rules.

    ``others``: published figures by their names, hollow and in a row of their own.
    """
    values = [sample.value for row in rows for sample in row.samples]
    values += [*bounds, *(end for row in rows for end in row.ends), *(others or {}).values()]
    scale = Scale(values, unit=unit)
    offsets = layers.offsets(sorted({sample.block for row in rows for sample in row.drawn}))
    height = ROW * len(rows)
    stack = [layers.rule(scale, bound, height) for bound in bounds]
    words = {bound: f"bound {quantity(bound, unit, exact=True)}" for bound in bounds}
    levels = layers.rule_levels(scale, words)
    stack += [layers.rule_text(scale, b, text, levels[b]) for b, text in words.items()]
    stack += layers.pair_lines(rows, scale, offsets)
    for index, row in enumerate(rows):
        stack += layers.row(row, scale, offsets, middle=ROW * index + 24)
    top = 24 + layers.LINE * max(levels.values(), default=0)
    if others:
        apart, deep = layers.published(others, scale, top=height)
        stack, height = [*stack, *apart], height + deep
    return specification(layers.gridded(stack, scale, height), height=height, top=top, bottom=34)


def ratios(row: Row, *, threshold: float, words: str) -> dict[str, Any]:
    """The ratio of each pair, the margin of practical equivalence, 1, bound and interval."""
    values = [sample.value for sample in row.samples] + row.ends
    values = [value for value in values if value > 0]
    scale = Scale([*values, threshold, MARGIN[0] / 1.1, MARGIN[1] * 1.1], unit="×", log=True)
    offsets = layers.offsets(sorted({sample.block for sample in row.drawn}))
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


def doses(rows: Sequence[Row], *, unit: str, dose_unit: str) -> dict[str, Any]:
    """Every sample over its dose; a line through the medians of each subject.

    Where the slope was judged, its interval is a band around the middle of the samples.
    """
    dosed = [(row, _dosed(row)) for row in rows]
    across = Scale([dose for _, found in dosed for dose in found], unit=dose_unit, log=False)
    values = [value for _, found in dosed for of_dose in found.values() for value in of_dose]
    upright = Scale(values, unit=unit, log=False)

    def place(value: float) -> float:
        return (1 - upright.fraction(value)) * DOSES_HEIGHT

    ticks = upright.ticks()
    stack = [_grid(place, ticks, width=WIDTH - LEFT - RIGHT)]
    words = [
        {"x": -12, "y": place(tick), "text": quantity(tick, unit, exact=True)} for tick in ticks
    ]
    stack.append(layers.texts(words, {"align": "right", "color": MUTED}))
    for row, found in dosed:
        if band := _band(row, found):
            ends = [{"x": x, "y": place(low), "y2": place(high)} for x, low, high in band]
            look = {"type": "area", "color": colour(row.subject), "fillOpacity": 0.2}
            x, y, y2 = across.channel("x"), layers.raw("y"), {"field": "y2"}
            stack.append(
                {"data": {"values": ends}, "mark": look, "encoding": {"x": x, "y": y, "y2": y2}}
            )
    for row, found in dosed:
        paint = colour(row.subject)
        line = [{"x": x, "y": place(median(ys))} for x, ys in sorted(found.items())]
        points = [{"x": x, "y": place(y)} for x, ys in found.items() for y in ys]
        x, y = across.channel("x"), layers.raw("y")
        look = {"type": "point", "size": 50, "filled": True, "color": paint}
        stack += [
            {
                "data": {"values": line},
                "mark": {"type": "line", "color": paint, "strokeWidth": 1.5},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": {"values": points},
                "mark": {**look, "shape": shape(row.subject), "stroke": SURFACE},
                "encoding": {"x": x, "y": y},
            },
            {
                "name": "halo",
                "data": {"values": [{**line[-1], "text": row.subject}]},
                "mark": {"type": "text", "align": "right", "dx": -8, "dy": -10},
                "encoding": {"x": x, "y": y, "text": {"field": "text"}},
            },
        ]
    stack = layers.gridded(stack, across, DOSES_HEIGHT)
    return specification(stack, height=DOSES_HEIGHT, top=14, bottom=34)


def _dosed(row: Row) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for sample in row.drawn:
        if sample.dose is not None:
            found.setdefault(sample.dose, []).append(sample.value)
    return found


def _band(row: Row, found: Mapping[float, list[float]]) -> list[tuple[float, float, float]]:
    """The ends of the slope's interval at each dose, turning about the middle of the samples."""
    own = row.estimate
    if own is None or own.effect is None or own.low is None or own.high is None:
        return []
    doses = [dose for dose, values in found.items() for _ in values]
    middle, slope = median(doses), own.effect
    level = median(v - slope * (d - middle) for d, values in found.items() for v in values)
    band = []
    for dose in sorted({*found, middle}):
        one, other = (level + end * (dose - middle) for end in (own.low, own.high))
        band.append((dose, min(one, other), max(one, other)))
    return band


def _grid(place: Callable[[float], float], ticks: list[float], *, width: int) -> dict[str, Any]:
    lines = [{"x": 0, "x2": width, "y": place(tick)} for tick in ticks]
    return {
        "data": {"values": lines},
        "mark": {"type": "rule", "color": GRID, "strokeWidth": 1},
        "encoding": {"x": layers.raw("x"), "x2": {"field": "x2"}, "y": layers.raw("y")},
    }


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
