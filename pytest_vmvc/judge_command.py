"""``vmvc judge``: verdicts from a results file, or from plain numbers; nothing is measured."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pytest_vmvc.errors import UsageError, VmvcError
from pytest_vmvc.text import visible_line

if TYPE_CHECKING:
    from pytest_vmvc.model import Result, Verdict

EX_DATAERR: Final = 65
EX_NOINPUT: Final = 66
EXPLORATORY_STATUS: Final = 10
"""Added to the status of a verdict that was not registered, so that nobody takes it for one."""
EXIT_STATUS: Final = """exit status:
  a results file   0 every verdict is again what the file says, 1 one differs
  another bound    10 supported, 11 refuted, 12 inconclusive, or the pairs disagree
  plain numbers    0 supported, 1 refuted, 2 inconclusive
  any              64 the request is wrong, 65 the data are, 66 a file cannot be read
"""
EXAMPLES: Final = """examples:
  vmvc judge results.jsonl
  vmvc judge results.jsonl --claim table.boot-time --reading vm-in-minutes --at-least 30
  vmvc judge --below 60 --a times.txt --unit s
  vmvc judge --ratio-above 1 --a vm.csv --b container.csv --paired
"""


Op = Literal["<", "<=", ">", ">="]


class Limit(NamedTuple):
    """A bound given on the command line."""

    op: Op
    threshold: float
    of_ratio: bool


BOUNDS: Final[dict[str, Op]] = {
    "below": "<",
    "at-most": "<=",
    "above": ">",
    "at-least": ">=",
    "ratio-below": "<",
    "ratio-above": ">",
}


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own class is private
    """Add the command to ``vmvc``'s."""
    judge = commands.add_parser(
        "judge",
        help="judge saved series, or plain numbers, without measuring",
        description="Judge the series of a results file again, by the readings that stand in it; "
        "or plain numbers, one a line, by a bound of your own.",
        epilog=f"{EXAMPLES}\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    judge.add_argument("file", nargs="?", type=Path, metavar="FILE", help="results.jsonl of a run")
    judge.add_argument("--claim", action="append", default=[], metavar="ID", help="this claim only")
    judge.add_argument(
        "--reading",
        action="append",
        default=[],
        metavar="NAME",
        help="this reading only; with a bound, which is then EXPLORATORY: try that one instead",
    )
    judge.add_argument("--pair", action="append", default=[], metavar="NAME", help="this pair only")
    judge.add_argument(
        "--package",
        default="claims",
        metavar="PACK",
        help="the claims to compare FILE's readings with: a package, or a folder or file by its "
        "path (default: the article's)",
    )
    bounds = judge.add_mutually_exclusive_group()
    for name, op in BOUNDS.items():
        of_ratio = name.startswith("ratio")
        what = "the ratio of A to B" if of_ratio else "the median, or with FILE the reading,"
        bounds.add_argument(
            f"--{name}",
            dest="limit",
            type=partial(_limit, op, of_ratio),
            metavar="X",
            help=f"{what} is {name.removeprefix('ratio-').replace('-', ' ')} X",
        )
    judge.add_argument("--a", type=Path, metavar="A", help="samples: text, CSV or a JSON array")
    judge.add_argument("--b", type=Path, metavar="B", help="the samples that A's are divided by")
    judge.add_argument(
        "--paired", action="store_true", help="line n of A and of B belong together, if as many"
    )
    judge.add_argument("--unit", default="", help="unit of the samples, and of the bound")
    judge.add_argument("--json", action="store_true", help="print JSON")
    judge.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge; raises `UsageError` where the request makes no sense."""
    _check(arguments)
    try:
        return _judge_file(arguments) if arguments.file else _judge_numbers(arguments)
    except UsageError:
        raise
    except VmvcError as error:
        sys.stderr.write(visible_line(f"vmvc: error: {error}") + "\n")
        return EX_NOINPUT if isinstance(error.__cause__, OSError) else EX_DATAERR


def _check(arguments: argparse.Namespace) -> None:
    limit: Limit | None = arguments.limit
    file, a, b = arguments.file, arguments.a, arguments.b
    of_file = arguments.claim or arguments.reading or arguments.pair
    of_ratio = limit is not None and limit.of_ratio
    for wrong, what, hint in (
        (file and (a or b), "FILE and --a or --b", "judge a results file, or plain numbers"),
        (not file and of_file, "--claim, --reading or --pair without FILE", "name a results.jsonl"),
        (not file and not (limit and a), "neither FILE nor a bound with --a", "vmvc judge --help"),
        (not file and of_ratio and not b, "a ratio without --b", "name what A is divided by"),
        (b and not of_ratio, "--b without a ratio", "give --ratio-above or --ratio-below"),
        (arguments.paired and not b, "--paired without --b", "only two files of samples pair"),
        (limit and of_ratio and limit.threshold <= 0, "a ratio is never so small", "above 0"),
    ):
        if wrong:
            raise UsageError(what, hint=hint)


def _judge_numbers(arguments: argparse.Namespace) -> int:
    import msgspec

    from pytest_vmvc import judge_lines, plain, samples

    limit: Limit = arguments.limit
    a = samples.read(arguments.a)
    if limit.of_ratio:
        found = plain.judge_ratio(
            a,
            samples.read(arguments.b),
            ">" if limit.op == ">" else "<",
            limit.threshold,
            unit=arguments.unit,
            paired=arguments.paired,
        )
    else:
        found = plain.judge_bound(a, limit.op, limit.threshold, unit=arguments.unit)
    if arguments.json:
        _print_json(msgspec.to_builtins(found))
    else:
        _print_lines(judge_lines.plain_lines(found))
    return _status([found.verdict])


def _judge_file(arguments: argparse.Namespace) -> int:
    from pytest_vmvc import judge_lines, ledger, pages, rejudge

    log = ledger.read(arguments.file)
    chosen = rejudge.selected(
        log, claims=arguments.claim, readings=arguments.reading, pairs=arguments.pair
    )
    if arguments.limit:
        tried = rejudge.again(log, _with_limit(arguments, chosen))
        if arguments.json:
            _print_json(judge_lines.exploratory_data(log, tried))
        else:
            _print_lines(judge_lines.exploratory_lines(tried))
        return EXPLORATORY_STATUS + _status([one.judgement.verdict for one in tried])
    judged = rejudge.again(log, chosen)
    installed = [found.claim for found in pages.declared(arguments.package)]
    registration = rejudge.registration(log, installed)
    if arguments.json:
        _print_json(judge_lines.registered_data(log, judged, registration))
    else:
        _print_lines(judge_lines.registered_lines(log, judged, registration))
    return int(any(one.differs for one in judged))


def _with_limit(arguments: argparse.Namespace, chosen: Sequence[Result]) -> list[Result]:
    """The chosen results with the bound from the command line; one reading, on its pairs."""
    from pytest_vmvc import rejudge
    from pytest_vmvc.model import Ratio

    limit: Limit = arguments.limit
    names = dict.fromkeys(f"{one.claim} {one.reading.name}" for one in chosen)
    if len(names) > 1:
        raise UsageError(
            "another bound is tried on one reading",
            hint=f"name it with --claim and --reading, of {'; '.join(names)}",
        )
    question = chosen[0].reading.question
    if limit.of_ratio and not isinstance(question, Ratio):
        raise UsageError(f"{next(iter(names))} is no ratio", hint="give --above or --below")
    unit = getattr(question, "unit", "")
    if arguments.unit and arguments.unit != unit:
        raise UsageError(
            f"{next(iter(names))} is in {unit!r}, not in {arguments.unit!r}",
            hint="give the bound in the reading's unit",
        )
    return [rejudge.with_bound(one, limit.op, limit.threshold) for one in chosen]


def _status(verdicts: Sequence[Verdict]) -> int:
    """0: all are SUPPORTED, 1: all are REFUTED, 2: anything else."""
    words = {verdict.value for verdict in verdicts}
    return {"SUPPORTED": 0, "REFUTED": 1}.get(words.pop(), 2) if len(words) == 1 else 2


def _print_lines(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _print_json(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def _limit(op: Op, of_ratio: bool, text: str) -> Limit:  # noqa: FBT001 - called by argparse
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return Limit(op, threshold, of_ratio)
