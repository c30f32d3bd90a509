"""An engine that is stopped, hangs, is restarted or full; containers and images that go under us.

All of it really happens, to an engine of the test's own.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.backends import docker_container, docker_engine, docker_reaper, docker_start
from pytest_vmvc.backends.base import PAYLOAD
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider, DockerReaper, import_image
from pytest_vmvc.backends.docker_engine import Deadline, Engine, until
from pytest_vmvc.backends.second_engine import second_engine_gap
from pytest_vmvc.clean import destroy_run
from pytest_vmvc.errors import (
    BuildFailed,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    Unavailable,
)
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal
from tests.backends.requests_of_a_start import around
from tests.faults.own_engine import OwnEngine, own_engine
from tests.faults.test_host_faults import CLAIMS, Place

pytestmark = pytest.mark.engine

IMAGE = "vmvc-test-faults:1"
HANGS = "the container engine takes connections and does not answer"
STOPPED = "the container engine is not running"
SILENT = ("sh", "-c", "exec sleep 2147483647")
DEVOUR = "exec dd if=/dev/zero of=/dev/null bs=64M count=1"
"""Takes 64 MB at once."""
GRANT_BYTES = 16 << 20
WAIT_S = 20.0


def fill(engine: OwnEngine) -> None:
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    import_image(found.rootfs, *IMAGE.split(":"), timeout_s=60, engine=Engine(engine.address))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    if gap := second_engine_gap("docker"):
        pytest.skip(str(gap))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMVC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        with RunScope() as scope, own_engine(scope) as engine:
            fill(engine)
            yield engine


@pytest.fixture
def engine(whole: OwnEngine) -> Iterator[OwnEngine]:
    """The module's engine, running; and whatever broke it is mended afterwards."""
    yield whole
    whole.mend()
    gc.collect()  # a socket that was left open is told of now, and not in another test


@pytest.fixture
def scope(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunScope]:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    with RunScope() as scope:
        yield scope


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits are real, and short."""
    monkeypatch.setattr(docker_engine, "PROBE_S", 0.5)
    monkeypatch.setattr(docker_engine, "RESTART_S", 0.2)
    monkeypatch.setattr(docker_reaper, "PROBE_S", 0.5)
    monkeypatch.setattr(docker_start, "FLOOR_S", 0.5)
    monkeypatch.setattr(docker_container, "FLOOR_S", 0.5)
    monkeypatch.setattr(docker_container, "END_S", 0.5)


def provider(engine: OwnEngine, scope: RunScope, **words: object) -> DockerProvider:
    spec = ContainerSpec(image=IMAGE, userland="x", base_url=engine.address, **words)  # type: ignore[arg-type]
    made = DockerProvider(spec, scope)
    made.prepare()
    return made


def at(step: str, monkeypatch: pytest.MonkeyPatch, fault: Callable[[str], object]) -> None:
    """Do it once, just before that step of a start, which is then tried."""
    done: list[object] = []
    around(monkeypatch, step, before=lambda name: done or done.append(fault(name)))


def refused(error: BaseException) -> str:
    """The one line, which has a remedy."""
    assert isinstance(error, Unavailable | InfrastructureError)
    assert error.hint
    assert len(str(error).splitlines()) == 1
    return str(error)


# --- hung ----------------------------------------------------------------------------------------


def test_one_that_hangs_before_a_start_is_unavailable(engine: OwnEngine, scope: RunScope) -> None:
    made = provider(engine, scope)
    engine.hang()
    assert HANGS in str(made.probe())
    with pytest.raises(Unavailable, match=HANGS), made.launch(deadline_s=1):
        pytest.fail("it came up")
    engine.wake()
    assert until(lambda: made.probe() is None, Deadline(WAIT_S))


def test_what_it_may_still_make_is_held_and_removed_when_it_is_back(
    engine: OwnEngine, scope: RunScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, reaper = provider(engine, scope), DockerReaper(engine.address)
    at("create", monkeypatch, lambda _: engine.hang())
    with pytest.raises(Unavailable, match=HANGS) as gone, made.launch(deadline_s=0.5):
        pytest.fail("it came up")
    refused(gone.value)
    (held,) = scope.held
    assert f"container {held.name} may be left behind" in str(gone.value.__notes__)
    # The end of the run cannot remove it, and does not forget it.
    report = destroy_run(scope, use=[reaper])
    assert HANGS in report.skipped[0]
    assert scope.held == (held,)
    # It does make it, as soon as it is back.
    engine.wake()
    assert until(lambda: held.name in engine.docker("ps", "-a"), Deadline(WAIT_S))
    assert destroy_run(scope, use=[reaper]).destroyed == (held,)
    assert scope.held == ()
    assert held.name not in engine.docker("ps", "-a")


@pytest.mark.parametrize("step", ["start", "command", "end"])
def test_one_that_hangs_later_is_unavailable_as_well(
    engine: OwnEngine, scope: RunScope, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = provider(engine, scope)
    if step == "start":
        at("start", monkeypatch, lambda _: engine.hang())
    deadline_s = 0.5 if step == "start" else 30
    with (  # noqa: PT012 - the end is what fails
        pytest.raises(Unavailable, match=HANGS) as gone,
        made.launch(deadline_s=deadline_s) as container,
    ):
        engine.hang()
        if step == "command":
            container.run(["sleep", "60"], timeout_s=0.5)
    refused(gone.value)
    engine.wake()
    (held,) = scope.held
    assert until(lambda: held.name in engine.docker("ps", "-a"), Deadline(WAIT_S))
    assert destroy_run(scope, use=[DockerReaper(engine.address)]).destroyed == (held,)


# --- stopped and restarted -----------------------------------------------------------------------


@pytest.mark.parametrize("step", ["create", "start", "command"])
def test_one_that_is_stopped_is_unavailable(
    engine: OwnEngine, scope: RunScope, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = provider(engine, scope)
    if step != "command":
        at(step, monkeypatch, lambda _: engine.kill())
    with (  # noqa: PT012 - the end fails as well
        pytest.raises(Unavailable, match=STOPPED) as gone,
        made.launch(deadline_s=30) as container,
    ):
        engine.kill()
        container.run(["true"], timeout_s=5)
    refused(gone.value)
    assert STOPPED in str(made.probe())
    with pytest.raises(Unavailable, match=STOPPED):
        DockerReaper(engine.address).inventory()
    engine.start()
    destroy_run(scope, use=[DockerReaper(engine.address)])
    assert scope.held == ()


@pytest.mark.parametrize("step", ["create", "start", "command"])
def test_one_that_is_restarted_costs_the_sample_and_not_the_subject(
    engine: OwnEngine, scope: RunScope, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def restart(_: str) -> None:
        engine.kill()
        engine.start()

    made = provider(engine, scope)
    with monkeypatch.context() as patch:
        if step != "command":
            at(step, patch, restart)
        # Before anything was asked for, nothing is lost.
        lost = nullcontext() if step == "create" else pytest.raises(InfrastructureError)
        with lost as broken, made.launch(deadline_s=30) as container:
            if step == "command":
                restart("")
            container.run(["true"], timeout_s=5)
    if broken:
        refused(broken.value)
    assert scope.held == ()
    with made.launch(deadline_s=30) as again:
        assert again.run(["echo", "here"]).stdout == b"here\n"
    assert scope.held == ()


# --- containers and images that go under us ------------------------------------------------------


def test_an_image_that_is_removed_meanwhile_is_unavailable(
    engine: OwnEngine, scope: RunScope
) -> None:
    made = provider(engine, scope)
    engine.docker("rmi", "-f", IMAGE)
    with pytest.raises(Unavailable, match=f"no image {IMAGE}") as gone, made.launch(deadline_s=30):
        pytest.fail("it came up")
    assert gone.value.hint == "run `vmvc setup`"
    assert scope.held == ()
    fill(engine)
    with made.launch(deadline_s=30) as container:
        assert container.alive()


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (("kill",), "killed by signal 9"),
        # The engine kills it first, and may be asked in between.
        (("rm", "--force"), "somebody has removed it|killed by signal 9"),
    ],
)
def test_one_that_somebody_else_ends_is_told(
    engine: OwnEngine,
    scope: RunScope,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    how: str,
) -> None:
    with monkeypatch.context() as patch:
        around(patch, "start", after=lambda name: engine.docker(*words, name))
        silent = provider(engine, scope, argv=SILENT)
        with pytest.raises(LaunchFailed) as failed, silent.launch(deadline_s=30):
            pytest.fail("it came up")
    assert re.search(rf"ended before its first answer \(({how})\)", refused(failed.value))

    with (  # noqa: PT012 - the thread belongs to it
        pytest.raises(EnvironmentDied) as died,
        provider(engine, scope).launch(deadline_s=30) as container,
    ):
        killer = threading.Thread(target=_in_a_command, args=(engine, container.name, words))
        killer.start()
        try:
            container.run(["sleep", "60"], timeout_s=30)
        finally:
            killer.join(WAIT_S)
    # What is removed is killed first: which of both is seen depends on the moment.
    said = refused(died.value)
    assert f"is gone ({how})" in said or ("rm" in words and "is gone (killed by" in said)
    assert scope.held == ()


def _in_a_command(engine: OwnEngine, name: str, words: tuple[str, ...]) -> None:
    until(lambda: "sleep 60" in engine.docker("top", name, "-o", "pid,args"), Deadline(WAIT_S))
    engine.docker(*words, name)


def test_one_that_ends_for_want_of_memory_is_told(engine: OwnEngine, scope: RunScope) -> None:
    short = provider(engine, scope, argv=("sh", "-c", DEVOUR), memory_bytes=GRANT_BYTES)
    with pytest.raises(LaunchFailed) as failed, short.launch(deadline_s=30):
        pytest.fail("it came up")
    assert "(killed for want of memory)" in refused(failed.value)

    shell, option, script = PAYLOAD
    later = f"{script.partition(';')[0]}; until [ -e /go ]; do sleep 0.05; done; {DEVOUR}"
    greedy = provider(engine, scope, argv=(shell, option, later), memory_bytes=GRANT_BYTES)
    with pytest.raises(EnvironmentDied) as died, greedy.launch(deadline_s=30) as container:
        container.run(["sh", "-c", "touch /go; exec sleep 60"], timeout_s=30)
    assert "(killed for want of memory)" in refused(died.value)
    assert "more memory" in died.value.hint
    assert scope.held == ()


def test_an_engine_that_is_full_takes_no_half_of_an_image(scope: RunScope, tmp_path: Path) -> None:
    if gap := second_engine_gap("docker"):
        pytest.skip(str(gap))
    large = tmp_path / "large"
    large.mkdir()
    (large / "file").write_bytes(os.urandom(24 << 20))
    subprocess.run(["tar", "-C", large, "-cf", tmp_path / "large.tar", "."], check=True, timeout=30)
    with own_engine(scope, size="16m") as full:
        there = Engine(full.address)
        with pytest.raises(BuildFailed, match="no space left on device") as failed:
            import_image(tmp_path / "large.tar", *IMAGE.split(":"), timeout_s=60, engine=there)
        assert "disk has room" in failed.value.hint
        assert full.docker("images", "--all", "--quiet") == ""
        fill(full)  # what fits is still taken, and starts
        with provider(full, scope).launch(deadline_s=30) as container:
            done = container.run(["dd", "if=/dev/zero", "of=/file", "bs=1M", "count=32"])
            assert done.exit_status != 0
            assert b"No space left on device" in done.stderr
    assert scope.held == ()


# --- a whole run ---------------------------------------------------------------------------------

OURS = """
from pytest_vmvc.backends import docker_container, docker_engine, docker_start
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.backends.fake import FakeProvider
import os, signal
import pytest
from contextlib import contextmanager
from pytest_vmvc.subjects import Pair

docker_engine.RESTART_S = 0.2
docker_engine.PROBE_S = 1.0
docker_start.FLOOR_S = docker_container.FLOOR_S = 2.0

class Machine(FakeProvider):
    count = 0

    @contextmanager
    def launch(self, **words):
        Machine.count += 1
        if Machine.count == 4:  # its third sample, after two or three of the container
            os.kill({pid}, signal.{number})
        with super().launch(**words) as environment:
            yield environment

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: tuple

@pytest.fixture(scope="session")
def vmvc_load_pair(request):
    scope = request.config.pluginmanager.get_plugin("vmvc-session").scope
    spec = ContainerSpec(image="{image}", userland="x", base_url="{address}")
    yield lambda name: Pair(name=name, subjects={{
        "container": DockerProvider(spec, scope), "vm": Machine(scope, kind="vm"),
    }})
"""
MACHINE = """
@claim("own.machine", quote="machines too", readings={
    "vm-soon": below("vm", "start_s", 60, "s"),
})
def test_machine(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)
"""


@pytest.mark.parametrize(("number", "words"), [("SIGKILL", STOPPED), ("SIGSTOP", HANGS)])
def test_a_run_goes_on_without_its_engine(
    engine: OwnEngine, tmp_path: Path, number: str, words: str
) -> None:
    place = Place(tmp_path)
    conftest = OURS.format(
        pid=engine.daemon.pid, number=number, image=IMAGE, address=engine.address
    )
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_own.py").write_text(CLAIMS + MACHINE)
    asked = place.argv("-k", "not size", "-Werror", "--vmvc-deadline=2")[1:]
    done = subprocess.run(
        [sys.executable, "-X", "dev", *asked],
        cwd=tmp_path, env={**place.env, "DOCKER_HOST": engine.address},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert not [
        word for word in ("Traceback", "ResourceWarning", "During handling") if word in text
    ]
    assert done.stderr == b""
    log = ledger.read(tmp_path / "vmvc-results" / "latest" / "results.jsonl")
    assert {one.reading.name: one.judgement.verdict.value for one in log.results} == {
        "soon": "NOT TESTABLE",
        "slower": "NOT TESTABLE",
        "vm-soon": "SUPPORTED",
    }
    (gap,) = log.missing
    assert f"lost during the run: {words}" in gap.reason
    assert len([one for one in log.observations if one.subject == "vm"]) >= 6
    assert log.end is not None
    assert (tmp_path / "vmvc-results" / "latest" / "report.html").exists()
