"""``vmvc report``: what people look at, of one run or of several beside each other."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pytest_vmvc.ledger import RunLog

EXAMPLES: Final = """examples:
  vmvc report vmvc-results/latest/results.jsonl
  vmvc report old.jsonl new.jsonl               several runs side by side: overview.html beside OLD
  vmvc report ci/*.jsonl -o fleet.md            many hosts: each reading's verdict over them

exit status:
  0 written, 1 a file could not be read (the rest is written), 64 the request is wrong
"""


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own class is private
    """Add the command to ``vmvc``'s."""
    report = commands.add_parser(
        "report",
        help="render results files: page, summary, samples or badge; several: an overview",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="results.jsonl of a run; the first of "
        "several is what the others are compared with",
    )  # fmt: skip
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="page (.html), summary (.md), samples (.csv) or, of one run, badge (.svg); "
        "default: report.html, or overview.html of several, beside the first FILE",
    )
    report.add_argument(
        "--redact", action="store_true", help="leave out host name, paths and addresses"
    )
    report.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render, say where it is, and return the exit status."""
    files: list[Path] = arguments.files
    if len(files) == 1:
        return _one(files[0], arguments.output, redact=arguments.redact)
    return _several(files, arguments.output, redact=arguments.redact)


def _one(file: Path, output: Path | None, *, redact: bool) -> int:
    from pytest_vmvc import report

    target = output or file.with_name("report.html")
    log = read(file)
    report.write(report.redacted(log) if redact else log, target)
    sys.stdout.write(f"{target}\n")
    return 0


def read(path: Path) -> RunLog:
    """A results file; what in it cannot be read is said, and the rest is used.

    Raises `LedgerError` where it is none.
    """
    from pytest_vmvc import ledger

    log = ledger.read(path)
    for problem in log.problems:
        sys.stderr.write(f"vmvc: warning: {path}: {problem}\n")
    return log


def _several(files: Sequence[Path], output: Path | None, *, redact: bool) -> int:
    from pytest_vmvc import report

    # Plain records have no cycles: looking for some takes a sixth of the time of many files.
    gc.disable()
    target = output or files[0].with_name("overview.html")
    try:
        found = report.write_several(files, target, redact=redact)
    finally:
        gc.enable()
    for source, reason in found.refused:
        sys.stderr.write(f"vmvc: {source} {reason}; it is left out\n")
    for one, other in found.repeated:
        sys.stderr.write(f"vmvc: {one} is the same run as {other}: counted once\n")
    sys.stdout.write(f"{target}\n")
    return 1 if found.refused else 0
