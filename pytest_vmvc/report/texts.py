"""Every text of a run, by the types of its records: new fields are found without being named."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Final, Literal, TypeVar, get_origin, get_type_hints

import msgspec

T = TypeVar("T")
_PLAIN: Final = (bool, int, float, enum.Enum, type(None))


def changed(value: T, change: Callable[[str], str], *, kept: Collection[str] = ()) -> T:
    """The same data with every free text replaced by what ``change`` makes of it, keys too.

    Fields in ``kept`` stay, and so does what is one of a few words, as a verdict or an operator.
    """
    found: Any = value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, str):
        found = change(value)
    elif isinstance(value, dict):
        found = {changed(k, change): changed(v, change, kept=kept) for k, v in value.items()}
    elif isinstance(value, tuple):
        found = tuple(changed(child, change, kept=kept) for child in value)
    elif isinstance(value, msgspec.Struct):
        texts = {
            name: changed(getattr(value, name), change, kept=kept)
            for name in _free(type(value))
            if name not in kept
        }
        found = msgspec.structs.replace(value, **texts)
    return found  # type: ignore[no-any-return]  # of the type that came in


@cache
def _free(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Fields of a record that may hold anything."""
    hints = get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if get_origin(hints[name]) is not Literal)
