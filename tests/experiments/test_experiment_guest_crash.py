"""A panic in one guest: who goes on and how its end is told, in plants and for real."""

import itertools

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeLaunch, FakeProvider
from pytest_vmvc.declaration import at_most, holds
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import guest_crash
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

TRIGGER_REFUSED = holds("container-with-sysrq", "trigger_refused")
SETTING_REFUSED = holds("container", "setting_refused")


@pytest.fixture(autouse=True)
def _doors(request, monkeypatch, tmp_path):
    """The two files of a host that has both; a real run takes the real ones."""
    for name in ("TRIGGER", "SETTING"):
        path = tmp_path / name
        path.touch()
        if request.node.get_closest_marker("machine") is None:
            monkeypatch.setattr(guest_crash, name, path)


def done(argv, out=b"", status=0, err=b""):
    return Completed(argv=argv, exit_status=status, stdout=out, stderr=err, duration_s=0.0)


class Guests:
    """Scripts of both sides; ``takes_down`` are ended together with the machine that panics."""

    def __init__(self, scope, *, takes_down=(), counts=True, ends=True, doors="open", control=0):
        self.container = FakeProvider(scope, script=self.inside_container)
        self.vm = FakeProvider(
            scope, kind="vm", accelerator="kvm-hw", script=self.inside_vm, launches=[FakeLaunch()]
        )
        self.takes_down, self.ends, self.doors, self.control = takes_down, ends, doors, control
        self.counter = itertools.count() if counts else itertools.repeat(7)
        self.pair = Pair(name="planted", subjects={"container": self.container, "vm": self.vm})

    def inside(self, argv):
        if argv[0] == "cat":
            return done(argv, b"%d\n" % next(self.counter))
        return done(argv, b"17\n", self.control if argv == ("true",) else 0)

    def inside_container(self, _name, argv, _stdin):
        if argv[:3] == tuple(guest_crash.OPEN) and self.doors == "shut":
            return done(argv, status=1, err=b"Read-only file system")
        return self.inside(argv)

    def inside_vm(self, name, argv, _stdin):
        if argv != tuple(guest_crash.CRASH):
            return self.inside(argv)
        if self.ends:
            self.vm.running[name].kill()
        for kind in self.takes_down:
            for environment in getattr(self, kind).running.values():
                environment.kill()
        return None if self.ends else done(argv)


def measure(guests):
    return Bench(guests.pair).measure("guest_crash")


def test_isolation_that_holds(scope):
    found = measure(Guests(scope, doors="shut"))
    for metric in ("host_survived", "vm_survived", "container_survived", "end_reported"):
        assert verdict(holds("vm", metric), found) == "SUPPORTED", metric
    assert verdict(at_most("vm", "report_s", 10, "s", min_n=1), found) == "SUPPORTED"
    assert found.row("vm", "end")[0].value == "its kernel panicked"
    assert verdict(TRIGGER_REFUSED, found) == verdict(SETTING_REFUSED, found) == "SUPPORTED"
    assert "Read-only" in found.row("container", "refusal")[0].value


@pytest.mark.parametrize("kind", ["vm", "container"])
def test_a_sibling_that_dies_with_it_is_seen(scope, kind):
    found = measure(Guests(scope, takes_down=(kind,)))
    assert verdict(holds("vm", f"{kind}_survived"), found) == "REFUTED"


def test_a_sibling_that_lives_and_does_not_go_on_is_seen(scope, monkeypatch):
    monkeypatch.setattr(guest_crash, "SERVE_TIMEOUT_S", 0.01)
    found = measure(Guests(scope, counts=False))
    assert verdict(holds("vm", "container_survived"), found) == "REFUTED"


def test_an_end_that_nobody_tells_is_seen(scope):
    found = measure(Guests(scope, ends=False))
    assert verdict(holds("vm", "end_reported"), found) == "REFUTED"
    assert not found.row("vm", "report_s")


def test_an_open_door_is_seen_and_nothing_is_written(scope):
    found = measure(Guests(scope))
    assert verdict(TRIGGER_REFUSED, found) == verdict(SETTING_REFUSED, found) == "REFUTED"
    assert guest_crash.TRIGGER.read_bytes() == b""


def test_where_the_host_has_no_trigger_the_container_is_not_asked(scope):
    guest_crash.TRIGGER.unlink()
    found = measure(Guests(scope, doors="shut"))
    assert verdict(TRIGGER_REFUSED, found) == "NOT TESTABLE"
    assert verdict(SETTING_REFUSED, found) == "SUPPORTED"


def test_a_machine_that_did_not_answer_before_proves_nothing(scope):
    with pytest.raises(InfrastructureError, match="before its crash"):
        measure(Guests(scope, control=1))


def test_without_a_machine_the_container_is_still_asked(scope):
    guests = Guests(scope, doors="shut")
    pair = Pair(
        name="planted",
        subjects={"container": guests.container},
        missing={"vm": Unavailable("no hypervisor")},
    )
    found = Bench(pair).measure("guest_crash")
    assert verdict(holds("vm", "host_survived"), found) == "NOT TESTABLE"
    assert verdict(SETTING_REFUSED, found) == "SUPPORTED"


@pytest.mark.machine
@pytest.mark.engine
def test_a_real_panic_is_told_and_leaves_the_others_alone(scope):
    pair = catalog.load("minimal", scope)
    try:
        found = Bench(pair).measure("guest_crash")
    finally:
        pair.close()
    row = {o.metric: o.value for o in found.observations if o.subject == "vm"}
    assert row["end"] == "its kernel panicked"
    assert row["host_survived"] is row["vm_survived"] is row["container_survived"] is True
    assert row["trigger_refused"] is row["setting_refused"] is False
    assert found.row("container", "setting_refused")[0].value is True
    assert "Read-only" in found.row("container", "refusal")[0].value
