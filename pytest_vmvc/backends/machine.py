"""One running QEMU process: its wires to us, its console, agent and monitor, and its end."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pytest_vmvc.backends.agent import AgentChannel
from pytest_vmvc.backends.base import Stopwatch
from pytest_vmvc.backends.console import Console
from pytest_vmvc.backends.qmp import Monitor
from pytest_vmvc.errors import (
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
    TeardownFailed,
)
from pytest_vmvc.model import Completed, Facts, Usage
from pytest_vmvc.process import end_group
from pytest_vmvc.resources import RunScope

USAGE_DEFINITION = (
    "QEMU process seen from the host: user + system CPU time, and PSS (RSS where PSS may not be "
    "read) of its whole address space, guest memory that was touched included"
)
GUEST_NETWORK = """for module in failover net_failover virtio_net; do
    insmod "/lib/modules/$module.ko" 2>/dev/null
done
until [ -e /sys/class/net/eth0 ]; do sleep 0.05; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up"""
"""QEMU's own network has this address for its one guest."""

FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)\s")
WIRES = ("serial", "requests", "kills", "monitor")
DEATH_TIMEOUT_S = 5.0
"""Seconds between the end of QEMU's channels and the end of its process."""
TEXT_KEPT = 600


class QemuMachine:
    """A started machine; made by `running`."""

    def __init__(self, name: str, *, scratch: Path, facts: Callable[[], Facts]) -> None:
        self._name = name
        self._errors = scratch / f"{name}.err"
        self._facts = facts
        self._known_facts: Facts | None = None
        self._forwards: dict[int, tuple[str, int]] = {}
        self._watch = Stopwatch()
        self._child: subprocess.Popen[bytes] | None = None
        self._monitor: Monitor | None = None
        ours, self._theirs = zip(*(socket.socketpair() for _ in WIRES), strict=True)
        serial, requests, kills, self._monitor_channel = ours
        self._console = Console(serial, name=name)
        self._agent = AgentChannel(requests, kills, name=name)

    def start(
        self,
        argv: Sequence[str],
        *,
        texts: Mapping[str, bytes],
        first_byte: str,
        inherit: Sequence[int] = (),
    ) -> None:
        """Start QEMU, and with it the stopwatch; raises `LaunchFailed`."""
        words = [*argv, "-name", f"guest={self._name}", *_wires(self._theirs)]
        fds = [*(end.fileno() for end in self._theirs), *inherit]
        try:
            with self._errors.open("wb") as errors:
                self._watch = Stopwatch()
                self._child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=fds,
                    start_new_session=True,
                )
                self._watch.mark("process")
        except OSError as error:
            raise LaunchFailed(f"QEMU could not be started: {error}") from error
        # Only QEMU may hold these ends, so that they close when it ends.
        for end in self._theirs:
            end.close()
        self._console.start(self._watch, texts=texts, first_byte=first_byte)

    @property
    def name(self) -> str:
        """Its name on the host."""
        return self._name

    @property
    def pid(self) -> int:
        """Process id of QEMU; 0 before its start."""
        return self._child.pid if self._child else 0

    @property
    def facts(self) -> Facts:
        """Provenance."""
        if self._known_facts is None:
            self._known_facts = self._facts()
        return self._known_facts

    @property
    def marks(self) -> Mapping[str, float]:
        """Seconds since the request, ascending."""
        return dict(sorted(self._watch.marks.items(), key=lambda mark: mark[1]))

    def mark(self, name: str) -> float:
        """Add a mark now."""
        return self._watch.mark(name)

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor; being connected from the first use on."""
        if self._monitor is None:
            self._monitor = Monitor(self._monitor_channel, name=self._name)
        return self._monitor

    def address(self, port: int) -> tuple[str, int]:
        """Where a forwarded port is reached; the first call brings the guest's network up.

        Raises `InfrastructureError` for a port that is not forwarded, and `EnvironmentDied`.
        """
        if not self._forwards:
            self.run(["sh", "-c", GUEST_NETWORK])
            said = self.monitor.execute("human-monitor-command", {"command-line": "info usernet"})
            self._forwards = {
                int(inside): (host, int(outside))
                for host, outside, inside in FORWARD.findall(str(said))
            }
        if port not in self._forwards:
            raise InfrastructureError(
                f"{self._name} does not forward port {port}", hint="name it in the shape"
            )
        return self._forwards[port]

    def console(self) -> str:
        """The last lines of its console."""
        return self._console.tail()

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command by the agent; output is kept in the guest's memory until it ends."""
        try:
            return self._agent.run(argv, timeout_s=timeout_s, stdin=stdin)
        except EnvironmentDied:
            raise self._death() from None

    def answer(self, nonce: str) -> None:
        """Have the agent print the nonce on the console."""
        self._agent.answer(nonce)

    def await_answer(self, until: float, *, deadline_s: float) -> None:
        """Wait for the answer until that moment of the monotonic clock.

        Raises `LaunchFailed` when QEMU ended and `LaunchTimedOut`, both with its last words.
        """
        if self._console.wait(max(0.0, until - time.monotonic())):
            return
        if self._console.ended:
            raise self.failure()
        raise LaunchTimedOut(
            f"{self._name} did not answer within {deadline_s:g} s",
            hint=one_line(self.console()) or "its console is empty",
        )

    def failure(self) -> LaunchFailed:
        """Why it did not come up, from QEMU's own words or the console's end."""
        status = self._await_end()
        words = one_line(self._errors.read_text(errors="replace"))
        return LaunchFailed(
            f"{self._name} did not come up: QEMU ended with {status}",
            hint=words or one_line(self.console()) or "it said nothing",
        )

    def usage(self) -> Usage:
        """CPU time and memory of the QEMU process; raises `EnvironmentDied`."""
        try:
            process = psutil.Process(self.pid)
            times = process.cpu_times()
            memory_bytes = _memory_bytes(process)
        except psutil.Error:
            raise self._death() from None
        return Usage(
            cpu_s=times.user + times.system,
            memory_bytes=memory_bytes,
            definition=USAGE_DEFINITION,
        )

    def alive(self) -> bool:
        """Whether the QEMU process runs."""
        return self._child is not None and self._child.poll() is None

    def destroy(self) -> None:
        """End QEMU and close everything; raises `TeardownFailed` when it cannot be ended."""
        try:
            if self._child is not None:
                end_group(self._child)
        finally:
            if self._monitor is not None:
                self._monitor.close()
            self._monitor_channel.close()
            for end in self._theirs:
                end.close()
            self._console.close()
            self._agent.close()
            self._errors.unlink(missing_ok=True)
        if self.alive():
            raise TeardownFailed(
                f"QEMU of {self._name} (pid {self.pid}) cannot be ended",
                hint="the kernel holds it; see /proc/<pid>/stack",
            )

    def _death(self) -> EnvironmentDied:
        self._await_end()
        events = self._monitor.events if self._monitor else ()
        how = "its kernel panicked" if "GUEST_PANICKED" in events else "QEMU ended"
        return EnvironmentDied(f"{self._name} died: {how}", hint=one_line(self.console()))

    def _await_end(self) -> int | None:
        """QEMU's exit status; its channels close a moment before the process is gone."""
        if self._child is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(DEATH_TIMEOUT_S)
        return self._child.returncode


@contextmanager
def running(
    scope: RunScope,
    argv: Sequence[str],
    *,
    texts: Mapping[str, bytes],
    first_byte: str,
    facts: Callable[[], Facts],
    inherit: Sequence[int] = (),
) -> Iterator[QemuMachine]:
    """Start QEMU under a fresh name, written down before; leaving ends it and verifies that."""
    name = scope.new_name()
    resource = scope.hold("qemu", name)
    machine = QemuMachine(name, scratch=scope.workdir, facts=facts)
    try:
        machine.start(argv, texts=texts, first_byte=first_byte, inherit=inherit)
        yield machine
    finally:
        machine.destroy()
        scope.release(resource)  # not reached when it could not be ended


def _wires(ends: Sequence[socket.socket]) -> list[str]:
    """Console, the agent's two ports and the monitor, each on an inherited socket."""
    wires = [
        "-serial", "chardev:serial",
        "-device", "virtio-serial-pci,id=ports",
        "-device", "virtserialport,bus=ports.0,nr=1,chardev=requests,name=org.vmvc.requests",
        "-device", "virtserialport,bus=ports.0,nr=2,chardev=kills,name=org.vmvc.kills",
        "-mon", "chardev=monitor,mode=control",
    ]  # fmt: skip
    for identity, end in zip(WIRES, ends, strict=True):
        wires += ["-chardev", f"socket,id={identity},fd={end.fileno()}"]
    return wires


def one_line(text: str) -> str:
    """The last words of a text, as one line."""
    return " / ".join(line for line in text.splitlines() if line.strip())[-TEXT_KEPT:]


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
