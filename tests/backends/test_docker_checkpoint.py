"""A container through a checkpoint: with the host's engine, and with one that was planted."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.backends.docker_checkpoint import restore, save
from pytest_vmvc.backends.docker_engine import Engine
from pytest_vmvc.backends.optional import Checkpointable
from pytest_vmvc.errors import CommandTimedOut, Unavailable

COUNT = "(n=0; while :; do n=$((n + 1)); echo $n >/dev/shm/n; sleep 0.01; done) >/dev/null 2>&1 &"


@pytest.mark.engine
def test_the_hosts_engine_does_it_or_says_why_not(run_scope, busybox_image):
    provider = DockerProvider(ContainerSpec(image=busybox_image, userland="busybox"), run_scope)
    with provider.launch(deadline_s=60) as container:
        assert isinstance(container, Checkpointable)
        container.run(["sh", "-c", COUNT])
        refusal = None
        try:
            container.checkpoint(timeout_s=30)
        except Unavailable as gap:
            refusal = gap
        if refusal:
            _, _, words = str(refusal).partition("the engine refuses to checkpoint a container: ")
            assert words.strip()
            assert "CRIU" in refusal.hint
            assert container.run(["true"]).exit_status == 0  # it goes on as if nobody had asked
        else:
            assert not container.alive()
            container.restore(timeout_s=30)
            assert container.run(["cat", "/dev/shm/n"]).stdout.strip().isdigit()


@contextmanager
def engine(answers, states=()):
    """An engine that gives these statuses to POST requests, and says of a container that it runs.

    ``states``: one after the other, the last one for ever.
    """
    asked, running = [], list(states)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith("/version"):
                self.reply(200, {"ApiVersion": "1.41", "Version": "1"})
            else:
                state = running.pop(0) if len(running) > 1 else running[0]
                self.reply(200, {"State": {"Running": state}})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.path, json.loads(body or b"null")))
            status, said = answers.pop(0)
            self.reply(status, {"message": said} if said else None)

        def reply(self, status, content):
            text = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Engine(f"tcp://127.0.0.1:{server.server_address[1]}"), asked
        finally:
            server.shutdown()
            thread.join(60)


@pytest.fixture(autouse=True)
def _no_engine_of_the_callers(monkeypatch, request):
    if request.node.get_closest_marker("engine") is None:
        for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_it_is_saved_and_goes_on_from_what_was_saved():
    with engine([(201, ""), (204, "")], states=[True, False]) as (planted, asked):
        save(planted, "it", timeout_s=5)
        restore(planted, "it", timeout_s=5)
    assert asked == [
        ("/v1.41/containers/it/checkpoints", {"CheckpointID": "vmvc", "Exit": True}),
        ("/v1.41/containers/it/start?checkpoint=vmvc", None),
    ]


def test_a_refusal_is_told_in_the_engines_words():
    refusals = [(500, "criu failed: type NOTIFY errno 0"), (400, "no checkpoint vmvc")]
    with engine(refusals) as (planted, _):
        with pytest.raises(Unavailable, match="to checkpoint a container: criu failed: type NOTI"):
            save(planted, "it", timeout_s=5)
        with pytest.raises(Unavailable, match="to restore a container: no checkpoint vmvc"):
            restore(planted, "it", timeout_s=5)


def test_one_that_runs_on_was_not_saved():
    with (
        engine([(201, "")], states=[True]) as (planted, _),
        pytest.raises(CommandTimedOut, match="runs on"),
    ):
        save(planted, "it", timeout_s=0.2)


def test_an_engine_that_does_not_answer_is_given_up():
    with engine([], states=[True]) as (planted, _):
        version = planted.api_version
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = Engine(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        deaf.api_version = version
        with pytest.raises(Unavailable, match="takes connections and does not answer"):
            restore(deaf, "it", timeout_s=0.1)
