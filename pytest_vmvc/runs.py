"""Several results files, read one after the other: a digest of each, and what differs where few."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pytest_vmvc import ledger
from pytest_vmvc.compare import Comparison, compare
from pytest_vmvc.digest import Digest, Digester, labelled, place
from pytest_vmvc.errors import LedgerError
from pytest_vmvc.ledger import RunLog

FEW: Final = 8
"""Files up to which each run has a column of its own, and figures are compared."""


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """Several runs beside each other."""

    runs: tuple[Digest, ...]
    """In the order in which they were named."""
    paths: tuple[Path, ...]
    """Where each was read from."""
    few: bool
    """Whether each has a column, and figures were compared."""
    comparisons: tuple[Comparison, ...]
    """Of each run but the first with the first; none where there are many."""
    refused: tuple[tuple[str, str], ...]
    """Files that could not be read, each with the reason."""
    repeated: tuple[tuple[str, str], ...]
    """Files of a run that another file has already told, with that one."""

    @property
    def quotes(self) -> dict[str, str]:
        """The article's words by claim."""
        return {claim: quote for run in self.runs for claim, quote in run.quotes.items()}

    @property
    def one_set(self) -> bool:
        """Whether all were made with the same readings, by their hash."""
        return len({run.run.readings_hash for run in self.runs if run.run}) <= 1

    @property
    def hosts(self) -> int:
        """How many."""
        return len(_hosts(self))


Change = Callable[[RunLog, int], RunLog]
"""What is done with a run before anything is kept of it, and the number of its host."""


def gather(paths: Sequence[Path], *, change: Change | None = None, figures: bool = True) -> Runs:
    """Read them; with ``change`` files are told by number, for a name may tell a host.

    Of many files, and without ``figures``, the samples are passed over; of few only those of two
    runs are in memory at once. Raises `LedgerError` where none of them can be read.
    """
    digester, few = Digester(), figures and len(paths) <= FEW
    runs: dict[str, Digest] = {}
    read: list[Path] = []
    hosts: dict[str, int] = {}
    comparisons: list[Comparison] = []
    refused: list[tuple[str, str]] = []
    repeated: list[tuple[str, str]] = []
    first: RunLog | None = None
    for number, path in enumerate(paths, 1):
        source = f"file {number}" if change else str(path)
        try:
            log = ledger.read(path, samples=few)
        except LedgerError as error:
            refused.append((source, error.message.removeprefix(f"{path} ")))
            continue
        known = log.run.run_id if log.run else source
        if known in runs:
            repeated.append((source, runs[known].source))
            continue
        if change is not None:
            where = place(log.run.host) if log.run else source
            log = change(log, hosts.setdefault(where, len(hosts) + 1))
        runs[known] = digester.digest(log, source=source)
        read.append(path)
        if few and first is not None:
            comparisons.append(compare(first, log))
        first = first or (log if few else None)
    if not runs:
        why = "; ".join(f"{source}: {reason}" for source, reason in refused)
        raise LedgerError(f"none of the files can be read: {why}", hint="name results.jsonl files")
    return Runs(
        runs=labelled(runs.values()),
        paths=tuple(read),
        few=few,
        comparisons=tuple(comparisons),
        refused=tuple(refused),
        repeated=tuple(repeated),
    )


def with_samples(found: Runs, *, change: Change | None = None) -> Iterator[tuple[Digest, RunLog]]:
    """Each run again, with its samples, one after the other.

    Raises `LedgerError` where a file is gone by now.
    """
    hosts = {where: number for number, where in enumerate(_hosts(found), 1)}
    for run, path in zip(found.runs, found.paths, strict=True):
        log = ledger.read(path)
        yield run, change(log, hosts[run.where]) if change else log


def _hosts(found: Runs) -> dict[str, None]:
    """In the order in which they first come."""
    return dict.fromkeys(run.where for run in found.runs)
