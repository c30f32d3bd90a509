"""What the command line says: a live line on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pytest_vmvc.backends import base
from pytest_vmvc.text import visible


class Voice:
    """Speaks for one command (``setup: ...``); NO_COLOR is respected."""

    def __init__(self, name: str, *, file: IO[str] | None = None, yes: bool = False) -> None:
        self.name = name
        self.console = Console(file=file, highlight=False)
        self.yes = yes

    def say(self, text: str) -> None:
        """One line, never wrapped: it may be grepped or pasted."""
        self.console.print(visible(f"{self.name}: {text}"), markup=False, soft_wrap=True)

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return self.console.is_terminal and sys.stdin.isatty()

    def ask(self, question: str) -> bool:
        """Yes or no, from ``--yes`` or from a terminal; no where nobody can answer."""
        if self.yes:
            return True
        if not self.can_ask:
            return False
        try:
            answer = self.console.input(f"{self.name}: {question} [y/N] ", markup=False)
        except EOFError:
            return False
        return answer.strip().lower() in ("y", "yes")

    @contextmanager
    def long(self, title: str) -> Iterator[base.Progress]:
        """Announce a long step; yields the callback that reports how far it is."""
        if not self.console.is_terminal:
            yield self._plain(title)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=None)

            def report(step: str, fraction: float | None) -> None:
                total, done = (None, 0.0) if fraction is None else (1.0, fraction)
                bar.update(task, description=f"{title}: {step}", total=total, completed=done)

            yield report

    def _plain(self, title: str) -> base.Progress:
        """A line for each new step; fractions are for people who watch."""
        self.say(title)
        last = ""

        def report(step: str, _fraction: float | None) -> None:
            nonlocal last
            if step != last:
                last = step
                self.say(f"  {step}")

        return report
