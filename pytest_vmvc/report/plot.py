"""One chart of a claim as a file of its own, SVG or PNG: for a slide, a paper, a message."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.paths import put
from pytest_vmvc.report.cards import cards
from pytest_vmvc.report.figures import Figure
from pytest_vmvc.report.palette import INK, MUTED, SURFACE
from pytest_vmvc.report.wording import visible_log

SCALE: Final = 3
"""Pixels of a PNG for each unit of the drawing."""
HEAD, FOOT, SIDE = 34, 26, 14
NAME_LIMIT: Final = 60
"""Characters of a claim in a file's name: no more than 255 bytes, whatever they are."""
FONT: Final = "DejaVu Sans, Verdana, sans-serif"


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A chart of a claim on a pair; ``number`` counts those of the claim from 1."""

    claim: str
    pair: str
    number: int
    title: str
    svg: str

    @property
    def name(self) -> str:
        """A file name without an ending."""
        claim = re.sub(r"[^\w.-]+", "-", self.claim).lstrip(".-")[:NAME_LIMIT]
        return f"{claim}-{self.number}".lstrip(".-")


def plots(log: RunLog, claim: str) -> tuple[Plot, ...]:
    """All charts of a claim; raises `UsageError` for a claim that was not judged in this run."""
    shown = visible_log(log)
    known = [result.claim for result in shown.results]
    if claim not in known:
        raise UsageError(
            f"no claim {claim} in this results file",
            hint=f"name one of {', '.join(dict.fromkeys(known)) or 'another file: it has none'}",
        )
    own = msgspec.structs.replace(
        shown, results=tuple(result for result in shown.results if result.claim == claim)
    )
    scope = "" if shown.run is None else f"{shown.run.host.tier}, {shown.run.started[:10]}"
    [card] = cards(own)
    charts = [(pair.name, figure) for pair in card.pairs for figure in pair.figures]
    return tuple(
        Plot(
            claim=claim,
            pair=pair,
            number=number,
            title=figure.title,
            svg=_alone(figure, f"{claim}, pair {pair}; {scope}"),
        )
        for number, (pair, figure) in enumerate(charts, 1)
    )


def save(plot: Plot, path: Path) -> None:
    """Write it, as PNG or SVG by the ending, in one step.

    Raises `UsageError` for another ending, and `LedgerError` when it cannot be written.
    """
    if path.suffix == ".svg":
        content = plot.svg.encode()
    elif path.suffix == ".png":
        import vl_convert

        content = vl_convert.svg_to_png(plot.svg, scale=SCALE)
    else:
        raise UsageError(f"{path}: a plot is written as .svg or .png", hint="choose one of both")
    try:
        put(path, content)
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written: {error.strerror}", hint="choose another path"
        ) from error


def _alone(figure: Figure, foot: str) -> str:
    """The inline drawing with a name, a ground, a title above and its scope below."""
    inner = re.fullmatch(
        r'<svg class="chart" role="img" aria-label="([^"]*)" viewBox="([^"]*)">(.*)</svg>\s*',
        figure.svg,
        re.DOTALL,
    )
    assert inner is not None, "report.svg draws it so"
    label, box, body = inner.groups()
    width, height = (float(number) for number in box.split()[2:])
    wide, high = width + 2 * SIDE, height + HEAD + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" '
        f'width="{wide:g}" height="{high:g}" role="img" aria-label="{label}" '
        f'font-family="{FONT}"><rect width="{wide:g}" height="{high:g}" fill="{SURFACE}"/>'
        f'<text x="{SIDE}" y="22" font-size="14" font-weight="bold" fill="{INK}">'
        f"{escape(figure.title)}</text>"
        f'<g transform="translate({SIDE},{HEAD})">{body}</g>'
        f'<text x="{SIDE}" y="{high - 9:g}" font-size="10" fill="{MUTED}">{escape(foot)}</text>'
        "</svg>\n"
    )
