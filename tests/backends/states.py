"""What can happen to environments in any order: a model of it, run against real ones.

Two clients, each a run of its own, work beside each other on one backend. After every step the
model, the provider and an independent look at the host agree; every call ends within `BOUND_S`,
with a documented error or none; at the end nothing is left.

A backend says how it is looked at and handled from outside, by what an operator would use, and
not by the code under test: see the hooks of `States`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import (
    Accountable,
    Checkpointable,
    HasDisk,
    Inspectable,
    Stoppable,
)
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
    Unavailable,
    VmvcError,
)
from pytest_vmvc.resources import RunScope

BOUND_S = 400.0
"""Whatever is asked is over by then, or hangs."""
COMMAND_S = 60.0
"""Deadline of what should end soon, by far."""
SLEEP = ["sleep", "600"]

State = Literal["running", "paused", "ended", "gone"]
"""``ended``: its control plane still knows it; ``gone``: nothing of it is on the host."""


@dataclass(frozen=True)
class Client:
    """One run and its provider."""

    scope: RunScope
    provider: Provider


@dataclass
class Held:
    """An environment that a client has launched and not left, and what the model says of it."""

    client: Client
    launch: AbstractContextManager[Environment]
    env: Environment
    state: State = "running"

    def __repr__(self) -> str:
        return f"{self.env.name}, {self.state}"


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error of ours that it raises; a failed test where it hangs."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - told to the test below
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive(), f"hangs for more than {BOUND_S:g} s"
    if isinstance(found[0], BaseException):
        assert isinstance(found[0], VmvcError), f"undocumented: {found[0]!r}"
        assert len(str(found[0]).splitlines()) == 1, found[0]
    return found[0]


class States(RuleBasedStateMachine):
    """The rules; a backend's subclass has the hooks."""

    most: ClassVar[int] = 3
    """Environments at once."""
    ends_after: ClassVar[int] = 0
    """Steps before anything may be ended: a slow backend is not to end at once what it has."""
    late_s: ClassVar[float] = 0.3
    """Deadline of a command that takes longer."""
    launch_s: ClassVar[float] = 90.0
    """Deadline of a launch that should succeed."""
    launches: ClassVar[int] = 1000
    """Launches in one example."""
    pauses: ClassVar[bool] = True
    disks: ClassVar[bool] = True
    starts_slowly: ClassVar[bool] = True
    """Another client can see it while it is being started."""
    after_stop: ClassVar[State] = "gone"
    suffix: ClassVar[str] = ""
    """What the name of a resource has behind that of its environment."""

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__()
        self.clients = clients
        self.held: list[Held] = []
        self.steps = 0
        self.launched = 0

    # --- hooks -----------------------------------------------------------------------------------

    def seen(self) -> dict[str, State]:
        """Every environment of these clients on the host, by name; ``gone`` is not among them."""
        raise NotImplementedError

    def names(self) -> set[str]:
        """Theirs, also of what is only just starting."""
        return set(self.seen())

    def pause(self, env: Environment) -> None:
        """From outside."""
        raise NotImplementedError

    def resume(self, env: Environment) -> None:
        """From outside."""
        raise NotImplementedError

    def kill(self, env: Environment) -> State:
        """From outside, and see the end; what is left is ``ended`` or ``gone``."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """As another client that takes it for its own; nothing of it is left."""
        raise NotImplementedError

    def left(self) -> list[str]:
        """Whatever else of these clients is on the host: files, folders, disks."""
        raise NotImplementedError

    # --- the model against reality ---------------------------------------------------------------

    @invariant()
    def model_and_reality_agree(self) -> None:
        expected = {one.env.name: one.state for one in self.held if one.state != "gone"}
        assert self.seen() == expected
        for one in self.held:
            alive = one.state in ("running", "paused")
            assert outcome(one.env.alive) is alive, (one.env.name, one.state)
        for client in self.clients:
            ours = {one.env.name for one in self.held if one.client is client}
            written = {resource.name for resource in client.scope.held}
            assert written == {name + self.suffix for name in ours}

    def teardown(self) -> None:
        failures: list[AssertionError] = []
        for one in list(self.held):
            try:
                self._leave(one)
            except AssertionError as failure:
                failures.append(failure)
        assert not failures
        assert self.seen() == {}
        left = self.left()
        assert left == [], left

    # --- rules -----------------------------------------------------------------------------------

    def room(self, wanted: int = 1) -> bool:
        return len(self.held) + wanted <= self.most and self.launched + wanted <= self.launches

    def may_pause(self) -> bool:
        return self.pauses and bool(self.held)

    def any_held(self) -> bool:
        return bool(self.held)

    def may_end(self) -> bool:
        return bool(self.held) and self.steps >= self.ends_after

    def pick(self, data: st.DataObject, *states: State) -> Held | None:
        """One of what is held in such a state, or None."""
        self.steps += 1
        found = [one for one in self.held if not states or one.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    def _launch(self, client: Client) -> Held:
        self.launched += 1
        launch = client.provider.launch(deadline_s=self.launch_s)
        env = outcome(launch.__enter__)
        if isinstance(env, BaseException):
            raise env
        return Held(client, launch, env)

    def _leave(self, one: Held) -> None:
        self.held.remove(one)
        found = outcome(lambda: one.launch.__exit__(None, None, None))
        assert not found, f"{one.env.name} in state {one.state}: {found!r}"

    @precondition(room)
    @rule(which=st.sampled_from([0, 1]))
    def launch(self, which: int) -> None:
        self.held.append(self._launch(self.clients[which]))

    @precondition(lambda self: self.room(2))
    @rule()
    def launch_both_at_once(self) -> None:
        found: list[Held] = []
        threads = [
            threading.Thread(target=lambda client=client: found.append(self._launch(client)))
            for client in self.clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
        self.held += found
        assert len(found) == 2

    @precondition(room)
    @rule(which=st.sampled_from([0, 1]))
    def launch_too_late(self, which: int) -> None:
        launch = self.clients[which].provider.launch(deadline_s=0.001)
        assert isinstance(outcome(launch.__enter__), LaunchTimedOut)

    @precondition(lambda self: self.room() and self.starts_slowly)
    @rule(which=st.sampled_from([0, 1]))
    def remove_in_mid_launch(self, which: int) -> None:
        known, over = self.names(), threading.Event()

        def remove() -> None:
            while not (fresh := self.names() - known) and not over.wait(0.001):
                pass
            for name in fresh:
                outcome(lambda name=name: self.remove(name))

        other = threading.Thread(target=remove)
        other.start()
        launch = self.clients[which].provider.launch(deadline_s=self.launch_s)
        env = outcome(launch.__enter__)
        over.set()
        other.join(BOUND_S)
        if isinstance(env, VmvcError):
            assert type(env) is LaunchFailed, repr(env)
        else:  # it was up before
            self.held.append(Held(self.clients[which], launch, env, "gone"))

    @precondition(any_held)
    @rule(data=st.data(), status=st.sampled_from([0, 7]))
    def run(self, data: st.DataObject, status: int) -> None:
        if one := self.pick(data):
            argv = ["sh", "-c", f"cat; exit {status}"]
            found = outcome(lambda: one.env.run(argv, stdin=b"in\n", timeout_s=self.wait_s(one)))
            if one.state == "running":
                assert (found.exit_status, found.stdout) == (status, b"in\n")
            elif one.state == "paused":
                assert isinstance(found, InfrastructureError)
                assert not isinstance(found, EnvironmentDied)
            else:
                assert isinstance(found, EnvironmentDied)

    def wait_s(self, one: Held) -> float:
        return self.late_s if one.state == "paused" else COMMAND_S

    @precondition(any_held)
    @rule(data=st.data())
    def run_too_long(self, data: st.DataObject) -> None:
        if one := self.pick(data, "running"):
            found = outcome(lambda: one.env.run(SLEEP, timeout_s=self.late_s))
            assert type(found) is CommandTimedOut

    @precondition(may_end)
    @rule(data=st.data(), removed=st.booleans())
    def end_in_mid_command(self, data: st.DataObject, removed: bool) -> None:
        if one := self.pick(data, "running"):
            found: list[Any] = []
            thread = threading.Thread(
                target=lambda: found.append(
                    outcome(lambda: one.env.run(SLEEP, timeout_s=COMMAND_S))
                )
            )
            thread.start()
            self._end_from_outside(one, removed=removed)
            thread.join(BOUND_S)
            assert isinstance(found[0], EnvironmentDied)

    @precondition(any_held)
    @rule(data=st.data())
    def usage(self, data: st.DataObject) -> None:
        if one := self.pick(data):
            found = outcome(one.env.usage)
            if one.state in ("running", "paused"):
                assert found.cpu_s > 0
                assert found.memory_bytes > 0
            else:
                assert isinstance(found, EnvironmentDied)

    @precondition(any_held)
    @rule(data=st.data())
    def account(self, data: st.DataObject) -> None:
        one = self.pick(data)
        if one and isinstance(one.env, Accountable):
            found = outcome(one.env.account)
            if one.state in ("running", "paused"):
                assert found.payload_bytes > 0
                assert found.manager_bytes > 0
            else:
                assert isinstance(found, EnvironmentDied)

    @precondition(any_held)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        one = self.pick(data, "running", "ended", "gone")
        if one and self.disks and isinstance(one.env, HasDisk):
            found = outcome(lambda: one.env.write(b"written"))
            assert found is None if one.state == "running" else isinstance(found, EnvironmentDied)

    @precondition(any_held)
    @rule(data=st.data())
    def inspect(self, data: st.DataObject) -> None:
        one = self.pick(data)
        if one and isinstance(one.env, Inspectable):
            found = outcome(one.env.inspect)
            if one.state == "gone":
                assert isinstance(found, EnvironmentDied)
            else:
                assert found == {"ended": "exited"}.get(one.state, one.state)

    @precondition(any_held)
    @rule(data=st.data())
    def capabilities(self, data: st.DataObject) -> None:
        one = self.pick(data)
        if one and hasattr(one.env, "capabilities"):
            found = outcome(one.env.capabilities)
            if one.state in ("running", "paused"):
                assert found > 0
            else:
                assert isinstance(found, EnvironmentDied)

    @precondition(any_held)
    @rule(data=st.data())
    def address_of_no_port(self, data: st.DataObject) -> None:
        one = self.pick(data, "running", "ended", "gone")
        if one and hasattr(one.env, "address"):
            found = outcome(lambda: one.env.address(80))
            assert isinstance(found, InfrastructureError)
            assert isinstance(found, EnvironmentDied) == (one.state != "running")

    @precondition(any_held)
    @rule(data=st.data())
    def checkpoint_and_restore(self, data: st.DataObject) -> None:
        one = self.pick(data, "running")
        if one and isinstance(one.env, Checkpointable):
            refused = outcome(lambda: one.env.checkpoint(timeout_s=COMMAND_S))
            if refused is None:
                assert outcome(lambda: one.env.restore(timeout_s=COMMAND_S)) is None
            else:
                assert isinstance(refused, Unavailable)

    @precondition(may_pause)
    @rule(data=st.data())
    def pause_one(self, data: st.DataObject) -> None:
        if one := self.pick(data, "running"):
            self.pause(one.env)
            one.state = "paused"

    @precondition(may_pause)
    @rule(data=st.data())
    def resume_one(self, data: st.DataObject) -> None:
        if one := self.pick(data, "paused"):
            self.resume(one.env)
            one.state = "running"

    @precondition(may_end)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        one = self.pick(data)
        if one and isinstance(one.env, Stoppable):
            found = outcome(lambda: one.env.stop(timeout_s=COMMAND_S))
            if one.state in ("running", "paused"):
                assert found is None
                one.state = self.after_stop
            else:
                assert isinstance(found, EnvironmentDied)

    @precondition(may_end)
    @rule(data=st.data(), removed=st.booleans())
    def end_from_outside(self, data: st.DataObject, removed: bool) -> None:
        states = ("running", "paused", "ended") if removed else ("running", "paused")
        if one := self.pick(data, *states):
            self._end_from_outside(one, removed=removed)

    def _end_from_outside(self, one: Held, *, removed: bool) -> None:
        if removed:
            self.remove(one.env.name)
            one.state = "gone"
        else:
            one.state = self.kill(one.env)

    @precondition(may_end)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if one := self.pick(data):
            self._leave(one)

    @precondition(may_end)
    @rule(data=st.data())
    def leave_by_an_error(self, data: st.DataObject) -> None:
        if one := self.pick(data):
            self.held.remove(one)
            error = LaunchFailed("the caller's own")
            found = outcome(lambda: one.launch.__exit__(LaunchFailed, error, None))
            assert not found or found is error
            assert not getattr(error, "__notes__", ()), error.__notes__

    @precondition(may_end)
    @rule(data=st.data())
    def leave_while_another_removes_it(self, data: st.DataObject) -> None:
        if one := self.pick(data):
            others = threading.Thread(target=lambda: outcome(lambda: self.remove(one.env.name)))
            others.start()
            self._leave(one)
            others.join(BOUND_S)
