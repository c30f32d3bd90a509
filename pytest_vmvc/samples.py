"""Plain numbers from a file: one sample a line, or a JSON array; each fault with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from pytest_vmvc.errors import SamplesError

LONGEST = 400
"""Characters of a line that may still be one number."""
MOST_BYTES = 256 * 1024 * 1024
"""Largest file that is read."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DIGITS = re.compile(r"[0-9.eE+\-\n]*")
_HEADER = re.compile(r"[\s\"'#_(]*[^\W\d]")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_UNIT = re.compile(r"[\[(]\s*([^\])]{1,20}?)\s*[\])]\s*[\"']?\s*$")


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one file, in its order."""

    name: str
    values: list[float]
    censored: list[bool] | None = None
    """Which are lower bounds only (``>300``); None where none is."""
    unit: str = ""
    """The unit that the header names in brackets, as in ``time (s)``."""
    place: str = "line"
    first: int = 1
    """Number of the line, or of the item, that the first sample stands in."""

    def where(self, index: int) -> str:
        """The place of a sample in its file."""
        return f"{self.name}, {self.place} {self.first + index}"


def read(path: Path) -> Samples:
    """Read a file of samples.

    One number a line, after one line of header or none; or an array of numbers in JSON. ``>300`` is
    a lower bound: the sample ended at its deadline. Raises `SamplesError` naming the line on
    anything else, and where the file cannot be read (its cause is then an OSError).
    """
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _not_text(f"{path}, line {line}") from error
    if "\0" in text:
        raise _not_text(f"{path}, line {text.count(chr(10), 0, text.index(chr(0))) + 1}")
    if text.lstrip().startswith("["):
        return _from_json(str(path), text)
    return _from_lines(str(path), text.replace("\r\n", "\n").replace("\r", "\n").rstrip())


def refuse(samples: Samples, bad: Callable[[float], bool], why: str, *, hint: str) -> None:
    """Raise `SamplesError` for the first sample that is bad, naming its place."""
    found = next((i for i, value in enumerate(samples.values) if bad(value)), None)
    if found is not None:
        raise SamplesError(f"{samples.where(found)}: {samples.values[found]:g}: {why}", hint=hint)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SamplesError(
            f"{path} cannot be read: {reason}", hint="name a file with one number a line"
        ) from error
    if len(content) > MOST_BYTES:
        raise SamplesError(
            f"{path} is larger than {MOST_BYTES >> 20} MiB", hint="judge a part of it"
        )
    return content


def _from_lines(name: str, text: str) -> Samples:
    lines = text.split("\n") if text.strip() else []
    header = bool(lines) and _is_header(lines[0])
    if len(lines) == header:
        what = "a header and no sample" if header else "no sample"
        raise SamplesError(f"{name} holds {what}", hint="write one number a line")
    values, late = _plain(lines[header:]) or _with_care(name, lines[header:], 1 + header)
    unit = _UNIT.search(lines[0]) if header else None
    return Samples(
        name=name,
        values=values,
        censored=late if any(late) else None,
        unit=unit[1] if unit else "",
        first=1 + header,
    )


def _plain(lines: list[str]) -> tuple[list[float], list[bool]] | None:
    """Samples, and which are lower bounds, where nothing else is there: a million in no time."""
    bare = [line.removeprefix(">") for line in lines]
    if not _DIGITS.fullmatch("\n".join(bare)) or max(map(len, lines)) > LONGEST:
        return None
    try:
        values = list(map(float, bare))
    except ValueError:
        return None
    late = [line.startswith(">") for line in lines]
    return (values, late) if all(map(math.isfinite, values)) else None


def _with_care(name: str, lines: list[str], first: int) -> tuple[list[float], list[bool]]:
    """The same line by line, so that a fault has its number."""
    values, late = [], []
    for number, line in enumerate(lines, first):
        try:
            value, censored = _sample(line)
        except ValueError as error:
            raise SamplesError(f"{name}, line {number}: {error}", hint=_remedy(line)) from None
        values.append(value)
        late.append(censored)
    return values, late


def _from_json(name: str, text: str) -> Samples:
    try:
        items = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SamplesError(
            f"{name} is not an array of numbers in JSON: {error}", hint="like [1.2, 3.4]"
        ) from None
    if not items:
        raise SamplesError(f"{name} holds no sample", hint="like [1.2, 3.4]")
    values, late = [], []
    for number, item in enumerate(items, 1):
        try:
            value, censored = _item(item)
        except (ValueError, OverflowError) as error:
            raise SamplesError(
                f"{name}, item {number}: {error}", hint='give numbers, or ">300" for a lower bound'
            ) from None
        values.append(value)
        late.append(censored)
    return Samples(name=name, values=values, censored=late if any(late) else None, place="item")


def _item(item: object) -> tuple[float, bool]:
    if isinstance(item, str):
        return _sample(item)
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise ValueError(f"not a number: {_short(str(item))}")  # noqa: TRY004 - the caller adds the place
    if not math.isfinite(item):
        raise ValueError(f"{item} is not a finite number")
    return float(item), False


def _sample(text: str) -> tuple[float, bool]:
    """A number, and whether it is a lower bound; ValueError says what else it is."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters are not one number")
    text = text.strip().strip("\"'").strip()
    late = text.startswith(">")
    if late:
        text = text[1:].removeprefix("=").strip()
    if not _NUMBER.fullmatch(text):
        what = "a blank" if not text else f"{_short(text)}"
        raise ValueError(
            f"{what} is not a {'finite ' if _NOT_FINITE.fullmatch(text) else ''}number"
        )
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_short(text)} is too large a number")
    return value, late


def _is_header(line: str) -> bool:
    if len(line) > LONGEST or _NOT_FINITE.fullmatch(line.strip()):
        return False
    return bool(_HEADER.match(line))


def _remedy(line: str) -> str:
    """What to do about a line that holds no sample."""
    if len(line) > LONGEST:
        return "write one number a line"
    if not line.strip():
        return "remove the blank line; a sample that timed out is written >300, never left out"
    if _NOT_FINITE.fullmatch(line.strip()):
        return "a sample that timed out is written >300, its deadline; a failed one is left out"
    if re.search(r"[,;\t]", line.strip()):
        return "give one column (`cut -d, -f2`), with a point for the decimals"
    return "write one number a line, its unit in --unit; >300 is a lower bound"


def _short(text: str) -> str:
    return ascii(text[:40]) if len(text) <= 40 else f"{text[:40]!a}…"


def _not_text(where: str) -> SamplesError:
    return SamplesError(f"{where}: not text", hint="write one number a line, in UTF-8")
