"""The start-up path in pytest-benchmark's table: the very samples, replayed through public API.

Measuring inside ``benchmark(...)`` would run all of one side, then all of the other. So the samples
are taken first, interleaved, and then handed over by a timer that returns them and a target that
does nothing; ``extra_info`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_vmvc.model import Evidence
from pytest_vmvc.plugin import options

GROUP = "start-up"


class ReplayTimer:
    """A timer whose n-th pair of calls is n-th sample's seconds apart."""

    def __init__(self, samples: tuple[float, ...]) -> None:
        self._ticks = self._tick(samples)

    @staticmethod
    def _tick(samples: tuple[float, ...]) -> Iterator[float]:
        for seconds in samples:
            yield 0.0
            yield seconds

    def __call__(self) -> float:
        """The next tick, in seconds."""
        return next(self._ticks)


def replay(request: pytest.FixtureRequest, evidence: Evidence, subject: str) -> None:
    """Give one subject's ``start_s`` to pytest-benchmark, in the group of its pair."""
    config = request.config
    if options.saved(config):
        pytest.skip("the samples are those of a saved run: no benchmark table of this host")
    if not config.pluginmanager.hasplugin("benchmark"):
        pytest.skip(
            "pytest-benchmark is off: no benchmark table; the claims are judged all the same"
        )
    if reason := evidence.reason_missing(subject):
        pytest.skip(f"NOT TESTABLE: {reason}")
    rows = evidence.row(subject, "start_s")
    if not rows:
        pytest.skip(f"pair {evidence.pair} has no {subject}")
    samples = tuple(float(row.value) for row in rows if isinstance(row.value, int | float))
    request.node.add_marker(
        pytest.mark.benchmark(group=f"{GROUP}: {evidence.pair}, warm", timer=ReplayTimer(samples))
    )
    benchmark = request.getfixturevalue("benchmark")
    series = evidence.find(subject, "start_s")
    benchmark.extra_info.update(
        {
            "replayed": "samples were taken interleaved by pytest-vmvc and replayed here",
            "metric": "start_s: request to the payload's nonce, host's clock",
            "subject": subject,
            "pair": evidence.pair,
            "state": "warm",
            "blocks": [row.block for row in rows],
            "censored": sum(row.censored for row in rows),
            "version": series.facts.version if series and series.facts else "",
            "tier": evidence.host.tier if evidence.host else "",
        }
    )
    benchmark.pedantic(_nothing, rounds=len(samples), iterations=1)


def _nothing() -> None:
    """The target: what it stands for has already happened."""
