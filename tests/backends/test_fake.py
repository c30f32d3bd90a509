from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from pytest_vmvc.backends.base import Environment, Stopwatch
from pytest_vmvc.backends.fake import FakeClock, FakeEnvironment, FakeLaunch, FakeProvider
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    LaunchFailed,
    LaunchTimedOut,
    TeardownFailed,
    Unavailable,
)
from pytest_vmvc.model import Completed, Kind
from pytest_vmvc.resources import FolderReaper, Resource, RunScope
from pytest_vmvc.testing import ProviderContract


@pytest.fixture(scope="module", params=["container", "vm"])
def provider(run_scope: RunScope, request: pytest.FixtureRequest) -> FakeProvider:
    return FakeProvider(run_scope, kind=request.param)


@pytest.fixture(scope="module")
def broken_provider(run_scope: RunScope) -> FakeProvider:
    return FakeProvider(run_scope, launches=[FakeLaunch(failure="launch")])


class TestContract(ProviderContract):
    runs_as_root = os.geteuid() == 0

    def kill(self, env: Environment) -> None:
        assert isinstance(env, FakeEnvironment)
        env.kill()

    def leftovers(self) -> Sequence[Resource]:
        # Its folder is called after it, with a random end.
        return [
            Resource(
                kind="fake", name=Path(found.name).name.rpartition("-")[0], run_id=found.run_id
            )
            for found in FolderReaper().inventory()
        ]


def test_marks_are_the_script_and_no_real_time_passes(run_scope):
    clock = FakeClock()
    slow = FakeLaunch(marks={"created": 3600.0, "answer": 7200.0})
    provider = FakeProvider(run_scope, launches=[slow], clock=clock)
    outer = Stopwatch(clock)
    with provider.launch(deadline_s=10_000) as env:
        assert env.marks == pytest.approx({"created": 3600.0, "answer": 7200.0})
        env.run(["true"])
        assert env.mark("ready") == pytest.approx(7200.01)
    assert outer.mark("end") == pytest.approx(7200.06)
    with provider.launch() as env:
        assert env.marks["answer"] == pytest.approx(FakeLaunch().marks["answer"])


def test_a_stopwatch_knows_what_the_measuring_itself_costs():
    """Of our own process, up to the answer and no further."""
    cpu = iter([1.0, 1.25, 1.5, 9.0])
    watch = Stopwatch(FakeClock(), lambda: next(cpu))
    assert watch.harness_cpu_s == 0
    watch.mark("created")
    assert watch.harness_cpu_s == 0.25
    watch.mark("answer")
    for later in ("answer", "ready"):
        watch.mark(later)
        assert watch.harness_cpu_s == 0.5


def test_a_late_launch_costs_its_deadline_on_the_virtual_clock(run_scope):
    provider = FakeProvider(run_scope, launches=[FakeLaunch(failure="timeout")])
    with pytest.raises(LaunchTimedOut), provider.launch(deadline_s=30.0):
        pytest.fail("it came up")
    assert provider.clock() == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("failure", "error"), [("launch", LaunchFailed), ("teardown", TeardownFailed)]
)
def test_failures_on_demand(tmp_path, monkeypatch, failure, error):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path))
    with RunScope() as scope:
        provider = FakeProvider(scope, launches=[FakeLaunch(failure=failure)])
        with pytest.raises(error), provider.launch():
            pass
        # What could not be destroyed is still written down for the other nets.
        assert bool(scope.held) == bool(provider.running) == (failure == "teardown")


def test_death_on_demand_is_at_the_first_command(run_scope):
    provider = FakeProvider(run_scope, launches=[FakeLaunch(failure="death")])
    with provider.launch() as env:
        assert env.alive()
        with pytest.raises(EnvironmentDied):
            env.run(["true"])
        assert not env.alive()


def test_unavailable_on_demand(run_scope):
    reason = Unavailable("no fake today", hint="ask tomorrow")
    provider = FakeProvider(run_scope, unavailable=reason)
    assert provider.probe() is reason
    for entry in (provider.prepare, provider.launch().__enter__):
        with pytest.raises(Unavailable):
            entry()


def test_a_script_answers_and_may_pass(run_scope):
    def script(name: str, argv: tuple[str, ...], stdin: bytes) -> Completed | None:
        if argv != ("cat", "/proc/sys/kernel/random/boot_id"):
            return None
        text = f"boot of {name}\n".encode()
        return Completed(argv=argv, exit_status=0, stdout=text, stderr=b"", duration_s=0.0)

    kind: Kind = "vm"
    with FakeProvider(run_scope, kind=kind, script=script).launch() as env:
        answer = env.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
        assert answer == f"boot of {env.name}\n".encode()
        assert env.run(["echo", "real"]).stdout == b"real\n"


def test_its_inside_is_a_folder_that_goes_with_it(run_scope):
    with FakeProvider(run_scope).launch() as env:
        env.run(["sh", "-c", "echo kept > file"])
        assert (env.folder / "file").read_text() == "kept\n"
    assert not env.folder.exists()


def test_what_a_command_leaves_running_ends_with_it(run_scope):
    with FakeProvider(run_scope).launch() as env:
        said = env.run(["sh", "-c", "sleep 600 </dev/null >/dev/null 2>&1 & echo $!"]).stdout
        left = psutil.Process(int(said))
        assert left.is_running()
    left.wait(10)


def test_its_end_is_told_as_scripted(run_scope):
    with FakeProvider(run_scope, launches=[FakeLaunch(death="of old age")]).launch() as env:
        with pytest.raises(CommandTimedOut):
            env.await_death(timeout_s=5)
        env.kill()
        assert env.await_death(timeout_s=5) == "of old age"


@pytest.mark.parametrize("marks", [{}, {"answer": 1.0, "created": 2.0}, {"a": 2.0, "answer": 1.0}])
def test_impossible_marks_are_refused(marks):
    with pytest.raises(ValueError, match="ascend"):
        FakeLaunch(marks=marks)


def test_the_clock_does_not_go_back():
    with pytest.raises(ValueError, match="back"):
        FakeClock().advance(-1.0)
