"""Whatever is made of a results file, as a file: what, is told by its ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.paths import put
from pytest_vmvc.report import badge, html, markdown, overview, overview_summary, samples
from pytest_vmvc.report.redact import numbered
from pytest_vmvc.runs import Runs, gather, with_samples

KINDS: Final[Mapping[str, Callable[[RunLog], str]]] = {
    ".html": html.render,
    ".md": markdown.summary,
    ".csv": samples.table,
    ".svg": badge.badge,
}
"""The page; the verdicts in Markdown; every sample; a badge with the score."""


def write(log: RunLog, path: Path) -> Path:
    """Write what the ending asks for to ``path``, in one step.

    Raises `UsageError` for another ending, and `LedgerError` when it cannot be written.
    """
    made = KINDS.get(path.suffix)
    if made is None:
        raise UsageError(
            f"{path}: nothing is written that ends in {path.suffix or 'nothing'}",
            hint="name a page (.html), a summary (.md), all samples (.csv) or a badge (.svg)",
        )
    _put(path, made(log).encode())
    return path


def write_several(files: Sequence[Path], path: Path, *, redact: bool = False) -> Runs:
    """Write an overview of several results files to ``path``, in one step.

    Page and summary are made without their samples where the files are many. Returns what was
    read, and what could not be. Raises `UsageError` for an ending that is none of several runs,
    and `LedgerError` where none of the files can be read, or ``path`` not be written.
    """
    if path.suffix not in (".html", ".md", ".csv"):
        badge_only = path.suffix == ".svg"
        raise UsageError(
            f"{path}: "
            + ("a badge is of one run" if badge_only else f"nothing ends in {path.suffix}"),
            hint="of several files name a page (.html), a summary (.md) or all samples (.csv)",
        )
    change = numbered if redact else None
    found = gather(files, change=change, figures=path.suffix != ".csv")
    if path.suffix == ".csv":
        parts = samples.tables(with_samples(found, change=change))
        _put(path, (part.encode() for part in parts))
    else:
        made = overview.render if path.suffix == ".html" else overview_summary.overview
        _put(path, made(found).encode())
    return found


def _put(path: Path, content: bytes | Iterator[bytes]) -> None:
    try:
        put(path, content)
    except OSError as error:
        raise LedgerError(
            f"the report {path} cannot be written: {error.strerror}",
            hint="choose another path; the results file is not touched",
        ) from error
