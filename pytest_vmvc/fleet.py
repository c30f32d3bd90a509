"""Many hosts: one verdict of a reading over them, by how many of them it stands on.

Each host has one vote, that of its latest run; samples of several hosts are never pooled. So the
figure is the share of the hosts that decided it, with the exact interval of that share: it speaks
of a larger fleet as far as these hosts are a random draw of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from statistics import median
from typing import Final, Literal

import msgspec

from pytest_vmvc.digest import Digest, Entry, Key
from pytest_vmvc.model import Reading, Verdict
from pytest_vmvc.stats import proportion_bound

CONFIDENCE: Final = 0.95
Holds = Literal["all", "most", "some", "none", "undecided", "untested"]
"""On which of the hosts that decided it; ``most``: on more than half, but not on all."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Each host's estimate of a reading's key figure: the extremes with their hosts."""

    low: float
    middle: float
    high: float
    lowest: int
    """Which run has it."""
    highest: int
    figures: tuple[float, ...]
    """Of every host, ascending."""
    unit: str


class Over(msgspec.Struct, frozen=True, kw_only=True):
    """A reading on a pair over all hosts; hosts are told by the indexes of their runs."""

    key: Key
    reading: Reading
    stands: tuple[int, ...]
    falls: tuple[int, ...]
    open: tuple[int, ...]
    untested: tuple[int, ...]
    otherwise: tuple[int, ...]
    """Asked another question under this name: they have no vote."""
    share: tuple[float, float] | None
    """Exact interval of the share of hosts on which it stands, of those that decided it."""
    spread: Spread | None
    """None where less than two hosts have such a figure."""
    reasons: tuple[tuple[str, int], ...]
    """Why hosts did not decide it, the most frequent first."""

    @property
    def decided(self) -> int:
        """Hosts that say SUPPORTED or REFUTED."""
        return len(self.stands) + len(self.falls)

    @property
    def holds(self) -> Holds:
        """The verdict over hosts."""
        if not self.decided:
            return "undecided" if self.open else "untested"
        if not self.falls:
            return "all"
        if not self.stands:
            return "none"
        return "most" if len(self.stands) > len(self.falls) else "some"

    @property
    def parted(self) -> bool:
        """Whether hosts decide it against each other."""
        return bool(self.stands and self.falls)

    @property
    def odd(self) -> tuple[int, ...]:
        """The hosts that decide it otherwise than most of those that do."""
        return min(self.falls, self.stands, key=len)


def over_hosts(runs: Sequence[Digest]) -> tuple[Over, ...]:
    """Every reading over all hosts, in the order in which the runs have them."""
    votes: dict[Key, dict[str, int]] = {}
    for index in sorted(range(len(runs)), key=lambda index: _started(runs[index])):
        for key in runs[index].entries:
            votes.setdefault(key, {})[runs[index].where] = index
    # In the order of the runs that were given, not of their dates.
    keys = dict.fromkeys(key for run in runs for key in run.entries)
    return tuple(_over(runs, key, sorted(votes[key].values())) for key in keys)


def _started(run: Digest) -> str:
    return run.run.started if run.run else ""


def _over(runs: Sequence[Digest], key: Key, voters: Sequence[int]) -> Over:
    said = {index: runs[index].entries[key] for index in voters}
    [(question, _)] = Counter(entry.reading.question for entry in said.values()).most_common(1)
    valid = {i: entry for i, entry in said.items() if entry.reading.question == question}
    by = {v: tuple(i for i, e in valid.items() if e.verdict == v) for v in Verdict}
    undecided = (*by[Verdict.INCONCLUSIVE], *by[Verdict.NOT_TESTABLE])
    reasons = Counter(valid[i].reason or valid[i].finding for i in undecided)
    stands, falls = by[Verdict.SUPPORTED], by[Verdict.REFUTED]
    return Over(
        key=key,
        reading=next(iter(valid.values())).reading,
        stands=stands,
        falls=falls,
        open=by[Verdict.INCONCLUSIVE],
        untested=by[Verdict.NOT_TESTABLE],
        otherwise=tuple(i for i in said if i not in valid),
        share=_share(len(stands), len(falls)) if stands or falls else None,
        spread=_spread(valid),
        reasons=tuple(reasons.most_common()),
    )


@lru_cache(maxsize=4096)
def _share(stands: int, falls: int) -> tuple[float, float]:
    """Clopper and Pearson's interval; one-sided where all are alike: there is no other side."""
    n = stands + falls
    one_sided = 1 - (1 - CONFIDENCE) / (1 if not (stands and falls) else 2)
    return (
        1 - proportion_bound(falls, n, confidence=one_sided),
        proportion_bound(stands, n, confidence=one_sided),
    )


def _spread(said: Mapping[int, Entry]) -> Spread | None:
    found = sorted(_figures(said))
    units = {unit for _, _, unit in found}
    if len(found) < 2 or len(units) > 1:
        return None
    figures = tuple(figure for figure, _, _ in found)
    return Spread(
        low=figures[0],
        middle=median(figures),
        high=figures[-1],
        lowest=found[0][1],
        highest=found[-1][1],
        figures=figures,
        unit=units.pop(),
    )


def _figures(said: Mapping[int, Entry]) -> Iterator[tuple[float, int, str]]:
    for index, entry in said.items():
        if entry.estimate is not None and entry.estimate.effect is not None:
            yield entry.estimate.effect, index, entry.estimate.unit
