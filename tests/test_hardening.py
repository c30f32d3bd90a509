"""The tool's own security: what it opens, what it hands out, what it starts with which rights."""

from __future__ import annotations

import ast
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_vmvc
from pytest_vmvc.backends import docker
from pytest_vmvc.backends.docker import CONFIGURATIONS, NOT_HARDENED, DockerProvider
from pytest_vmvc.backends.docker_start import ContainerSpec
from pytest_vmvc.backends.machine import GUEST_NETWORK, QemuMachine
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.backends.qemu import QemuProvider
from pytest_vmvc.backends.vagrantfile import VagrantSpec, vagrantfile
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import guest, minimal
from pytest_vmvc.testing import scratch_run
from tests.faults import guests

SOURCES = sorted(Path(pytest_vmvc.__file__).parent.rglob("*.py"))
MACHINE_S = 60.0
CANARY = "vmvc-canary-9d1f6c3a"
"""The value of a secret that stands in our environment."""


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunScope]:
    with scratch_run(tmp_path_factory) as scope:
        yield scope


# --- the code ------------------------------------------------------------------------------------


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call in the package with the dotted name of what is called."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, node, ast.unparse(node.func)


def test_no_command_line_is_given_to_a_shell_of_the_host():
    for path, call, name in calls():
        where = f"{path}:{call.lineno}: {name}"
        assert name not in {"os.system", "os.popen", "pty.spawn", "subprocess.getoutput"}, where
        for keyword in call.keywords:
            assert keyword.arg != "shell", where


def test_temporary_names_cannot_be_guessed():
    for path, call, name in calls():
        assert name not in {"tempfile.mktemp", "mktemp", "os.tempnam"}, f"{path}:{call.lineno}"


def test_listeners_are_on_the_loopback():
    places = [
        (path, ast.unparse(call.args[0]))
        for path, call, name in calls()
        if name.endswith(("create_server", "HTTPServer", "TCPServer", "start_server"))
    ]
    assert places
    for path, place in places:
        assert "127.0.0.1" in place, f"{path}: {place}"


def test_a_runs_folders_are_its_own(scope):
    folders = [scope.folder, scope.workdir]
    with scope.roomy_folder() as roomy:
        folders.append(roomy)
        for folder in folders:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.stat().st_uid == os.geteuid()
        with pytest.raises(FileExistsError):
            roomy.mkdir()
    resources = scope.folder / "resources.jsonl"
    assert stat.S_IMODE(resources.stat().st_mode) == 0o600
    with RunScope() as other:
        assert other.run_id != scope.run_id
        assert len(other.run_id) == 11


# --- the Vagrantfile and the box -----------------------------------------------------------------


@pytest.mark.parametrize(
    "evil", ['"; system("id"); "', "#{`id`}", "a\nend\nsystem('id')\n", "'\\", "%x(id)", "\0"]
)
def test_a_box_name_is_a_string_and_no_ruby(evil):
    spec = VagrantSpec(box=evil, box_version=evil, userland="", tier="tcg")
    text = vagrantfile(
        spec, name=evil, boot_timeout_s=1, network=(evil, evil), answer_address=(evil, 1)
    )
    plain = VagrantSpec(box="b", box_version="1", userland="", tier="tcg")
    safe = vagrantfile(
        plain, name="n", boot_timeout_s=1, network=("n", "a"), answer_address=("h", 1)
    )
    assert len(text.splitlines()) == len(safe.splitlines())
    for sign in ("`", "#{", "system(", "%x("):
        assert sign not in text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_network_name_ends_its_string(name):
    spec = VagrantSpec(box="b", userland="", tier="tcg")
    text = vagrantfile(spec, name="n", boot_timeout_s=1, network=(name, name), answer_address=None)
    assert text.isascii() or all(sign.isprintable() or sign == "\n" for sign in text)
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())


def test_the_debian_guest_is_made_without_passwords():
    assert "--password '*' vagrant" in guest.CUSTOMIZE
    assert "PasswordAuthentication no" in guest.CUSTOMIZE


# --- containers ----------------------------------------------------------------------------------


def test_what_is_not_hardened_is_declared_with_its_reason():
    hardened = {
        name
        for name, options in CONFIGURATIONS.items()
        if options.get("cap_drop") == ["ALL"]
        and "no-new-privileges" in options.get("security_opt", ())
    }
    assert set(NOT_HARDENED) == set(CONFIGURATIONS) - hardened
    assert all(NOT_HARDENED.values())


@pytest.fixture(scope="module")
def container(scope: RunScope) -> DockerProvider:
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    provider = DockerProvider(ContainerSpec(image=found.image_ref, userland=""), scope)
    if gap := provider.probe():
        pytest.skip(str(gap))
    return provider


@pytest.mark.engine
@pytest.mark.parametrize("configuration", sorted(CONFIGURATIONS))
def test_what_a_container_has_of_the_host(container, monkeypatch, configuration):
    monkeypatch.setenv("VMVC_TEST_SECRET", CANARY)
    shape = Shape(configuration=configuration, ports=() if configuration == "hardened" else (80,))
    with container.shaped(shape).launch(deadline_s=MACHINE_S) as env:
        with docker.Engine().client() as client:
            told = client.inspect_container(env.name)
        host = told["HostConfig"]
        assert not host["Privileged"]
        assert not host["Binds"]
        assert not told["Mounts"]
        assert not host["Devices"]
        assert not host["CapAdd"]
        assert host["NetworkMode"] != "host"
        assert host["IpcMode"] != "host"
        assert "seccomp=unconfined" not in (host["SecurityOpt"] or ())
        for bindings in (told["NetworkSettings"]["Ports"] or {}).values():
            assert {binding["HostIp"] for binding in bindings or ()} <= {"127.0.0.1"}
        assert CANARY not in str(told)
        assert CANARY not in env.run(["env"]).stdout.decode()
        assert env.run(["sh", "-c", "ls /run/docker.sock /var/run/docker.sock"]).exit_status != 0
        status = env.run(["cat", "/proc/self/status"]).stdout.decode()
        hardened = configuration not in NOT_HARDENED
        assert ("CapEff:\t0000000000000000" in status) == hardened
        assert ("NoNewPrivs:\t1" in status) == hardened
        if hardened:
            assert host["NetworkMode"] == "none"
            assert host["ReadonlyRootfs"]


# --- the bare machine ----------------------------------------------------------------------------


REACH = """for address in 10.0.2.2 10.0.2.3; do
  timeout 10 nc -w 2 $address {port} </dev/null >/dev/null 2>&1 && echo "reached $address"
done
exit 0"""


@pytest.mark.machine
def test_what_a_bare_machine_reaches_and_what_it_opens(scope, monkeypatch):
    monkeypatch.setenv("VMVC_TEST_SECRET", CANARY)
    spec = msgspec.structs.replace(guests.bare_spec(), ports=(8080,))
    with (
        door() as port,
        QemuProvider(spec, scope).launch(deadline_s=MACHINE_S) as machine,
    ):
        host, forwarded = machine.address(8080)
        assert host == "127.0.0.1"
        qemu = psutil.Process(machine.pid)
        heard = [one for one in qemu.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        assert {one.laddr.ip for one in heard} == {"127.0.0.1"}
        assert [one.laddr.port for one in heard] == [forwarded]
        # Its wires to us are unnamed pairs: nothing that anybody else could open.
        assert not [one for one in qemu.net_connections("unix") if one.laddr]
        assert reached(machine, port) == b""
        seen = machine.run(["sh", "-c", "env; cat /proc/cmdline /proc/1/environ"]).stdout.decode()
        assert CANARY not in seen
        assert CANARY not in " ".join(qemu.cmdline())
        assert CANARY not in machine.console()
        assert CANARY not in str(machine.facts)


@pytest.mark.machine
def test_the_search_for_a_way_out_finds_one_where_there_is_one(scope):
    """The same search in a machine whose network is not restricted, which only a test makes."""
    network = ("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=")
    spec = msgspec.structs.replace(guests.bare_spec(), options=network)
    with (
        door() as port,
        QemuProvider(spec, scope).launch(deadline_s=MACHINE_S) as machine,
    ):
        machine.run(["sh", "-c", GUEST_NETWORK])
        assert b"reached 10.0.2.2\n" in reached(machine, port)


@contextmanager
def door() -> Iterator[int]:
    """A port of the loopback that lets everybody in, and out again; gives its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(MACHINE_S)


def reached(machine: QemuMachine, port: int) -> bytes:
    """Where the guest comes to, of the host and its name server as QEMU shows them."""
    script = REACH.format(port=port)
    machine.run(["sh", "-c", "ip route add default via 10.0.2.2"])
    return machine.run(["sh", "-c", script], timeout_s=MACHINE_S).stdout


# --- results -------------------------------------------------------------------------------------

RUN_CONFTEST = """
import pytest
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Pair

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: lambda: ()

@pytest.fixture(scope="session")
def vmvc_load_pair():
    with RunScope() as scope:
        subjects = {"container": FakeProvider(scope), "vm": FakeProvider(scope, kind="vm")}
        yield lambda name: Pair(name=name, subjects=subjects)
"""
RUN_CLAIM = """
from pytest_vmvc import claim, below

@claim("own.start", quote="soon", readings={"soon": below("container", "start_s", 60, "s")})
def test_start(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)
"""


def test_no_secret_of_the_environment_is_in_what_a_run_writes(pytester, monkeypatch):
    monkeypatch.setenv("VMVC_STATE_DIR", str(pytester.path / "state"))
    monkeypatch.setenv("VMVC_TEST_SECRET", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    pytester.makeconftest(RUN_CONFTEST)
    pytester.makepyfile(test_own=RUN_CLAIM)
    done = pytester.runpytest_subprocess(
        "--vmvc", "--vmvc-pair=minimal", "test_own.py", "-p", "no:cacheprovider"
    )
    done.assert_outcomes(passed=1)
    files = [path for path in (pytester.path / "vmvc-results").rglob("*") if path.is_file()]
    assert {"results.jsonl", "report.html"} <= {path.name for path in files}
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in done.stdout.str()


def test_an_engine_that_is_not_there_names_no_secret(monkeypatch):
    monkeypatch.setenv("VMVC_TEST_SECRET", CANARY)
    gap = DockerProvider(
        ContainerSpec(image="x", userland="", base_url="unix:///nowhere"), RunScope()
    ).probe()
    assert isinstance(gap, Unavailable)
    assert CANARY not in str(gap)
