"""Bare machines that break, hang or lie: each ends in time, with one line, and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest

from pytest_vmvc import ledger, process
from pytest_vmvc.backends import agent, snapshot
from pytest_vmvc.backends.agent import AgentChannel
from pytest_vmvc.backends.base import Stopwatch, new_nonce
from pytest_vmvc.backends.console import KEPT_BYTES, Console
from pytest_vmvc.backends.machine import QemuMachine, running
from pytest_vmvc.backends.qemu import (
    MARKS,
    MachineSpec,
    QemuProvider,
    answer_text,
    artefact_digest,
    sha256,
)
from pytest_vmvc.backends.qmp import Monitor
from pytest_vmvc.backends.snapshot import RestoredProvider
from pytest_vmvc.errors import (
    BuildFailed,
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
)
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import store
from pytest_vmvc.testing import scratch_run
from tests.faults import guests
from tests.faults.guests import MOUNTED, nothing_left, one_clear_line, with_init

BOOT_S = 60.0
SHORT_S = 0.3
BLINK_S = 0.1
GROWTH_BYTES = 64 << 20
NONCE = "0" * 32


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunScope]:
    with scratch_run(tmp_path_factory) as scope:
        yield scope
        assert nothing_left(scope)


@pytest.fixture(scope="module")
def spec() -> MachineSpec:
    return guests.bare_spec()


@pytest.fixture(scope="module")
def booted(spec: MachineSpec, scope: RunScope) -> QemuProvider:
    return QemuProvider(spec, scope)


@pytest.fixture(scope="module")
def restored(booted: QemuProvider) -> RestoredProvider:
    ready = booted.restored()
    ready.prepare()
    return ready


@pytest.fixture
def machine(restored: RestoredProvider, impatient: None) -> Iterator[QemuMachine]:
    """A machine to be broken: restored, so that each test has its own in no time."""
    with restored.launch(deadline_s=BOOT_S) as own:
        yield own


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grace periods of a blink: what has been stopped does not use them anyway."""
    monkeypatch.setattr(process, "KILL_GRACE_S", SHORT_S)
    monkeypatch.setattr(agent, "KILL_GRACE_S", SHORT_S)


# --- guests that do not come up ------------------------------------------------------------------

CHATTER = f"""{MOUNTED}
echo vmvc:nonce {NONCE}
printf 'vmvc:nonce 0123'
printf '\\033[2J\\033[31m'
head -c 5000 /dev/zero
echo
head -c 20000 /dev/zero | tr '\\000' x
echo
head -c 5000 /dev/urandom
exec yes flood
"""
ENDS = "#!/bin/sh\nexit 3\n"
SLEEPS = "#!/bin/sh\necho vmvc:init\nexec sleep 100000\n"


def halting_kernel(folder: Path) -> Path:
    """Something that the loader takes for a Linux kernel, and that does nothing at all."""
    image = bytearray(b"\xf4\xeb\xfd" * 1024)  # hlt; jump back
    image += bytes(64 * 1024)
    image[0x1F1] = 1  # one sector of set-up code
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x202] = b"\xeb\x7e"  # jump over the header
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = struct.pack("<H", 0x20C)
    image[0x211] = 1  # loaded high
    image[0x22C:0x230] = struct.pack("<I", 0x37FFFFFF)
    image[0x280:0x283] = b"\xf4\xeb\xfd"
    path = folder / "halts"
    path.write_bytes(image)
    return path


def silent_firmware(folder: Path) -> Path:
    """A firmware that halts the processor with its first instruction."""
    image = bytearray(64 * 1024)
    image[0xFFF0:0xFFF3] = b"\xf4\xeb\xfd"
    path = folder / "bios"
    path.write_bytes(image)
    return path


def start(spec: MachineSpec, scope: RunScope, deadline_s: float) -> str:
    with QemuProvider(spec, scope).launch(deadline_s=deadline_s):
        return "it came up"


def hang(spec: MachineSpec, scope: RunScope, there: Callable[[QemuMachine], bool]) -> Exception:
    """Start a machine, let it get to where it hangs, and wait for its answer no longer."""
    provider, nonce = QemuProvider(spec, scope), new_nonce()
    with running(
        scope,
        provider.command(nonce),
        texts={**MARKS, "answer": answer_text(nonce)},
        first_byte="firmware",
        facts=lambda: provider.facts,
    ) as machine:
        until = time.monotonic() + BOOT_S
        while not there(machine):
            assert time.monotonic() < until, machine.console()
            time.sleep(0.02)
        with pytest.raises(LaunchTimedOut) as caught:
            machine.await_answer(time.monotonic() + SHORT_S, deadline_s=SHORT_S)
    return caught.value


@pytest.mark.machine
class TestNoAnswer:
    def test_in_its_firmware(self, spec, scope, tmp_path):
        wrong = msgspec.structs.replace(spec, options=("-bios", str(silent_firmware(tmp_path))))
        with pytest.raises(LaunchTimedOut, match="did not answer within 1 s") as caught:
            start(wrong, scope, 1.0)
        text = one_clear_line(caught.value)
        assert "QEMU runs, and its firmware, or the agent in its snapshot, says nothing" in text
        assert "its console: empty" in text
        assert nothing_left(scope)

    def test_in_its_kernel(self, spec, scope, tmp_path):
        wrong = msgspec.structs.replace(spec, kernel=halting_kernel(tmp_path))
        error = hang(wrong, scope, lambda machine: "kernel" in machine.marks)
        assert "its kernel was started, and hangs or runs no init of ours" in one_clear_line(error)
        assert nothing_left(scope)

    def test_in_its_init(self, spec, scope, tmp_path):
        wrong = with_init(spec, SLEEPS, tmp_path)
        error = hang(wrong, scope, lambda machine: "init" in machine.marks)
        assert "its init runs, and gives no answer" in one_clear_line(error)
        assert nothing_left(scope)

    def test_in_noise_without_end_which_takes_no_memory(self, spec, scope, tmp_path):
        before = psutil.Process().memory_info().rss
        error = hang(
            with_init(spec, CHATTER, tmp_path), scope, lambda machine: "flood" in machine.console()
        )
        assert psutil.Process().memory_info().rss - before < GROWTH_BYTES
        assert "flood / flood" in one_clear_line(error)
        assert nothing_left(scope)

    def test_a_panic_is_told_by_its_cause_and_not_waited_for(self, spec, scope, tmp_path):
        with pytest.raises(LaunchFailed, match="its kernel panicked") as caught:
            start(with_init(spec, ENDS, tmp_path), scope, 10 * BOOT_S)
        assert not isinstance(caught.value, LaunchTimedOut)
        assert "not syncing: Attempted to kill init!" in one_clear_line(caught.value)
        assert nothing_left(scope)

    @pytest.mark.parametrize("content", [b"", b"\0" * 4096, os.urandom(1 << 20)])
    def test_a_kernel_that_is_none_is_told_in_qemus_words(self, spec, scope, tmp_path, content):
        (tmp_path / "kernel").write_bytes(content)
        wrong = msgspec.structs.replace(spec, kernel=tmp_path / "kernel")
        with pytest.raises(LaunchFailed, match="QEMU ended with 1") as caught:
            start(wrong, scope, BOOT_S)
        assert "qemu" in one_clear_line(caught.value)


# --- artefacts that are damaged ------------------------------------------------------------------


@pytest.mark.machine
def test_a_damaged_kernel_is_noticed_before_it_is_booted(spec, scope, tmp_path):
    kernel = tmp_path / "vmlinux"
    shutil.copy(spec.kernel, kernel)
    digest = artefact_digest(
        kernel=f"sha256:{sha256(spec.kernel)}", initrd=f"sha256:{sha256(spec.initrd)}"
    )
    own = msgspec.structs.replace(spec, kernel=kernel, digest=digest)
    QemuProvider(own, scope).prepare()
    with kernel.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"damage")
    with pytest.raises(BuildFailed, match="is damaged") as caught:
        QemuProvider(own, scope).prepare()
    assert "vmvc setup" in one_clear_line(caught.value)


def test_set_up_builds_a_damaged_artefact_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    builds = []

    def build(folder: Path) -> dict[str, str]:
        builds.append(folder)
        (folder / "disk").write_bytes(b"good")
        return {}

    found = store.built("thing", {"a": "1"}, build)
    assert store.built("thing", {"a": "1"}, build) == found
    (found.path / "disk").write_bytes(b"evil")
    again = store.built("thing", {"a": "1"}, build)
    assert (again.path / "disk").read_bytes() == b"good"
    (found.path / "disk").unlink()
    assert store.stored("thing", {"a": "1"}) is None
    assert store.built("thing", {"a": "1"}, build) == found
    assert len(builds) == 3


# --- QEMU killed, and QEMU that hangs ------------------------------------------------------------


@pytest.mark.machine
class TestQemu:
    def test_killed_at_its_start(self, booted, scope, monkeypatch):
        real = QemuMachine.start

        def start_and_die(self: QemuMachine, *words: object, **options: object) -> None:
            real(self, *words, **options)  # type: ignore[arg-type]
            guests.send(self, signal.SIGKILL)

        monkeypatch.setattr(QemuMachine, "start", start_and_die)
        with (
            pytest.raises(LaunchFailed, match="QEMU was ended by SIGKILL") as caught,
            booted.launch(deadline_s=BOOT_S),
        ):
            pytest.fail("it came up")
        assert not isinstance(caught.value, LaunchTimedOut)
        one_clear_line(caught.value)
        assert nothing_left(scope)

    def test_killed_during_a_command(self, machine):
        timer = threading.Timer(SHORT_S, guests.send, (machine, signal.SIGKILL))
        timer.start()
        with pytest.raises(EnvironmentDied, match="QEMU ended") as caught:
            machine.run(["sleep", "1000"], timeout_s=BOOT_S)
        one_clear_line(caught.value)
        assert not machine.alive()

    def test_killed_while_it_is_paused(self, machine):
        machine.monitor.execute("stop")
        assert machine.inspect() == "paused"
        guests.send(machine, signal.SIGKILL)
        for call in (partial(machine.run, ["true"]), machine.inspect, machine.memory):
            with pytest.raises(EnvironmentDied) as caught:
                call()
            one_clear_line(caught.value)

    def test_one_that_is_stopped_answers_nobody_and_goes(self, restored, scope, impatient):
        with restored.launch(deadline_s=BOOT_S) as machine:
            machine.monitor.ready()
            guests.send(machine, signal.SIGSTOP)
            with pytest.raises(CommandTimedOut, match="stopped or hung") as caught:
                machine.run(["true"], timeout_s=SHORT_S)
            one_clear_line(caught.value)
            with pytest.raises(CommandTimedOut, match="did not answer `query-status`") as caught:
                machine.monitor.execute("query-status", timeout_s=SHORT_S)
            one_clear_line(caught.value)
            with pytest.raises(CommandTimedOut):
                machine.stop(timeout_s=SHORT_S)
            with pytest.raises(CommandTimedOut):
                machine.run(["cat"], stdin=b"x" * 10_000_000, timeout_s=SHORT_S)
            assert machine.usage().memory_bytes > 0
            assert machine.alive()
            pid = machine.pid
        assert not psutil.pid_exists(pid)
        assert nothing_left(scope)

    @pytest.mark.parametrize("victim", ["source", "destination"])
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    def test_struck_during_a_migration(
        self, restored, scope, impatient, monkeypatch, victim, number
    ):
        def resumed_never(self: Monitor, *names: str, timeout_s: float) -> str | None:
            return wait(self, *names, timeout_s=min(timeout_s, 5 * SHORT_S))

        wait = Monitor.wait_for
        with restored.launch(deadline_s=BOOT_S) as source:
            others = {child.pid for child in psutil.Process().children()}

            def strike() -> None:
                [destination] = {
                    child.pid
                    for child in psutil.Process().children()
                    if "qemu" in child.name() and child.pid not in others
                }
                os.kill(source.pid if victim == "source" else destination, number)

            if number == signal.SIGSTOP:
                monkeypatch.setattr(Monitor, "wait_for", resumed_never)
            with (
                guests.at_command(monkeypatch, "migrate", strike),
                pytest.raises(InfrastructureError) as caught,
                restored.migrated(source, deadline_s=BOOT_S),
            ):
                pytest.fail("it has moved")
            text = one_clear_line(caught.value)
            assert source.name in text or "QEMU of vmvc" in text
        assert nothing_left(scope)

    @pytest.mark.parametrize(
        ("number", "error"), [(signal.SIGKILL, LaunchFailed), (signal.SIGSTOP, LaunchTimedOut)]
    )
    def test_struck_while_it_is_restored(
        self, restored, scope, impatient, monkeypatch, number, error
    ):
        answer = QemuMachine.answer

        def strike(machine: QemuMachine, nonce: str) -> None:
            os.kill(machine.pid, number)
            answer(machine, nonce)

        monkeypatch.setattr(QemuMachine, "answer", strike)
        deadline_s = 2.0 if number == signal.SIGSTOP else BOOT_S
        with pytest.raises(error) as caught, restored.launch(deadline_s=deadline_s):
            pytest.fail("it came up")
        assert type(caught.value) is error
        one_clear_line(caught.value)
        assert nothing_left(scope)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    def test_struck_while_its_snapshot_is_taken(
        self, machine, monkeypatch, tmp_path, impatient, number
    ):
        monkeypatch.setattr(snapshot, "SNAPSHOT_TIMEOUT_S", 5 * SHORT_S)
        with (
            guests.at_command(monkeypatch, "migrate", partial(guests.send, machine, number)),
            pytest.raises((EnvironmentDied, CommandTimedOut, InfrastructureError)),
        ):
            snapshot._save(machine, tmp_path / "state")


@pytest.mark.machine
@pytest.mark.parametrize("damage", ["gone", "half", "noise"])
def test_a_snapshot_that_is_damaged(restored, scope, impatient, monkeypatch, tmp_path, damage):
    state = tmp_path / "state"
    good = restored._state.read_bytes()
    if damage != "gone":
        state.write_bytes(good[: len(good) // 2] if damage == "half" else os.urandom(1 << 20))
    monkeypatch.setattr(restored, "_state", state)
    with pytest.raises(LaunchFailed) as caught, restored.launch(deadline_s=BOOT_S):
        pytest.fail("it came up")
    one_clear_line(caught.value)
    assert nothing_left(scope)


# --- disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_place() -> Iterator[Path]:
    """A file system of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    with pytest.MonkeyPatch.context() as patch:
        place = Path(f"/run/vmvc-test-{os.getpid()}")
        place.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True, timeout=10
        )
        try:
            patch.setenv("VMVC_STATE_DIR", str(place / "state"))
            yield place
        finally:
            subprocess.run(["umount", place], check=True, timeout=10)
            place.rmdir()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    path.write_bytes(b"b" * (1 << 20))
    return path


@pytest.mark.machine
class TestDisk:
    def test_without_its_base_there_is_no_start(self, booted, scope, base):
        linked = booted.linked(base)
        base.unlink()
        with pytest.raises(LaunchFailed, match=r"no linked clone.*No such file") as caught:
            start(linked.spec, scope, BOOT_S)
        assert "vmvc setup" in one_clear_line(caught.value)
        assert nothing_left(scope)

    def test_a_full_file_system_is_told_to_the_guest_and_to_us(
        self, booted, scope, base, small_place, monkeypatch
    ):
        (small_place / "work").mkdir()
        monkeypatch.setattr(scope, "_workdir", small_place / "work")
        with booted.linked(base).launch(deadline_s=BOOT_S) as machine:
            with pytest.raises(InfrastructureError, match="cannot write to its disk") as caught:
                machine.write(os.urandom(8 << 20))
            assert f"file system of {small_place / 'work'} is full" in one_clear_line(caught.value)
            # The machine itself goes on.
            assert machine.run(["echo", "fine"]).stdout == b"fine\n"
            # So does it when its disk is taken away: QEMU has it open.
            machine._disk.overlay.unlink()
            with pytest.raises(InfrastructureError, match="is gone") as caught:
                machine.disk_bytes()
            one_clear_line(caught.value)
            assert machine.run(["echo", "fine"]).stdout == b"fine\n"
        assert nothing_left(scope)

    def test_one_that_is_truncated_under_it_costs_this_machine_only(self, booted, scope, base):
        with booted.linked(base).launch(deadline_s=BOOT_S) as machine:
            machine.write(b"x" * 100_000)
            os.truncate(machine._disk.overlay, 0)
            machine.run(["sh", "-c", "echo 3 >/proc/sys/vm/drop_caches"])
            read = ["dd", "if=/dev/vda", "of=/dev/null", "bs=4k", "skip=8192", "count=20"]
            done = machine.run(read, timeout_s=BOOT_S)
            assert done.exit_status in (0, 1)
            assert machine.alive()
        assert nothing_left(scope)


# --- a run whose guests die ----------------------------------------------------------------------

RUN_CONFTEST = """
import pytest
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Pair
from tests.faults.guests import PLANTED

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: lambda: ()

@pytest.fixture(scope="session")
def vmvc_load_pair():
    with RunScope() as scope:
        container = FakeProvider(scope)
        yield lambda name: Pair(name=name, subjects={"container": container, **PLANTED})
"""
RUN_CLAIM = """
from pytest_vmvc import claim, below

@claim(
    "own.start",
    quote="it starts soon",
    readings={
        "container-soon": below("container", "start_s", 60, "s"),
        "vm-soon": below("vm", "start_s", 60, "s"),
    },
)
def test_start(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)
"""


@pytest.mark.machine
class TestRun:
    @pytest.fixture
    def run(self, pytester, monkeypatch, restored):
        """Measure the container beside machines that may be doomed; gives outcome and log."""
        monkeypatch.setenv("VMVC_STATE_DIR", str(pytester.path / "state"))
        pytester.makeconftest(RUN_CONFTEST)
        pytester.makepyfile(test_own=RUN_CLAIM)

        def measure(doomed: Callable[[int], bool]):
            monkeypatch.setitem(guests.PLANTED, "vm", guests.Doomed(restored, doomed))
            done = pytester.runpytest(
                "--vmvc", "--vmvc-pair=minimal", "test_own.py", "-p", "no:cacheprovider"
            )
            return done, ledger.read(pytester.path / "vmvc-results" / "latest" / "results.jsonl")

        return measure

    def test_two_dead_guests_are_retried_and_counted(self, run, scope):
        # The very first is the warm-up's.
        done, log = run(lambda start: start in (1, 4))
        done.assert_outcomes(passed=2)
        assert [(one.subject, one.block) for one in log.retries] == [("vm", 0), ("vm", 1)]
        assert all("QEMU ended" in one.error for one in log.retries)
        starts = [one for one in log.observations if one.metric == "start_s"]
        assert sorted(one.subject for one in starts) == ["container"] * 6 + ["vm"] * 6
        assert nothing_left(scope)

    def test_all_dead_are_an_error_and_what_was_measured_stays(self, run, scope):
        done, log = run(lambda start: start > 2)
        done.assert_outcomes(errors=2)
        done.stdout.fnmatch_lines(
            ["*EnvironmentDied: vm in block 2 failed 3 times in a row*died: QEMU ended*"]
        )
        assert len(log.retries) == 2
        assert log.observations
        assert log.end is not None
        assert not [one for one in log.results if one.judgement.verdict.value == "SUPPORTED"]
        assert nothing_left(scope)


# --- what a guest's agent may say ----------------------------------------------------------------


@pytest.fixture
def wires() -> Iterator[tuple[AgentChannel, socket.socket, socket.socket]]:
    """The host's end, and both ports as the guest sees them."""
    (requests, guest), (kills, control) = socket.socketpair(), socket.socketpair()
    channel = AgentChannel(requests, kills, name="m")
    with guest, control:
        yield channel, guest, control
    channel.close()


def answering(guest: socket.socket, reply: Callable[[bytes], bytes]) -> threading.Thread:
    def answer() -> None:
        request = guest.recv(4096).split()
        try:
            guest.sendall(reply(request[1]))
        except OSError:
            return

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


LIES: dict[str, Callable[[bytes], bytes]] = {
    "random bytes": lambda _: os.urandom(1 << 20),
    "NULs": lambda _: bytes(1 << 20),
    "one line of 10 MB": lambda _: b"x" * 10_000_000 + b"\n",
    "half a line": lambda id_: b"vmvc:done " + id_,
    "another's reply": lambda _: b"vmvc:done 0123 0 5 0\nhello",
    "negative sizes": lambda id_: b"vmvc:done %s 0 -5 0\n" % id_,
    "five thousand digits": lambda id_: b"vmvc:done %s 0 %s 0\n" % (id_, b"9" * 5000),
    "a status of its own": lambda id_: b"vmvc:done %s fine 0 0\n" % id_,
    "less than it says": lambda id_: b"vmvc:done %s 0 5 5\nabc" % id_,
}


@pytest.mark.parametrize("lie", LIES)
def test_an_agent_that_lies_ends_with_the_deadline(wires, monkeypatch, lie):
    monkeypatch.setattr(agent, "KILL_GRACE_S", BLINK_S)
    channel, guest, _ = wires
    thread = answering(guest, LIES[lie])
    with pytest.raises(CommandTimedOut) as caught:
        channel.run(["true"], timeout_s=BLINK_S, stdin=b"")
    one_clear_line(caught.value)
    channel.close()
    thread.join(BOOT_S)


def test_an_agent_that_announces_more_than_memory_holds_is_refused_at_once(wires):
    channel, guest, _ = wires
    thread = answering(guest, lambda id_: b"vmvc:done %s 0 999999999999 0\n" % id_)
    with pytest.raises(InfrastructureError, match="announces 999999999999 bytes") as caught:
        channel.run(["true"], timeout_s=BOOT_S, stdin=b"")
    one_clear_line(caught.value)
    thread.join(BOOT_S)


# --- the monitor ---------------------------------------------------------------------------------

VERSION = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
GREETING = json.dumps({"QMP": {"version": VERSION, "capabilities": ["oob"]}}).encode() + b"\r\n"


class Peer:
    """What plays QEMU at the other end of a monitor."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire

    def request(self) -> dict[str, object]:
        """The next request; requests end with their last brace."""
        data = b""
        while True:
            piece = self.wire.recv(65536)
            if not piece:
                raise ConnectionError
            data += piece
            try:
                return dict(json.loads(data))
            except ValueError:
                continue

    def say(self, **message: object) -> None:
        self.wire.sendall(json.dumps(message).encode() + b"\r\n")

    def greet(self) -> object:
        """Greet, negotiate, and take the first request; returns its id."""
        self.wire.sendall(GREETING)
        self.request()
        self.say(**{"return": {}})
        return self.request()["id"]


def flood(peer: Peer, data: bytes) -> None:
    while True:
        peer.wire.sendall(data)


def after(*actions: Callable[[Peer, object], object]) -> Callable[[Peer], None]:
    """A peer that is well until it has the first request."""

    def play(peer: Peer) -> None:
        request_id = peer.greet()
        for action in actions:
            action(peer, request_id)

    return play


SILENT: dict[str, Callable[[Peer], object]] = {
    "says nothing": lambda peer: None,
    "says half a greeting": lambda peer: peer.wire.sendall(GREETING[:30]),
    "never answers": after(),
    "answers somebody else": after(lambda peer, _: peer.say(**{"return": 1, "id": "x"})),
}
BROKEN: dict[str, Callable[[Peer], object]] = {
    "is no QEMU": lambda peer: peer.wire.sendall(b"SSH-2.0-OpenSSH\r\n"),
    "greets with noise": lambda peer: peer.wire.sendall(os.urandom(100_000) + b"\n"),
    "greets with another object": lambda peer: peer.say(hello=1),
    "closes in mid-command": after(lambda peer, _: peer.wire.shutdown(socket.SHUT_RDWR)),
    "answers with noise": after(lambda peer, _: peer.wire.sendall(b"\0\xff\r\n")),
    "answers without end": after(lambda peer, _: flood(peer, b"x" * (1 << 20))),
    "answers a deep list": after(lambda peer, _: peer.wire.sendall(b"[" * 200_000 + b"\r\n")),
    "answers a malformed error": after(lambda peer, id_: peer.say(error="x", id=id_)),
}


@pytest.fixture
def monitor() -> Iterator[Callable[[Callable[[Peer], object]], Monitor]]:
    made: list[tuple[Monitor, socket.socket, threading.Thread]] = []

    def connect(play: Callable[[Peer], object]) -> Monitor:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            try:
                play(Peer(theirs))
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        found = Monitor(ours, name="vmvc-r0-1")
        made.append((found, theirs, thread))
        return found

    yield connect
    for found, wire, thread in made:
        found.close()
        with suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)
        thread.join(BOOT_S)
        wire.close()


class TestMonitor:
    @pytest.mark.parametrize("play", SILENT)
    def test_one_that_does_not_answer_is_left_at_the_deadline(self, monitor, play):
        with pytest.raises(CommandTimedOut) as caught:
            monitor(SILENT[play]).execute("query-status", timeout_s=BLINK_S)
        one_clear_line(caught.value)

    @pytest.mark.parametrize("play", BROKEN)
    def test_one_that_makes_no_sense_is_left_at_once(self, monitor, play):
        before = psutil.Process().memory_info().rss
        with pytest.raises(EnvironmentDied, match="its monitor broke off") as caught:
            monitor(BROKEN[play]).execute("query-status", timeout_s=BOOT_S)
        one_clear_line(caught.value)
        assert psutil.Process().memory_info().rss - before < GROWTH_BYTES

    def test_events_without_end_do_not_hide_the_answer(self, monitor):
        def play(peer: Peer) -> None:
            request_id = peer.greet()
            stamp = {"seconds": 1, "microseconds": 1}
            for _ in range(2000):
                peer.say(event="RTC_CHANGE", timestamp=stamp, data={})
            peer.say(**{"return": "fine", "id": request_id})

        found = monitor(play)
        assert found.execute("query-status", timeout_s=BOOT_S) == "fine"
        assert len(found.events) <= 256


def test_a_console_keeps_its_end_and_no_more():
    ours, theirs = socket.socketpair()
    console = Console(ours, name="m")
    console.start(Stopwatch(), texts={"answer": b"vmvc:nonce 1"}, first_byte="")
    with theirs:
        for piece in (bytes(1 << 20), b"x" * 10_000_000, b"\n", os.urandom(1 << 20), b"\nlast\n"):
            theirs.sendall(piece)
    assert not console.wait(BOOT_S)
    assert len(console._tail) <= KEPT_BYTES
    assert console.tail().endswith("last")
    assert all(line.isprintable() for line in console.tail(KEPT_BYTES).splitlines())
    console.close()
