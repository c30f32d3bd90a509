"""The command line: setup, doctor, pair, report, judge, claims, new, calibrate, clean."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_vmvc import (
    compare_command,
    judge_command,
    new_command,
    pair_command,
    report_command,
)
from pytest_vmvc.errors import UsageError, VmvcError
from pytest_vmvc.text import visible_line

if TYPE_CHECKING:
    from pytest_vmvc.clean import SweepReport

EX_USAGE = 64
"""Exit status of a request that makes no sense, as sysexits.h has it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class _Parser(argparse.ArgumentParser):
    """Ends with `EX_USAGE`: argparse's own 2 is a verdict of ``vmvc judge``."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; errors are one line on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except UsageError as error:
        _complain(error)
        return EX_USAGE
    except VmvcError as error:
        _complain(error)
        return 1
    except BrokenPipeError:  # whoever read our output has seen enough: `vmvc doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("vmvc: interrupted\n")
        return INTERRUPTED


def _complain(error: VmvcError) -> None:
    sys.stderr.write(visible_line(f"vmvc: error: {error}") + "\n")


def _run(arguments: argparse.Namespace) -> int:
    status = int(arguments.run(arguments))
    sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vmvc",
        description="Prepare a host for measuring containers against virtual machines, look at "
        "it, judge saved samples, render a report, tidy up. The measuring is `pytest --vmvc`.",
    )
    version = importlib.metadata.version("pytest-vmvc")
    parser.add_argument("--version", action="version", version=f"pytest-vmvc {version}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    setup = commands.add_parser("setup", help="install, start and build what measuring needs")
    setup.add_argument("-y", "--yes", action="store_true", help="do it without asking")
    setup.add_argument("--rebuild", action="store_true", help="build again what is already built")
    setup.add_argument(
        "--only", choices=("minimal", "debian"), help="prepare one pair (debian needs Vagrant)"
    )
    setup.add_argument(
        "--no-install", action="store_true", help="never install packages; do with what is there"
    )
    setup.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    setup.set_defaults(run=_setup)

    doctor = commands.add_parser("doctor", help="say what this host can measure, and what it lacks")
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.set_defaults(run=_doctor)

    pair_command.add(commands)
    report_command.add(commands)

    plot = commands.add_parser("plot", help="write the charts of one claim, each as a file")
    plot.add_argument("file", type=Path, metavar="FILE", help="results.jsonl of a run")
    plot.add_argument("claim", metavar="CLAIM", help="id of a claim, such as table.boot-time")
    plot.add_argument("--pair", metavar="NAME", help="those of this pair only")
    plot.add_argument("--number", type=int, metavar="N", help="this one only")
    plot.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="one chart as .svg or .png; else all as CLAIM-N.svg",
    )
    plot.set_defaults(run=_plot)

    judge_command.add(commands)
    compare_command.add(commands)

    claims = commands.add_parser("claims", help="list the claims, or write a page about each")
    claims.add_argument(
        "--package",
        default="claims",
        metavar="PACK",
        help="what declares them: a package, or a folder or file by its path, such as ./claims "
        "(default: claims, the article's package)",
    )
    claims.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write Markdown pages into this folder"
    )
    claims.set_defaults(run=_claims)

    new_command.add(commands)

    calibrate = commands.add_parser(
        "calibrate", help="simulate the judge in worlds whose truth is known: is it right?"
    )
    size = calibrate.add_mutually_exclusive_group()
    size.add_argument("--experiments", type=int, metavar="N", help="of every cell (20000)")
    size.add_argument("--quick", action="store_true", help="2000 experiments of every cell")
    calibrate.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    calibrate.add_argument(
        "--run", type=Path, metavar="FILE", dest="recorded", help="results.jsonl whose noise to try"
    )
    calibrate.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the page (.md) or figures (.json)"
    )
    calibrate.set_defaults(run=_calibrate)

    clean = commands.add_parser("clean", help="destroy what broken-off runs have left behind")
    extent = clean.add_mutually_exclusive_group()
    extent.add_argument("--dry-run", action="store_true", help="only name what would be destroyed")
    extent.add_argument(
        "--run",
        metavar="ID",
        dest="run_id",
        type=_run_id,
        help="wait for the end of this run, then destroy what it has left",
    )
    clean.add_argument(
        "--all", action="store_true", help="also remove built images, boxes, cache and state"
    )
    clean.add_argument("-y", "--yes", action="store_true", help="with --all: do not ask")
    clean.set_defaults(run=_clean)

    completion = commands.add_parser(
        "completion", help="print what makes a shell complete these commands"
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    completion.set_defaults(run=lambda arguments: _completion(parser, arguments.shell))
    return parser


def _completion(parser: argparse.ArgumentParser, shell: str) -> int:
    import shtab

    sys.stdout.write(shtab.complete(parser, shell) + "\n")
    return 0


def _run_id(text: str) -> str:
    if re.fullmatch(r"r[0-9a-f]{10}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a run, as `r0123abcdef`")
    return text


def _setup(arguments: argparse.Namespace) -> int:
    from pytest_vmvc.setup.carry_out import setup
    from pytest_vmvc.setup.plan import Options
    from pytest_vmvc.voice import Voice

    options = Options(
        only=arguments.only, rebuild=arguments.rebuild, install=not arguments.no_install
    )
    return setup(options, voice=Voice("setup", yes=arguments.yes), dry_run=arguments.dry_run)


def _doctor(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from pytest_vmvc.diagnosis import as_json, show
    from pytest_vmvc.doctor import inspect

    diagnosis = inspect()
    if arguments.json:
        sys.stdout.write(as_json(diagnosis) + "\n")
    else:
        show(diagnosis, Console(highlight=False))
    return 0 if diagnosis.ready else 1


def _plot(arguments: argparse.Namespace) -> int:
    from pytest_vmvc.report.plot import plots, save

    found = [
        one
        for one in plots(report_command.read(arguments.file), arguments.claim)
        if arguments.pair in (None, one.pair) and arguments.number in (None, one.number)
    ]
    if not found:
        raise UsageError(
            f"{arguments.claim} has no such chart", hint="leave out --pair and --number to see all"
        )
    if arguments.output and len(found) > 1:
        listed = "; ".join(f"{one.number}: {one.title} ({one.pair})" for one in found)
        raise UsageError(f"{arguments.claim} has {len(found)} charts: {listed}", hint="--number N")
    for one in found:
        target: Path = arguments.output or Path(f"{one.name}.svg")
        save(one, target)
        sys.stdout.write(visible_line(f"{target}: {one.title} ({one.pair})") + "\n")
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    from pytest_vmvc import pages

    found = pages.declared(arguments.package)
    if arguments.output:
        pages.write(arguments.output, found)
        sys.stdout.write(f"{arguments.output}: {len(found)} claims\n")
        return 0
    for one in found:
        sys.stdout.write(f"{one.claim.id:<30} {one.claim.quote}\n")
        for reading in one.claim.readings:
            sys.stdout.write(f"    {reading.name:<36} {reading.expect}\n")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    from pytest_vmvc import calibration

    size = calibration.QUICK if arguments.quick else arguments.experiments
    experiments = calibration.EXPERIMENTS if size is None else size
    recorded = f" --run {arguments.recorded}" if arguments.recorded else ""
    text, holds = calibration.calibrate(
        experiments=experiments,
        seed=arguments.seed,
        recorded=arguments.recorded,
        output=arguments.output,
        command=f"vmvc calibrate --experiments {experiments} --seed {arguments.seed}{recorded}",
    )
    sys.stdout.write(text)
    return 0 if holds else 1


def _clean(arguments: argparse.Namespace) -> int:
    from pytest_vmvc.clean import clean_all, sweep
    from pytest_vmvc.voice import Voice

    voice = Voice("clean", yes=arguments.yes)
    if arguments.run_id:
        found = _reap(arguments.run_id)
    else:
        found = sweep(dry_run=arguments.dry_run, strangers=True)
    verb = "would destroy" if arguments.dry_run else "destroyed"
    for resource in found.destroyed:
        voice.say(f"{verb} {resource.kind} {resource.name}")
    for item in found.left:
        voice.say(f"still there: {item.resource.kind} {item.resource.name}: {item.reason}")
    for reason in found.skipped:
        voice.say(f"not looked at: {reason}")
    if found.untouched:
        voice.say(f"left alone: {len(found.untouched)} things of a run that is going on")
    if not (found.destroyed or found.left):
        voice.say("nothing to clean")
    if found.left:
        return 1
    if not arguments.all:
        return 0
    voice.say("--all: every built image and box, the cache and the state of this user")
    if arguments.dry_run:
        return 0
    if not voice.ask("remove them?"):
        voice.say("they stay (pass --yes to remove them without being asked)")
        return 1
    for line in clean_all():
        voice.say(line)
    return 0


def _reap(run_id: str) -> SweepReport:
    from pytest_vmvc.clean import REAP_GRACE_S, REAP_S, reap
    from pytest_vmvc.resources import owner_of

    if owner := owner_of(run_id):
        owner.await_end()
    signal.alarm(int(REAP_S) + REAP_GRACE_S)  # nobody may be there to end us
    return reap(run_id)


if __name__ == "__main__":
    sys.exit(main())
