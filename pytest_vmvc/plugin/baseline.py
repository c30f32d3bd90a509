"""Verdicts of an accepted run of this host, which later runs are held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.compare import elsewhere
from pytest_vmvc.errors import LedgerError
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Host, Result
from pytest_vmvc.text import visible, visible_line


class Baseline:
    """What each reading had for a verdict, and the samples behind it."""

    def __init__(self, log: RunLog) -> None:
        """Raises `pytest.UsageError` where it is damaged, or does not tell of which host it is.

        A verdict that cannot be read any more would be gated on no longer, unnoticed.
        """
        if log.problems:
            raise pytest.UsageError(
                f"--vmvc-baseline: {log.problems[0]}; write it again with --vmvc-update-baseline"
            )
        assert log.run is not None  # a file without its run has that for a problem
        self.log = log
        self._host = log.run.host
        self.name = visible_line(f"run {log.run.measured_by} of {log.run.started[:10]}")
        self._results = ledger.by_reading(log)

    def of(self, claim: str, reading: str, pair: str) -> Result | None:
        """The accepted result; None for a reading that is not in it."""
        return self._results.get((claim, reading, pair))

    def check(self, host: Host) -> None:
        """Raise `pytest.UsageError` where it is of another host."""
        if reason := elsewhere(self._host, host):
            raise pytest.UsageError(
                visible_line(f"--vmvc-baseline: it is of another host: {reason}; ")
                + "write one here with --vmvc-update-baseline"
            )


def load(path: Path) -> Baseline:
    """Read a baseline; raises `pytest.UsageError` naming what to do."""
    try:
        return Baseline(ledger.read(path))
    except LedgerError as error:
        raise pytest.UsageError(
            visible(f"--vmvc-baseline: {error.message}; write one with --vmvc-update-baseline")
        ) from error
