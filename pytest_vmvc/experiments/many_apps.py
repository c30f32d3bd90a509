"""Several applications of several userlands, serving at once: how many kernels does that take?"""

from __future__ import annotations

import http.client
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack

import msgspec

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.optional import Serves, Shape, Shapeable
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

Address = tuple[str, int]

SERVE_S = 10.0
"""How long an application may take to give its first right answer."""
TIMEOUT_S = 5.0
POLL_S = 0.02
ANSWER_BYTES = 4096

WEB = 'mkdir -p /tmp/www && echo "$1" >/tmp/www/index.html && httpd -p 8080 -h /tmp/www'
MEMCACHED = "memcached -d -u nobody -m 16 -p 11211 </dev/null >/dev/null 2>&1"
PERL = 'perl -e "$2" </dev/null >/dev/null 2>&1 &'
# It evaluates sums and products only: whoever else is on this host may talk to it, too.
INTERPRETER = r"""
use IO::Socket;
my $door = IO::Socket::INET->new(LocalPort => 7070, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $door->accept) {
    my $line = <$client> // "";
    print $client eval($line), "\n" if $line =~ /^[0-9+*() ]{1,200}\r?\n?$/;
    close $client;
}
"""


def ask_web(address: Address, nonce: str) -> bool:
    """GET the page that holds the nonce."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == 200 and answer.read(ANSWER_BYTES).strip() == nonce.encode()
    finally:
        connection.close()


def ask_store(address: Address, nonce: str) -> bool:
    """Set a fresh key to a fresh value by memcached's text protocol, and get it back."""
    value = secrets.token_hex(16)
    stored = _exchange(address, f"set {nonce} 0 60 {len(value)}\r\n{value}\r\n", b"STORED\r\n")
    wanted = f"VALUE {nonce} 0 {len(value)}\r\n{value}\r\nEND\r\n".encode()
    return stored and _exchange(address, f"get {nonce}\r\n", wanted)


def ask_interpreter(address: Address, nonce: str) -> bool:
    """Have an expression evaluated that nobody has seen before."""
    a, b, c = (int(nonce[at : at + 6], 16) for at in (0, 6, 12))
    return _exchange(address, f"{a} * {b} + {c}\n", f"{a * b + c}\n".encode())


class App(msgspec.Struct, frozen=True, kw_only=True):
    """An application: how it is started inside, where it listens, what it is asked."""

    script: str
    port: int
    ask: Callable[[Address, str], bool]


APPS: Mapping[str, App] = {
    "web-server": App(script=WEB, port=8080, ask=ask_web),
    "key-value-store": App(script=MEMCACHED, port=11211, ask=ask_store),
    "interpreter": App(script=PERL, port=7070, ask=ask_interpreter),
}
"""By the name of the pair's further provider that has it."""


class ManyApps:
    """A web server, a key-value store and an interpreter, each in a container of its own."""

    name = "many_apps"
    metrics = (
        Metric(
            name="answered",
            label="every request to it was answered rightly",
            unit="",
            definition="asked twice while all of them serve: HTTP GET of a nonce; memcached set and"
            " get of a nonce; a fresh expression evaluated by perl",
        ),
        Metric(
            name="boot_id", label="boot id", unit="", definition="/proc/sys/kernel/random/boot_id"
        ),
        Metric(name="userland", unit="", definition="the userland of the application's image"),
        Metric(
            name="userlands",
            label="userlands that served at once",
            unit="count",
            definition="distinct among the applications that answered, by the name and version in "
            "front of the details: BusyBox v1.35.0, Debian GNU/Linux 12",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Start all of them, ask all of them, ask all of them again, then see that all live."""
        record.observe("host", "boot_id", host_facts()["boot_id"], facts=None, instance="host")
        nonces = {name: secrets.token_hex(16) for name in APPS}
        with ExitStack() as stack:
            try:
                alive = {
                    name: stack.enter_context(_launch(pair, name, app, settings))
                    for name, app in APPS.items()
                }
            except Unavailable as gap:
                record.missing("container", str(gap))
                return
            for name, environment in alive.items():
                _serve(environment, APPS[name], nonces[name])
            # Until every one of them serves; only then does "at once" begin.
            ready = {
                name: _until_right(environment, APPS[name], nonces[name])
                for name, environment in alive.items()
            }
            again = {
                name: ready[name] and _right(environment, APPS[name], nonces[name])
                for name, environment in alive.items()
            }
            answered = {name: again[name] and alive[name].alive() for name in APPS}
            for done, (name, environment) in enumerate(alive.items(), 1):
                _record(environment, name, record, answered=answered[name])
                record.progress(done, len(alive), "application")
            served = {
                re.split(r" \(|,", alive[name].facts.userland)[0] for name in APPS if answered[name]
            }
            record.observe("container", "userlands", len(served), facts=environment.facts)


def _record(environment: Environment, name: str, record: Recorder, *, answered: bool) -> None:
    said = environment.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    for metric, value in (
        ("answered", answered),
        ("boot_id", said.decode(errors="replace").strip()[:64]),
        ("userland", environment.facts.userland),
    ):
        record.observe("container", metric, value, facts=environment.facts, instance=name)


def _launch(
    pair: Pair, name: str, app: App, settings: Settings
) -> AbstractContextManager[Environment]:
    provider = pair.other(name)
    if not isinstance(provider, Shapeable):
        raise Unavailable(f"{provider.name} cannot publish a port")
    shaped = provider.shaped(Shape(ports=(app.port,)))
    shaped.prepare()
    return shaped.launch(deadline_s=settings.deadline_s)


def _serve(environment: Environment, app: App, nonce: str) -> None:
    done = environment.run(["sh", "-c", app.script, "sh", nonce, INTERPRETER])
    if done.exit_status != 0:
        raise InfrastructureError(
            f"an application was not started in {environment.name}",
            hint=done.stderr.decode(errors="replace").strip()[:200],
        )


def _until_right(environment: Environment, app: App, nonce: str) -> bool:
    """It takes a moment until a server listens; an engine's proxy accepts before that."""
    until = time.monotonic() + SERVE_S
    while not _right(environment, app, nonce):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def _right(environment: Environment, app: App, nonce: str) -> bool:
    if not isinstance(environment, Serves):
        raise InfrastructureError(f"{environment.name} cannot be reached by TCP")
    try:
        return app.ask(environment.address(app.port), nonce)
    except (OSError, http.client.HTTPException):
        return False


def _exchange(address: Address, request: str, wanted: bytes) -> bool:
    """Send a request; whether exactly the wanted bytes come back."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as channel:
        channel.sendall(request.encode())
        answer = b""
        while len(answer) < len(wanted) and (piece := channel.recv(ANSWER_BYTES)):
            answer += piece
    return answer == wanted
