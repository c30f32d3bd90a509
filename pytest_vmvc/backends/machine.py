"""One running QEMU process: its wires to us, its console, agent and monitor, and its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pytest_vmvc.backends import confinement, footprint
from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends.agent import AgentChannel
from pytest_vmvc.backends.base import Stopwatch, Timed
from pytest_vmvc.backends.console import KEPT_BYTES, Console, one_line
from pytest_vmvc.backends.linked_disk import GUEST_WRITE, GUEST_WRITE_FILE, LinkedDisk
from pytest_vmvc.backends.machine_account import account, memory
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.backends.qmp import Monitor
from pytest_vmvc.errors import (
    CommandFailed,
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
    NoCommands,
    TeardownFailed,
    Unavailable,
)
from pytest_vmvc.model import Completed, Facts, Usage
from pytest_vmvc.process import end_group
from pytest_vmvc.resources import RunScope, marked

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
ESTABLISHED = re.compile(r"TCP\[ESTABLISHED\]\s+\S+\s+\S+\s+(\d+)\s")
"""The forwarded port of a connection that the guest has accepted; QEMU itself accepts any."""
WIRES = ("serial", "requests", "kills", "monitor")
BALLOON_DRIVER = "/lib/modules/virtio_balloon.ko"
BALLOON_POLL_S = 0.02
DEATH_TIMEOUT_S = 5.0
"""Seconds between the end of QEMU's channels and the end of its process."""

REACHED = {
    "init": "its init runs, and gives no answer",
    "kernel": "its kernel was started, and hangs or runs no init of ours",
    "firmware": "its firmware found nothing to boot, or hangs",
    "process": "QEMU runs, and its firmware, or the agent in its snapshot, says nothing",
}
"""How far a start came that is not over, by its last mark."""


class QemuMachine(Timed):
    """A started machine; made by `running`."""

    def __init__(
        self,
        name: str,
        *,
        scratch: Path,
        facts: Callable[[], Facts],
        disk: Path | None = None,
        holds_root: bool = False,
        has_agent: bool = True,
    ) -> None:
        self._name = name
        self._holds_root = holds_root
        self._has_agent = has_agent
        self._disk = LinkedDisk(disk, scratch / f"{name}.qcow2") if disk else None
        self._errors = scratch / f"{name}.err"
        self._facts = facts
        self._known_facts: Facts | None = None
        self._forwards: dict[int, tuple[str, int]] = {}
        self._stopwatch = Stopwatch()
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
        if self._disk is not None:
            words += self._disk.words
        fds = [*(end.fileno() for end in self._theirs), *inherit]
        try:
            with self._errors.open("wb") as errors:
                self._stopwatch = Stopwatch()
                if self._disk is not None:
                    self._clone(self._disk)
                self._child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=fds,
                    env=marked(),
                    start_new_session=True,
                )
                self._stopwatch.mark("process")
        except (OSError, CommandFailed) as error:
            raise LaunchFailed(f"QEMU could not be started: {error}") from error
        # Only QEMU may hold these ends, so that they close when it ends.
        for end in self._theirs:
            end.close()
        self._console.start(self._stopwatch, texts=texts, first_byte=first_byte)

    def _clone(self, disk: LinkedDisk) -> None:
        try:
            disk.create()
        except (CommandFailed, CommandTimedOut) as error:
            raise LaunchFailed(
                f"{self._name} got no linked clone of {disk.base}: {one_line(error.hint)}",
                hint="free some space, or run `vmvc setup` if that file is gone",
            ) from error
        self._stopwatch.mark("created")

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
    def monitor(self) -> Monitor:
        """QEMU's monitor; being connected from the first use on."""
        if self._monitor is None:
            self._monitor = Monitor(self._monitor_channel, name=self._name)
        return self._monitor

    def address(self, port: int) -> tuple[str, int]:
        """Where a forwarded port is reached; the first call brings the guest's network up.

        Raises `InfrastructureError` for a port that is not forwarded, and `EnvironmentDied`.
        """
        forwards = self._forwards or self._asked_forwards()
        if port not in forwards:
            raise InfrastructureError(
                f"{self._name} does not forward port {port}", hint="name it in the shape"
            )
        if not self._forwards:
            if self._has_agent:
                self.run(["sh", "-c", GUEST_NETWORK])
            self._forwards = forwards
        return forwards[port]

    def _asked_forwards(self) -> dict[int, tuple[str, int]]:
        return {
            int(inside): (host, int(outside))
            for host, outside, inside in FORWARD.findall(self._network())
        }

    def _network(self) -> str:
        return str(self.monitor.execute("human-monitor-command", {"command-line": "info usernet"}))

    def start_balloon(self) -> None:
        """Have the guest load the driver of its balloon; raises `InfrastructureError`."""
        done = self.run(["insmod", BALLOON_DRIVER])
        if done.exit_status != 0:
            raise InfrastructureError(
                f"{self._name} cannot load {BALLOON_DRIVER}",
                hint=one_line(done.stderr.decode(errors="replace")),
            )

    def inflate(self, left_bytes: int, *, timeout_s: float = 30.0) -> None:
        """Inflate the balloon until the guest has so much left.

        Raises `CommandTimedOut` and `InfrastructureError` (it has no balloon).
        """
        until = time.monotonic() + timeout_s
        self.monitor.execute("balloon", {"value": left_bytes})
        while (answer := self.monitor.execute("query-balloon")) != {"actual": left_bytes}:
            if time.monotonic() > until:
                raise CommandTimedOut(
                    f"the balloon of {self._name} is not inflated after {timeout_s:g} s: {answer}"
                )
            time.sleep(BALLOON_POLL_S)

    def console(self) -> str:
        """The last lines of its console."""
        return self._console.tail()

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command by the agent; output is kept in the guest's memory until it ends.

        Raises `NoCommands` where it has no agent of ours.
        """
        if not self._has_agent:
            raise NoCommands(
                f"no command can be run in {self._name}: it has no agent of ours, or no shell",
                hint="what is timed from outside and the sizes are measured all the same",
            )
        try:
            return self._agent.run(argv, timeout_s=timeout_s, stdin=stdin)
        except EnvironmentDied:
            raise self._death() from None

    def answer(self, nonce: str) -> None:
        """Have the agent print the nonce on the console; raises `LaunchFailed` where QEMU ended."""
        try:
            self._agent.answer(nonce)
        except EnvironmentDied:
            raise self.failure() from None

    def await_answer(self, until: float, *, deadline_s: float) -> None:
        """Wait for the answer until that moment of the monotonic clock.

        Raises `LaunchFailed` when QEMU ended and `LaunchTimedOut`, both with its last words.
        """
        if self._console.wait(max(0.0, until - time.monotonic())):
            return
        if self._console.ended:
            raise self.failure()
        reached = next((REACHED[mark] for mark in REACHED if mark in self.marks), "not started")
        raise self._late(deadline_s, reached)

    def await_service(
        self, ready: readiness.Port | readiness.Http, until: float, *, deadline_s: float
    ) -> None:
        """Wait until it serves, which is its answer; raises as `await_answer` does."""
        try:
            self.monitor.ready(timeout_s=max(0.0, until - time.monotonic()))
            host, outside = self._asked_forwards()[ready.port]
            seen = readiness.await_service(
                ready,
                (host, outside),
                until=until,
                over=lambda: self._console.ended,
                accepted=lambda: str(outside) in ESTABLISHED.findall(self._network()),
            )
        except EnvironmentDied:
            raise self.failure() from None
        except CommandTimedOut:
            seen = "its monitor is silent"
        if seen is None:
            self._stopwatch.mark("answer")
            return
        if self._console.ended:
            raise self.failure()
        raise self._late(deadline_s, f"{ready}: {seen}")

    def _late(self, deadline_s: float, reached: str) -> LaunchTimedOut:
        return LaunchTimedOut(
            f"{self._name} did not answer within {deadline_s:g} s: {reached}",
            hint=f"its console: {self._last_words() or 'empty'}; see `vmvc doctor`",
        )

    def failure(self) -> LaunchFailed:
        """Why it did not come up, from QEMU's own words or the console's end."""
        status = self._await_end()
        with self._errors.open("rb") as errors:
            words = one_line(errors.read(KEPT_BYTES).decode(errors="replace"))
        words = words or self._last_words() or "it said nothing"
        how = f"QEMU ended with {status}"
        if status is not None and status < 0:
            how = f"QEMU was ended by {signal.Signals(-status).name}"
        elif "Kernel panic" in words:
            how = "its kernel panicked"
        return LaunchFailed(
            f"{self._name} did not come up: {how}", hint=f"{words}; see `vmvc doctor`"
        )

    def usage(self) -> Usage:
        """CPU time and memory of the QEMU process; raises `EnvironmentDied`."""
        process = self._process()
        try:
            times = process.cpu_times()
            memory_bytes = footprint.memory_bytes(process)
        except psutil.Error:
            raise self._death() from None
        return Usage(
            cpu_s=times.user + times.system,
            memory_bytes=memory_bytes,
            definition=USAGE_DEFINITION,
        )

    def account(self) -> Account:
        """QEMU's costs, the guest's memory apart; raises `EnvironmentDied`."""
        process = self._process()
        try:
            return account(process, int(self.facts.memory_bytes or 0))
        except psutil.NoSuchProcess:
            raise self._death() from None

    def memory(self) -> Memory:
        """The guest kernel's own figures; raises `EnvironmentDied`."""
        answer = self.run(["cat", "/proc/meminfo"]).stdout.decode(errors="replace")
        return memory(answer, int(self.facts.memory_bytes or 0))

    def capabilities(self) -> int:
        """Those of QEMU; raises `EnvironmentDied`."""
        return confinement.capabilities(self._process().pid)

    def system_calls(self) -> int:
        """Those of QEMU; raises `Unavailable` and `EnvironmentDied`."""
        return confinement.system_calls(self._process().pid, confinement.emulators_own)

    def _process(self) -> psutil.Process:
        """QEMU, not what has got its pid since; raises `EnvironmentDied`."""
        if not self.alive():
            raise self._death()
        return psutil.Process(self.pid)

    def inspect(self) -> str:
        """The state by QEMU's monitor: ``running``; raises `EnvironmentDied`."""
        answer = self.monitor.execute("query-status")
        return str(answer["status"]) if isinstance(answer, dict) else ""

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """Have the monitor end QEMU, and wait for its end.

        Raises `CommandTimedOut` and `EnvironmentDied` (it had ended before).
        """
        if not self.alive():
            raise self._death()
        with suppress(EnvironmentDied):  # it may end before it answers
            self.monitor.execute("quit", timeout_s=timeout_s)
        try:
            if self._child is not None:
                self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(
                f"QEMU of {self._name} did not quit within {timeout_s:g} s"
            ) from None

    def write(self, data: bytes) -> None:
        """Put data on the machine's disk; raises `Unavailable` and `InfrastructureError`."""
        if self._disk is None:
            raise Unavailable("this machine has no disk")
        script = GUEST_WRITE_FILE if self._holds_root else GUEST_WRITE
        done = self.run(["sh", "-c", script], stdin=data)
        if done.exit_status != 0:
            words = one_line(done.stderr.decode(errors="replace"))
            raise InfrastructureError(
                f"{self._name} cannot write to its disk: {words or 'it says not why'}",
                hint=self._disk.trouble(),
            )

    def disk_bytes(self) -> int:
        """Bytes of its overlay on the host; 0 without a disk. Raises `InfrastructureError`."""
        try:
            return self._disk.allocated_bytes() if self._disk else 0
        except OSError as error:
            raise InfrastructureError(
                f"the disk of {self._name} is gone: {error}", hint="somebody has removed it"
            ) from error

    def alive(self) -> bool:
        """Whether the QEMU process runs."""
        return self._child is not None and self._child.poll() is None

    def await_death(self, *, timeout_s: float) -> str:
        """Wait until its kernel panicked or QEMU ended, and say which."""
        with suppress(EnvironmentDied):
            if self.monitor.wait_for("GUEST_PANICKED", timeout_s=timeout_s) is None:
                raise CommandTimedOut(f"{self._name} did not end within {timeout_s:g} s")
        return self._cause_of_death()

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
            if self._disk is not None:
                self._disk.remove()
        if self.alive():
            raise TeardownFailed(
                f"QEMU of {self._name} (pid {self.pid}) cannot be ended",
                hint="the kernel holds it; see /proc/<pid>/stack",
            )

    def _last_words(self) -> str:
        return one_line(self._console.tail(KEPT_BYTES))

    def _death(self) -> EnvironmentDied:
        how = self._cause_of_death()
        return EnvironmentDied(
            f"{self._name} died: {how}", hint=f"its console: {self._last_words() or 'empty'}"
        )

    def _cause_of_death(self) -> str:
        self._await_end()
        events = self._monitor.events if self._monitor else ()
        return "its kernel panicked" if "GUEST_PANICKED" in events else "QEMU ended"

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
    disk: Path | None = None,
    holds_root: bool = False,
    has_agent: bool = True,
) -> Iterator[QemuMachine]:
    """Start QEMU under a fresh name, written down before; leaving ends it and verifies that.

    It gets a linked clone of ``disk`` for its own; see `MachineSpec` for the two after it.
    """
    name = scope.new_name()
    resource = scope.hold("qemu", name)
    machine = QemuMachine(
        name,
        scratch=scope.workdir,
        facts=facts,
        disk=disk,
        holds_root=holds_root,
        has_agent=has_agent,
    )
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
