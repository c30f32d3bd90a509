"""Journeys: planted ones that turn each verdict, and a real one of each side."""

import os
import shlex
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from bench import Bench, starts, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.backends.optional import Arrival, Destination
from pytest_vmvc.backends.porting import Journey
from pytest_vmvc.declaration import at_least, at_most, below, differs, holds, ratio, slope
from pytest_vmvc.errors import BuildFailed, LaunchFailed, Unavailable
from pytest_vmvc.experiments import porting_dose
from pytest_vmvc.subjects import Pair, catalog

SAVE_COPY_LOAD_RUN = ("save", "cp", "load", "run")
GAP = Unavailable("no second engine", hint="install one")


class Traveller(FakeProvider):
    """A fake whose journeys are scripted: how long, how large, in how many steps, how intact."""

    def __init__(
        self,
        scope,
        *,
        there=(),
        imported_s=1.0,
        size=10**6,
        steps=SAVE_COPY_LOAD_RUN,
        needs=("one", "two"),
        intact=True,
        refuses=False,
        places=None,
        **fake,
    ):
        super().__init__(scope, **fake)
        self.scope = scope
        self.there = iter(there)
        self.script = {"commands": steps, "needs": needs, "intact": intact}
        self.imported_s, self.size, self.refuses = imported_s, size, refuses
        self.places = places or {"": lambda: nullcontext(Destination())}

    def destinations(self):
        return self.places

    @contextmanager
    def ported(self, destination):
        if self.refuses:
            raise BuildFailed("a layer has another digest")
        archive = self.scope.workdir / self.scope.new_name()
        archive.touch()
        os.truncate(archive, self.size)
        marks = {"packaged": 0.1, "carried": 0.2, "imported": self.imported_s}
        start = next(self.there, FakeLaunch())
        provider = FakeProvider(self.scope, kind=self.kind, clock=self.clock, launches=[start])
        yield Arrival(provider=provider, marks=marks, archive=archive, **self.script)


class Padded(Traveller):
    """A machine whose journey takes so many seconds for each GB."""

    s_per_gb = 2.0

    @contextmanager
    def padded(self, sizes):
        yield {
            size: Traveller(self.scope, kind="vm", imported_s=0.1 + self.s_per_gb * size / 1e9)
            for size in sizes
        }


def pair(scope, *, container=None, vm=None, machine=Traveller, others=None):
    clock = FakeClock()
    return Pair(
        name="planted",
        subjects={
            "container": Traveller(scope, clock=clock, **(container or {})),
            "vm": machine(scope, clock=clock, kind="vm", **(vm or {})),
        },
        others=others or {},
    )


def measure(scope, **planted):
    return Bench(pair(scope, **planted)).measure("porting")


def test_a_journey_is_its_transfer_and_its_first_start(scope):
    found = measure(scope, container={"there": starts(*[0.4] * 9), "imported_s": 2.0})
    assert [o.value for o in found.row("container", "port_s")] == [pytest.approx(2.4)] * 6
    assert [o.value for o in found.row("container", "transfer_s")] == [2.0] * 6
    (ratio_of_one, *_) = (o.value for o in found.row("container", "start_ratio"))
    assert ratio_of_one == pytest.approx(0.4 / 0.25)
    assert list(found.row("vm", "port_s")[0].marks) == ["packaged", "carried", "imported", "answer"]
    assert found.find("vm", "operator_steps").facts.extra["commands"] == "save; cp; load; run"
    assert found.row("vm", "start_ratio") == ()
    assert scope.held == ()


@pytest.mark.parametrize(
    ("start_s", "not_slower", "not_faster"),
    [
        (0.25, "SUPPORTED", "SUPPORTED"),
        (3.0, "REFUTED", "SUPPORTED"),  # a destination that is slow
        (0.05, "SUPPORTED", "REFUTED"),
    ],
)
def test_a_slow_destination_turns_immediate_start(scope, start_s, not_slower, not_faster):
    found = measure(scope, container={"there": starts(*[start_s] * 9)})
    assert verdict(at_most("container", "start_ratio", 2, "ratio"), found) == not_slower
    assert verdict(at_least("container", "start_ratio", 0.5, "ratio"), found) == not_faster


def test_a_start_that_is_too_late_is_censored_and_refutes(scope):
    late = [FakeLaunch(failure="timeout")] * 9
    found = measure(scope, container={"there": late})
    assert {o.censored for o in found.row("container", "port_s")} == {True}
    assert verdict(below("container", "first_start_s", 60, "s"), found) == "REFUTED"
    assert found.row("container", "runs_unchanged") == ()


@pytest.mark.parametrize("planted", [{"refuses": True}, {"intact": False}])
def test_a_file_changed_under_way_refutes(scope, planted):
    changed = measure(scope, container=planted, machine=Padded)
    assert verdict(holds("container", "runs_unchanged"), changed) == "REFUTED"
    assert verdict(holds("container", "content_intact"), changed) == "REFUTED"
    assert verdict(holds("vm", "runs_unchanged"), changed) == "SUPPORTED"


def test_what_is_broken_on_the_way_and_does_not_start_is_an_answer(scope):
    dead = [FakeLaunch(failure="launch")] * 9
    found = measure(scope, vm={"there": dead, "intact": False})
    assert verdict(holds("vm", "runs_unchanged"), found) == "REFUTED"
    with pytest.raises(LaunchFailed):
        measure(scope, vm={"there": dead})


@pytest.mark.parametrize(
    ("steps", "needs", "wanted"),
    [(SAVE_COPY_LOAD_RUN, ("one", "two"), "REFUTED"), (range(6), range(5), "SUPPORTED")],
)
def test_steps_and_programs_are_counted(scope, steps, needs, wanted):
    found = measure(scope, vm={"steps": [str(s) for s in steps], "needs": [str(n) for n in needs]})
    for metric in ("operator_steps", "host_prerequisites"):
        assert verdict(ratio("vm", metric, over="container", above=1.25, min_n=1), found) == wanted


@pytest.mark.parametrize(("imported_s", "wanted"), [(9.0, "SUPPORTED"), (1.0, "REFUTED")])
def test_a_long_way_makes_a_machine_slower(scope, imported_s, wanted):
    found = measure(scope, vm={"imported_s": imported_s})
    assert verdict(ratio("vm", "port_s", over="container", above=1.25), found) == wanted
    assert verdict(ratio("vm", "transfer_s", over="container", above=1.25), found) == wanted


@pytest.mark.parametrize(("s_per_gb", "wanted"), [(2, "REFUTED"), (90, "SUPPORTED")])
def test_an_oversized_machine_turns_the_slope(scope, monkeypatch, s_per_gb, wanted):
    monkeypatch.setattr(Padded, "s_per_gb", s_per_gb)
    found = measure(scope, machine=Padded, vm={"imported_s": 2.0})
    row = found.row("vm-padded", "transfer_s")
    assert sorted({o.dose for o in row}) == [0, 2**26, 2**28, 2**30]
    assert len(row) == 7
    per_byte = {"unit": "s/byte"}
    assert verdict(slope("vm-padded", "transfer_s", above=0, **per_byte), found) == "SUPPORTED"
    assert verdict(slope("vm-padded", "transfer_s", above=6e-8, **per_byte), found) == wanted


@pytest.mark.parametrize(
    ("gigabytes", "share", "wanted"), [(0.9, 0.1, "SUPPORTED"), (0.1, 0.9, "REFUTED")]
)
def test_bytes_explain_the_extra_time_or_do_not(scope, gigabytes, share, wanted):
    # 2 s slower than the container, at 2 s for each GB.
    size = int(gigabytes * 1e9)
    found = measure(scope, machine=Padded, vm={"imported_s": 3.0, "size": size})
    row = found.row("vm", "unexplained_share")
    assert [o.value for o in row] == [pytest.approx(share, abs=0.01)] * 6
    assert verdict(below("vm", "unexplained_share", 0.5, "ratio"), found) == wanted


def test_a_machine_that_is_not_slower_has_nothing_to_explain(scope):
    found = measure(scope, machine=Padded, vm={"imported_s": 0.5})
    asked = below("vm", "unexplained_share", 0.5, "ratio")
    assert verdict(asked, found) == "NOT TESTABLE"


def test_a_further_engine_is_visited_once_and_may_be_missing(scope):
    @contextmanager
    def closed():
        raise GAP
        yield

    here = {"": lambda: nullcontext(Destination())}
    found = measure(scope, container={"places": {**here, "-podman": here[""]}})
    assert len(found.row("container-podman", "port_s")) == 1
    assert verdict(holds("container-podman", "runs_unchanged"), found) == "SUPPORTED"
    found = measure(scope, container={"places": {**here, "-podman": closed}})
    assert found.reason_missing("container-podman") == str(GAP)
    assert found.reason_missing("container-guest") == "the pair planted has no runtime-host"
    found = measure(scope, container={"places": {"": closed}})
    assert found.reason_missing("container") == str(GAP)
    assert len(found.row("vm", "port_s")) == 6


def test_an_image_too_large_for_the_guest_is_told(scope):
    found = measure(scope, container={"size": 10**9})
    assert "does not fit" in found.reason_missing("container-guest")


@pytest.fixture
def real(scope):
    found = catalog.load("minimal", scope)
    if gaps := [str(gap) for name, gap in found.missing.items() if name in ("container", "vm")]:
        pytest.skip("; ".join(gaps))
    if os.geteuid() != 0:
        pytest.skip("a second engine needs root")
    return found


def test_a_journey_keeps_its_commands_without_whose_home_it_was_made_in(tmp_path, monkeypatch):
    way = Journey(tmp_path)
    for home, shown in ((tmp_path, "~/disk"), (Path("/"), f"{tmp_path}/disk")):
        monkeypatch.setenv("HOME", str(home))
        way.note("cp", tmp_path / "disk", Path("/elsewhere"))
        assert way.commands.pop().split() == ["cp", shlex.quote(shown), "/elsewhere"]


@pytest.mark.engine
@pytest.mark.machine
def test_a_real_journey_of_each_side(real, scope, monkeypatch):
    monkeypatch.setattr(porting_dose, "DOSES_BYTES", (0, 2**20, 2**22))
    monkeypatch.setattr(porting_dose, "ROUNDS", (porting_dose.DOSES_BYTES,))
    found = Bench(real, blocks=1).measure("porting")
    assert verdict(holds("vm-padded", "content_intact"), found) == "SUPPORTED"
    for subject in ("container", "vm", "container-guest", "container-podman"):
        if found.reason_missing(subject) is None:
            assert verdict(holds(subject, "runs_unchanged"), found) == "SUPPORTED", subject
            assert verdict(holds(subject, "content_intact"), found) == "SUPPORTED", subject
    if found.reason_missing("container-guest") is None:
        asked = differs("container-guest", "kernel_release", other="host")
        assert verdict(asked, found) == "SUPPORTED"
    # A dose is really carried: no padding is lost or compressed away.
    assert sorted(o.dose for o in found.row("vm-padded", "transfer_s")) == [0, 2**20, 2**22]
    assert scope.held == ()


def _flipped(monkeypatch, wanted):
    """Change one byte of what is carried, in the middle of its largest file."""
    carry = Journey.carry

    def careless(self, archive):
        there = carry(self, archive)
        at = there.read_bytes().index(wanted) + 9
        with there.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))
        return there

    monkeypatch.setattr(Journey, "carry", careless)


@pytest.mark.engine
def test_an_engine_refuses_an_image_that_was_changed_under_way(real, monkeypatch):
    _flipped(monkeypatch, b"BusyBox is copyrighted")
    container = real.subjects["container"]
    with (
        container.destinations()[""]() as place,
        pytest.raises(BuildFailed),
        container.ported(place),
    ):
        pytest.fail("it was taken")


@pytest.mark.machine
def test_a_machine_that_was_changed_under_way_is_not_intact(real, monkeypatch):
    _flipped(monkeypatch, b"BusyBox is copyrighted")
    with real.subjects["vm"].ported(Destination()) as arrival:
        assert not arrival.intact
