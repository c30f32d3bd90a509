"""The journey of an artefact: what an operator types, phase by phase, on the host's clock."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.resources import RunScope

STEP_TIMEOUT_S = 900.0


class Journey:
    """Counts the time of its phases, and nothing between them; keeps the commands."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        """At the origin, for what is to be carried."""
        self.there = folder / "there"
        """At the destination; the same disk, so that the way is as fast as this host can."""
        self.there.mkdir()
        self.marks: dict[str, float] = {}
        self.commands: list[str] = []
        self._clock = clock
        self._passed_s = 0.0

    @contextmanager
    def phase(self, mark: str) -> Iterator[None]:
        """Count the time of the block; the mark is the sum of all phases so far."""
        started = self._clock()
        yield
        self._passed_s += self._clock() - started
        self.marks[mark] = self._passed_s

    def note(self, *words: str | Path) -> None:
        """An operator's command that is carried out in other words; kept with `~` for the home."""
        self.commands.append(shlex.join(map(_without_home, words)))

    def run(self, *words: str | Path) -> None:
        """Carry an operator's command out; raises `CommandFailed` and `CommandTimedOut`."""
        self.note(*words)
        process.run(words, timeout_s=STEP_TIMEOUT_S)

    def carry(self, archive: Path) -> Path:
        """Copy the archive to the destination, byte by byte; the origin's copy goes."""
        with self.phase("carried"):
            self.run("cp", "--reflink=never", archive, self.there)
        archive.unlink()
        return self.there / archive.name


def _without_home(word: str | Path) -> str:
    home = Path.home()
    if isinstance(word, Path) and home.parent != home and word.is_relative_to(home):
        return f"~/{word.relative_to(home)}"
    return str(word)


@contextmanager
def journey(scope: RunScope) -> Iterator[Journey]:
    """A journey with a roomy folder that ends with it."""
    with scope.roomy_folder() as folder:
        yield Journey(folder)


def found(programs: Sequence[str], *, places: Sequence[str] = ()) -> tuple[str, ...]:
    """Those of the programs that this host has, also where an ordinary PATH does not look."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *places))
    return tuple(program for program in programs if shutil.which(program, path=path))
