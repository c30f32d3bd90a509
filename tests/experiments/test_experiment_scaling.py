"""From none to N replicas: steady growth, replicas that never come, a host that is too small."""

import itertools

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.declaration import holds, slope
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments.replicas import RESERVE_BYTES
from pytest_vmvc.experiments.scaling import Scaling
from pytest_vmvc.subjects import Pair

MIB = 2**20
EASY = slope("container", "ready_s", below=1.25, unit="s")
SLOWER = slope("vm", "ready_s", over="container", above=1.25)


def launch(seconds, **plan):
    return FakeLaunch(marks={"answer": seconds}, **plan)


def measure(scope, *, mib=64, host_bytes=64 * 2**30, gap=None, **plans):
    """Replicas of fakes, one after the other on a virtual clock, each holding so many MiB."""
    clock = FakeClock()
    made = {
        name.replace("_", "-"): FakeProvider(
            scope,
            clock=clock,
            kind="vm" if name.startswith("vm") else "container",
            launches=itertools.repeat(plan) if isinstance(plan, FakeLaunch) else plan,
            memory_bytes=mib * MIB,
            unavailable=gap if name.startswith("vm") else None,
        )
        for name, plan in plans.items()
    }
    pair = Pair(
        name="planted",
        subjects={"container": made["container"]},
        others={
            f"{name}-linked": (lambda provider=provider: provider)
            for name, provider in made.items()
            if name != "container"
        },
    )
    scaling = Scaling(
        clock=clock,
        available=lambda: host_bytes - sum(mib * MIB * len(p.running) for p in made.values()),
    )
    found = Bench(pair, experiments={"scaling": scaling}).measure("scaling")
    assert all(provider.running == {} for provider in made.values())
    return found


def test_time_and_bytes_grow_with_every_replica(scope):
    found = measure(
        scope,
        container=launch(0.2, disk_bytes=100),
        vm=launch(2.0, disk_bytes=200_000),
    )
    assert verdict(EASY, found) == "SUPPORTED"
    assert verdict(SLOWER, found) == "SUPPORTED"
    assert verdict(holds("container", "all_ready", value=True), found) == "SUPPORTED"
    assert sorted(o.dose for o in found.row("vm", "ready_s")) == [1, 1, 2, 2, 4, 8]
    last = next(o for o in found.row("vm", "replica_bytes") if o.dose == 8)
    assert last.value == 8 * 200_000
    small = slope("vm", "replica_bytes", above=1e6, unit="bytes")
    assert verdict(small, found) == "REFUTED"
    # One after the other on the fake's clock: N replicas take N times as long.
    share = next(o for o in found.row("vm", "efficiency") if o.dose == 4)
    assert share.value == pytest.approx(1 / 4)


def test_replicas_that_are_slow_are_found_out(scope):
    found = measure(scope, container=launch(3.0), vm=launch(2.0, disk_bytes=2_000_000))
    assert verdict(EASY, found) == "REFUTED"
    assert verdict(SLOWER, found) == "REFUTED"
    big = slope("vm", "replica_bytes", above=1e6, unit="bytes")
    assert verdict(big, found) == "SUPPORTED"


def test_replicas_that_do_not_become_ready_are_found_out(scope):
    plans = itertools.chain([launch(0.2)] * 3, itertools.repeat(launch(0.2, failure="timeout")))
    found = measure(scope, container=plans, vm=launch(2.0))
    assert verdict(holds("container", "all_ready"), found) == "REFUTED"
    late = [o for o in found.row("container", "ready_s") if o.censored]
    assert late
    assert {o.value for o in late} == {300.0}


def test_a_start_that_fails_is_retried_and_counted(scope):
    plans = itertools.chain([launch(1), launch(1, failure="launch")], itertools.repeat(launch(1)))
    found = measure(scope, container=plans, vm=launch(2.0))
    assert [retry.subject for retry in found.retries] == ["container"]
    assert len(found.row("container", "ready_s")) == 6


def test_where_the_host_would_run_out_is_predicted_and_not_tried(scope):
    found = measure(
        scope, container=launch(1), vm=launch(1), mib=100, host_bytes=RESERVE_BYTES + 600 * MIB
    )
    assert [o.value for o in found.row("container", "capacity")] == [6]
    assert max(o.dose for o in found.row("container", "ready_s")) == 4


def test_what_is_missing_has_its_reason_and_the_rest_goes_on(scope):
    found = measure(scope, container=launch(1), vm=launch(1), gap=Unavailable("no hypervisor"))
    assert found.reason_missing("vm") == "no hypervisor"
    assert len(found.row("container", "ready_s")) == 6


@pytest.mark.engine
@pytest.mark.machine
def test_two_replicas_of_each_become_ready_on_this_host(scope, whole_minimal_pair):
    found = Bench(whole_minimal_pair, fleet=2).measure("scaling")
    assert found.missing == ()
    for subject in ("container", "vm"):
        rows = found.row(subject, "all_ready")
        assert sorted((o.dose, o.value) for o in rows) == [(1, True)] * 2 + [(2, True)] * 2
    assert {o.value for o in found.row("container", "replica_bytes")} == {0}
    for disk in found.row("vm", "replica_bytes"):
        assert 64 * 1024 < disk.value / disk.dose < MIB
    assert scope.held == ()
    assert not list(scope.workdir.glob("*.qcow2"))
