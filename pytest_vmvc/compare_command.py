"""``vmvc compare``: what a new run has different from an old one, and whether that is too much."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_vmvc.errors import UsageError
from pytest_vmvc.text import visible_line

if TYPE_CHECKING:
    from pytest_vmvc.compare import Comparison, Move, Turn

METRICS: Final = {"startup": "start_s"}
"""Names that say more than those of the metrics."""
EXAMPLES: Final = """examples:
  vmvc compare old.jsonl new.jsonl
  vmvc compare old.jsonl new.jsonl --fail-on=verdict,startup:10%
  vmvc compare old.jsonl new.jsonl --fail-on=pss_bytes:25%

exit status:
  0 nothing that --fail-on names, 1 something of it, 64 the request is wrong
"""


class Limit(NamedTuple):
    """A metric, and the factor by which it may grow."""

    metric: str
    factor: float


class Limits(NamedTuple):
    """What ``--fail-on`` names."""

    verdict: bool
    figures: tuple[Limit, ...]


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own class is private
    """Add the command to ``vmvc``'s."""
    compare = commands.add_parser(
        "compare",
        help="two runs: verdicts that changed, figures that moved beyond their noise",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("old", type=Path, metavar="OLD", help="results.jsonl of a run")
    compare.add_argument("new", type=Path, metavar="NEW", help="that of a later one")
    compare.add_argument(
        "--fail-on",
        type=limits,
        default=Limits(verdict=False, figures=()),
        metavar="WHAT",
        help="verdict: one has changed; METRIC:N%%: it has grown by more, with its whole interval "
        "(startup stands for start_s); several with commas",
    )
    compare.add_argument("--all", action="store_true", help="also figures that did not move")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(run=run)


def limits(text: str) -> Limits:
    """Read ``verdict,startup:10%``; raises `argparse.ArgumentTypeError`."""
    verdict, figures = False, []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if word == "verdict":
            verdict = True
        elif match := re.fullmatch(r"(\w+):(\d+(?:\.\d+)?)%", word):
            factor = 1 + float(match[2]) / 100
            if not math.isfinite(factor):
                raise argparse.ArgumentTypeError(f"{match[1]}: nothing grows by so much")
            figures.append(Limit(METRICS.get(match[1], match[1]), factor))
        else:
            raise argparse.ArgumentTypeError(f"{word!r}: say verdict, or METRIC:N%")
    return Limits(verdict, tuple(figures))


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and return the exit status."""
    import msgspec

    from pytest_vmvc import ledger
    from pytest_vmvc.compare import compare

    found = compare(ledger.read(arguments.old), ledger.read(arguments.new))
    failed = exceeded(found, arguments.fail_on)
    if arguments.json:
        plain = {**msgspec.to_builtins(found), "failed": failed}
        sys.stdout.write(json.dumps(plain, indent=2) + "\n")
    else:
        lines = map(visible_line, _lines(found, failed, everything=arguments.all))
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failed else 0


def exceeded(found: Comparison, asked: Limits) -> tuple[str, ...]:
    """What of the limits has happened, a line each; raises `UsageError` where one cannot be told.

    That is so for figures of two hosts, and for a metric that not both runs have samples of.
    """
    if asked.figures and found.elsewhere:
        raise UsageError(
            f"figures of two hosts are held against no limit: {found.elsewhere}",
            hint="compare runs of one host, or leave only `verdict` in --fail-on",
        )
    unknown = {limit.metric for limit in asked.figures} - {move.metric for move in found.moves}
    if unknown:
        raise UsageError(
            f"--fail-on: both runs have no samples of {', '.join(sorted(unknown))}",
            hint="name a metric of the list that `vmvc compare --all` prints",
        )
    return tuple(_failed(found, asked))


def _failed(found: Comparison, asked: Limits) -> Iterator[str]:
    if asked.verdict:
        yield from (f"verdict: {_turn(one)}" for one in found.turns)
    for limit in asked.figures:
        for move in found.moves:
            low = move.ratio.low
            if move.metric == limit.metric and low is not None and low > limit.factor:
                yield f"{limit.metric} by more than {100 * (limit.factor - 1):.4g}%: {_move(move)}"


def _lines(found: Comparison, failed: Sequence[str], *, everything: bool) -> Iterator[str]:
    if found.elsewhere:
        yield f"another host: {found.elsewhere}"
    yield from found.caveats
    yield f"{len(found.turns)} verdicts changed"
    yield from (f"  {_turn(one)}" for one in found.turns)
    moved = [one for one in found.moves if one.moved]
    yield f"{len(moved)} of {len(found.moves)} figures moved beyond their noise (99 % intervals)"
    yield from (f"  {_move(one)}" for one in (found.moves if everything else moved))
    yield from (f"no longer there: {one}" for one in found.gone)
    yield from (f"new: {one}" for one in found.added)
    yield from (f"FAILED {one}" for one in failed)


def _turn(one: Turn) -> str:
    note = " (the reading has changed)" if one.redefined else ""
    return f"{one.claim} [{one.pair}, {one.reading}] {one.old} -> {one.new}{note}"


def _move(one: Move) -> str:
    effect, low, high = one.words
    row = f"{one.experiment} {one.subject} {one.metric} [{one.pair}]"
    return f"{row} new over old {effect} ({low} to {high}, n = {one.ratio.n})"
