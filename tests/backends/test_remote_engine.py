"""An engine behind TCP and TLS, both ends with certificates: the host's own, through a tunnel."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider, Engine
from pytest_vmvc.errors import Unavailable
from tests.scratch import minimal_pair_or_skip

pytestmark = pytest.mark.engine

PATIENCE_S = 60.0


def certificate(folder: Path, name: str, authority: Path | None = None) -> None:
    """A key and a certificate ``NAME-key.pem`` and ``NAME.pem``, signed by an authority."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}-key.pem",
             "-out", folder / f"{name}.pem"]  # fmt: skip
    if authority is not None:
        words += ["-CA", authority, "-CAkey", authority.with_name(f"{authority.stem}-key.pem")]
        words += ["-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    for name in ("server", "client"):
        certificate(folder, name, folder / "ca.pem")
    for mine, docker in (("client.pem", "cert.pem"), ("client-key.pem", "key.pem")):
        (folder / docker).write_bytes((folder / mine).read_bytes())
    return folder


@pytest.fixture(scope="module")
def tunnel(certificates: Path) -> Iterator[int]:
    """A listener on the loopback that hands each connection on to the host's own engine."""
    minimal_pair_or_skip()
    inside = Engine().url.removeprefix("unix://")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    threads: list[threading.Thread] = []

    def hand_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(call: socket.socket) -> None:
        call.settimeout(PATIENCE_S)
        with (
            suppress(OSError),
            context.wrap_socket(call, server_side=True) as outer,
            socket.socket(socket.AF_UNIX) as inner,
        ):
            inner.settimeout(PATIENCE_S)
            inner.connect(inside)
            back = threading.Thread(target=hand_on, args=(inner, outer), daemon=True)
            back.start()
            hand_on(outer, inner)
            back.join(PATIENCE_S)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    call, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(call,), daemon=True))
                    threads[-1].start()

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        listening.join(PATIENCE_S)
    for thread in threads:
        thread.join(PATIENCE_S)


def test_containers_of_an_engine_behind_tls(tunnel, certificates, run_scope, monkeypatch):
    built = minimal_pair_or_skip()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{tunnel}")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    provider = DockerProvider(ContainerSpec(image=built.image_ref, userland="busybox"), run_scope)
    provider.prepare()
    with provider.launch(deadline_s=PATIENCE_S) as container:
        assert container.run(["echo", "here"]).stdout == b"here\n"
        assert next(iter(container.marks)) == "created"
        with pytest.raises(Unavailable, match="standard input over TLS"):
            container.run(["cat"], stdin=b"x")
    assert not run_scope.held


def test_one_without_our_certificate_is_not_available(tunnel, certificates, run_scope, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{tunnel}")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    provider = DockerProvider(ContainerSpec(image="any", userland=""), run_scope)
    gap = provider.probe()
    assert gap is not None
    assert "the container engine" in str(gap)
