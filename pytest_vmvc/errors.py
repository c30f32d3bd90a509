"""Everything that can go wrong, each with the remedy.

::

    VmvcError
    ├── UsageError            the request itself is wrong (option, claim, reading)
    ├── Unavailable           this host lacks something: the claims concerned are NOT TESTABLE
    │   └── Closed            ... a way to see something of one of its environments:
    │       ├── NoCommands        to run commands inside
    │       └── NoUsage           to know what it holds of the host
    ├── BuildFailed           an image, a kernel, a disk or a box could not be made
    ├── CommandFailed         a host command ended with a non-zero status
    ├── LedgerError           a results file cannot be written or read
    ├── SamplesError          a file of plain numbers cannot be used
    └── InfrastructureError   the harness, not the claim, broke: retried and counted
        ├── LaunchFailed      an environment did not come up
        │   └── LaunchTimedOut    ... before its deadline (a right-censored sample)
        ├── CommandTimedOut   a command did not end before its deadline
        ├── EnvironmentDied   an environment ended under us
        └── TeardownFailed    something is still there after it was destroyed
"""

from __future__ import annotations

from typing import ClassVar

from pytest_vmvc.text import visible


class VmvcError(Exception):
    """Base of all errors raised on purpose: one line of cause, one line of remedy.

    Both may quote what a guest, an engine or a file says, which is told to a terminal as text only.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return visible(f"{self.message} — {self.hint}" if self.hint else self.message)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[VmvcError], message: str, hint: str) -> VmvcError:
    return cls(message, hint=hint)


class UsageError(VmvcError):
    """The request is wrong: an option, a claim declaration, a reading."""


class Unavailable(VmvcError):
    """This host cannot do it; the hint says what to install, start or permit."""


class Closed(Unavailable):
    """An environment that can be started and timed, and of which something cannot be seen."""

    fact: ClassVar[str]
    """In `Facts.extra` it is false where a provider knows so beforehand."""


class NoCommands(Closed):
    """Nobody can look into it."""

    fact = "commands"


class NoUsage(Closed):
    """Nobody on the host knows what it holds."""

    fact = "usage"


class BuildFailed(VmvcError):
    """An image, kernel, disk or box could not be built."""


class CommandFailed(VmvcError):
    """A host command ended with a non-zero status."""


class LedgerError(VmvcError):
    """A results file cannot be written, or is not one of ours."""


class SamplesError(VmvcError):
    """A file of plain numbers cannot be used; the message names the line."""


class InfrastructureError(VmvcError):
    """The harness broke, not the claim; never a verdict."""


class LaunchFailed(InfrastructureError):
    """An environment did not come up."""


class LaunchTimedOut(LaunchFailed):
    """An environment did not come up before its deadline."""


class CommandTimedOut(InfrastructureError):
    """A command did not end before its deadline."""


class EnvironmentDied(InfrastructureError):
    """An environment ended while it was in use."""


class TeardownFailed(InfrastructureError):
    """Something is still there after it was destroyed."""
