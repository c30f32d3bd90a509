"""A counter on its way: planted moves that turn each verdict, and a real one of each kind."""

import itertools
from contextlib import contextmanager

import pytest
from around import Around
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.backends.optional import Moved
from pytest_vmvc.declaration import below, holds
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.move import READ
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

VM_GOES_ON = holds("vm", "counter_goes_on", min_n=6)
SHORT = below("vm", "downtime_s", 1, "s")
STARTS_ANEW = holds("container", "counter_goes_on", value=False, min_n=6)
CANNOT_BE_SAVED = holds("container-checkpoint", "counter_goes_on", value=False)


class Counter:
    """What counts inside: a life for each environment, unless all share one."""

    def __init__(self, *, shared=False, stands=False, mute=False):
        self.shared, self.mute = shared, mute
        self.counts = itertools.repeat(7) if stands else itertools.count(1)
        self.lives = {}

    def script(self, name, argv, _stdin):
        life = "the-same" if self.shared else self.lives.get(name, name)
        counts = argv == tuple(READ) or argv[-2] == "sh"
        said = f"{life} {next(self.counts)}" if counts and not self.mute else ""
        return Completed(argv=argv, exit_status=0, stdout=said.encode(), stderr=b"", duration_s=0.0)


class Mover(FakeProvider):
    """A fake whose machines arrive with what they had, or without it, or not at all."""

    def __init__(self, scope, *, counter=None, keeps=True, downtime_s=0.1, arrives=True):
        self.counter = counter or Counter()
        super().__init__(scope, kind="vm", accelerator="kvm-hw", script=self.counter.script)
        self.keeps, self.downtime_s, self.arrives = keeps, downtime_s, arrives

    @contextmanager
    def migrated(self, source, *, deadline_s):
        if not self.arrives:
            raise InfrastructureError(f"{source.name} was not moved within {deadline_s:g} s")
        with self.launch() as destination:
            if self.keeps:
                self.counter.lives[destination.name] = source.name
            yield (
                destination,
                Moved(
                    move_s=1.0, downtime_s=self.downtime_s, reported_downtime_s=0.05, steps=("one",)
                ),
            )


class Saved(Around):
    """A container that goes on from a checkpoint, as another one or not at all."""

    refusal = None

    def checkpoint(self, *, timeout_s):
        if self.refusal:
            raise self.refusal

    def restore(self, *, timeout_s):
        self.counter.lives[self.name] = self.name if self.keeps else "another"


class Savable(FakeProvider):
    """Starts containers that can be saved."""

    def __init__(self, scope, *, refusal=None, keeps=True):
        self.counter, self.refusal, self.keeps = Counter(), refusal, keeps
        super().__init__(scope, script=self.counter.script)

    @contextmanager
    def launch(self, *, deadline_s=300.0):
        with super().launch(deadline_s=deadline_s) as environment:
            saved = Saved(environment, None)
            saved.counter, saved.refusal, saved.keeps = self.counter, self.refusal, self.keeps
            yield saved


def containers(scope, counter=None):
    return FakeProvider(scope, script=(counter or Counter()).script)


def measure(scope, *, container=None, **vm):
    subjects = {"container": container or containers(scope), "vm": Mover(scope, **vm)}
    return Bench(Pair(name="planted", subjects=subjects)).measure("move")


def test_a_machine_goes_on_and_a_container_starts_anew(scope):
    found = measure(scope)
    assert verdict(VM_GOES_ON, found) == verdict(SHORT, found) == "SUPPORTED"
    assert verdict(STARTS_ANEW, found) == "SUPPORTED"
    assert len(found.row("vm", "reported_downtime_s")) == 6
    assert len(found.row("container", "downtime_s")) == 6
    assert scope.held == ()


@pytest.mark.parametrize("planted", [{"keeps": False}, {"counter": Counter(stands=True)}])
def test_a_counter_that_is_reset_or_stands_still_does_not_go_on(scope, planted):
    assert verdict(VM_GOES_ON, measure(scope, **planted)) == "REFUTED"


def test_a_long_standstill_is_not_easy(scope):
    assert verdict(SHORT, measure(scope, downtime_s=3.0)) == "REFUTED"


def test_a_container_that_keeps_its_memory_is_seen(scope):
    found = measure(scope, container=containers(scope, Counter(shared=True)))
    assert verdict(STARTS_ANEW, found) == "REFUTED"


def test_a_machine_that_does_not_arrive_is_no_verdict(scope):
    with pytest.raises(InfrastructureError, match="was not moved within"):
        measure(scope, arrives=False)


def test_what_does_not_count_proves_nothing(scope):
    with pytest.raises(InfrastructureError, match="does not count"):
        measure(scope, container=containers(scope, Counter(mute=True)))


def test_a_machine_that_cannot_be_moved_leaves_the_container(scope):
    subjects = {"container": containers(scope), "vm": FakeProvider(scope, kind="vm")}
    found = Bench(Pair(name="planted", subjects=subjects)).measure("move")
    assert found.reason_missing("vm") == "fake cannot migrate a running machine"
    assert verdict(STARTS_ANEW, found) == "SUPPORTED"


def test_a_restored_machine_is_moved_where_there_is_one(scope):
    plain = FakeProvider(scope, kind="vm")
    subjects = {"container": containers(scope), "vm": plain, "vm-restored": Mover(scope)}
    found = Bench(Pair(name="planted", subjects=subjects)).measure("move")
    assert verdict(VM_GOES_ON, found) == "SUPPORTED"


def test_without_an_engine_the_machine_still_moves(scope):
    gap = Unavailable("no engine", hint="start it")
    pair = Pair(name="planted", subjects={"vm": Mover(scope)}, missing={"container": gap})
    found = Bench(pair).measure("move")
    assert verdict(VM_GOES_ON, found) == "SUPPORTED"
    assert found.reason_missing("container-checkpoint") == str(gap)


@pytest.mark.parametrize(("keeps", "wanted"), [(True, "REFUTED"), (False, "SUPPORTED")])
def test_a_container_that_was_saved_goes_on_or_does_not(scope, keeps, wanted):
    found = measure(scope, container=Savable(scope, keeps=keeps))
    assert verdict(CANNOT_BE_SAVED, found) == wanted


def test_where_nothing_can_be_saved_the_refusal_is_the_reason(scope):
    refusal = Unavailable("the engine refuses to checkpoint a container: no CRIU", hint="")
    found = measure(scope, container=Savable(scope, refusal=refusal))
    assert verdict(CANNOT_BE_SAVED, found) == "NOT TESTABLE"
    assert found.reason_missing("container-checkpoint").endswith("no CRIU")
    assert measure(scope).reason_missing("container-checkpoint") == "fake knows no checkpoints"


@pytest.mark.engine
@pytest.mark.machine
def test_a_real_move_of_each_side(scope):
    real = catalog.load("minimal", scope)
    if gaps := [str(real.missing[name]) for name in ("container", "vm") if name in real.missing]:
        pytest.skip("; ".join(gaps))
    found = Bench(real, blocks=1).measure("move")
    assert verdict(holds("vm", "counter_goes_on"), found) == "SUPPORTED"
    assert verdict(holds("container", "counter_goes_on", value=False), found) == "SUPPORTED"
    (down,), (moved,) = found.row("vm", "downtime_s"), found.row("vm", "move_s")
    assert 0 <= down.value < moved.value
    if gap := found.reason_missing("container-checkpoint"):
        assert "the engine refuses to" in gap
    else:
        assert verdict(holds("container-checkpoint", "counter_goes_on"), found) == "SUPPORTED"
    assert scope.held == ()
