"""The process that outlives a run by a moment: what ends it, what it does, what it never touches.

What stands for a run here is a Python process of its own with a scope that is watched.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_vmvc import neighbours, resources
from pytest_vmvc.clean import reap
from pytest_vmvc.resources import MARK, ChildReaper, FolderReaper, Resource, RunScope, live_runs

GONE_S = 30.0
ROOT = Path(__file__).parents[1]
RUN = """
import os, subprocess, sys, time
from pytest_vmvc.resources import RunScope, marked
scope = RunScope(watched=True)
with scope:
    folder = scope.workdir
    (folder / "file").touch()
    child = subprocess.Popen(["sleep", "600"], env=marked(), start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    {more}
    print(scope.run_id, folder, child.pid, scope._watchdog.pid, flush=True)
    sys.stdin.readline()
    child.kill()
    child.wait()
print("ended", flush=True)
"""


class Lived:
    """A run in a process of its own."""

    def __init__(self, state: Path, more: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN.format(more=more)],
            cwd=ROOT,
            env={**os.environ, "VMVC_STATE_DIR": str(state)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().decode().split()
        self.run_id, self.folder = words[0], Path(words[1])
        self.child, self.watchdog = psutil.Process(int(words[2])), psutil.Process(int(words[3]))
        self.state = state / "runs" / self.run_id

    def end(self) -> str:
        """Let it end by itself; returns what it said."""
        said, _ = self.process.communicate(b"\n", timeout=GONE_S)
        return said.decode().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=GONE_S)
        with contextlib.suppress(psutil.NoSuchProcess):
            self.child.kill()


def gone(*things: Path | psutil.Process) -> bool:
    """Whether all of them vanish before the deadline."""

    def there(thing: Path | psutil.Process) -> bool:
        if isinstance(thing, Path):
            return thing.exists()
        with contextlib.suppress(psutil.NoSuchProcess):
            return thing.is_running() and thing.status() != psutil.STATUS_ZOMBIE
        return False

    until = time.monotonic() + GONE_S
    while any(map(there, things)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def lived(state: Path) -> Iterator[Lived]:
    one = Lived(state)
    yield one
    one.close()


# --- the run ends well ---------------------------------------------------------------------------


def test_a_run_that_ends_well_ends_it_too(lived: Lived) -> None:
    assert lived.watchdog.is_running()
    assert lived.end() == "ended"
    assert gone(lived.watchdog, lived.folder, lived.state)


def test_it_is_seen_gone_and_is_no_zombie(state: Path) -> None:
    with RunScope(watched=True) as scope:
        assert scope._watchdog is not None
        pid = scope._watchdog.pid
        assert psutil.Process(pid).ppid() == os.getpid()
    assert not psutil.pid_exists(pid)


def test_a_scope_that_is_not_watched_has_none(state: Path) -> None:
    before = psutil.Process().children()
    with RunScope():
        assert psutil.Process().children() == before


def test_somebody_may_have_killed_it_before(state: Path) -> None:
    with RunScope(watched=True) as scope:
        assert scope._watchdog is not None
        os.kill(scope._watchdog.pid, signal.SIGKILL)
        folder = scope.folder
    assert not folder.exists()


# --- what it is while it waits -------------------------------------------------------------------


def test_it_holds_nothing_of_the_run(lived: Lived) -> None:
    pid = lived.watchdog.pid
    held = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    assert {re.sub(r"\d+", "N", one) for one in held} == {"/dev/null", "pipe:[N]"}
    assert len([one for one in held if one.startswith("pipe")]) == 1
    assert os.getsid(pid) == pid != os.getsid(lived.process.pid)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    # A shell: no interpreter, and asleep in the kernel.
    assert lived.watchdog.name() == "sh"
    assert lived.watchdog.status() == psutil.STATUS_SLEEPING


def test_it_is_no_neighbour_of_what_is_measured(lived: Lived) -> None:
    before = neighbours.alive()
    if before is None:
        pytest.skip("not every process can be seen here")
    idle = before[lived.watchdog.pid]
    after = {**before, idle.pid: resources.msgspec.structs.replace(idle, cpu_s=idle.cpu_s + 5)}
    assert neighbours.cpu_s(before, after, own=lived.process.pid) == 0.0
    assert neighbours.cpu_s(before, after, own=os.getpid()) in (0.0, pytest.approx(5.0))


# --- the run is killed ---------------------------------------------------------------------------


def test_a_killed_run_leaves_nothing_whatever_a_terminal_sends(lived: Lived) -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        os.kill(lived.watchdog.pid, number)
    lived.process.kill()
    # A reader of the run's output does not wait for the watchdog.
    assert lived.process.stdout is not None
    ready, _, _ = select.select([lived.process.stdout], [], [], GONE_S)
    assert ready
    assert lived.process.stdout.read() == b""
    assert gone(lived.child, lived.folder, lived.state, lived.watchdog)


CHILDREN = """
    import multiprocessing
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True).start()
    subprocess.Popen(["sleep", "600"], close_fds=False, start_new_session=True,
                     stdout=subprocess.DEVNULL)
    inner = RunScope()
    inner.__enter__()
    (inner.workdir / "file").touch()
"""


def test_other_children_neither_keep_it_waiting_nor_are_killed_and_inner_runs_go(
    state: Path,
) -> None:
    lived, other = Lived(state, CHILDREN), Lived(state)
    mine = (lived.child.pid, lived.watchdog.pid)
    children = psutil.Process(lived.process.pid).children()
    others = [one for one in children if one.pid not in mine]
    (inner,) = {path.name for path in (state / "runs").iterdir()} - {lived.run_id, other.run_id}
    folders = [Path(one.name) for one in FolderReaper().inventory() if one.run_id == inner]
    try:
        assert len(others) == 2  # one is forked and never an exec; one inherits every file
        assert len(folders) == 1
        lived.process.kill()
        assert gone(lived.child, lived.folder, lived.state, lived.watchdog)
        assert gone(*folders, state / "runs" / inner)
        assert all(one.is_running() for one in others)
        # And a run that goes on is not touched.
        assert other.child.is_running()
        assert other.folder.exists()
        assert other.run_id in live_runs()
        assert other.end() == "ended"
    finally:
        for one in others:
            one.kill()
        lived.close()
        other.close()


def test_what_a_run_could_not_destroy_is_its_business_too(state: Path) -> None:
    """As after a second Ctrl-C in the middle of the teardown."""
    with RunScope(watched=True) as scope:
        assert scope._watchdog is not None
        watchdog = psutil.Process(scope._watchdog.pid)
        folder = resources.ROOMY / scope.new_name()
        scope.hold("folder", str(folder))
        folder.mkdir()
        assert scope.run_id in live_runs()
    assert scope.run_id not in live_runs()  # though its process lives
    assert gone(folder, scope.folder)
    assert gone(watchdog)


# --- what is left of a process -------------------------------------------------------------------


class Shelf:
    """A reaper in which things appear late."""

    name = "shelf"

    def __init__(self, *appearing: list[Resource]) -> None:
        self.appearing = list(appearing)
        self.things: list[Resource] = []
        self.looks = 0

    def inventory(self) -> list[Resource]:
        self.looks += 1
        if self.appearing:
            self.things += self.appearing.pop(0)
        return list(self.things)

    def destroy(self, resource: Resource) -> None:
        self.things.remove(resource)


def test_what_an_engine_makes_a_moment_after_the_end_is_found(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_vmvc.clean.APPEAR_S", 0.2)
    late = Resource(kind="thing", name="late", run_id="r00000000d1")
    (state / "runs" / "r00000000d1").mkdir(parents=True)
    shelf = Shelf([], [late])

    report = reap("r00000000d1", use=[shelf])

    assert [one.name for one in report.destroyed] == ["late"]
    assert shelf.things == []
    assert report.forgotten == ("r00000000d1",)
    assert not (state / "runs" / "r00000000d1").exists()


def test_a_live_run_cannot_be_reaped(state: Path) -> None:
    with RunScope() as scope:
        mine = Resource(kind="thing", name="mine", run_id=scope.run_id)
        shelf = Shelf([mine])
        assert reap(scope.run_id, use=[shelf], deadline_s=0).destroyed == ()
        assert shelf.things == [mine]
        assert scope.folder.exists()


def test_children_are_found_by_their_environment_and_killed(state: Path) -> None:
    with RunScope() as scope:
        argv = ["sh", "-c", "sleep 600 & wait"]
        child = subprocess.Popen(argv, env=resources.marked(), start_new_session=True)
        other = subprocess.Popen(["sleep", "600"])
        try:
            reaper, found = ChildReaper(), {}
            until = time.monotonic() + GONE_S
            # The shell and what it starts, which is called as the shell until it is that.
            while found.keys() != {"sh", "sleep"} and time.monotonic() < until:
                mine = [one for one in reaper.inventory() if one.run_id == scope.run_id]
                found = {one.name.split()[2]: one for one in mine}
            assert found.keys() == {"sh", "sleep"}
            for one in found.values():
                reaper.destroy(one)
                reaper.destroy(one)
            assert child.wait(GONE_S) == -signal.SIGKILL  # nobody else has waited for it
            assert not [one for one in reaper.inventory() if one.run_id == scope.run_id]
            assert other.poll() is None
        finally:
            other.kill()
            other.wait(GONE_S)


def test_a_pid_that_has_got_another_owner_is_not_killed() -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        name = f"{other.pid} 1.5 sleep"
        ChildReaper().destroy(Resource(kind="process", name=name, run_id="r00000000d1"))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait(GONE_S)


def test_the_mark_is_of_the_outermost_run_and_goes_with_it(state: Path) -> None:
    assert MARK not in resources.marked()
    with RunScope() as outer:
        with RunScope():
            assert resources.marked({"A": "b"})[MARK] == outer.run_id
        assert resources.marked()[MARK] == outer.run_id
    assert MARK not in resources.marked()
    assert MARK not in os.environ
