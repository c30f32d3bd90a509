"""Load: usage that follows it, usage that does not, and usage that never comes back."""

from concurrent.futures import Future

import pytest
from around import Around, Planted, said, verdicts
from bench import Bench

import claims.test_performance as performance
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import web_load
from pytest_vmvc.load import Driven
from pytest_vmvc.model import Usage
from pytest_vmvc.subjects import Pair, catalog

LIVING = []
"""Servers that live: the planted load finds its server here, as a real one does by its port."""


class Server(Around):
    """Spends CPU time on each request, and memory while there are many."""

    cpu_s_per_request = 0.005
    bytes_per_rate = 100_000
    kept = 0.0
    """Share of the highest memory that stays."""
    status = 0

    def __init__(self, environment, shape):
        super().__init__(environment, shape)
        self.cpu_s = self.rate_per_s = self.kept_bytes = 0.0
        LIVING[:] = [self]

    def run(self, argv, **_):
        return said(status=self.status)

    def address(self, port):
        assert port in self.shape.ports
        return "127.0.0.1", port

    def serve(self, count, rate_per_s):
        self.cpu_s += count * self.cpu_s_per_request
        self.rate_per_s = rate_per_s
        self.kept_bytes = max(self.kept_bytes, self.kept * self.bytes_per_rate * rate_per_s)

    def usage(self):
        now = max(self.kept_bytes, self.bytes_per_rate * self.rate_per_s)
        return Usage(cpu_s=self.cpu_s, memory_bytes=round(1e6 + now), definition="planted")


def planted_load(*, answers=True):
    """Drives the living server at once, and leaves it at that rate."""

    def drive(address, path, *, rate_per_s, seconds, timeout_s):
        count = round(rate_per_s * seconds)
        LIVING[0].serve(count, rate_per_s)
        good = count if answers else 0
        return Driven(
            sent=count, answered=good, failed=count - good, late=0, latencies_s=(0.1,) * good
        )

    return drive


class Time:
    """No real seconds: an idle phase only ends the load of the phase before."""

    @staticmethod
    def sleep(seconds):
        if seconds == web_load.PHASE_S:
            LIVING[0].rate_per_s = 0.0


class AtOnce:
    """In place of a thread: a phase is over when it is looked at, so that nothing races."""

    def __init__(self, _workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, work):
        done = Future()
        done.set_result(work())
        return done


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(web_load, "time", Time)
    monkeypatch.setattr(web_load, "drive", planted_load())
    monkeypatch.setattr(web_load, "ThreadPoolExecutor", AtOnce)


def measure(scope, server=Server, **subjects):
    chosen = subjects or {"container": Planted(scope, server)}
    return Bench(Pair(name="planted", subjects=chosen)).measure("load")


def judged(scope, server):
    return verdicts(performance.test_usage_varies, measure(scope, server))


def like(kind, **attributes):
    return type("Like", (kind,), attributes)


@pytest.mark.usefixtures("at_once")
def test_usage_that_follows_the_load_supports_the_claim(scope):
    assert {*judged(scope, Server).values()} == {"SUPPORTED"}


@pytest.mark.parametrize(
    ("server", "reading"),
    [
        (like(Server, cpu_s_per_request=0.0), "cpu-comes-back"),
        (like(Server, bytes_per_rate=0), "memory-follows-load"),
        (like(Server, bytes_per_rate=0), "memory-comes-back"),
        (like(Server, kept=1.0), "memory-comes-back"),
    ],
)
@pytest.mark.usefixtures("at_once")
def test_a_load_that_changes_nothing_or_for_ever_is_found_out(scope, server, reading):
    assert judged(scope, server)[reading] == "REFUTED"


@pytest.mark.usefixtures("at_once")
def test_cpu_time_that_does_not_depend_on_the_load_refutes(scope, monkeypatch):
    def steady(address, path, *, rate_per_s, seconds, timeout_s):
        LIVING[0].serve(5, rate_per_s)
        return Driven(sent=5, answered=5, failed=0, late=0, latencies_s=())

    monkeypatch.setattr(web_load, "drive", steady)
    monkeypatch.setattr(web_load, "_serve", lambda environment: ("127.0.0.1", 8080))
    assert judged(scope, Server)["cpu-follows-load"] == "REFUTED"


@pytest.mark.usefixtures("at_once")
def test_every_phase_of_every_container_is_recorded(scope):
    found = measure(scope, container=Planted(scope, Server))
    assert len(found.row("container-high", "cpu_s")) == 6
    assert found.row("container-high", "cpu_s")[0].value == pytest.approx(12 * 0.005)
    assert found.row("container-low", "cpu_s")[0].value == pytest.approx(3 * 0.005)
    assert found.row("container-idle", "cpu_s")[0].value == 0
    assert found.row("container-after", "memory_bytes")[0].value == pytest.approx(1e6)
    assert found.row("container-high", "failed")[0].value == 0
    assert len({o.instance for o in found.row("container-high", "cpu_s")}) == 6


@pytest.mark.usefixtures("at_once")
def test_a_server_that_does_not_start_or_answer_breaks_the_experiment(scope, monkeypatch):
    with pytest.raises(InfrastructureError, match="did not start"):
        measure(scope, like(Server, status=1))
    monkeypatch.setattr(web_load, "drive", planted_load(answers=False))
    with pytest.raises(InfrastructureError, match="does not answer"):
        measure(scope)
    assert scope.held == ()


@pytest.mark.usefixtures("at_once")
def test_requests_that_fail_are_counted(scope, monkeypatch):
    monkeypatch.setattr(web_load, "_serve", lambda environment: ("127.0.0.1", 8080))
    monkeypatch.setattr(web_load, "drive", planted_load(answers=False))
    found = measure(scope)
    assert found.row("container-high", "failed")[0].value == 12


@pytest.mark.usefixtures("at_once")
def test_what_cannot_take_part_is_missing_with_its_reason(scope):
    gap = {"container": Unavailable("no engine")}
    found = Bench(Pair(name="planted", subjects={}, missing=gap)).measure("load")
    assert found.reason_missing("container-high") == "no engine"


@pytest.mark.engine
def test_a_real_web_server_takes_more_under_more_load_and_comes_back(scope):
    container = catalog.load("minimal", scope).subjects["container"]
    pair = Pair(name="real", subjects={"container": container})
    found = Bench(pair, blocks=1).measure("load")
    row = {(o.subject, o.metric): o.value for o in found.observations}
    assert row["container-high", "cpu_s"] > row["container-low", "cpu_s"] > 0
    assert row["container-high", "memory_bytes"] > row["container-idle", "memory_bytes"]
    assert row["container", "memory_kept_share"] < 0.5
