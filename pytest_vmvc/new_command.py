"""``vmvc new claim``: a claim of one's own that runs at once, to be changed into what is meant."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from pytest_vmvc.declaration import check_id
from pytest_vmvc.errors import UsageError

SKELETON = '''"""Claims of our own."""

from pytest_vmvc import below, claim


@claim(
    "{claim}",
    # The sentence that is put to the test, in its author's words.
    quote="our container starts in under a second",
    readings={{
        # Fixed before any data: subject, metric, bound, unit. Others: at_least, ratio, same, ...
        "container-under-a-second": below("container", "start_s", 1, "s"),
    }},
)
def test_{name}(reading, cold_start):  # an experiment, by its name; `vmvc claims` lists examples
    """From the request to the payload's first answer, on the host's clock."""
    reading.judge(cold_start)
'''


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own class is private
    """Add the command."""
    parser = commands.add_parser("new", help="write a claim of your own to begin with")
    parser.add_argument("what", choices=("claim",), help="what to write")
    parser.add_argument("name", metavar="NAME", help="the claim's id, such as own.start-time")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where to write it (default: here); it is made where it is not there",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    path = write(arguments.name, arguments.output)
    sys.stdout.write(
        f"{path} has the claim {arguments.name}: change what its comments say\n"
        f"Measure it: pytest --vmvc --vmvc-pair=minimal {path}\n"
    )
    return 0


def write(claim: str, folder: Path) -> Path:
    """Write a claim of that id into a new file of the folder, and return the file.

    Raises `UsageError` on an id that no claim can have, where the file is there already, and where
    it cannot be written.
    """
    check_id(claim)
    name = re.sub(r"[.-]", "_", claim)
    path = folder / f"test_{name}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(SKELETON.format(claim=claim, name=name))
    except FileExistsError as error:
        raise UsageError(
            f"{path} is there already" if path.exists() else f"{folder} is no folder",
            hint="give the claim another name, or choose another folder with -o",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="choose another folder with -o",
        ) from error
    return path
