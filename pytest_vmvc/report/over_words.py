"""What a reading's verdict over many hosts is called, and how far it carries."""

from __future__ import annotations

from typing import Final

from pytest_vmvc.fleet import Holds, Over
from pytest_vmvc.report.wording import count
from pytest_vmvc.units import NBSP, quantity

HOLDS_CLASS: Final[dict[Holds, str]] = {
    "all": "supported",
    "most": "mixed",
    "some": "mixed",
    "none": "refuted",
    "undecided": "inconclusive",
    "untested": "not-testable",
}
HOLDS_WORDS: Final[dict[Holds, str]] = {
    "all": "hold on every host that decided them",
    "most": "hold on most hosts",
    "some": "hold on half of the hosts or less",
    "none": "hold on no host",
    "undecided": "decided on no host",
    "untested": "tested on no host",
}
DIFFERENT_SETS: Final = (
    "The runs were made with different sets of readings (readings hash); those that they have in "
    "common ask the same."
)


def holds_words(over: Over) -> str:
    """``holds on 960 of 971 hosts``: of those that decided it."""
    n, stands = over.decided, len(over.stands)
    if n == 1:
        return "holds on 1 host" if stands else "falls on 1 host"
    match over.holds:
        case "all":
            return f"holds on all {n} hosts"
        case "none":
            return f"holds on none of {n} hosts"
        case "most" | "some":
            return f"holds on {stands} of {n} hosts"
        case "undecided":
            return "decided on no host"
    return "tested on no host"


def share_words(over: Over) -> str:
    """The share of hosts on which it stands, with its exact interval; empty for less than two."""
    if over.share is None or over.decided < 2:
        return ""
    low, high = (percent(end) for end in over.share)
    if over.holds == "all":
        return f"{low} of hosts or more"
    if over.holds == "none":
        return f"{high} of hosts or less"
    return f"{percent(len(over.stands) / over.decided)} of hosts ({low} to {high})"


def tally_words(over: Over) -> str:
    """How many hosts say what; what none says is left out."""
    numbers = (
        (len(over.stands), "supported"),
        (len(over.falls), "refuted"),
        (len(over.open), "open"),
        (len(over.untested), "not testable"),
        (len(over.otherwise), "asked otherwise"),
    )
    return " · ".join(f"{number}{NBSP}{word}" for number, word in numbers if number)


def percent(share: float) -> str:
    """A share; what is not all is never rounded to all, nor what is not nothing to nothing."""
    shown = quantity(100 * share, "%", exact=True)
    if share < 1 and shown == "100%":
        return "99.9%"
    return shown


def hosts_words(n: int) -> str:
    """``1 host``, ``12 hosts``."""
    return count(n, "host")
