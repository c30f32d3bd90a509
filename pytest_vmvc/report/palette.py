"""The colours that charts are drawn in; style.css maps each to a variable, so both modes work."""

from __future__ import annotations

from typing import Final

INK: Final = "#1d2327"
MUTED: Final = "#5b646b"
GRID: Final = "#e6e2d9"
RULE: Final = "#3a4147"
BAND: Final = "#efe9db"
SURFACE: Final = "#ffffff"
PAIRED: Final = "#c9c4b8"

SUBJECTS: Final = {
    "container": "#1f6fb2",
    "vm": "#8a4fa3",
    "vm-restored": "#b3591b",
    "host": "#5f6b75",
}
OTHER_SUBJECT: Final = "#2f7f6f"
SHAPES: Final = {
    "container": "circle",
    "vm": "diamond",
    "vm-restored": "square",
    "host": "triangle-up",
}
OTHER_SHAPE: Final = "cross"

PHASES: Final = (
    "#9dc3e0",
    "#f0c987",
    "#a8d3b4",
    "#d3b5de",
    "#f2b3a0",
    "#b9c7cf",
    "#d9d08c",
    "#9fd3d3",
    "#e8b6cf",
    "#bcc0ea",
)


def colour(subject: str) -> str:
    """Colour of a subject, the same in every chart."""
    return SUBJECTS.get(subject, OTHER_SUBJECT)


def shape(subject: str) -> str:
    """Shape of a subject's points: colour is never the only sign."""
    return SHAPES.get(subject, OTHER_SHAPE)
