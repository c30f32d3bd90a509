"""Whatever is made of a results file, as a file: what, is told by its ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.paths import put
from pytest_vmvc.report import badge, html, markdown, samples

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
    content = made(log).encode()
    try:
        put(path, content)
    except OSError as error:
        raise LedgerError(
            f"the report {path} cannot be written: {error.strerror}",
            hint="choose another path; the results file is not touched",
        ) from error
    return path
