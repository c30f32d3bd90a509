"""One host of many: its results file, and what becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vmvc.ledger import LedgerWriter
from pytest_vmvc.model import End, Record, Result, Run
from pytest_vmvc.plugin.host_list import Spec
from pytest_vmvc.plugin.run_folder import now
from pytest_vmvc.text import last_line, visible_line


class HostRun:
    """A host of the list: its results file, and what became of it."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.path = folder / spec.id / "results.jsonl"
        self.report: Path | None = None
        self.name = ""
        self.results: list[Result] = []
        self.problems: list[str] = []
        self.out = ""
        """Why it was left out before it measured anything."""
        self.lost = ""
        """Why it did not come to its end."""
        self.empty = False
        """Whether that is because nothing was found there."""
        self.running = ""
        """The test that it is at."""
        self.node: Any = None
        self.channel: Any = None
        self.starting: set[int] | None = None
        """Our children from before it, while its gateway is being made."""
        self.put: Callable[[Any], None] | None = None
        self.over = False
        """Its end, of whatever kind, is on its way to pytest-xdist; nothing else is passed on."""
        self.down = False
        """Its end has arrived there."""
        self.began = self.heard = time.monotonic()
        self.answered = False
        self._writer: LedgerWriter | None = None
        self._ended = False
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        """Its names: that of its gateway, how it is reached, and its own."""
        own = f", host {self.name}" if self.name else ""
        return f"{self.spec.id} ({self.spec.shown}{own})"

    def end(self) -> bool:
        """Whether this is its end, and not one more beside it, as several threads may see one."""
        with self._lock:
            before, self.over = self.over, True
        return not before

    def write(self, record: Record) -> None:
        """Write it down now, for good; raises `LedgerError`."""
        with self._lock:
            if self._ended:
                return  # it was given up, and its file is closed
            if isinstance(record, Run):
                self.name = record.host.name
            if self._writer is None:
                self._writer = LedgerWriter(self.path)
            self._writer.append(record)
            self._ended = isinstance(record, End)
        if isinstance(record, Result):
            self.results.append(record)

    def close(self, exit_status: int) -> None:
        """Close its file; where the run was interrupted, with that as its end."""
        interrupted = exit_status == pytest.ExitCode.INTERRUPTED
        if interrupted and self._writer is not None and not self.lost:
            self.write(
                End(
                    ended=now(),
                    exit_status=exit_status,
                    duration_s=time.monotonic() - self.began,
                    interrupted=True,
                )
            )
        with self._lock:
            self._ended = True
            if self._writer is not None:
                self._writer.close()


def named(nodeid: str, host: str) -> str:
    """The name of a test on a host: within the brackets, where JUnit's writer expects the end."""
    return f"{nodeid[:-1]}@{host}]" if nodeid.endswith("]") else f"{nodeid}@{host}"


def crashed(host: HostRun) -> pytest.TestReport:
    """The failure of the test that a host was at when it was lost."""
    path = host.running.partition("::")[0]
    report = pytest.TestReport(
        nodeid=host.running,
        location=(path, None, host.running.partition("::")[2]),
        keywords={},
        outcome="failed",
        longrepr=visible_line(f"host {host.label} is lost: {host.lost}"),
        when="call",
    )
    report.node = host.node  # type: ignore[attr-defined]
    return report


def death(error: object) -> str:
    """What pytest-xdist says of an end, in words."""
    said = last_line(str(error))
    if "Not properly terminated" in said:
        return "its process or its connection ended; look there for what ended it (`dmesg`)"
    return f"pytest ended there: {said}"
