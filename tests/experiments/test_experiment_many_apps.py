"""Applications at once: real answers over loopback, and each verdict the other way."""

import socketserver
import threading
from contextlib import contextmanager

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.declaration import at_least, holds, same
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments import many_apps
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

ANSWERED = holds("container", "answered", min_n=3)
ONE_KERNEL = same("container", "boot_id", other="host", min_n=3)
SEVERAL = at_least("container", "userlands", 2, "count", min_n=1)
USERLANDS = {"web-server": "BusyBox v1", "key-value-store": "Debian 12", "interpreter": "Debian 12"}


class Planted(FakeProvider):
    """A fake whose application is asked by `ask`, with a userland of its own."""

    userland = ""

    def shaped(self, shape):
        return self

    @property
    def facts(self):
        return many_apps.msgspec.structs.replace(super().facts, userland=self.userland)

    @contextmanager
    def launch(self, **options):
        with super().launch(**options) as env:
            env.address = lambda port: ("127.0.0.1", port)
            yield env


def apps_pair(scope, *, userlands=USERLANDS, boot_id=None):
    def script(_name, argv, _stdin):
        if argv[0] == "cat" and boot_id is None:
            return None
        out = f"{boot_id}\n".encode() if argv[0] == "cat" else b""
        return Completed(argv=argv, exit_status=0, stdout=out, stderr=b"", duration_s=0.0)

    def offer(name):
        provider = Planted(scope, script=lambda n, a, i: script(n, a, i) if a else None)
        provider.userland = userlands[name]
        return provider

    others = {name: (lambda name=name: offer(name)) for name in many_apps.APPS}
    return Pair(name="planted", subjects={}, others=others)


@pytest.fixture
def answers(monkeypatch):
    """What each application answers to each request, in order; True once that is used up."""
    said = {name: [] for name in many_apps.APPS}

    def ask(name):
        return lambda _address, _nonce: said[name].pop(0) if said[name] else True

    apps = {
        name: many_apps.msgspec.structs.replace(app, ask=ask(name), script="exit 0")
        for name, app in many_apps.APPS.items()
    }
    monkeypatch.setattr(many_apps, "APPS", apps)
    monkeypatch.setattr(many_apps, "SERVE_S", 0.0)
    return said


def test_three_applications_that_answer_on_one_kernel_support_the_claim(scope, answers):
    found = Bench(apps_pair(scope)).measure("many_apps")
    assert [verdict(q, found) for q in (ANSWERED, ONE_KERNEL, SEVERAL)] == ["SUPPORTED"] * 3
    assert {o.instance for o in found.row("container", "answered")} == set(many_apps.APPS)
    assert scope.held == ()


@pytest.mark.parametrize("wrong", [[False], [True, False]])
def test_an_application_that_answers_wrongly_refutes_it(scope, answers, wrong):
    answers["key-value-store"][:] = wrong
    found = Bench(apps_pair(scope)).measure("many_apps")
    assert verdict(ANSWERED, found) == "REFUTED"
    assert verdict(ONE_KERNEL, found) == "SUPPORTED"


def test_an_application_on_a_kernel_of_its_own_is_found_out(scope, answers):
    found = Bench(apps_pair(scope, boot_id="of-a-guest")).measure("many_apps")
    assert verdict(ONE_KERNEL, found) == "REFUTED"


def test_one_userland_in_three_images_is_one_userland(scope, answers):
    same_one = {
        "web-server": "Debian 12, a",
        "key-value-store": "Debian 12 (96 packages)",
        "interpreter": "Debian 12",
    }
    found = Bench(apps_pair(scope, userlands=same_one)).measure("many_apps")
    assert found.row("container", "userlands")[0].value == 1
    assert verdict(SEVERAL, found) == "REFUTED"


def test_an_image_that_is_not_built_is_missing_with_the_reason(scope, answers):
    pair = apps_pair(scope)

    def refuses():
        raise Unavailable("the apps artefacts are not built", hint="run `vmvc setup`")

    pair.others["key-value-store"] = refuses
    found = Bench(pair).measure("many_apps")
    assert "apps artefacts are not built" in found.reason_missing("container")
    assert verdict(ANSWERED, found) == "NOT TESTABLE"


@contextmanager
def server(reply):
    """A server on the loopback that gives ``reply(request)`` to each first line."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(reply(self.rfile.readline()))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        yield door.server_address
        door.shutdown()
        thread.join(timeout=10)


def page(body, status=b"200 OK"):
    return b"HTTP/1.0 " + status + b"\r\n\r\n" + body


NONCE = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("ask", "reply", "right"),
    [
        (many_apps.ask_web, page(NONCE.encode()), True),
        (many_apps.ask_web, page(b"another page"), False),
        (many_apps.ask_web, page(NONCE.encode(), b"404 Not Found"), False),
        (many_apps.ask_interpreter, b"%d\n" % (0x012345 * 0x6789AB + 0xCDEF01), True),
        (many_apps.ask_interpreter, b"42\n", False),
        (many_apps.ask_store, b"STORED\r\n", False),
        (many_apps.ask_store, b"", False),
    ],
)
def test_only_the_right_answer_is_right(ask, reply, right):
    with server(lambda _: reply) as address:
        assert ask(address, NONCE) is right


@pytest.mark.engine
def test_real_applications_answer_at_once(scope):
    pair = catalog.load("minimal", scope)
    for name in many_apps.APPS:
        try:
            pair.other(name)
        except Unavailable as gap:
            pytest.skip(str(gap))
    found = Bench(pair).measure("many_apps")
    assert [verdict(q, found) for q in (ANSWERED, ONE_KERNEL, SEVERAL)] == ["SUPPORTED"] * 3
