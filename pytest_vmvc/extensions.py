"""What other distributions add, by entry points: experiments, pairs, reapers.

Which there are is read from what is installed; one is imported when somebody asks for it, so that
what nobody uses costs nothing and breaks nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from pytest_vmvc.errors import UsageError

EXPERIMENTS = "vmvc.experiments"
"""Group of experiments: a class each, by the name of its fixture."""
PAIRS = "vmvc.pairs"
"""Group of pairs: a mapping of offers each, by the name that ``--vmvc-pair`` takes."""
REAPERS = "vmvc.reapers"
"""Group of reapers: a class each; the name is for people only."""


class Extension(NamedTuple):
    """One entry point, and whose it is."""

    name: str
    group: str
    distribution: str
    point: EntryPoint

    def __str__(self) -> str:
        return f"entry point {self.name} in {self.group} of {self.distribution}"

    def load(self) -> Any:  # noqa: ANN401 - whatever its author put there
        """Import what it names; raises `UsageError` where that cannot be done."""
        try:
            return self.point.load()
        except (Exception, SystemExit) as error:  # a stranger's module may do anything
            raise self.wrong(
                f"{self.point.value} cannot be imported: {type(error).__name__}: {error}"
            ) from error

    def wrong(self, message: str, hint: str = "") -> UsageError:
        """An error of this entry point, with whose it is and what to do."""
        remedy = f"uninstall {self.distribution}, or have its author mend it"
        return UsageError(f"{self}: {message}", hint=f"{hint}; else {remedy}" if hint else remedy)


def all_of(group: str) -> tuple[Extension, ...]:
    """Every entry point of a group, sorted; nothing is imported."""
    return _all_of(group, tuple(sys.path))


def by_name(group: str, taken: Iterable[str]) -> dict[str, Extension]:
    """The same by name; raises `UsageError` where a name is ``taken``, or two have it."""
    found: dict[str, Extension] = {}
    for one in all_of(group):
        if one.name in taken:
            raise one.wrong("the name is taken", "it needs another name")
        if one.name in found:
            raise one.wrong(f"{found[one.name].distribution} has it, too", "keep one of the two")
        found[one.name] = one
    return found


@lru_cache(maxsize=8)
def _all_of(group: str, _path: tuple[str, ...]) -> tuple[Extension, ...]:
    """``_path``: what is on it is what is installed; looking takes milliseconds."""
    found = [
        Extension(
            name=point.name,
            group=group,
            distribution=f"{point.dist.name} {point.dist.version}" if point.dist else "?",
            point=point,
        )
        for point in entry_points(group=group)
    ]
    return tuple(sorted(found, key=lambda one: (one.name, one.distribution)))
