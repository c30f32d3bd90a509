"""What the judge must hold, and whether a study found that it does."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from pytest_vmvc.calibration.comparisons import OURS, OURS_FIXED
from pytest_vmvc.calibration.figures import RIVALS_MOST, Cell, Study
from pytest_vmvc.calibration.twin import CONFIDENCE

NOMINAL = 1 - CONFIDENCE
COVERAGE = 0.93
DRIFT = 0.06
HOST_PAIRS = 8
SIGMAS = 3.5
"""Monte-Carlo standard errors of tolerance: among some hundred cells that each lie on their limit,
one in forty studies would go over it by chance."""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, and the worst figure that came near it."""

    name: str
    found: str
    limit: str
    holds: bool


def error(share: float, experiments: int) -> float:
    """Monte-Carlo standard error of a simulated share."""
    return math.sqrt(share * (1 - share) / experiments)


def required(study: Study) -> tuple[Requirement, ...]:
    """Each requirement with its worst figure."""
    return tuple(_all(study))


def _all(study: Study) -> Iterator[Requirement]:
    at_bound = [cell for cell in study.cells if cell.truth == "on the bound"]
    yield _wrong("wrong verdicts, truth on the bound", at_bound, NOMINAL, study)
    beside = [cell for cell in study.cells if cell.truth != "on the bound"]
    yield _wrong("wrong verdicts, truth beside the bound", beside, NOMINAL, study)
    least = min(study.cells, key=lambda cell: cell.coverage)
    yield Requirement(
        name="coverage of 95 % intervals",
        found=f"{least.coverage:.2%} ({named(least)})",
        limit=f"at least {COVERAGE:.0%}",
        holds=least.coverage >= COVERAGE - SIGMAS * error(COVERAGE, study.experiments),
    )
    drifting = [cell for cell in at_bound if cell.world == "drift"]
    yield _wrong(f"false positives under drift (naive: {study.naive:.1%})", drifting, DRIFT, study)
    for race in study.races:
        if race.fixed_found < 1 / 2:
            continue  # a plan too small for such an effect, whoever decides: see its table
        slack = SIGMAS * math.hypot(
            error(race.found, study.experiments), error(race.fixed_found, study.experiments)
        )
        yield Requirement(
            name=f"half a standard deviation is found, at most {race.most} pairs",
            found=f"{race.found:.1%} with {race.pairs_mean:.1f} pairs at mean",
            limit=f"at least {race.fixed_found:.1%}, as by {race.fixed} pairs",
            holds=race.found >= race.fixed_found - slack,
        )
    for host in study.hosts:
        yield Requirement(
            name=f"a ratio of 2 at the host's noise of {host.noise:.2f}, at most {host.most} pairs",
            found=f"{host.pairs_median:g} pairs at the median, {host.right:.1%} right",
            limit=f"at most {HOST_PAIRS} pairs",
            holds=host.pairs_median <= HOST_PAIRS and host.right > 1 / 2,
        )
    yield _rivals(study)


def _wrong(name: str, cells: list[Cell], limit: float, study: Study) -> Requirement:
    worst = max(cells, key=lambda cell: cell.wrong)
    return Requirement(
        name=name,
        found=f"{worst.wrong:.2%} ({named(worst)})",
        limit=f"at most {limit:.0%}",
        holds=worst.wrong <= limit + SIGMAS * error(limit, study.experiments),
    )


def _rivals(study: Study) -> Requirement:
    """Never more false alarms than others, unless theirs are fewer than anybody need have."""
    ours = {rival.world: rival.false_alarms for rival in study.rivals if rival.who == OURS}
    others = [rival for rival in study.rivals if rival.who not in (OURS, OURS_FIXED)]
    slack = SIGMAS * error(NOMINAL, min(study.experiments, RIVALS_MOST))
    worse = [
        other for other in others if ours[other.world] > max(other.false_alarms, NOMINAL) + slack
    ]
    fewer = sum(ours[other.world] < other.false_alarms for other in others)
    return Requirement(
        name="false alarms beside those of others",
        found=f"fewer in {fewer} of {len(others)} comparisons, "
        f"more than theirs and than {NOMINAL:.0%} in {len(worse)}",
        limit="never more",
        holds=not worse,
    )


def named(cell: Cell) -> str:
    """Which cell it is, in a word."""
    what = "ratio" if cell.kind == "ratio" else "absolute bound"
    return f"{what}, {cell.world}, {plan_of(cell)}"


def plan_of(cell: Cell) -> str:
    """A cell's plan: a fixed number of pairs, or its looks."""
    if len(cell.plan) == 1:
        return f"n = {cell.plan[0]}"
    return "looks at " + ", ".join(map(str, cell.plan))
