"""Any order of events, on the fake and on the real ones; ``--hypothesis-profile=long`` for more."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from docker import APIClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, run_state_machine_as_test

from pytest_vmvc.backends import agent, ssh
from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider, DockerReaper
from pytest_vmvc.backends.fake import FakeEnvironment, FakeProvider
from pytest_vmvc.backends.machine import QemuMachine
from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider, QemuReaper
from pytest_vmvc.backends.vagrant import (
    VagrantMachine,
    VagrantProvider,
    VagrantReaper,
    VagrantSpec,
)
from pytest_vmvc.resources import LABEL, Resource, RunScope
from pytest_vmvc.subjects import debian
from tests.backends.states import COMMAND_S, Client, State, States
from tests.faults import guests

FACTOR = max(1, settings.default.max_examples // 100)
"""How much longer than usual, by Hypothesis's profile."""


def holds(machine: Callable[[], States], *, examples: int, steps: int) -> None:
    """Run a state machine, and see that this process has as many threads, children, files after."""
    before = belongings()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * FACTOR,
            stateful_step_count=steps,
            database=None,
            # A failure is told by its steps; to shrink it would start machines for hours.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    until = time.monotonic() + 10
    while belongings() != before and time.monotonic() < until:
        time.sleep(0.01)  # what is closed by a thread that is ending
    assert belongings() == before


def belongings() -> tuple[int, list[int], list[str]]:
    """Threads, children and open files, sockets and pipes of this process."""
    files = sorted(
        kind.partition(":[")[0]
        for entry in Path("/proc/self/fd").iterdir()
        if not (kind := os.path.realpath(entry)).endswith("/fd")
    )
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    return threading.active_count(), children, files


@pytest.fixture(scope="module")
def scopes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunScope]]:
    """Two runs beside each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMVC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        with RunScope() as one, RunScope() as other:
            _ = one.workdir, other.workdir
            yield [one, other]
            assert not one.held
            assert not other.held


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs, because it is paused, is not waited for as long as in life."""
    monkeypatch.setattr(agent, "KILL_GRACE_S", 0.3)
    monkeypatch.setattr(ssh, "END_TIMEOUT_S", 1.0)


def clients(scopes: list[RunScope], make: Callable[[RunScope], Provider]) -> list[Client]:
    made = [Client(scope, make(scope)) for scope in scopes]
    for client in made:
        if gap := client.provider.probe():
            pytest.skip(str(gap))
        client.provider.prepare()
    return made


def files_of(clients: list[Client]) -> list[str]:
    """What is in the clients' work folders."""
    return sorted(str(path) for client in clients for path in client.scope.workdir.iterdir())


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + COMMAND_S
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.005)


# --- the fake ------------------------------------------------------------------------------------


class FakeStates(States):
    """It cannot be paused, and nobody but its owner knows it."""

    pauses = False
    starts_slowly = False
    late_s = 0.02

    def seen(self) -> dict[str, State]:
        return {
            name: "running"
            for client in self.clients
            for name, env in client.provider.running.items()
            if env.alive() and env.folder.is_dir()
        }

    def kill(self, env: FakeEnvironment) -> State:
        env.kill()
        return "gone"

    def remove(self, name: str) -> None:
        for client in self.clients:
            if env := client.provider.running.get(name):
                env.kill()

    def left(self) -> list[str]:
        return [
            str(path)
            for client in self.clients
            for path in Path(tempfile.gettempdir()).glob(f"vmvc-{client.scope.run_id}-[0-9]*-*")
        ]


def test_fakes_in_any_order(scopes):
    two = clients(scopes, FakeProvider)
    holds(lambda: FakeStates(two), examples=30, steps=30)


# --- containers ----------------------------------------------------------------------------------


class DockerStates(States):
    """Seen and handled by the SDK alone."""

    after_stop = "ended"
    STATES: ClassVar[dict[str, State]] = {
        "running": "running",
        "paused": "paused",
        "exited": "ended",
    }

    def __init__(self, clients: list[Client]) -> None:
        super().__init__(clients)
        self.engine = APIClient(timeout=COMMAND_S)

    def seen(self) -> dict[str, State]:
        return {
            found["Names"][0].lstrip("/"): self.STATES.get(found["State"], found["State"])
            for client in self.clients
            for found in self.engine.containers(
                all=True, filters={"label": f"{LABEL}={client.scope.run_id}"}
            )
        }

    def pause(self, env: Environment) -> None:
        self.engine.pause(env.name)

    def resume(self, env: Environment) -> None:
        self.engine.unpause(env.name)

    def kill(self, env: Environment) -> State:
        self.engine.kill(env.name)
        self.engine.wait(env.name, timeout=COMMAND_S)
        return "ended"

    def remove(self, name: str) -> None:
        DockerReaper().destroy(Resource(kind="container", name=name, run_id=""))

    def left(self) -> list[str]:
        chosen = [{"label": f"{LABEL}={client.scope.run_id}"} for client in self.clients]
        found = [self.engine.networks(filters=one) for one in chosen]
        found += [self.engine.volumes(filters=one)["Volumes"] for one in chosen]
        return [str(one) for one in found if one] + files_of(self.clients)

    def teardown(self) -> None:
        super().teardown()
        self.engine.close()


@pytest.mark.engine
def test_containers_in_any_order(scopes, busybox_image):
    spec = ContainerSpec(image=busybox_image, userland="busybox", memory_bytes=64 << 20)
    two = clients(scopes, lambda scope: DockerProvider(spec, scope))
    holds(lambda: DockerStates(two), examples=3, steps=20)


# --- bare machines -------------------------------------------------------------------------------


class QemuStates(States):
    """Seen in the process table, paused by the monitor, ended by signals."""

    def __init__(self, clients: list[Client]) -> None:
        super().__init__(clients)
        self.before = files_of(clients)

    def seen(self) -> dict[str, State]:
        return {name: self._monitored(name) for name in self.names()}

    def names(self) -> set[str]:
        words = [f"guest=vmvc-{client.scope.run_id}-" for client in self.clients]
        return {
            word.removeprefix("guest=")
            for pid in processes()
            for word in command(pid)
            if word.startswith(tuple(words))
        }

    def _monitored(self, name: str) -> State:
        env = next(one.env for one in self.held if one.env.name == name)
        assert isinstance(env, QemuMachine)
        return env.monitor.execute("query-status")["status"]

    def pause(self, env: QemuMachine) -> None:
        env.monitor.execute("stop")

    def resume(self, env: QemuMachine) -> None:
        env.monitor.execute("cont")

    def kill(self, env: QemuMachine) -> State:
        os.kill(env.pid, signal.SIGKILL)
        until(lambda: ended(env.pid))
        return "gone"

    def remove(self, name: str) -> None:
        QemuReaper().destroy(Resource(kind="qemu", name=name, run_id=""))

    def left(self) -> list[str]:
        return [path for path in files_of(self.clients) if path not in self.before]


class RestoredStates(QemuStates):
    """They have no disk."""

    disks = False


def processes() -> list[int]:
    return [int(name) for path in Path("/proc").iterdir() if (name := path.name).isdigit()]


def command(pid: int) -> list[str]:
    """A process's command line; one that has ended has none, though its parent is yet to know."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def ended(pid: int) -> bool:
    """Whether it is gone, or waits, its last thread too, for its parent to know that it ended."""
    try:
        with (found := psutil.Process(pid)).oneshot():
            return found.status() == psutil.STATUS_ZOMBIE and found.num_threads() == 1
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def machine_spec() -> MachineSpec:
    return guests.bare_spec()


@pytest.mark.machine
def test_machines_with_a_disk_in_any_order(scopes, machine_spec, tmp_path):
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(1 << 20))
    two = clients(scopes, lambda scope: QemuProvider(machine_spec, scope).linked(base))
    holds(lambda: QemuStates(two), examples=2, steps=10)


@pytest.mark.machine
def test_restored_machines_in_any_order(scopes, machine_spec):
    two = clients(scopes, lambda scope: QemuProvider(machine_spec, scope).restored())
    holds(lambda: RestoredStates(two), examples=2, steps=15)


# --- Vagrant -------------------------------------------------------------------------------------


class VagrantStates(States):
    """Seen and handled by virsh alone; one machine, as a start takes long."""

    most = 1
    launch_s = 300.0
    launches = 1
    ends_after = 6
    suffix = "-default"
    STATES: ClassVar[dict[str, State]] = {
        "running": "running",
        "paused": "paused",
        "shut off": "ended",
    }

    @initialize()
    def start(self) -> None:
        self.launch(0)

    def seen(self) -> dict[str, State]:
        return {
            name.removesuffix("-default"): self.STATES[virsh("domstate", name).strip()]
            for name in virsh("list", "--all", "--name").split()
            if self._ours(name)
        }

    def _ours(self, name: str) -> bool:
        return any(f"vmvc-{client.scope.run_id}-" in name for client in self.clients)

    def pause(self, env: VagrantMachine) -> None:
        virsh("suspend", env.domain)

    def resume(self, env: VagrantMachine) -> None:
        virsh("resume", env.domain)

    def kill(self, env: VagrantMachine) -> State:
        virsh("destroy", env.domain)
        return "ended"

    def remove(self, name: str) -> None:
        VagrantReaper().destroy(Resource(kind="domain", name=name + self.suffix, run_id=""))

    def left(self) -> list[str]:
        disks = [line for line in virsh("vol-list", "default").splitlines() if self._ours(line)]
        return disks + files_of(self.clients)


def virsh(*words: str) -> str:
    argv = ["virsh", "-q", "-c", "qemu:///system", *words]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=COMMAND_S, text=True)
    return done.stdout


# Most of its events take seconds, some half a minute: too long for every run of the suite.
if FACTOR > 1:

    @pytest.mark.vagrant
    def test_a_vagrant_machine_in_any_order(scopes):
        found = debian.load()
        if found is None:
            pytest.skip("the debian pair is not built — run `vmvc setup`")
        spec = VagrantSpec(
            box=found.box_name,
            box_version=found.box_version,
            userland=found.userland,
            tier="tcg",
            box_file=str(found.box_path),
        )
        two = clients(scopes, lambda scope: VagrantProvider(spec, scope))
        holds(lambda: VagrantStates(two), examples=1, steps=12)
