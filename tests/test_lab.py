"""The bench: what times nothing goes first and side by side, riders share, nothing runs twice."""

import signal
import subprocess
import threading

import pytest

from pytest_vmvc import experiments
from pytest_vmvc.backends.fake import FakeLaunch, FakeProvider
from pytest_vmvc.errors import InfrastructureError, LaunchFailed, NoUsage
from pytest_vmvc.experiments.base import Settings
from pytest_vmvc.host import manifest
from pytest_vmvc.lab import Lab
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Allowance, Check, Conditions, Metric, Missing, Observation
from pytest_vmvc.resources import RunScope, marked
from pytest_vmvc.subjects import Pair

METRIC = Metric(name="x", unit="", definition="test")


@pytest.fixture
def scope(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    with RunScope() as scope:
        yield scope


@pytest.fixture
def catalogue(monkeypatch):
    """Planted experiments: two surveys, one that is timed, one that rides with it."""
    planted = {
        "look": experiments.Entry(place="", summary="a survey"),
        "see": experiments.Entry(place="", summary="another survey"),
        "time": experiments.Entry(place="", summary="timed", timed=True),
        "ride": experiments.Entry(place="", summary="rides", carrier="time"),
        "battery": experiments.Entry(place="", summary="measures the emulator", timed=True),
    }
    monkeypatch.setattr(experiments, "CATALOGUE", planted)
    return planted


class Planted:
    """An experiment that does what a function does."""

    metrics = (METRIC,)

    def __init__(self, name, work):
        self.name = name
        self.work = work

    def run(self, pair, record, settings):
        self.work(pair, record, settings)


class Riding:
    name = "ride"
    metrics = (METRIC,)

    def __init__(self, value=7):
        self.value = value

    def ride(self, environment, subject):
        assert environment.alive()
        return {"x": self.value}


class Bench:
    def __init__(self, scope, made, wanted, tier="kvm-hw", watch=lambda: tuple):
        self.records = []
        self.scope = scope
        self.tier = tier
        self.pairs = {}
        self.lab = Lab(
            load=self.load,
            host=lambda: manifest("none"),
            sink=self.records.append,
            note=lambda *_: None,
            settings=Settings(),
            wanted=wanted,
            catalogue=made.__getitem__,
            watch=watch,
        )

    def load(self, name):
        self.pairs[name] = Pair(
            name=name,
            subjects={
                "container": FakeProvider(self.scope),
                "vm": FakeProvider(self.scope, kind="vm", accelerator=self.tier),
            },
        )
        return self.pairs[name]


def seen(subject="container"):
    return lambda _pair, record, _settings: record.observe(subject, "x", 1, facts=None)


def timed(pair, record, settings):
    def take(provider, subject):
        with provider.launch() as environment:
            return Sample(values={"x": 1}, riders=record.ride(environment, subject))

    record.blocks(
        {name: (lambda p=p, n=name: take(p, n)) for name, p in pair.subjects.items()},
        lambda _: None,
        settings,
    )


def test_surveys_of_different_pairs_run_side_by_side_and_before_what_is_timed(scope, catalogue):
    both = threading.Barrier(2, timeout=10)
    order = []

    def meet(pair, record, _settings):
        both.wait(10)
        order.append("survey")
        record.observe("container", "x", pair.name, facts=None)

    def late(_pair, record, _settings):
        order.append("timed")
        record.observe("container", "x", 1, facts=None)

    made = {"look": Planted("look", meet), "time": Planted("time", late)}
    wanted = [("time", "a"), ("look", "a"), ("look", "b")]
    bench = Bench(scope, made, wanted)
    bench.lab.evidence("time", "a")
    assert order == ["survey", "survey", "timed"]
    assert bench.lab.evidence("look", "b").row("container", "x")[0].value == "b"
    assert len(order) == 3


def test_what_stands_is_shared_and_gone_before_anything_is_timed(scope, catalogue):
    names = []

    def look(pair, record, _settings):
        names.append([one.name for one in pair.standing("vm", 2)])
        record.observe("vm", "x", 1, facts=None)

    def alone(pair, record, settings):
        assert pair.subjects["vm"].running == {}
        timed(pair, record, settings)

    made = {
        "look": Planted("look", look),
        "see": Planted("see", look),
        "time": Planted("time", alone),
    }
    bench = Bench(scope, made, [("look", "a"), ("see", "a"), ("time", "a")])
    bench.lab.evidence("time", "a")
    assert names[0] == names[1]
    assert len(set(names[0])) == 2
    assert scope.held == ()


def test_what_died_while_it_stood_is_replaced(scope):
    pair = Pair(name="a", subjects={"vm": FakeProvider(scope, kind="vm")})
    [first] = pair.standing("vm")
    first.kill()
    [second] = pair.standing("vm")
    assert second.name != first.name
    pair.close()
    assert scope.held == ()


def test_of_two_starts_the_one_that_came_up_is_kept_and_ended(scope):
    launches = [FakeLaunch(), FakeLaunch(failure="launch")]
    pair = Pair(name="a", subjects={"vm": FakeProvider(scope, kind="vm", launches=launches)})
    with pytest.raises(LaunchFailed):
        pair.standing("vm", 2)
    assert len(pair.subjects["vm"].running) == 1
    pair.close()
    assert scope.held == ()


def test_a_rider_sees_every_environment_of_its_carrier(scope, catalogue):
    made = {"time": Planted("time", timed), "ride": Riding()}
    bench = Bench(scope, made, [("ride", "a"), ("time", "a")])
    found = bench.lab.evidence("ride", "a")
    assert [o.value for o in found.row("vm", "x")] == [7] * 6
    assert {o.block for o in found.row("container", "x")} == set(range(6))
    launched = len([r for r in bench.records if isinstance(r, Observation)])
    bench.lab.evidence("time", "a")
    assert len([r for r in bench.records if isinstance(r, Observation)]) == launched


def test_a_rider_that_an_environment_lacks_something_for_costs_its_carrier_nothing(
    scope, catalogue
):
    class Choosy(Riding):
        asked = 0

        def ride(self, environment, subject):
            if subject == "container":
                self.asked += 1
                raise NoUsage("nothing is counted in it")
            return super().ride(environment, subject)

    made = {"time": Planted("time", timed), "ride": Choosy()}
    bench = Bench(scope, made, [("ride", "a"), ("time", "a")])
    found, carrier = bench.lab.evidence("ride", "a"), bench.lab.evidence("time", "a")
    assert found.reason_missing("container") == "nothing is counted in it"
    assert len(found.missing) == 1
    assert made["ride"].asked == 1
    assert [o.value for o in found.row("vm", "x")] == [7] * 6
    assert len(carrier.row("container", "x")) == 6
    assert carrier.reason_missing("container") is None


NOISY = Check(name="load", figure=51.0, op="<=", limit=10, unit="%", passed=False)


def test_the_host_is_watched_around_what_is_timed_and_around_nothing_else(scope, catalogue):
    order = []

    def watch():
        order.append("before")
        return lambda: order.append("after") or (NOISY,)

    def alone(pair, record, settings):
        order.append("timed")
        timed(pair, record, settings)

    made = {
        "look": Planted("look", lambda *_: order.append("survey")),
        "time": Planted("time", alone),
        "ride": Riding(),
    }
    wanted = [("look", "a"), ("ride", "a"), ("time", "a")]
    bench = Bench(scope, made, wanted, watch=watch)
    assert bench.lab.evidence("look", "a").conditions == ()
    of_both = [bench.lab.evidence(name, "a").conditions for name in ("time", "ride")]
    assert order == ["survey", "before", "timed", "after"]
    assert [found.checks for (found,) in of_both] == [(NOISY,), (NOISY,)]
    assert [found.experiment for (found,) in of_both] == ["time", "ride"]
    written = [r for r in bench.records if isinstance(r, Conditions)]
    assert sorted(r.experiment for r in written) == ["ride", "time"]


def test_a_rider_that_nobody_wants_stays_at_home(scope, catalogue):
    made = {"time": Planted("time", timed)}
    bench = Bench(scope, made, [("time", "a")])
    assert len(bench.lab.evidence("time", "a").observations) == 12


def test_a_broken_experiment_is_told_to_everyone_and_spares_the_others(scope, catalogue):
    tries = []

    def breaks(*_):
        tries.append(1)
        raise InfrastructureError("it broke")

    made = {"look": Planted("look", breaks), "see": Planted("see", seen())}
    bench = Bench(scope, made, [("look", "a"), ("see", "a")])
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="it broke"):
            bench.lab.evidence("look", "a")
    assert bench.lab.evidence("see", "a").row("container", "x")
    assert len(tries) == 1


def test_a_bug_in_an_experiment_is_no_verdict_and_no_endless_retry(scope, catalogue):
    tries = []

    def wrong(*_):
        tries.append(1)
        raise ZeroDivisionError

    bench = Bench(scope, {"look": Planted("look", wrong)}, [("look", "a")])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            bench.lab.evidence("look", "a")
    assert len(tries) == 1


def test_an_interrupt_ends_the_surveys_at_their_next_record(scope, catalogue):
    interrupted, standing = threading.Event(), threading.Event()

    def endless(pair, record, _settings):
        pair.standing("vm")
        standing.set()
        interrupted.wait(10)
        for _ in range(10_000):
            record.observe("vm", "x", 1, facts=None)

    def interrupts(*_):
        standing.wait(10)
        interrupted.set()
        raise KeyboardInterrupt

    made = {"look": Planted("look", endless), "see": Planted("see", interrupts)}
    bench = Bench(scope, made, [("look", "a"), ("see", "b")])
    with pytest.raises(KeyboardInterrupt):
        bench.lab.evidence("see", "b")
    assert scope.held == ()
    assert len(bench.records) < 10_000


# --- the battery of an emulated machine ----------------------------------------------------------


def test_an_interrupt_does_not_wait_for_what_is_being_started(scope, catalogue):
    waits, at_work = 600, threading.Event()

    def start(_pair, _record, _settings):
        child = subprocess.Popen(["sleep", str(waits)], env=marked())
        at_work.set()
        ended.append(child.wait(waits))

    def interrupted(_pair, _record, _settings):
        at_work.wait(10)
        raise KeyboardInterrupt

    ended: list[int] = []
    made = {"look": Planted("look", interrupted), "see": Planted("see", start)}
    bench = Bench(scope, made, [("see", "one"), ("look", "two")])
    with pytest.raises(KeyboardInterrupt):
        bench.lab.evidence("see", "one")
    assert ended == [-signal.SIGKILL]


class Slow:
    """A battery that finds what it was told, on a standing machine."""

    name = "battery"
    metrics = (Metric(name="slowdown", unit="ratio", definition="test"),)

    def __init__(self, slowdown=10.0):
        self.slowdown = slowdown
        self.runs = []

    def run(self, pair, record, settings):
        [machine] = pair.standing("vm")
        self.runs.append((pair.name, machine.name))
        record.observe("vm", "slowdown", self.slowdown, facts=machine.facts, instance="timer")


def test_an_emulated_machine_is_gauged_once_a_pair_before_it_is_timed(scope, catalogue):
    battery = Slow()
    made = {"time": Planted("time", timed), "ride": Riding(), "battery": battery}
    wanted = [("time", "a"), ("ride", "a"), ("time", "b")]
    bench = Bench(scope, made, wanted, tier="tcg")
    for name, pair in wanted:
        found = bench.lab.evidence(name, pair)
        assert found.allowance.figure == 20.0
        assert (found.allowance.experiment, found.allowance.pair) == (name, pair)
    assert [pair for pair, _ in battery.runs] == ["a", "b"]
    written = [r for r in bench.records if isinstance(r, Allowance)]
    assert {(r.experiment, r.pair) for r in written} == set(wanted)
    assert scope.held == ()


def test_the_battery_uses_the_machine_that_stands_already(scope, catalogue):
    seen_by_survey = []
    battery = Slow()

    def look(pair, record, _settings):
        seen_by_survey.append(pair.standing("vm")[0].name)
        record.observe("vm", "x", 1, facts=None)

    def alone(pair, record, settings):
        assert pair.subjects["vm"].running == {}
        timed(pair, record, settings)

    made = {"look": Planted("look", look), "time": Planted("time", alone), "battery": battery}
    bench = Bench(scope, made, [("look", "a"), ("time", "a")], tier="tcg")
    assert bench.lab.evidence("time", "a").allowance is not None
    assert [name for _, name in battery.runs] == seen_by_survey


@pytest.mark.parametrize(("asked", "tier"), [("time", "kvm-hw"), ("look", "tcg")])
def test_nothing_is_gauged_that_is_not_emulated_or_not_timed(scope, catalogue, asked, tier):
    battery = Slow()
    made = {"time": Planted("time", timed), "look": Planted("look", seen()), "battery": battery}
    bench = Bench(scope, made, [(asked, "a")], tier=tier)
    assert bench.lab.evidence(asked, "a").allowance is None
    assert battery.runs == []


def test_a_battery_that_breaks_costs_the_allowance_and_nothing_else(scope, catalogue):
    def breaks(*_):
        raise InfrastructureError("the emulator coughed")

    made = {"time": Planted("time", timed), "battery": Planted("battery", breaks)}
    bench = Bench(scope, made, [("time", "a")], tier="tcg")
    found = bench.lab.evidence("time", "a")
    assert len(found.observations) == 12
    assert found.allowance is None
    [gap] = [r for r in bench.records if isinstance(r, Missing)]
    assert gap.experiment == "battery"
    assert "the emulator coughed" in gap.reason
    with pytest.raises(InfrastructureError):
        bench.lab.evidence("battery", "a")
