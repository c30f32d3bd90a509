"""One experiment a file: what is provisioned, and which series come out.

To add one: write the file, and name it here. Its name is the fixture that a claim asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_vmvc.errors import UsageError

if TYPE_CHECKING:
    from pytest_vmvc.experiments.base import Experiment


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where an experiment is, and what a scheduler must know without importing it."""

    place: str
    """``module:Class``, below this package."""
    summary: str
    """What it sees, in a line: the fixture's help."""
    timed: bool = False
    """Times something, so it runs alone; the others run first, pair beside pair."""
    carrier: str = ""
    """The experiment whose fresh environments it rides in; empty where it has its own."""


CATALOGUE: Mapping[str, Entry] = {
    "kernel_facts": Entry(
        place="kernel_facts:KernelFacts",
        summary="whose kernel runs inside: release, boot id, boot time, visibility",
    ),
    "sizes": Entry(place="sizes:Sizes", summary="bytes to fetch and to keep"),
    "cold_start": Entry(
        place="cold_start:ColdStart",
        summary="fresh starts, paired and interleaved, on one stopwatch",
        timed=True,
    ),
}
"""All experiments, by the name of their fixture."""


def is_survey(name: str) -> bool:
    """Whether it times nothing and provisions for itself, so that it may run beside others."""
    entry = CATALOGUE[name]
    return not entry.timed and not entry.carrier


def carrier_of(name: str) -> str:
    """The experiment that it rides in; empty where it has environments of its own."""
    return CATALOGUE[name].carrier


def load(name: str) -> Experiment:
    """Make an experiment by name; raises `UsageError` on a name that is not known."""
    if name not in CATALOGUE:
        raise UsageError(f"there is no experiment {name}", hint=f"one of {', '.join(CATALOGUE)}")
    module, _, kind = CATALOGUE[name].place.partition(":")
    found: Any = getattr(import_module(f"{__name__}.{module}"), kind)
    experiment: Experiment = found()
    return experiment
