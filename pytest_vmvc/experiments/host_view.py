"""What of the host's kernel is seen inside: pseudo-files, and a change that we make on the host."""

from __future__ import annotations

import os
from contextlib import ExitStack

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.pseudo_files import differential
from pytest_vmvc.experiments.vantage import VOID, Shell, inside, isolation, on_host
from pytest_vmvc.subjects import Pair

CANARIES = 64
"""Pseudo-terminals that are opened on the host, some milliseconds long."""

COUNTER = "/proc/sys/kernel/pty/nr"
"""How many of them there are: a counter that the kernel keeps for all its namespaces."""


class HostView:
    """The same list of files in a container and a machine; then a canary on the host."""

    name = "host_view"
    metrics = (
        isolation(
            "hidden",
            "does not show the host's value",
            "the file is not readable inside, or has another value than on the host at that moment",
        ),
        isolation(
            "host_files",
            "pseudo-files that show the host's value",
            "of the fixed list: readable inside, and equal to the host's",
            unit="files",
        ),
        isolation(
            "canary_hidden",
            "does not show a change made on the host",
            f"{CANARIES} pseudo-terminals opened on the host, and closed, leave the {COUNTER} of "
            "the inside as it is",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record both of a standing container and a standing machine."""
        for done, subject in enumerate(("container", "vm")):
            record.progress(done, 2, "part")
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
            elif subject in pair.subjects:
                (environment,) = pair.standing(subject, 1, deadline_s=settings.deadline_s)
                _files(subject, environment, record)
                _canary(subject, environment, record)
        record.progress(2, 2, "part")


def _files(subject: str, environment: Environment, record: Recorder) -> None:
    found = differential(inside(environment))
    if not found.valid:
        raise InfrastructureError(f"{VOID}: the host does not equal itself in any file")
    for name in sorted(found.void):
        record.missing(name, f"{VOID}: the host does not equal itself there")
    facts = environment.facts
    for name in sorted(found.valid):
        record.observe(subject, "hidden", name not in found.equal, facts=facts, instance=name)
    record.observe(subject, "host_files", len(found.equal), facts=facts, instance=environment.name)


def _canary(subject: str, environment: Environment, record: Recorder) -> None:
    """The host itself must see it, and must see nothing where nothing is done."""
    shell = inside(environment)

    def count() -> tuple[int, int]:
        return _count(on_host), _count(shell)

    idle, before = count(), count()
    with ExitStack() as stack:
        for _ in range(CANARIES):
            for end in os.openpty():
                stack.callback(os.close, end)
        during = count()
    after = count()
    host, guest = (_bumped(*readings) for readings in zip(before, during, after, strict=True))
    if not host or _bumped(idle[0], before[0], idle[0]):
        raise InfrastructureError(
            f"{VOID}: the host's own {COUNTER} does not follow what is done on the host",
            hint="are pseudo-terminals opened and closed all the time here?",
        )
    record.observe(
        subject,
        "canary_hidden",
        not guest,
        facts=environment.facts,
        instance=environment.name,
    )


def _bumped(before: int, during: int, after: int) -> bool:
    """Up and down again by about what was done; others open a terminal now and then."""
    return min(during - before, during - after) >= CANARIES // 2


def _count(shell: Shell) -> int:
    text = shell(f"cat {COUNTER}").strip()
    return int(text) if text.isdecimal() else 0
