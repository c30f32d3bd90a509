"""Bare machines, run for real where QEMU is there; the parts that need none, without."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest

from pytest_vmvc.backends import agent, footprint, qemu
from pytest_vmvc.backends.agent import AgentChannel, quote
from pytest_vmvc.backends.base import Environment, Stopwatch
from pytest_vmvc.backends.console import KEPT_BYTES, Console
from pytest_vmvc.backends.linked_disk import LinkedDisk
from pytest_vmvc.backends.machine import QemuMachine
from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider, QemuReaper
from pytest_vmvc.backends.snapshot import RestoredProvider
from pytest_vmvc.errors import (
    BuildFailed,
    CommandFailed,
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    Unavailable,
)
from pytest_vmvc.resources import Resource, RunScope
from pytest_vmvc.testing import ProviderContract
from tests.faults import guests

BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]
MACHINE_S = 60.0

ORPHAN_MAKER = """
import os, sys
from pathlib import Path
from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider
from pytest_vmvc.resources import RunScope

spec = MachineSpec(kernel=Path(sys.argv[1]), initrd=Path(sys.argv[2]))
with RunScope() as scope, QemuProvider(spec, scope).launch(deadline_s=60) as machine:
    print(machine.name, machine.pid, flush=True)
    os._exit(9)
"""


@pytest.fixture(scope="session")
def spec() -> MachineSpec:
    """The machine of the minimal pair, from the user's cache."""
    return guests.bare_spec()


@pytest.fixture(scope="module")
def booted(spec: MachineSpec, run_scope: RunScope) -> QemuProvider:
    ready = QemuProvider(spec, run_scope)
    ready.prepare()
    return ready


@pytest.fixture(scope="module")
def broken_provider(
    spec: MachineSpec, run_scope: RunScope, tmp_path_factory: pytest.TempPathFactory
) -> QemuProvider:
    """Its kernel finds no init, panics and ends the machine."""
    empty = tmp_path_factory.mktemp("broken") / "initrd"
    empty.touch()
    return QemuProvider(msgspec.structs.replace(spec, initrd=empty), run_scope)


@pytest.fixture(scope="module")
def restored(booted: QemuProvider) -> RestoredProvider:
    ready = booted.restored()
    ready.prepare()
    return ready


@pytest.fixture(scope="module", params=["booted", "restored"])
def provider(request: pytest.FixtureRequest) -> QemuProvider | RestoredProvider:
    """Both ways to start keep the contract."""
    found: QemuProvider | RestoredProvider = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def machine(booted: QemuProvider) -> Iterator[QemuMachine]:
    """A booted machine, for every check that leaves it as it was."""
    with booted.launch(deadline_s=MACHINE_S) as own:
        yield own


@pytest.fixture
def fresh(booted: QemuProvider) -> Iterator[QemuMachine]:
    with booted.launch(deadline_s=MACHINE_S) as own:
        yield own


@pytest.mark.machine
class TestContract(ProviderContract):
    def kill(self, env: Environment) -> None:
        assert isinstance(env, QemuMachine)
        os.kill(env.pid, signal.SIGKILL)

    def leftovers(self) -> Sequence[Resource]:
        return QemuReaper().inventory()


@pytest.mark.machine
class TestBoot:
    def test_phases_come_in_order(self, machine: QemuMachine) -> None:
        assert list(machine.marks) == ["process", "firmware", "kernel", "init", "answer"]

    def test_the_monitor_answers(self, machine: QemuMachine) -> None:
        status = machine.monitor.execute("query-status")
        assert isinstance(status, dict)
        assert status["running"] is True

    def test_a_refused_monitor_command_is_no_death(self, machine: QemuMachine) -> None:
        with pytest.raises(InfrastructureError, match="no-such-command") as caught:
            machine.monitor.execute("no-such-command")
        assert not isinstance(caught.value, EnvironmentDied)
        assert machine.alive()

    def test_every_byte_can_be_an_argument(self, machine: QemuMachine) -> None:
        every = bytes(range(1, 256))
        done = machine.run(["printf", "%s", os.fsdecode(every)])
        assert done.stdout == every

    def test_commands_of_two_threads_queue(self, machine: QemuMachine) -> None:
        answers: list[bytes] = []

        def ask(word: str) -> None:
            answers.append(machine.run(["echo", word], timeout_s=MACHINE_S).stdout)

        threads = [threading.Thread(target=ask, args=(f"t{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(answers) == [b"t0\n", b"t1\n", b"t2\n", b"t3\n"]

    def test_it_recovers_from_standard_input_cut_short(self, machine: QemuMachine) -> None:
        with pytest.raises(CommandTimedOut):
            machine.run(["cat"], stdin=b"x\n" * 10_000_000, timeout_s=0.05)
        assert machine.run(["echo", "fine"], timeout_s=MACHINE_S).stdout == b"fine\n"

    def test_what_a_command_leaves_running_goes_on(self, machine: QemuMachine) -> None:
        machine.run(["sh", "-c", "sleep 876.5 & echo $! >/tmp/left"])
        found = machine.run(["sh", "-c", "tr '\\0' ' ' </proc/$(cat /tmp/left)/cmdline"])
        assert found.stdout == b"sleep 876.5 "

    def test_its_end_is_told(self, fresh: QemuMachine) -> None:
        with pytest.raises(CommandTimedOut, match="did not end"):
            fresh.await_death(timeout_s=0.05)
        os.kill(fresh.pid, signal.SIGKILL)
        assert fresh.await_death(timeout_s=MACHINE_S) == "QEMU ended"

    def test_the_payload_stays(self, machine: QemuMachine) -> None:
        assert b"sleep 2147483647" in machine.run(["ps"]).stdout

    def test_the_artefact_has_three_sizes(self, booted: QemuProvider) -> None:
        sizes = booted.artefact()
        spec = booted.spec
        assert sizes.virtual_bytes == spec.kernel.stat().st_size + spec.initrd.stat().st_size
        assert 0 < sizes.fetch_bytes <= sizes.virtual_bytes

    def test_a_wrong_option_shows_what_qemu_says(
        self, spec: MachineSpec, run_scope: RunScope
    ) -> None:
        wrong = QemuProvider(msgspec.structs.replace(spec, options=("-no-such",)), run_scope)
        with pytest.raises(LaunchFailed, match="-no-such: invalid option"), wrong.launch():
            pytest.fail("it came up")

    def test_a_missing_kernel_shows_what_qemu_says(
        self, spec: MachineSpec, run_scope: RunScope, tmp_path: Path
    ) -> None:
        wrong = QemuProvider(msgspec.structs.replace(spec, kernel=tmp_path / "gone"), run_scope)
        with pytest.raises(LaunchFailed, match=r"gone.*No such file"), wrong.launch():
            pytest.fail("it came up")
        with pytest.raises(Unavailable, match="does not exist"):
            wrong.prepare()


@pytest.mark.machine
class TestTrouble:
    def test_a_panic_is_seen_at_once(self, fresh: QemuMachine) -> None:
        fresh.monitor.ready()
        started = time.monotonic()
        with pytest.raises(EnvironmentDied, match="died"):
            fresh.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 600"], timeout_s=300)
        assert time.monotonic() - started < MACHINE_S
        assert not fresh.alive()
        with pytest.raises(EnvironmentDied):
            fresh.usage()

    def test_one_that_is_dead_has_no_figures_though_nobody_has_waited_for_it(
        self, fresh: QemuMachine
    ) -> None:
        os.kill(fresh.pid, signal.SIGKILL)
        os.waitid(os.P_PID, fresh.pid, os.WEXITED | os.WNOWAIT)
        for figure in (fresh.capabilities, fresh.usage, fresh.account, fresh.system_calls):
            with pytest.raises(EnvironmentDied):
                figure()
        with pytest.raises(EnvironmentDied):
            fresh.stop()

    def test_a_port_that_is_not_forwarded_is_told_at_once(self, machine: QemuMachine) -> None:
        with pytest.raises(InfrastructureError, match="does not forward port 80"):
            machine.address(80)

    def test_a_paused_guest_is_not_said_to_have_ended_a_command(
        self, machine: QemuMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent, "KILL_GRACE_S", 0.2)
        machine.monitor.execute("stop")
        try:
            with pytest.raises(CommandTimedOut, match=r"`sh -c echo a b` did.*stopped or hung"):
                machine.run(["sh", "-c", "echo a\nb"], timeout_s=0.1)
        finally:
            machine.monitor.execute("cont")
        assert machine.run(["echo", "fine"], timeout_s=MACHINE_S).stdout == b"fine\n"

    def test_a_flooded_console_stalls_nothing(self, fresh: QemuMachine) -> None:
        script = f"(yes flood | head -c {3 * KEPT_BYTES}; echo; echo over) >/dev/console"
        fresh.run(["sh", "-c", script], timeout_s=2 * MACHINE_S)
        assert fresh.run(["echo", "fine"]).stdout == b"fine\n"
        assert fresh.console().endswith("over")

    def test_a_dead_agent_is_replaced(self, fresh: QemuMachine) -> None:
        with pytest.raises(CommandTimedOut):
            fresh.run(["sh", "-c", "kill -9 $PPID; sleep 600"], timeout_s=1.0)
        assert fresh.run(["echo", "fine"], timeout_s=MACHINE_S).stdout == b"fine\n"


@pytest.mark.machine
class TestSnapshot:
    def test_restored_machines_are_one_boot_and_a_fresh_one_is_another(
        self, restored: RestoredProvider, machine: QemuMachine
    ) -> None:
        ids = []
        for _ in range(2):
            with restored.launch(deadline_s=MACHINE_S) as again:
                assert list(again.marks) == ["process", "answer"]
                ids.append(again.run(BOOT_ID).stdout)
        assert ids[0] == ids[1] != machine.run(BOOT_ID).stdout

    def test_facts_tell_that_it_was_restored(self, restored: RestoredProvider) -> None:
        assert restored.facts.extra["restored"] is True
        size_bytes = restored.facts.extra["snapshot_bytes"]
        assert isinstance(size_bytes, int)
        assert size_bytes > 1_000_000

    def test_a_snapshot_that_is_gone_is_a_failed_launch(
        self, booted: QemuProvider, tmp_path: Path
    ) -> None:
        robbed = booted.restored()
        robbed._state = tmp_path / "gone"
        with pytest.raises(LaunchFailed, match=r"gone.*run again"), robbed.launch():
            pytest.fail("it came up")
        assert robbed.facts.extra["restored"] is True

    def test_it_must_be_prepared(self, booted: QemuProvider) -> None:
        with pytest.raises(BuildFailed, match="no snapshot"), booted.restored().launch():
            pytest.fail("it came up")


@pytest.mark.machine
class TestReaper:
    def test_an_orphan_is_found_and_killed(self, spec: MachineSpec, tmp_path: Path) -> None:
        owner = subprocess.run(
            [sys.executable, "-c", ORPHAN_MAKER, spec.kernel, spec.initrd],
            env={**os.environ, "VMVC_STATE_DIR": str(tmp_path), "TMPDIR": str(tmp_path)},
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert owner.returncode == 9, owner.stderr
        name, pid = owner.stdout.decode().split()
        orphan = psutil.Process(int(pid))
        reaper = QemuReaper()
        found = [resource for resource in reaper.inventory() if resource.name == name]
        assert [resource.kind for resource in found] == ["qemu"]
        reaper.destroy(found[0])
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert name not in {resource.name for resource in reaper.inventory()}
        reaper.destroy(found[0])

    def test_machines_of_others_are_not_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [
            ["/usr/bin/qemu-system-x86_64", "-name", "guest=vmvc-r0123456789-1,debug-threads=on"],
            ["/usr/bin/qemu-system-x86_64", "-name", "guest=web"],
            ["grep", "guest=vmvc-r0123456789-1"],
            [],
            ["qemu-system-x86_64", "-name", "guest=vmvc-r0123456789-7"],
        ]

        class Listed:
            def __init__(self, words: list[str]) -> None:
                self.info = {"cmdline": words}

        monkeypatch.setattr(psutil, "process_iter", lambda _: [Listed(words) for words in names])
        found = QemuReaper().inventory()
        assert [(one.name, one.run_id) for one in found] == [("vmvc-r0123456789-7", "r0123456789")]


def test_a_disk_that_cannot_be_made_is_a_failed_launch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_scope: RunScope
) -> None:
    def refused(_: LinkedDisk) -> None:
        raise CommandFailed("`qemu-img create` ended with 1", hint="no space left")

    monkeypatch.setattr(LinkedDisk, "create", refused)
    disk = tmp_path / "base"
    spec = MachineSpec(kernel=tmp_path, initrd=tmp_path, binary="/bin/true", disk=disk)
    with pytest.raises(LaunchFailed, match="no space left"), QemuProvider(spec, run_scope).launch():
        pytest.fail("it came up")


def test_a_process_that_has_ended_holds_no_memory_of_zero() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(psutil.NoSuchProcess):
        footprint.memory_bytes(psutil.Process(child.pid))
    child.wait(10)


class TestProbe:
    def test_without_qemu(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_scope: RunScope
    ) -> None:
        monkeypatch.setattr(qemu.shutil, "which", lambda _: None)
        gap = QemuProvider(MachineSpec(kernel=tmp_path, initrd=tmp_path), run_scope).probe()
        assert gap is not None
        assert "vmvc setup" in gap.hint

    def test_on_another_architecture(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_scope: RunScope
    ) -> None:
        monkeypatch.setattr(qemu.platform, "machine", lambda: "aarch64")
        gap = QemuProvider(MachineSpec(kernel=tmp_path, initrd=tmp_path), run_scope).probe()
        assert gap is not None
        assert "aarch64" in gap.message

    def test_without_the_artefacts(self, tmp_path: Path, run_scope: RunScope) -> None:
        spec = MachineSpec(kernel=tmp_path / "k", initrd=tmp_path / "i", binary=sys.executable)
        gap = QemuProvider(spec, run_scope).probe()
        assert gap is not None
        assert "does not exist" in gap.message


class TestAgentChannel:
    @pytest.fixture
    def wires(self) -> Iterator[tuple[AgentChannel, socket.socket, socket.socket]]:
        """The host's end, and both ports as the guest sees them."""
        (requests, guest), (kills, control) = socket.socketpair(), socket.socketpair()
        channel = AgentChannel(requests, kills, name="m")
        with guest, control:
            yield channel, guest, control
        channel.close()

    def test_words_are_quoted_on_one_line(self) -> None:
        assert quote(["a b", "x\n'y"]) == rb"$'a b' $'x\012\047y'"

    def test_a_stale_reply_in_pieces_is_skipped(
        self, wires: tuple[AgentChannel, socket.socket, socket.socket]
    ) -> None:
        channel, guest, _ = wires

        def answer() -> None:
            request = guest.recv(4096).split()
            guest.sendall(b"vmvc:done 0123 0 5 0\nstale" + b"\0" * 1000)
            for byte in b"vmvc:done %s 3 2 4\nokevil" % request[1]:
                guest.sendall(bytes([byte]))

        thread = threading.Thread(target=answer)
        thread.start()
        done = channel.run(["true"], timeout_s=30, stdin=b"")
        thread.join(60)
        assert (done.exit_status, done.stdout, done.stderr) == (3, b"ok", b"evil")

    def test_a_late_request_is_ended_by_its_id(
        self, wires: tuple[AgentChannel, socket.socket, socket.socket]
    ) -> None:
        channel, guest, control = wires
        seen: list[bytes] = []

        def answer() -> None:
            request = guest.recv(4096).split()
            seen.extend((request[1], control.recv(4096)))
            guest.sendall(b"vmvc:done %s 137 0 0\n" % request[1])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CommandTimedOut, match="sleep 9"):
            channel.run(["sleep", "9"], timeout_s=0.05, stdin=b"")
        thread.join(60)
        assert seen[1] == b"vmvc:kill %s\n" % seen[0]

    def test_the_end_of_input_is_said_until_the_guest_has_seen_it(
        self, wires: tuple[AgentChannel, socket.socket, socket.socket]
    ) -> None:
        channel, guest, _ = wires
        seen: list[bytes] = []

        def answer() -> None:
            # What was being ended may still swallow the first one.
            with guest.makefile("rb") as lines:
                request = next(line for line in lines if b"vmvc:run" in line).split()
                seen.extend(line for line, _ in zip(filter(None, lines), range(4), strict=False))
            guest.sendall(b"vmvc:done %s 137 0 0\n" % request[1])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CommandTimedOut):
            channel.run(["cat"], timeout_s=0.05, stdin=b"input")
        thread.join(60)
        assert seen[0] == b"input\n"
        assert seen[1] == seen[3]
        assert seen[1].startswith(b"vmvc:skipped ")

    def test_an_end_of_the_channel_is_a_death(
        self, wires: tuple[AgentChannel, socket.socket, socket.socket]
    ) -> None:
        channel, guest, _ = wires
        guest.close()
        with pytest.raises(EnvironmentDied):
            channel.run(["true"], timeout_s=30, stdin=b"")

    @pytest.mark.parametrize("argv", [[], ["a\0b"]])
    def test_what_is_no_command_is_refused(
        self, wires: tuple[AgentChannel, socket.socket, socket.socket], argv: list[str]
    ) -> None:
        with pytest.raises(ValueError, match="not a command"):
            wires[0].run(argv, timeout_s=1, stdin=b"")


class TestConsole:
    def test_texts_are_found_in_pieces_and_memory_is_bounded(self) -> None:
        ours, theirs = socket.socketpair()
        console, watch = Console(ours, name="m"), Stopwatch()
        console.start(
            watch, texts={"init": b"vmvc:init", "answer": b"vmvc:nonce 1"}, first_byte="f"
        )
        with theirs:
            for piece in (b"\x1bBIOS\r\nvmvc:", b"init\r\nvmvc:non", b"ce 1\r\n"):
                theirs.sendall(piece)
            assert console.wait(30)
            theirs.sendall(b"x" * 79 + b"\n" * 1_000_000)
            theirs.sendall(b"last\r\n")
        assert not console.close()
        assert console.ended
        assert list(watch.marks) == ["f", "init", "answer"]
        assert console.tail() == "last"
        assert len(console._tail) <= KEPT_BYTES

    def test_an_end_before_the_answer_is_noticed(self) -> None:
        ours, theirs = socket.socketpair()
        console = Console(ours, name="m")
        console.start(Stopwatch(), texts={"answer": b"vmvc:nonce 1"}, first_byte="")
        theirs.sendall(b"vmvc:nonce 2\n")
        theirs.close()
        assert not console.wait(30)
        assert console.ended
        console.close()
