"""Text of others, made safe to show: every character is seen, and no terminal obeys it."""

from __future__ import annotations

import unicodedata
from typing import Final

TEXT_LIMIT: Final = 4000
"""Characters of one text that are shown; the rest is in the raw data."""
LINE_KEPT: Final = 300
"""Characters of the line by which a message names its cause."""
_UNSEEN: Final = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
"""Categories of controls, directions, lone surrogates and what is no character."""


def visible(text: str) -> str:
    """The text with every control, direction and lone-surrogate character made visible."""
    if text.isascii() and text.isprintable() and len(text) <= TEXT_LIMIT:
        return text  # as nearly all are, of which a run may have millions
    more = len(text) - TEXT_LIMIT
    if more > 0:  # first, so that the rest of a very long one costs nothing
        text = text[:TEXT_LIMIT]
    if not text.isascii() or not text.isprintable():
        text = "".join(_shown(char) for char in text)
    return f"{text} … ({more} more characters)" if more > 0 else text


def visible_line(text: str) -> str:
    """The same on one line: a line break in it cannot pass for the begin of another line."""
    return visible(text).replace("\n", " ⏎ ").replace("\t", " ")


def one_line(text: str, most: int) -> str:
    """The start of a text on one line, at most so long; a blank for what cannot be printed."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(printable.split())[:most]


def last_line(text: str, otherwise: str = "it said nothing") -> str:
    """Where a program says why it ended: the last line with anything on it that can be printed."""
    lines = (one_line(line, LINE_KEPT) for line in reversed(text.splitlines()))
    return next(filter(None, lines), otherwise)


def _shown(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _UNSEEN:
        return char
    return f"⟨U+{ord(char):04X}⟩"
