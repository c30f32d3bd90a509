"""``vmvc pair``: a pair of one's own from an image, built and written down."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_vmvc.errors import UsageError
from pytest_vmvc.subjects import own

PROJECT = Path("pyproject.toml")
FROM = "image:"


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own class is private
    """Add the command."""
    parser = commands.add_parser(
        "pair", help="make the machine that matches an image, and name the two a pair"
    )
    parser.add_argument("name", metavar="NAME", help="what the pair is to be called")
    parser.add_argument(
        "--from",
        dest="origin",
        required=True,
        metavar="image:REF",
        help="image that the engine has; its own files become the machine's disk",
    )
    parser.add_argument("--command", metavar="WORDS", help="instead of the image's own command")
    parser.add_argument(
        "--ready",
        metavar="PROBE",
        help="when a start is over, line:TEXT, port:NUMBER or http:NUMBER/PATH (default: at the "
        "answer of our own payload)",
    )
    parser.add_argument("--cpus", metavar="N", help="on both sides")
    parser.add_argument("--memory", metavar="SIZE", help="on both sides, such as 512MiB")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help=f"build it, and leave {PROJECT} as it is"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_vmvc.resources import RunScope
    from pytest_vmvc.subjects import catalog, image_machine, offered
    from pytest_vmvc.units import quantity

    if not arguments.origin.startswith(FROM) or arguments.origin == FROM:
        raise UsageError(f"--from {arguments.origin}: unknown", hint=f"{FROM}REF")
    table = {"image": arguments.origin.removeprefix(FROM)}
    given = {key: getattr(arguments, key) for key in ("command", "ready", "cpus", "memory")}
    table |= {key: value for key, value in given.items() if value is not None}
    others = offered.installed(catalog.PAIRS)
    taken = (*catalog.PAIRS, *others, *(own.read(PROJECT) if PROJECT.is_file() else ()))
    pair = own.parse(arguments.name, table, source="vmvc pair", folder=Path.cwd(), taken=taken)
    catalog.check([pair], "")
    with RunScope() as scope:
        made = image_machine.build(pair.image, pair.argv, scope, _say)
    sizes = ", ".join(
        f"{name} {quantity(path.stat().st_blocks * 512, 'bytes')}"
        for name, path in (("kernel", made.kernel), ("initramfs", made.initrd), ("disk", made.disk))
    )
    _say(f"the machine of {pair.name} is built: Linux {made.kernel_release}, {sizes}", None)
    text = own.lines(pair.name, table)
    if arguments.dry_run or not PROJECT.is_file():
        sys.stdout.write(f"Put this into {PROJECT}:\n\n{text}\n")
    else:
        with PROJECT.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")
        _say(f"{PROJECT} has it as [tool.vmvc.pairs.{pair.name}]", None)
    sys.stdout.write(f"Measure it: pytest --vmvc --vmvc-pair={pair.name}\n")
    return 0


def _say(step: str, _: float | None) -> None:
    sys.stdout.write(f"pair: {step}\n")
    sys.stdout.flush()
