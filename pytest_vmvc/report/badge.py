"""The score as a small SVG, to be shown in a README."""

from __future__ import annotations

from html import escape

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.report.score import score

NAME = "VM vs container"
INK, PAPER = "#3a4147", "#59626a"
COLOURS = {"supported": "#0a6147", "refuted": "#a1301a"}
CHARACTER_PX, PAD_PX, HEIGHT_PX = 6.6, 8, 20


def badge(log: RunLog) -> str:
    """How many claims stand and fall; grey where the run decided none, and whether it ended."""
    numbers = {css: f"{number} {words}" for words, css, number in score(log.results)}
    said = ", ".join(numbers[css] for css in ("supported", "refuted", "mixed") if css in numbers)
    said = said or "nothing decided"
    if log.end is None or log.end.interrupted:
        said += " (incomplete)"
    colour = next((COLOURS[css] for css in ("supported", "refuted") if css in numbers), PAPER)
    left, right = (round(len(text) * CHARACTER_PX) + 2 * PAD_PX for text in (NAME, said))
    label = escape(f"{NAME}: {said}")
    texts = "".join(
        f'<text x="{x}" y="14">{escape(text)}</text>'
        for x, text in ((left / 2, NAME), (left + right / 2, said))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT_PX}" '
        f'role="img" aria-label="{label}"><title>{label}</title>'
        f'<rect width="{left}" height="{HEIGHT_PX}" fill="{INK}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT_PX}" fill="{colour}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        f'text-anchor="middle">{texts}</g></svg>\n'
    )
