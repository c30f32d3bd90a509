"""Vega-Lite specifications to inline SVG that a strict page can hold."""

from __future__ import annotations

import html
import re
from typing import Any, Final

WIDTH: Final = 440
"""Units of the drawing across; it is shown between 300 and 520 pixels wide."""
LEFT: Final = 96
RIGHT: Final = 20

_NOISE: Final = re.compile(
    r' (?:role|aria-\w+|pointer-events|font-family|stroke-miterlimit|opacity)="(?:[^"]*)"'
    r'| (?:stroke-width="1"|[xy]2="0")'
)
"""What the page does not need; of the last ones SVG's own value is the same."""
_CLASS: Final = re.compile(r' class="(?![^"]* (?:halo|bound)_)[^"]*"')
"""Classes that style.css does not ask for."""
_EMPTY: Final = re.compile(
    r'<path class="(?:background|foreground)"[^>]*/>|<text [^>]*/>|<text [^>]*></text>'
)
_HOLLOW: Final = re.compile(r"<g[^>]*></g>")
_GROUP: Final = re.compile(r"(<g(?: [^>]*)?>|</g>)")


def specification(
    layers: list[dict[str, Any]], *, height: int, top: int, bottom: int
) -> dict[str, Any]:
    """A Vega-Lite chart of fixed size in which every place is ours.

    A layer's name ends up in the class of its marks; Vega wants names to be unique.
    """
    from pytest_vmvc.report.palette import GRID, INK, MUTED

    return {
        "width": WIDTH - LEFT - RIGHT,
        "height": height,
        "padding": {"left": LEFT, "right": RIGHT, "top": top, "bottom": bottom},
        "autosize": "none",
        "background": None,
        "layer": [
            layer | ({"name": f"{layer['name']}_{index}"} if "name" in layer else {})
            for index, layer in enumerate(layers)
        ],
        "config": {
            "aria": False,
            "view": {"stroke": None},
            "axis": {
                "gridColor": GRID,
                "ticks": False,
                "domain": False,
                "labelColor": MUTED,
                "labelFontSize": 12,
                "labelPadding": 10,
                "labelOverlap": True,
                "labelBound": False,
                "labelFlush": True,
            },
            "text": {"fontSize": 12, "color": INK},
        },
    }


def draw(spec: dict[str, Any], *, label: str) -> str:
    """The chart as one inline ``<svg>`` with an accessible name; no styles, no addresses."""
    import vl_convert

    drawing = str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
    start, rest = drawing.split(">", 1)
    box = re.search(r'viewBox="([0-9. -]+)"', start)
    # Only inside tags: a text is shown as it is. Vega escapes ">" in texts.
    body = re.sub(r"<[^>]*>", lambda tag: _lean(tag[0]), _EMPTY.sub("", rest))
    body = _unwrapped(_HOLLOW.sub("", _HOLLOW.sub("", _HOLLOW.sub("", body))))
    name = html.escape(label, quote=True)
    view = box[1] if box else f"0 0 {WIDTH} 200"
    return f'<svg class="chart" role="img" aria-label="{name}" viewBox="{view}">{body}'


def _unwrapped(body: str) -> str:
    """Without the groups that say nothing about what is in them."""
    parts: list[str] = []
    kept: list[bool] = []
    for part in _GROUP.split(body):
        if part.startswith("<g"):
            kept.append(part not in ("<g>", '<g transform="translate(0,0)">'))
            parts += [part] if kept[-1] else []
        elif part != "</g>" or kept.pop():
            parts.append(part)
    return "".join(parts)


def _lean(tag: str) -> str:
    """A tag without what the page does not need, places cut to a tenth."""
    return re.sub(r"\.(\d)\d*", _tenth, _NOISE.sub("", _CLASS.sub("", tag)))


def _tenth(found: re.Match[str]) -> str:
    return "" if found[1] == "0" else f".{found[1]}"
