"""Every text of a run, by the types of its records: new fields are found without being named."""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T")
_PLAIN: Final = (bool, int, float, enum.Enum, type(None))


def changed(value: T, change: Callable[[str], str], *, kept: Collection[str] = ()) -> T:
    """The same data with every free text replaced by what ``change`` makes of it, keys too.

    Fields in ``kept`` stay, and so does what is one of a few words, as a verdict or an operator.
    What ``change`` leaves as it is stays the very same object: a run may have a million records.
    """
    found: Any = value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, str):
        found = change(value)
    elif isinstance(value, dict):
        found = {changed(k, change): changed(v, change, kept=kept) for k, v in value.items()}
        found = value if found == value else found
    elif isinstance(value, tuple):
        found = tuple(changed(child, change, kept=kept) for child in value)
        found = value if all(map(operator.is_, found, value)) else found
    elif isinstance(value, msgspec.Struct):
        texts = {}
        for name in _free(type(value), tuple(kept)):
            old = getattr(value, name)
            kind = type(old)
            if kind is str:
                new = change(old)
                if new != old:
                    texts[name] = new
            elif kind is not float and old:
                new = changed(old, change, kept=kept)
                if new is not old:
                    texts[name] = new
        found = msgspec.structs.replace(value, **texts) if texts else value
    return found  # type: ignore[no-any-return]  # of the type that came in


@cache
def _free(kind: type[msgspec.Struct], kept: tuple[str, ...]) -> tuple[str, ...]:
    """Fields of a record that may hold anything."""
    hints = get_type_hints(kind)
    return tuple(
        name
        for name in kind.__struct_fields__
        if get_origin(hints[name]) is not Literal and not _is_plain(hints[name])
        if name not in kept
    )


def _is_plain(hint: object) -> bool:
    """Whether it stands for numbers, words of a few, or nothing, and for no free text."""
    parts = get_args(hint) or (hint,)
    return all(isinstance(part, type) and issubclass(part, _PLAIN) for part in parts)
