"""An engine behind ssh, by a real server: the host's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_vmvc.backends import docker_forward
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider, Engine
from pytest_vmvc.backends.docker_engine import Deadline, engine_summary, until
from pytest_vmvc.backends.docker_forward import Forward, forward
from pytest_vmvc.errors import Unavailable
from tests.faults.sshd import Server, serving
from tests.processes import below
from tests.scratch import minimal_pair_or_skip

pytestmark = pytest.mark.engine

PATIENCE_S = 60.0

CLIENT = """Host far
    HostName {address}
    Port {port}
    User root
    IdentityFile {folder}/login
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
    StrictHostKeyChecking accept-new
    RemoteCommand echo no engine
"""


def client(folder: Path, server: Server) -> Path:
    """A folder with an ``ssh`` of its own settings: the user's are by their account, not HOME."""
    (folder / "client").write_text(
        CLIENT.format(address=server.address, port=server.port, folder=server.folder)
    )
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/client "$@"\n')
    (programs / "ssh").chmod(0o700)
    return programs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    minimal_pair_or_skip()
    with serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(autouse=True)
def far(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """The engine of the host ``far`` is the current one; nothing of its connection stays."""
    monkeypatch.setenv("PATH", str(client(tmp_path, server)), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_HOST", "ssh://far")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    before = connections()
    forward.cache_clear()
    yield monkeypatch
    if forward.cache_info().currsize:
        forward(os.environ["DOCKER_HOST"]).close()
    forward.cache_clear()
    assert connections() == before


def connections() -> set[Path]:
    """The folders that connections keep their sockets in."""
    return set(Path(tempfile.gettempdir()).glob("vmvc-ssh-*"))


def test_its_containers_are_as_any_engines(run_scope):
    built = minimal_pair_or_skip()
    provider = DockerProvider(ContainerSpec(image=built.image_ref, userland="busybox"), run_scope)
    provider.prepare()
    with provider.launch(deadline_s=PATIENCE_S) as container:
        assert container.run(["echo", "here"]).stdout == b"here\n"
        assert container.run(["cat"], stdin=b"x" * 100_000).stdout == b"x" * 100_000
        assert container.run(["sh", "-c", "exit 3"]).exit_status == 3
        assert {"created", "answer"} <= set(container.marks)
    assert not run_scope.held


def test_it_is_known_by_its_own_address():
    summary = engine_summary()
    assert summary["url"] == "ssh://far"
    assert summary["name"] == "Docker"


def test_the_socket_is_nobody_elses():
    path = Path(Forward("ssh://far").url().removeprefix("unix://")).parent
    try:
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "s").stat().st_mode & 0o077 == 0
    finally:
        os.kill(below(os.getpid(), "ssh")[-1].pid, signal.SIGTERM)
        assert until(lambda: not path.exists(), Deadline(PATIENCE_S))


def test_a_connection_that_was_cut_is_made_again():
    engine = Engine()
    with engine.client() as first:
        assert first.ping()
    for one in below(os.getpid(), "ssh"):
        one.kill()
    assert until(lambda: not connections(), Deadline(PATIENCE_S))
    with engine.client() as second:
        assert second.ping()


def test_it_ends_with_a_process_that_was_killed():
    script = "from pytest_vmvc.backends.docker import Engine; print(Engine()._near()); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        socket = Path(child.stdout.readline().strip().removeprefix("unix://"))
        assert socket.is_socket()
        held = below(child.pid, "ssh")
        child.kill()
    assert until(lambda: not socket.parent.exists(), Deadline(PATIENCE_S))
    assert not psutil.wait_procs(held, PATIENCE_S)[1]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ssh://far/tmp/no.sock", "there is no socket /tmp/no.sock"),
        ("ssh://nobody@far", "Permission denied"),
        ("ssh://far:1", "Connection refused"),
        ("ssh://far:99999", "Bad port"),
    ],
)
def test_one_that_is_not_reached_says_why(far, run_scope, address, reason):
    far.setenv("DOCKER_HOST", address)
    gap = DockerProvider(ContainerSpec(image="any", userland=""), run_scope).probe()
    assert gap is not None
    assert reason in str(gap)
    assert "must log in without a question" in gap.hint
    assert not connections()


@pytest.mark.parametrize(
    "address",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://me:secret@far", "ssh://far/a:b", "ssh://far/%h"],
)
def test_one_whose_address_makes_no_sense_is_refused(far, address):
    far.setenv("DOCKER_HOST", address)
    with pytest.raises(Unavailable, match=r"is wrong: write ssh://\[USER@\]HOST"):
        _ = Engine().url


def test_one_that_never_stops_talking_has_a_deadline(far, tmp_path):
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\nexec yes\n")
    far.setattr(docker_forward, "START_S", 0.3)
    with pytest.raises(Unavailable, match=r"no answer within 0\.3 s"):
        _ = Engine().api_version


def test_without_a_client_it_says_so(far, tmp_path):
    far.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="ssh is not installed"):
        _ = Engine().api_version
