"""A running machine of Vagrant's: commands by ssh, figures from its process, death noticed."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import psutil

from pytest_vmvc import process
from pytest_vmvc.backends import confinement, footprint, libvirt
from pytest_vmvc.backends.base import Stopwatch, Timed
from pytest_vmvc.backends.ssh import SshConnection
from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied, Unavailable
from pytest_vmvc.model import Completed, Facts, Usage

USAGE_PSS: Final = (
    "the machine's QEMU process: user + system CPU time, proportional set size (PSS); "
    "its provider's daemons are not in it"
)
USAGE_RSS: Final = (
    "the machine's QEMU process: user + system CPU time, resident set size (RSS), as PSS may only "
    "be read by root; its provider's daemons are not in it"
)


def usage_definition() -> str:
    """How this user's usage figures are defined."""
    return USAGE_PSS if os.geteuid() == 0 else USAGE_RSS


class SshMachine(Timed):
    """A machine that has given its first answer, whichever provider runs it."""

    def __init__(
        self,
        *,
        name: str,
        facts: Facts,
        stopwatch: Stopwatch,
        connection: SshConnection | None,
        hypervisor: psutil.Process | None,
    ) -> None:
        """``hypervisor``: the process of this host that is the machine; None: it is not known."""
        self._name = name
        self._facts = facts
        self._stopwatch = stopwatch
        self._connection = connection
        self._forwards: dict[int, tuple[str, int]] = {}
        self._hypervisor = hypervisor
        self._released, self._release = os.pipe()
        self._watcher: threading.Thread | None = None
        if hypervisor is not None:
            self._watch(hypervisor.pid)

    @property
    def name(self) -> str:
        """Its name, ``vmvc-<run id>-<n>``."""
        return self._name

    @property
    def facts(self) -> Facts:
        """Provenance, complete."""
        return self._facts

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command inside as root; a non-zero exit status is data.

        Raises `CommandTimedOut` (the command is ended), `EnvironmentDied`, and `Unavailable` where
        the start was to end with the first answer.
        """
        connection = self._logged_in()
        try:
            return connection.run(argv, timeout_s=timeout_s, stdin=stdin)
        except CommandTimedOut:
            if self.alive():
                raise
            raise EnvironmentDied(
                f"{self._name} ended during `{process.shown(argv)}`",
                hint="its provider does not run it any more",
            ) from None

    def address(self, port: int) -> tuple[str, int]:
        """Where a port of the machine is reached: forwarded by ssh, as Vagrant itself does it."""
        if port not in self._forwards:
            self._forwards[port] = self._logged_in().forward(port)
        return self._forwards[port]

    def _logged_in(self) -> SshConnection:
        if self._connection is None:
            raise Unavailable(f"nobody logged in: the start of {self._name} ended at its answer")
        return self._connection

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._hypervisor is not None and runs(self._hypervisor)

    def usage(self) -> Usage:
        """What its process holds now; raises `EnvironmentDied`."""
        try:
            if self._hypervisor is None or not self._hypervisor.is_running():
                raise EnvironmentDied(f"{self._name} ended: its QEMU process is gone")
            cpu = self._hypervisor.cpu_times()
            memory_bytes = footprint.memory_bytes(self._hypervisor)
        except psutil.Error as error:
            raise EnvironmentDied(f"{self._name} ended: {error}") from error
        return Usage(
            cpu_s=cpu.user + cpu.system,
            memory_bytes=memory_bytes,
            definition=usage_definition(),
        )

    def _watch(self, pid: int) -> None:
        """Hang up as soon as QEMU ends; ssh alone would notice after a minute of silence."""
        try:
            process_ended = os.pidfd_open(pid)
        except ProcessLookupError:
            self._hang_up()
            return
        except OSError:
            return  # a kernel without it: ssh's own keep-alive has to do

        def watch() -> None:
            try:
                ready, _, _ = select.select([process_ended, self._released], [], [])
                if process_ended in ready:
                    self._hang_up()
            finally:
                os.close(process_ended)

        self._watcher = threading.Thread(target=watch, name=f"{self._name} watch", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Hang up and stop watching; the machine itself goes on."""
        with suppress(OSError):
            os.close(self._release)
        if self._watcher is not None:
            self._watcher.join(timeout=10)
        with suppress(OSError):
            os.close(self._released)
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()


class VagrantMachine(SshMachine):
    """One that libvirt runs."""

    def __init__(
        self,
        *,
        name: str,
        domain: str,
        facts: Facts,
        stopwatch: Stopwatch,
        connection: SshConnection | None,
    ) -> None:
        super().__init__(
            name=name,
            facts=facts,
            stopwatch=stopwatch,
            connection=connection,
            hypervisor=libvirt.qemu_process(domain),
        )
        self._domain = domain

    @property
    def domain(self) -> str:
        """Its name in libvirt, ``<name>-default``."""
        return self._domain

    def capabilities(self) -> int:
        """Those of its QEMU process; raises `Unavailable` and `EnvironmentDied`."""
        return confinement.capabilities(self._emulator().pid)

    def system_calls(self) -> int:
        """Those of its QEMU process; raises `Unavailable` and `EnvironmentDied`."""
        return confinement.system_calls(self._emulator().pid, confinement.emulators_own)

    def _emulator(self) -> psutil.Process:
        if self._hypervisor is None:
            raise Unavailable("the machine's QEMU process is not in this host's process table")
        return self._hypervisor

    def alive(self) -> bool:
        """Whether libvirt says that it runs, or is paused; without it, whether QEMU runs.

        Of a QEMU that has ended libvirt may hear a moment later than we do.
        """
        if self._hypervisor is not None and not runs(self._hypervisor):
            return False
        try:
            return libvirt.alive(self._domain)
        except (Unavailable, CommandTimedOut):
            # The daemon may be restarted at any time: its machines go on without it.
            return self._hypervisor is not None


def runs(process: psutil.Process) -> bool:
    """Whether it still does anything."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
