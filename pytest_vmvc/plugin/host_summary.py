"""What a person reads at the end of a run on many hosts, through pytest's own reporter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pytest_vmvc.plugin import terminal
from pytest_vmvc.plugin.host_run import HostRun
from pytest_vmvc.text import visible_line

OUTCOMES: Final = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def write(
    reporter: Any,  # noqa: ANN401 - pytest's own is private
    hosts: Sequence[HostRun],
    problems: Sequence[str],
    overview: Path | None,
) -> None:
    """Each host with its counts and its files, then the overview."""
    for problem in problems:
        reporter.write_line(visible_line(f"vmvc: {problem}"), yellow=True)
    from pytest_vmvc.report.listing import listing

    reporter.write_sep("=", "hosts")
    outcomes = _outcomes(reporter)
    for host in hosts:
        bad = bool(host.out or host.lost)
        reporter.write_line(
            visible_line(f"{host.label}: {_words(host, outcomes)}"), bold=True, red=bad
        )
        for problem in host.problems:
            reporter.write_line(visible_line(f"  {problem}"), yellow=True)
        if reporter.config.get_verbosity() > 0:
            width = reporter.config.get_terminal_writer().fullwidth
            for line in listing(host.results, width, sentences=True):
                terminal.write(reporter, line)
        if host.path.exists():
            reporter.write_line(f"  results: {host.path}")
        if host.report:
            reporter.write_line(f"  report:  {host.report}")
    if overview:
        reporter.write_line(f"overview: {overview}")


def _words(host: HostRun, outcomes: Counter[tuple[str, str]]) -> str:
    from pytest_vmvc.report.listing import counted

    if host.out:
        return f"LEFT OUT: {host.out}"
    tests = [
        f"{outcomes[host.spec.id, one]} {one}" for one in OUTCOMES if outcomes[host.spec.id, one]
    ]
    said = "; ".join(filter(None, (counted(host.results), f"tests: {', '.join(tests) or 'none'}")))
    return f"LOST: {host.lost}; {said}" if host.lost else said


def _outcomes(reporter: Any) -> Counter[tuple[str, str]]:  # noqa: ANN401 - pytest's own is private
    """How many tests of each host came out how, as pytest counts them."""
    return Counter(
        (node.gateway.id, outcome)
        for outcome in OUTCOMES
        for report in reporter.stats.get(outcome, ())
        if (node := getattr(report, "node", None)) is not None
    )
