from __future__ import annotations

import re
import statistics
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import pytest_vmvc.report
from pytest_vmvc.model import Estimate, Observation
from pytest_vmvc.report import charts, layers, palette, svg
from pytest_vmvc.report.figures import median_phases
from pytest_vmvc.report.layers import Row, Sample
from pytest_vmvc.report.scale import Scale

STYLE = (Path(pytest_vmvc.report.__file__).parent / "style.css").read_text()


def row(subject: str, *values: float, censored: int = -1, **more: object) -> Row:
    samples = tuple(
        Sample(value=value, block=block, censored=block == censored)
        for block, value in enumerate(values)
    )
    return Row(subject=subject, samples=samples, **more)  # type: ignore[arg-type]


def estimate(low: float | None, high: float | None) -> Estimate:
    return Estimate(
        effect=statistics.median([low or 1, high or 9]),
        low=low,
        high=high,
        confidence=0.95,
        n=3,
        unit="s",
        method="m",
    )


def points(drawing: str, colour: str) -> int:
    """Filled marks of a colour that are neither text nor bar."""
    return len(
        re.findall(rf'<path [^>]*A[^>]*fill="{colour}"|<path [^>]*L[^>]*fill="{colour}"', drawing)
    )


def dosed(subject: str, *values: float) -> Row:
    samples = tuple(
        Sample(value=value, block=0, dose=float(step)) for step, value in enumerate(values)
    )
    return Row(subject=subject, samples=samples)


ROWS = [
    row("container", 0.3, 0.31, 0.33, estimate=estimate(0.3, 0.33)),
    row("vm", 4.0, 4.4, 9.0, censored=2, estimate=estimate(4.0, None)),
    row("somebody else", 1.0, 2.0, 3.0),
]
DRAWINGS = {
    "strip": lambda: svg.draw(charts.strip(ROWS, unit="s", bounds=[60.0]), label="a"),
    "single": lambda: svg.draw(charts.strip([row("vm", 5e6)], unit="bytes", bounds=[]), label="b"),
    "zero": lambda: svg.draw(charts.strip([row("vm", 0.0, 0.0)], unit="s", bounds=[]), label="b"),
    "negative": lambda: svg.draw(charts.strip([row("vm", -2.0)], unit="K", bounds=[]), label="b"),
    "ratios": lambda: svg.draw(
        charts.ratios(row("r", 12.0, 13.0, 14.0), threshold=1.25, words="pairs"), label="c"
    ),
    "doses": lambda: svg.draw(
        charts.doses(
            [dosed("container", 0.5, 0.5, 0.6), dosed("vm", 3.0, 4.0, 9.0)],
            unit="s",
            dose_unit="bytes",
        ),
        label="e",
    ),
    "phases": lambda: svg.draw(
        charts.phases({"container": {"created": 0.1}, "vm": dict.fromkeys("abcdefghijk", 1.0)}),
        label="d",
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_well_formed_and_needs_nothing_from_outside(name: str) -> None:
    drawing = DRAWINGS[name]()
    ET.fromstring(drawing)
    assert drawing.startswith('<svg class="chart" role="img" aria-label="')
    assert "style=" not in drawing
    assert "http" not in drawing
    assert "NaN" not in drawing
    assert " id=" not in drawing


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_colour_has_a_variable_for_both_modes(name: str) -> None:
    used = re.findall(r'(fill|stroke)="(#[0-9a-fA-F]+|[a-z]+\([^"]*)"', DRAWINGS[name]())
    for attribute, colour in sorted(set(used)):
        assert f'.chart [{attribute}="{colour}"]' in STYLE


def test_every_sample_is_drawn() -> None:
    drawing = DRAWINGS["strip"]()
    assert points(drawing, palette.colour("container")) == 3
    assert points(drawing, palette.colour("vm")) == 2
    assert drawing.count(f'stroke="{palette.colour("vm")}"') >= 1, "the censored one is open"


def test_of_very_many_blocks_every_so_manieth_is_drawn_the_same_on_both_sides() -> None:
    """A renderer with a million points runs out of memory, and a page with them is no page."""
    blocks = range(3 * layers.MOST + 1)
    rows = [
        Row(subject=subject, samples=tuple(Sample(value=at * (1 + b), block=b) for b in blocks))
        for subject, at in (("container", 0.1), ("vm", 1.0))
    ]
    first, second = (row.drawn for row in rows)
    assert layers.MOST / 2 < len(first) <= layers.MOST
    assert [s.block for s in first] == [s.block for s in second]
    assert rows[0].median == statistics.median(s.value for s in rows[0].samples)
    chart = charts.strip(rows, unit="s", bounds=[60.0])
    assert len(str(chart)) < 400 * layers.MOST
    few = Row(subject="vm", samples=rows[1].samples[: layers.MOST])
    assert few.drawn == few.samples


def test_the_bound_is_drawn_and_named() -> None:
    drawing = DRAWINGS["strip"]()
    assert "bound 60\u00a0s" in drawing
    assert 'stroke-dasharray="5,4"' in drawing


def test_hostile_subjects_are_text() -> None:
    name = "</svg><script>alert(1)</script>\"'&"
    drawing = svg.draw(charts.strip([row(name, 1.0)], unit=name, bounds=[2.0]), label=name)
    assert "<script" not in drawing
    assert drawing.count("</svg>") == 1
    ET.fromstring(drawing)


@pytest.mark.parametrize(
    "values",
    [[0.3, 60], [1e-6, 1e6], [1, 1], [5, 50], [0.99, 1.01], [1e-12, 1e12], [0, 3], [-5, 5]],
)
@pytest.mark.parametrize("log", [None, True])
def test_an_axis_holds_its_values_and_some_ticks(values: list[float], log: bool | None) -> None:
    scale = Scale(values, unit="s", log=log)
    assert all(-1e-9 <= scale.fraction(value) <= 1 + 1e-9 for value in values)
    assert 2 <= len(scale.ticks()) <= 12
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_an_axis_is_logarithmic_beyond_a_tenfold_range() -> None:
    assert not Scale([1, 10], unit="s").log
    assert Scale([1, 10.1], unit="s").log
    assert not Scale([0, 100], unit="s").log


def test_phases_are_medians_of_differences_in_order() -> None:
    def seen(**marks: float) -> Observation:
        return Observation(
            experiment="e", pair="p", subject="vm", metric="m", value=1.0, at="", marks=marks
        )

    phases = median_phases(
        [
            seen(ready=3.0, kernel=1.0, init=2.5),
            seen(kernel=1.2, init=2.0, ready=2.2),
            seen(kernel=0.8, ready=2.0),
        ]
    )
    assert list(phases) == ["kernel", "init", "ready"]
    assert phases["kernel"] == pytest.approx(1.0)
    assert phases["init"] == pytest.approx(1.15)
    assert phases["ready"] == pytest.approx(0.5)
    assert median_phases([]) == {}


def test_phase_names_keep_each_subjects_order() -> None:
    names = charts.phase_names(
        {
            "container": dict.fromkeys(["created", "started", "answer", "ready"], 1.0),
            "vm": dict.fromkeys(["process", "kernel", "answer", "ready"], 1.0),
        }
    )
    assert names == ["created", "started", "process", "kernel", "answer", "ready"]


def test_bounds_that_are_near_stand_on_two_lines() -> None:
    scale = Scale([0.3, 60.0], unit="s", log=True)
    near, far = {10.0: "bound 10 s", 60.0: "bound 60 s"}, {0.4: "bound 0.4 s", 60.0: "bound 60 s"}
    assert sorted(layers.rule_levels(scale, near).values()) == [0, 1]
    assert list(layers.rule_levels(scale, far).values()) == [0, 0]
    drawing = svg.draw(charts.strip(ROWS, unit="s", bounds=[10.0, 60.0]), label="b")
    heights = re.findall(r'translate\([\d.]+,(-[\d.]+)\)"[^>]*>bound', drawing)
    assert len(heights) == 2
    assert len(set(heights)) == 2


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.27, 1.45), (0.9, 1.1), (0.01, 0.012), (90.0, 100.0), (0.5, 90.0), (None, None)],
)
def test_a_figure_stands_beside_its_interval_and_inside_the_drawing(
    low: float | None, high: float | None
) -> None:
    ends = [end for end in (low, high) if end is not None]
    of_pairs = row("a ÷ b", *ends, 1.0, estimate=estimate(low, high))
    drawing = svg.draw(charts.ratios(of_pairs, threshold=1.25, words="pairs"), label="b")
    anchor, place, words = re.findall(
        r'text-anchor="(\w+)" transform="translate\((-?[\d.]+),57\)"[^>]*>([^<]+)<', drawing
    )[0]
    left = float(place) - (len(words) * layers.CHARACTER if anchor == "end" else 0)
    assert left >= -svg.LEFT
    assert left + len(words) * layers.CHARACTER <= svg.WIDTH - svg.LEFT
