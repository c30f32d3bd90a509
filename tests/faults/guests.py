"""Guests that misbehave: the pair's own kernel with another init, and hands on running QEMUs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc.backends import qemu
from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.machine import QemuMachine
from pytest_vmvc.backends.qemu import MachineSpec, QemuReaper
from pytest_vmvc.backends.qmp import Monitor
from pytest_vmvc.errors import Unavailable, VmvcError
from pytest_vmvc.model import Facts
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal
from pytest_vmvc.subjects.archive import file, write_cpio

CPIO_BLOCK = 512

MOUNTED = """#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
"""


def bare_spec() -> MachineSpec:
    """The machine of the minimal pair, from the user's cache."""
    try:
        qemu.binary()
        found = minimal.load() or minimal.build(lambda *_: None)
    except VmvcError as reason:
        pytest.skip(str(reason))
    return MachineSpec(kernel=found.kernel, initrd=found.initrd, userland=found.userland)


def with_init(spec: MachineSpec, script: str, folder: Path) -> MachineSpec:
    """The same machine with another init: a second archive overrides the first one's file."""
    initrd = folder / f"initrd-{abs(hash(script))}"
    data = spec.initrd.read_bytes()
    with initrd.open("wb") as target:
        target.write(data + b"\0" * (-len(data) % CPIO_BLOCK))
        write_cpio([file("init", script.encode(), 0o755)], target)
    return msgspec.structs.replace(spec, initrd=initrd)


def send(machine: QemuMachine, number: signal.Signals) -> None:
    """Send a signal to the machine's QEMU, and to nobody else."""
    assert machine.pid
    os.kill(machine.pid, number)


@contextmanager
def at_command(
    monkeypatch: pytest.MonkeyPatch, command: str, act: Callable[[], None]
) -> Iterator[None]:
    """Act right after a monitor command was accepted, by whichever machine."""
    real = Monitor.execute

    def execute(self: Monitor, name: str, *words: object, **options: object) -> object:
        answer = real(self, name, *words, **options)  # type: ignore[arg-type]
        if name == command:
            act()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "execute", execute)
        yield


def nothing_left(scope: RunScope) -> bool:
    """No QEMU of the run, by the process table, and nothing that it still has to destroy."""
    left = [one for one in QemuReaper().inventory() if one.run_id == scope.run_id]
    return not left and not scope.held


def one_clear_line(error: BaseException) -> str:
    """The error as a person sees it: one line, of bearable length, with a remedy."""
    text = str(error)
    assert isinstance(error, VmvcError)
    assert len(text.splitlines()) == 1, text
    assert len(text) < 700, text
    assert text.isprintable(), text
    assert error.hint, text
    return text


PLANTED: dict[str, Provider] = {}
"""Subjects for the pair of a run under test, which is made in this process."""


class Doomed:
    """A provider of real machines, some of which are killed as soon as they have answered."""

    def __init__(self, provider: Provider, doomed: Callable[[int], bool]) -> None:
        self._provider = provider
        self._doomed = doomed
        self.name, self.kind = provider.name, provider.kind
        self.started = 0

    @property
    def facts(self) -> Facts:
        # Not emulated, so that no battery is run first.
        return msgspec.structs.replace(self._provider.facts, accelerator="kvm-hw")

    def probe(self) -> Unavailable | None:
        return self._provider.probe()

    def prepare(self) -> None:
        self._provider.prepare()

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[Environment]:
        self.started += 1
        with self._provider.launch(deadline_s=deadline_s) as machine:
            if self._doomed(self.started):
                assert isinstance(machine, QemuMachine)
                send(machine, signal.SIGKILL)
            yield machine
