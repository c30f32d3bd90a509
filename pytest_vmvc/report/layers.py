"""The layers that charts are put together from: points, intervals, bounds, labels."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from pytest_vmvc.model import Estimate
from pytest_vmvc.report.palette import INK, MUTED, PAIRED, RULE, SUBJECTS, SURFACE, colour, shape
from pytest_vmvc.report.scale import Scale
from pytest_vmvc.report.svg import LEFT, RIGHT, WIDTH
from pytest_vmvc.units import quantity

ROW: Final = 62
SPREAD: Final = 24
"""Height over which the points of a row are spread by block."""
LINE: Final = 15
"""Height of a line of text."""
CHARACTER: Final = 7.0
"""About the width of a character of it, with room to spare."""
MOST: Final = 400
"""Blocks of a row that are drawn, at most; more of them would be a smear, and a page of 100 MB."""
ROW_NAME: Final = {"align": "right", "fontSize": 13, "fontWeight": 600, "limit": LEFT - 16}


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One point: a value of a subject (or a ratio) in a block."""

    value: float
    block: int
    censored: bool = False
    dose: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All samples of one subject, and the estimate where a reading made one."""

    subject: str
    samples: Sequence[Sample]
    estimate: Estimate | None = None

    @cached_property
    def median(self) -> float:
        """Median of the samples; a censored one counts with its bound."""
        return statistics.median(sample.value for sample in self.samples)

    @cached_property
    def drawn(self) -> Sequence[Sample]:
        """All of them, or those of every so-manieth block: the same of rows of the same length."""
        step = -(-(1 + max(sample.block for sample in self.samples)) // MOST)
        return [s for s in self.samples if s.block % step == 0] if step > 1 else self.samples

    @property
    def ends(self) -> list[float]:
        """Effect and ends of the interval, as far as there are any."""
        own = self.estimate
        found = [] if own is None else [own.effect, own.low, own.high]
        return [value for value in found if value is not None]


def texts(lines: list[dict[str, Any]], look: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of text at places of the drawing."""
    return {
        "data": {"values": lines},
        "mark": {"type": "text", "baseline": "middle", **look},
        "encoding": {"x": raw("x"), "y": raw("y"), "text": {"field": "text"}},
    }


def raw(field: str) -> dict[str, Any]:
    """A channel in units of the drawing."""
    return {"field": field, "type": "quantitative", "scale": None, "axis": None}


def offsets(blocks: Sequence[int]) -> dict[int, float]:
    """How far from the middle of its row each block is drawn."""
    n = max(len(blocks), 1)
    return {block: ((i + 0.5) / n - 0.5) * SPREAD for i, block in enumerate(blocks)}


def gridded(stack: list[dict[str, Any]], scale: Scale, height: int) -> list[dict[str, Any]]:
    """The layers on top of a base line; the grid comes from the scale's axis."""
    base = {
        "data": {"values": [{"x": scale.low, "x2": scale.high, "y": height}]},
        "mark": {"type": "rule", "color": PAIRED, "strokeWidth": 1},
        "encoding": {"x": scale.channel("x"), "x2": {"field": "x2"}, "y": raw("y")},
    }
    return [base, *stack]


def rule(scale: Scale, value: float, height: int, *, dashed: bool = True) -> dict[str, Any]:
    """A vertical line at a value."""
    look = {"color": RULE, "strokeWidth": 1.5} | ({"strokeDash": [5, 4]} if dashed else {})
    return {
        "data": {"values": [{"x": value}]},
        "mark": {"type": "rule", **look},
        "encoding": {"x": scale.channel("x"), "y": {"value": -4}, "y2": {"value": height}},
    }


def rule_levels(scale: Scale, words: Mapping[float, str]) -> dict[float, int]:
    """How high the words over each line stand, so that none lie upon each other: 0 is lowest."""
    ends: list[float] = []
    levels: dict[float, int] = {}
    for value, text in sorted(words.items()):
        place, wide = scale.fraction(value), len(text) * CHARACTER / (WIDTH - LEFT - RIGHT)
        start = place - {"left": 0.0, "center": wide / 2, "right": wide}[_aligned(place)]
        level = next((n for n, end in enumerate(ends) if end <= start), len(ends))
        ends[level : level + 1] = [start + wide]
        levels[value] = level
    return levels


def _aligned(place: float) -> str:
    return "left" if place < 0.2 else "right" if place > 0.8 else "center"


def rule_text(scale: Scale, value: float, words: str, level: int = 0) -> dict[str, Any]:
    """The words over such a line, kept inside the drawing."""
    align = _aligned(scale.fraction(value))
    return {
        "name": "bound",
        "data": {"values": [{"x": value, "text": words}]},
        "mark": {"type": "text", "align": align, "baseline": "bottom", "color": RULE},
        "encoding": {
            "x": scale.channel("x"),
            "y": {"value": -8 - LINE * level},
            "text": {"field": "text"},
        },
    }


def pair_lines(
    rows: Sequence[Row], scale: Scale, offsets: Mapping[int, float]
) -> list[dict[str, Any]]:
    """Thin lines between the two samples of a block, for rows one above the other."""
    lines: list[dict[str, Any]] = []
    for index, (upper, lower) in enumerate(itertools.pairwise(rows)):
        below = {sample.block: sample for sample in lower.drawn}
        if len(below) < len(lower.drawn) or len(below) < 2:
            continue
        for sample in upper.drawn:
            if (other := below.get(sample.block)) is None:
                continue
            y = ROW * index + 24 + offsets[sample.block]
            lines.append({"x": sample.value, "x2": other.value, "y": y, "y2": y + ROW})
    if not lines:
        return []
    encoding = {
        "x": scale.channel("x"),
        "x2": {"field": "x2"},
        "y": raw("y"),
        "y2": {"field": "y2"},
    }
    look = {"type": "rule", "color": PAIRED, "strokeWidth": 1}
    return [{"data": {"values": lines}, "mark": look, "encoding": encoding}]


def row(
    row: Row, scale: Scale, offsets: Mapping[int, float], *, middle: int, name: str = ""
) -> list[dict[str, Any]]:
    """Everything of one row: points, interval, label."""
    paint = colour(row.subject) if row.subject in SUBJECTS or not name else INK
    points = [
        {"x": sample.value, "y": middle + offsets[sample.block], "c": sample.censored}
        for sample in row.drawn
    ]
    layers = []
    for censored in (False, True):
        some = [point for point in points if point["c"] is censored]
        look: dict[str, Any] = {"type": "point", "size": 58, "color": paint, "strokeWidth": 1}
        look |= {"shape": "triangle-right", "filled": False} if censored else {"filled": True}
        if not censored:
            look |= {"shape": "circle" if name else shape(row.subject), "stroke": SURFACE}
        encoding = {"x": scale.channel("x"), "y": raw("y")}
        layers += [{"data": {"values": some}, "mark": look, "encoding": encoding}] if some else []
    layers += _summary(row, scale, y=middle + 25, paint=paint)
    label = {"x": -12, "y": middle, "text": name or row.subject}
    return [*layers, texts([label], ROW_NAME)]


def published(
    figures: Mapping[str, float], scale: Scale, *, top: int
) -> tuple[list[dict[str, Any]], int]:
    """A row of hollow marks below everything of ours, and how high it is."""
    words = {value: f"{name} {quantity(value, scale.unit)}" for name, value in figures.items()}
    levels = rule_levels(scale, words)
    deepest = max(levels.values())
    middle = top + 20 + LINE * (deepest + 1)
    marks = [{"x": value, "y": middle} for value in words]
    lines = [
        {
            "data": {"values": [{"x": value, "text": text, "y": middle - 12 - LINE * level}]},
            "mark": {
                "type": "text",
                "align": _aligned(scale.fraction(value)),
                "baseline": "bottom",
                "color": MUTED,
            },
            "encoding": {"x": scale.channel("x"), "y": raw("y"), "text": {"field": "text"}},
        }
        for value, text in words.items()
        for level in (levels[value],)
    ]
    apart = {
        "data": {"values": [{"x": scale.low, "x2": scale.high, "y": top + 4}]},
        "mark": {"type": "rule", "color": PAIRED, "strokeWidth": 1, "strokeDash": [2, 3]},
        "encoding": {"x": scale.channel("x"), "x2": {"field": "x2"}, "y": raw("y")},
    }
    hollow = {
        "data": {"values": marks},
        "mark": {
            "type": "point",
            "shape": "diamond",
            "filled": False,
            "size": 60,
            "color": MUTED,
            "strokeWidth": 1.5,
        },
        "encoding": {"x": scale.channel("x"), "y": raw("y")},
    }
    label = {"x": -12, "y": middle, "text": "published"}
    name = texts([label], {"align": "right", "color": MUTED})
    return [apart, hollow, *lines, name], middle + 16 - top


def _summary(row: Row, scale: Scale, *, y: int, paint: str) -> list[dict[str, Any]]:
    """The interval and its effect in words; without an estimate, the median alone."""
    effect, low, high = row.median, row.median, row.median
    if row.estimate is not None:
        own = row.estimate
        effect = effect if own.effect is None else own.effect
        # An open end runs to the edge of the chart.
        low = scale.low if own.low is None else own.low
        high = scale.high if own.high is None else own.high
    words = quantity(effect, scale.unit)
    if len(row.samples) > 1 and row.estimate is None:
        words = f"median {words}"
    room, wide = WIDTH - LEFT - RIGHT, len(words) * CHARACTER + 9
    fits = scale.fraction(high) * room + wide <= room
    # On the left it may reach into the margin, where nothing is at this height.
    right = fits and (scale.fraction(high) < 0.62 or scale.fraction(low) * room < wide)
    data = {"values": [{"x": effect, "l": low, "h": high, "y": y, "text": words}]}
    x, place = scale.channel("x"), raw("y")
    bar = {"type": "rule", "color": paint, "strokeWidth": 4, "strokeCap": "round"}
    tick = {"type": "tick", "color": paint, "thickness": 2, "size": 12, "orient": "vertical"}
    text = {
        "type": "text",
        "align": "left" if right else "right",
        "dx": 9 if right else -9,
        "baseline": "middle",
    }
    end = scale.channel("h" if right else "l")
    return [
        {
            "data": data,
            "mark": bar,
            "encoding": {"x": scale.channel("l"), "x2": {"field": "h"}, "y": place},
        },
        {"data": data, "mark": tick, "encoding": {"x": x, "y": place}},
        {
            "name": "halo",
            "data": data,
            "mark": text,
            "encoding": {"x": end, "y": place, "text": {"field": "text"}},
        },
    ]
