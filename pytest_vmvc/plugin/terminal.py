"""What a person reads while it runs and at its end, through pytest's own reporter."""

from __future__ import annotations

import math
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vmvc.errors import VmvcError
from pytest_vmvc.model import Verdict
from pytest_vmvc.text import visible_line

if TYPE_CHECKING:
    from pytest_vmvc.plugin.session import Session
    from pytest_vmvc.report.listing import Line

COLOURS = {
    Verdict.SUPPORTED: "green",
    Verdict.REFUTED: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_TESTABLE: "cyan",
}
QUIET_S = 10.0
"""Without a terminal, at most one progress line in so many seconds."""


class Progress:
    """Which experiment, which block of how many, and the time left."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._silent = self._reporter is None or config.get_verbosity() < 0
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._speaking = threading.Lock()

    def note(self, what: str, done: int, of: int) -> None:
        """Say how far it is: in place on a terminal, as rare lines elsewhere; from any thread."""
        if not self._silent:
            with self._speaking:
                self._note(what, done, of)

    def _note(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        began = self._began.setdefault(what, now)
        finished = done >= of
        in_place = self._reporter.isatty
        if not in_place and not finished and now - self._said.get(what, -math.inf) < QUIET_S:
            return
        self._said[what] = now
        text = f"vmvc: {what} {min(done + 1, of)} of {of}"
        if finished:
            text = f"vmvc: {what} {of} of {of}, done in {now - began:.0f} s"
        elif done:
            left_s = (now - began) / done * (of - done)
            text += f", about {left_s:.0f} s left"
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            if in_place and not finished:
                self._reporter.rewrite(text, erase=True)
            elif in_place:
                self._reporter.rewrite("", erase=True)
                self._reporter.write_line(text)
            else:
                fresh_line(self._reporter)
                self._reporter.write_line(text)
            self._reporter.flush()  # the next one may be a long wait away


def fresh_line(reporter: Any) -> None:  # noqa: ANN401 - pytest's own is private
    """Begin a line, also behind the dots of workers, which pytest's own way does not know of."""
    reporter.ensure_newline()
    writer = reporter.config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()


def header(session: Session) -> list[str]:
    """Host, tier and what stands for each subject of each pair."""
    if session.saved and (run := session.saved.run):
        return [
            visible_line(
                f"vmvc: nothing is measured, the evidence is that of run {run.measured_by}: "
                f"host {run.host.name}, tier {run.host.tier}, seed {run.seed}"
            )
        ]
    from pytest_vmvc.subjects import catalog

    chosen = session.options
    lines = [
        f"vmvc: profile {chosen.profile}, at most {chosen.blocks} pairs, seed {chosen.seed}, "
        f"tier {catalog.tier()}"
    ]
    for name in chosen.pairs:
        try:
            pair = session.load_pair(name)
        except VmvcError as error:
            lines.append(f"vmvc: pair {name}: {error}")
            continue
        found = [f"{key}: {provider.facts.version}" for key, provider in pair.subjects.items()]
        lacking = [f"{key}: not available ({gap})" for key, gap in pair.missing.items()]
        lines.append(f"vmvc: pair {name}: {'; '.join(found + lacking)}")
    return [visible_line(line) for line in lines]


def summary(session: Session, reporter: Any) -> None:  # noqa: ANN401 - pytest's own is private
    """A table of the claims, the score in words, and the paths."""
    for problem in session.problems:
        reporter.write_line(visible_line(f"vmvc: {problem}"), yellow=True)
    if session.is_worker or not session.results:
        return
    from pytest_vmvc.report.listing import counted, listing

    verbosity = reporter.config.get_verbosity()
    reporter.write_sep("=", "claims")
    if verbosity >= 0:
        width = reporter.config.get_terminal_writer().fullwidth
        for line in listing(session.results, width, sentences=verbosity > 0):
            write(reporter, line)
        reporter.write_line("")
    claims = len({result.claim for result in session.results})
    reporter.write_line(f"{counted(session.results)} ({claims} claim{'' if claims == 1 else 's'})")
    for one in session.exceeded:
        reporter.write_line(visible_line(f"FAILED {one}"), red=True)
    if not reporter.config.pluginmanager.hasplugin("benchmark"):
        reporter.write_line("pytest-benchmark is off: no start-up table")
    if session.ledger_path and session.ledger_path.exists():
        reporter.write_line(f"results: {session.ledger_path}")
    if session.report_path:
        reporter.write_line(f"report:  {session.report_path}")


def write(reporter: Any, line: Line) -> None:  # noqa: ANN401 - pytest's own is private
    """A line, the verdict's word in its colour."""
    if line.verdict is None:
        reporter.write_line(line.text, bold=line.heading)
        return
    before, word, after = line.text.partition(line.verdict.value)
    reporter.write(before)
    reporter.write(word, **{COLOURS[line.verdict]: True})
    reporter.write_line(after)
