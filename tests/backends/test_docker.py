from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest
from docker import APIClient

from pytest_vmvc.backends import (
    docker,
    docker_account,
    docker_engine,
    docker_reaper,
    docker_transport,
)
from pytest_vmvc.backends.base import Stopwatch
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider, DockerReaper
from pytest_vmvc.backends.docker_call import Call
from pytest_vmvc.backends.docker_engine import Deadline
from pytest_vmvc.backends.docker_start import start
from pytest_vmvc.backends.docker_stream import Stream
from pytest_vmvc.errors import (
    BuildFailed,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
    TeardownFailed,
    Unavailable,
)
from pytest_vmvc.resources import LABEL, RunScope
from tests.backends.containers import ContainerContract
from tests.backends.requests_of_a_start import around

engine_test = pytest.mark.engine


def spec(image: str, **changes) -> ContainerSpec:
    return ContainerSpec(image=image, userland="busybox", **changes)


@pytest.fixture(scope="module")
def provider(run_scope: RunScope, busybox_image: str) -> DockerProvider:
    made = DockerProvider(spec(busybox_image), run_scope)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def broken_provider(run_scope: RunScope, busybox_image: str) -> DockerProvider:
    argv = ("sh", "-c", "echo first line; echo second line >&2; exit 3")
    return DockerProvider(spec(busybox_image, argv=argv), run_scope)


@pytest.fixture
def client(engine: docker.Engine):
    with engine.client() as found:
        yield found


@engine_test
class TestContract(ContainerContract):
    pass


# --- launching -----------------------------------------------------------------------------------


@engine_test
def test_marks_and_facts_of_a_container(shared_env, provider):
    assert next(iter(shared_env.marks)) == "created"
    assert {"created", "started", "answer"} <= set(shared_env.marks)
    facts = shared_env.facts
    assert re.fullmatch(
        r"(Docker|Podman) [\w.-]+ \(\w+, [\w.]+, cgroup v[12](, rootless)?\)", facts.version
    )
    assert facts.artefact.startswith("sha256:")
    assert facts.extra["host_pid"] == shared_env.host_pid
    assert "host_pid" not in provider.facts.extra


@engine_test
def test_an_answer_is_heard_before_the_start_request_returns(provider, monkeypatch):
    answered, mark = threading.Event(), Stopwatch.mark

    def noticed(self, name):
        seconds = mark(self, name)
        if name == "answer":
            answered.set()
        return seconds

    around(monkeypatch, "start", after=lambda _: answered.wait(20))
    monkeypatch.setattr(Stopwatch, "mark", noticed)
    threads = threading.active_count()
    with provider.launch(deadline_s=60) as env:
        assert list(env.marks) == ["created", "answer", "started"]
        assert list(env.marks.values()) == sorted(env.marks.values())
        assert threading.active_count() == threads


@engine_test
def test_the_measuring_itself_costs_less_than_a_hundredth_of_a_start(provider):
    """By CPU time of our process; the smallest of several, as neighbours can only add to it."""
    shares = []
    for _ in range(9):
        with provider.launch(deadline_s=60) as env:
            shares.append(env.harness_cpu_s / env.marks["answer"])
    assert 0 < min(shares) < 0.01


@engine_test
def test_a_start_is_three_requests_over_one_connection_and_the_stream(provider, monkeypatch):
    """Counted, as an engine's socket sees it: more of them would be time that nobody needs."""
    asked, made = [], []
    send, connect = Call.send, docker_transport._Connection.connect

    def noted(call, **more):
        asked.append(call.path.partition("?")[0].rpartition("/")[2])
        return send(call, **more)

    def connected(self):
        made.append(self)
        connect(self)

    with provider._engine.client() as client:
        monkeypatch.setattr(Call, "send", noted)
        monkeypatch.setattr(docker_transport._Connection, "connect", connected)
        name = provider._scope.new_name()
        resource = provider._scope.hold("container", name)
        start(client, provider.spec, name=name, labels=provider._scope.labels, deadline_s=60)
        monkeypatch.undo()
        provider._destroy(resource, appear_s=0.0)
    assert asked == ["create", "attach", "start"]
    assert len(made) == 2


@engine_test
def test_a_container_has_the_default_configuration(shared_env, client, run_scope):
    found = client.inspect_container(shared_env.name)
    host = found["HostConfig"]
    assert not host["Privileged"]
    assert not host["PortBindings"]
    assert not host["CapAdd"]
    assert not host["Binds"]
    assert found["Config"]["Labels"][LABEL] == run_scope.run_id
    assert found["Config"]["Labels"][docker.OWNER_LABEL].split()[0] == str(os.getpid())


@engine_test
def test_what_is_granted_is_what_the_engine_enforces(run_scope, busybox_image, client):
    granted = spec(busybox_image, memory_bytes=64 << 20, vcpus=0.5)
    with DockerProvider(granted, run_scope).launch() as env:
        host = client.inspect_container(env.name)["HostConfig"]
        assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
        assert host["NanoCpus"] == 500_000_000
        assert (env.facts.memory_bytes, env.facts.vcpus) == (64 << 20, 0.5)


@engine_test
def test_an_answer_with_another_nonce_is_none(run_scope, busybox_image):
    argv = ("sh", "-c", f"echo vmvc:nonce {'0' * 32}; exec sleep 600")
    impostor = DockerProvider(spec(busybox_image, argv=argv), run_scope)
    with pytest.raises(LaunchTimedOut, match="vmvc:nonce 0000"), impostor.launch(deadline_s=1.5):
        pytest.fail("it was believed")


@engine_test
def test_a_failed_launch_shows_the_last_output(broken_provider):
    with pytest.raises(LaunchFailed, match="second line"), broken_provider.launch():
        pytest.fail("it came up")


@engine_test
def test_a_payload_that_does_not_exist_is_named(run_scope, busybox_image):
    absent = DockerProvider(spec(busybox_image, argv=("no-such-payload",)), run_scope)
    with pytest.raises(LaunchFailed, match="no-such-payload"), absent.launch():
        pytest.fail("it came up")


@engine_test
def test_an_image_removed_meanwhile_has_a_remedy(run_scope, busybox_image, client):
    client.tag(busybox_image, "vmvc-test-gone", "1")
    provider = DockerProvider(spec("vmvc-test-gone:1"), run_scope)
    provider.prepare()
    docker.remove_image("vmvc-test-gone:1")
    with pytest.raises(Unavailable, match="vmvc setup"), provider.launch():
        pytest.fail("it came up")


@engine_test
@pytest.mark.parametrize("step", ["create", "start"])
def test_an_interrupt_at_any_step_leaves_nothing(provider, run_scope, monkeypatch, step):
    def interrupted(_):
        raise KeyboardInterrupt

    def ours():
        return {one for one in DockerReaper().inventory() if one.run_id == run_scope.run_id}

    held, found, threads = run_scope.held, ours(), threading.active_count()
    around(monkeypatch, step, after=interrupted)
    with pytest.raises(KeyboardInterrupt), provider.launch():
        pytest.fail("it came up")
    assert (run_scope.held, ours(), threading.active_count()) == (held, found, threads)


@engine_test
def test_what_cannot_be_removed_stays_written_down(tmp_path, monkeypatch, busybox_image, client):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(docker_reaper, "TEARDOWN_S", 0.05)
    with RunScope() as scope:
        launch = DockerProvider(spec(busybox_image), scope).launch()
        env = launch.__enter__()
        with monkeypatch.context() as patch:
            patch.setattr(APIClient, "remove_container", lambda *_, **__: None)
            with pytest.raises(TeardownFailed, match=env.name):
                launch.__exit__(None, None, None)
        assert [one.name for one in scope.held] == [env.name]
        DockerReaper().destroy(scope.held[0])
        scope.release(scope.held[0])
        assert not env.alive()


@engine_test
def test_an_error_in_use_is_not_hidden_by_the_teardown(provider):
    with pytest.raises(ZeroDivisionError), provider.launch() as env:
        _ = 1 / 0
    assert not env.alive()


# --- using ---------------------------------------------------------------------------------------


@engine_test
def test_a_command_that_leaves_its_streams_is_waited_for(shared_env):
    argv = ["sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 5"]
    done = shared_env.run(argv)
    assert done.exit_status == 5
    assert done.duration_s > 0.3


@engine_test
def test_a_command_killed_inside_is_no_death_of_the_container(shared_env):
    assert shared_env.run(["sh", "-c", "kill -9 $$"]).exit_status == 137
    assert shared_env.alive()


@engine_test
def test_a_paused_container_is_not_dead(provider, client):
    with provider.launch() as env:
        client.pause(env.name)
        with pytest.raises(InfrastructureError, match="paused") as caught:
            env.run(["true"])
        assert not isinstance(caught.value, EnvironmentDied)


@engine_test
def test_usage_and_pid_of_a_dead_container(provider, client):
    with provider.launch() as env:
        client.remove_container(env.name, force=True)
        assert not env.alive()
        with pytest.raises(EnvironmentDied):
            env.usage()
        with pytest.raises(EnvironmentDied):
            _ = env.host_pid
        assert env.facts.artefact == provider.facts.artefact


@engine_test
def test_what_was_known_of_a_container_does_not_outlive_it(provider, client):
    with provider.launch() as env:
        figures = (env.account, env.capabilities, env.system_calls)
        assert all(figure() for figure in figures)
        client.kill(env.name)
        client.wait(env.name, timeout=60)
        for figure in figures:
            with pytest.raises(EnvironmentDied):
                figure()


@engine_test
def test_a_port_that_is_not_published_is_no_death(provider, run_scope, busybox_image):
    with (
        provider.launch() as bare,
        DockerProvider(spec(busybox_image, ports=(81,)), run_scope).launch() as other,
    ):
        assert other.address(81)[0] == "127.0.0.1"
        for env in (bare, other):
            with pytest.raises(InfrastructureError, match="does not publish port 80") as caught:
                env.address(80)
            assert not isinstance(caught.value, EnvironmentDied)


def test_a_deaf_engine_is_found_by_name_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(docker_account, "PROBE_S", 0.1)
    path = str(tmp_path / "d.sock")
    with socket.socket(socket.AF_UNIX) as deaf, ExitStack() as callers:
        deaf.bind(path)
        deaf.listen(0)
        with suppress(BlockingIOError):
            for _ in range(10):
                caller = callers.enter_context(socket.socket(socket.AF_UNIX))
                caller.settimeout(0)
                caller.connect(path)
        assert docker_account._listening(path, ("no-such-program",)) == set()


@engine_test
def test_host_pid_is_the_payload(shared_env):
    command_line = Path(f"/proc/{shared_env.host_pid}/cmdline").read_bytes()
    assert command_line.split(b"\0")[0] == b"sleep"


# --- raw streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8, 11, 1000])
def test_frames_survive_any_cut(size):
    sent = [(1, b"out"), (2, b""), (2, b"err" * 50), (1, bytes(range(256)))]
    raw = b"".join(bytes((n, 0, 0, 0)) + len(data).to_bytes(4, "big") + data for n, data in sent)
    pieces = iter([raw[at : at + size] for at in range(0, len(raw), size)] + [b""])
    stream = Stream.__new__(Stream)
    stream._pending = b""
    stream._read = lambda _deadline: next(pieces)
    got = {1: b"", 2: b""}
    for number, piece in stream.frames(Deadline(5)):
        got[number] += piece
    assert got == {1: b"out" + bytes(range(256)), 2: b"err" * 50}


# --- images --------------------------------------------------------------------------------------


@engine_test
def test_artefact_sizes_are_cached_by_image(provider, tmp_path, monkeypatch):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    first = provider.artefact()
    assert 0 < first.fetch_bytes < first.kept_bytes <= first.virtual_bytes
    (cached,) = (tmp_path / "sizes").iterdir()
    assert cached.name == provider.facts.artefact.removeprefix("sha256:")
    monkeypatch.setattr(APIClient, "get_image", lambda *_, **__: pytest.fail("saved again"))
    assert provider.artefact() == first


@engine_test
def test_images_come_and_go(busybox_tar):
    assert docker.image_id("vmvc-test-import:1") is None
    changes = ('CMD ["true"]', "LABEL one=two")
    made = docker.import_image(busybox_tar, "vmvc-test-import", "1", changes=changes, timeout_s=60)
    try:
        assert made == docker.image_id("vmvc-test-import:1")
        assert docker.image_id("vmvc-test-import:1-part") is None
        assert made.startswith("sha256:")
        assert docker.tags_of("vmvc-test-import") == ["vmvc-test-import:1"]
        assert docker.tags_of("vmvc-test") == []
    finally:
        docker.remove_image("vmvc-test-import:1")
    assert docker.image_id("vmvc-test-import:1") is None
    assert docker.tags_of("vmvc-test-import") == []
    docker.remove_image("vmvc-test-import:1")


@engine_test
def test_an_image_in_use_is_not_removed(provider, busybox_image, shared_env):
    with pytest.raises(TeardownFailed, match="was not removed"):
        docker.remove_image(provider.facts.artefact)


@engine_test
@pytest.mark.parametrize("timeout_s", [0.0001, 30.0])
def test_an_import_that_fails_says_why(tmp_path, busybox_tar, timeout_s):
    path = busybox_tar if timeout_s < 1 else tmp_path / "absent.tar"
    with pytest.raises(BuildFailed, match="vmvc-test-bad:1"):
        docker.import_image(path, "vmvc-test-bad", "1", timeout_s=timeout_s)
    assert docker.image_id("vmvc-test-bad:1") is None
    assert docker.image_id("vmvc-test-bad:1-part") is None


# --- what is left behind -------------------------------------------------------------------------


@engine_test
def test_the_reaper_finds_and_destroys_by_label(client, busybox_image, run_scope):
    labels, name = dict(run_scope.labels), run_scope.new_name()
    client.create_volume(name, labels=labels)
    client.create_network(name, labels=labels)
    client.create_container(busybox_image, ["true"], name=name, labels=labels)
    reaper = DockerReaper()
    ours = [one for one in reaper.inventory() if one.name == name]
    assert {one.kind for one in ours} == {"container", docker_reaper.NETWORK, docker_reaper.VOLUME}
    assert {one.run_id for one in ours} == {run_scope.run_id}
    for one in ours:
        reaper.destroy(one)
        reaper.destroy(one)
    assert not [one for one in reaper.inventory() if one.name == name]


@engine_test
def test_images_that_a_run_has_built_are_found_and_destroyed(busybox_tar, run_scope):
    name = run_scope.new_name()
    docker.import_image(busybox_tar, f"vmvc/{name}", "1", timeout_s=60)
    reaper = DockerReaper()
    (found,) = [one for one in reaper.inventory() if name in one.name]
    assert (found.kind, found.run_id) == (docker_reaper.IMAGE, run_scope.run_id)
    reaper.destroy(found)
    reaper.destroy(found)
    assert not [one for one in reaper.inventory() if name in one.name]


def test_where_no_engine_is_installed_nothing_is_left_behind(tmp_path, monkeypatch):
    reaper = DockerReaper(f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(docker_reaper, "ENGINES", ())
    assert reaper.inventory() == []
    monkeypatch.setattr(docker_reaper, "ENGINES", ("sh",))
    with pytest.raises(Unavailable):  # it is not running: nobody knows what it has
        reaper.inventory()


# --- the engine and its absence ------------------------------------------------------------------


@engine_test
def test_the_summary_is_complete(engine):
    found = docker.engine_summary()
    assert all(value is False or value not in ("", "unknown", 0) for value in found.values())
    assert found["default_runtime"] in found["runtimes"]
    assert found["url"] == engine.url


def reason(url: str | None = None) -> Unavailable:
    """Why an engine at that address cannot be used."""
    found = DockerProvider(spec("none:1", base_url=url), scope=None).probe()
    assert found is not None
    assert len(str(found).splitlines()) == 1
    assert found.hint
    return found


@contextmanager
def serving(path: Path, answer: bytes | None):
    """An engine that gives one answer to everything, or none at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if answer is None:
                done.wait(30)
                return
            with suppress(OSError):
                self.wfile.write(answer)

        def log_message(self, *_):
            pass

    done = threading.Event()
    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            done.set()
            server.shutdown()
            thread.join(60)


@pytest.mark.parametrize(
    ("programs", "message"),
    [((), "no container engine is installed"), (("dockerd",), "is not running")],
)
def test_not_installed_and_stopped_are_told_apart(tmp_path, monkeypatch, programs, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in programs:
        (tmp_path / program).touch(mode=0o755)
    found = reason(f"unix://{tmp_path}/none.sock")
    assert message in found.message
    assert "vmvc setup" in found.hint


def test_a_socket_of_a_daemon_that_ended_is_a_stopped_daemon(tmp_path, monkeypatch):
    (tmp_path / "dockerd").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / "d.sock"))
    assert "not running" in reason(f"unix://{tmp_path}/d.sock").message


def test_no_permission_says_how_to_get_it(tmp_path):
    with closing(socket.socket(socket.AF_UNIX)) as guarded:
        guarded.bind(str(tmp_path / "d.sock"))
        guarded.listen()
        tmp_path.chmod(0)
        reason(f"unix://{tmp_path}/none.sock")  # loads every module before the user changes
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            found = reason(f"unix://{tmp_path}/d.sock")
        finally:
            os.seteuid(user)
            tmp_path.chmod(0o700)
    assert "no permission" in found.message
    assert "group" in found.hint
    assert "log in again" in found.hint


@pytest.mark.parametrize("address", ["bogus://x", "tcp://127.0.0.1:notaport", "tcp://"])
def test_a_wrong_address_is_named(monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    found = reason()
    assert "DOCKER_HOST" in found.hint


def test_nobody_on_a_port():
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "no container engine at" in reason(f"tcp://127.0.0.1:{port}").message


def test_an_engine_in_trouble(tmp_path):
    body = b'{"message":"out of order"}'
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with serving(tmp_path / "d.sock", head % len(body) + body) as url:
        assert "answers with an error" in reason(url).message


def test_something_else_on_the_socket(tmp_path):
    with serving(tmp_path / "d.sock", b"SSH-2.0-whatever\r\n") as url:
        assert "does not answer: the connection broke off" in reason(url).message


def test_a_silent_engine_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(docker_engine, "PROBE_S", 0.2)
    started = time.monotonic()
    with serving(tmp_path / "d.sock", None) as url:
        assert "takes connections and does not answer" in reason(url).message
        assert time.monotonic() - started < 5


@engine_test
def test_an_absent_image_has_a_remedy(engine):
    found = reason()
    assert "none:1" in found.message
    assert "vmvc setup" in found.hint


@engine_test
def test_the_current_context_is_honoured(engine, tmp_path, monkeypatch):
    from docker.context import ContextAPI

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    ContextAPI.create_context("here", host=engine.url)
    ContextAPI.create_context("nowhere", host=f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "here")
    assert docker.Engine().api_version == engine.api_version
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    assert docker.Engine().url == f"unix://{tmp_path}/none.sock"
    monkeypatch.delenv("DOCKER_CONTEXT")
    ContextAPI.set_current_context("nowhere")
    assert docker.Engine().url == f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere.sock")
    assert docker.Engine().url == "unix:///somewhere.sock"


def test_a_context_that_does_not_exist(tmp_path, monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "never-made")
    assert "context" in reason().message
