"""Idle instances alive at once: what each costs, and that either kind can be the dearer one."""

import itertools
import os

import psutil
import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.backends.fake_environment import FakeEnvironment
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.declaration import at_most, holds, ratio, slope
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments.fleet import Fleet, _targets
from pytest_vmvc.experiments.replicas import RESERVE_BYTES, side_by_side
from pytest_vmvc.subjects import Pair, catalog

MIB = 2**20
HOST_BYTES = 64 * 2**30


def launch(mib, *, manager_mib=1, cpu_s=0.001, daemons_mib=0, used_mib=None, **plan):
    """One that holds so many MiB, manager included, and that idles at so much of a CPU."""
    costs = Account(
        payload_bytes=(mib - manager_mib) * MIB,
        manager_bytes=manager_mib * MIB,
        daemons_bytes=daemons_mib * MIB,
        cpu_s=cpu_s,
        manager_cpu_s=cpu_s,
    )
    used = (mib if used_mib is None else used_mib) * MIB
    memory = Memory(configured_bytes=1024 * MIB, used_bytes=used, cache_bytes=0)
    return FakeLaunch(account=costs, memory=memory, **plan)


def measure(scope, container, vm, *, host_bytes=HOST_BYTES, unavailable=None, **settings):
    """The fleet of a host that has what its living instances do not hold."""
    clock = FakeClock()
    made = {
        kind: FakeProvider(
            scope,
            clock=clock,
            kind=kind,
            launches=itertools.repeat(plan),
            memory_bytes=plan.account.payload_bytes + plan.account.manager_bytes,
            unavailable=unavailable if kind == "vm" else None,
        )
        for kind, plan in (("container", container), ("vm", vm))
    }

    def available():
        plans = ((made["container"], container), (made["vm"], vm))
        costs = (
            len(provider.running) * (plan.account.payload_bytes + plan.account.manager_bytes)
            for provider, plan in plans
        )
        return host_bytes - sum(costs)

    pair = Pair(
        name="planted",
        subjects={"container": made["container"], "vm": made["vm"]},
        others={"vm-linked": lambda: made["vm"]},
    )
    fleet = Fleet(sleep=clock.advance, available=available)
    found = Bench(pair, experiments={"fleet": fleet}, **settings).measure("fleet")
    assert made["container"].running == made["vm"].running == {}
    return found


MEMORY = (
    slope("vm", "available_bytes", over="container", above=1.25),
    *(
        ratio("vm", metric, over="container", above=1.25)
        for metric in ("pss_bytes", "touched_bytes", "used_bytes")
    ),
)


def test_a_machine_that_holds_more_is_the_dearer_one(scope):
    found = measure(scope, launch(8), launch(200))
    assert [verdict(asked, found) for asked in MEMORY] == ["SUPPORTED"] * 4
    rows = found.row("vm", "available_bytes")
    assert [(o.dose, o.value) for o in rows] == [
        (n, n * 200 * MIB) for n in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
    ]
    assert verdict(holds("vm", "rank_agrees"), found) == "SUPPORTED"


def test_a_container_that_holds_more_than_a_machine_is_found_out(scope):
    found = measure(scope, launch(300), launch(200))
    assert [verdict(asked, found) for asked in MEMORY] == ["REFUTED"] * 4


def test_memory_ways_that_disagree_are_found_out(scope):
    found = measure(scope, launch(8, used_mib=500), launch(200))
    assert verdict(holds("vm", "rank_agrees"), found) == "REFUTED"


def test_a_manager_is_cheap_or_dear_with_its_share_of_the_daemons(scope):
    a_tenth = ratio("container", "manager_bytes", over="vm", below=0.1)
    found = measure(scope, launch(8, daemons_mib=16), launch(200, manager_mib=40))
    assert found.row("container", "manager_bytes")[0].value == 3 * MIB
    assert verdict(a_tenth, found) == "SUPPORTED"
    found = measure(scope, launch(8, daemons_mib=80), launch(200, manager_mib=40))
    assert verdict(a_tenth, found) == "REFUTED"


def test_the_cpu_time_of_the_idle_window_decides(scope):
    a_hundredth = at_most("container", "manager_cpu_s", 0.2, "s")
    found = measure(scope, launch(8, cpu_s=0.001), launch(200, cpu_s=0.05))
    assert found.row("vm", "idle_cpu_s")[0].value == pytest.approx(1.0)
    assert verdict(a_hundredth, found) == "SUPPORTED"
    found = measure(scope, launch(8, cpu_s=0.02), launch(200, cpu_s=0.05))
    assert verdict(a_hundredth, found) == "REFUTED"


@pytest.mark.parametrize(
    ("metric", "plan"), [("exec_s", "command_s"), ("inspect_s", "inspect_s"), ("stop_s", "stop_s")]
)
def test_a_control_plane_that_is_quick_or_slow_is_told_apart(scope, metric, plan):
    asked = ratio("container", metric, over="vm", below=0.1)
    quick, slow = launch(8, **{plan: 0.01}), launch(8, **{plan: 1.0})
    assert verdict(asked, measure(scope, quick, slow)) == "SUPPORTED"
    assert verdict(asked, measure(scope, slow, quick)) == "REFUTED"


def test_what_each_has_on_disk_is_compared(scope):
    asked = ratio("vm", "disk_bytes", over="container", above=1.25)
    small, big = launch(8, disk_bytes=4096), launch(8, disk_bytes=300_000)
    assert verdict(asked, measure(scope, small, big)) == "SUPPORTED"
    assert verdict(asked, measure(scope, big, small)) == "REFUTED"


def test_a_host_with_little_memory_is_not_filled(scope):
    found = measure(scope, launch(8), launch(200), host_bytes=RESERVE_BYTES + 600 * MIB)
    reached = found.row("vm", "instances")[0].value
    assert 0 < reached < 8
    assert found.row("container", "instances")[0].value == 8
    assert len(found.row("vm", "stop_s")) == reached
    assert found.row("vm", "available_bytes")[-1].dose == reached


def test_a_kind_without_memory_figures_of_its_own_gives_all_others(scope, monkeypatch):
    def nothing_counts(environment):
        raise Unavailable("no control group")

    monkeypatch.setattr(FakeEnvironment, "memory", nothing_counts)
    found = measure(scope, launch(8), launch(200))
    *others, used = (verdict(asked, found) for asked in MEMORY)
    assert set(others) == {"SUPPORTED"}
    assert used == "NOT TESTABLE"
    assert len(found.row("container", "stop_s")) == 8


def test_what_is_missing_has_its_reason_and_the_rest_goes_on(scope):
    gap = Unavailable("no hypervisor")
    found = measure(scope, launch(8), launch(200), unavailable=gap, fleet=2)
    assert found.reason_missing("vm") == "no hypervisor"
    assert len(found.row("container", "stop_s")) == 2


@pytest.mark.parametrize(
    ("fleet", "targets"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (8, [1, 2, 3, 4, 6, 8])]
)
def test_memory_is_looked_at_one_by_one_and_then_two_at_a_time(fleet, targets):
    assert _targets(fleet) == targets


def test_nothing_is_left_where_one_of_several_does_not_start(scope):
    provider = FakeProvider(scope, launches=[FakeLaunch(), FakeLaunch(failure="launch")])
    with pytest.raises(Exception, match="ended before"), side_by_side(provider, 2, deadline_s=1):
        pass
    assert provider.running == {}


@pytest.mark.engine
@pytest.mark.machine
def test_two_of_each_are_accounted_for_on_this_host(scope, whole_minimal_pair):
    pair = whole_minimal_pair
    pair.warmed("container"), pair.warmed("vm")  # no start is thrown away
    bench = Bench(pair, experiments={"fleet": Fleet(idle_s=0.2)}, fleet=2)
    found = bench.measure("fleet")
    assert found.missing == ()
    value = {(o.subject, o.metric): o.value for o in found.observations}
    grant = value["vm", "configured_bytes"]
    assert 16 * MIB < value["vm", "touched_bytes"] <= grant
    assert value["vm", "pss_bytes"] > value["vm", "touched_bytes"]
    assert 16 * MIB < value["vm", "used_bytes"] < grant
    assert value["container", "configured_bytes"] == psutil.virtual_memory().total
    assert 0 < value["container", "touched_bytes"] < value["container", "pss_bytes"] < 64 * MIB
    # The engine's share is in it.
    assert value["container", "manager_bytes"] > value["container", "pss_bytes"]
    assert value["container", "disk_bytes"] == 4096
    assert value["vm", "disk_bytes"] > 64 * 1024
    assert value["vm", "idle_cpu_s"] > 0
    for subject, metric in itertools.product(("container", "vm"), ("exec_s", "inspect_s")):
        assert len(found.row(subject, metric)) == 2
        assert value[subject, metric] > 0
    assert value["vm", "rank_agrees"] is True
    assert scope.held == ()
    assert not list(scope.workdir.glob("*.qcow2"))


@pytest.mark.engine
def test_a_stopped_container_has_ended_and_an_engine_elsewhere_is_no_use(scope):
    pair = catalog.load("minimal", scope)
    if gap := pair.missing.get("container"):
        pytest.skip(str(gap))
    with pair.subjects["container"].launch() as container:
        assert container.inspect() == "running"
        # As if the engine's pid were another process of this host.
        container.__dict__["host_pid"] = os.getpid()
        with pytest.raises(Unavailable, match="not in this host's process table"):
            container.account()
        container.stop(timeout_s=10)
        assert not container.alive()
