"""Elasticity: memory that comes back, memory that never does, and balloons that fetch it."""

import pytest
from around import Around, Planted, said, verdicts
from bench import Bench

import claims.test_performance as performance
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.backends.vagrant import VagrantProvider, VagrantSpec
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import allocation, elasticity
from pytest_vmvc.model import Usage
from pytest_vmvc.subjects import Pair, catalog

MIB = 2**20
BASE_BYTES = 50 * MIB
MEMINFO = "MemTotal: 2000000 kB\nMemFree: 1900000 kB\nMemAvailable: 1900000 kB\n"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr(elasticity, "REPORTED_S", 0.0)


class Inside(Around):
    """Holds ``kept`` of what a workload has freed, and ``kept_by_balloon`` once it is inflated."""

    kept = 0.0
    kept_by_balloon = 0.0
    kept_when_reporting = 0.0
    base_bytes = BASE_BYTES
    seen = 1.0
    """Share of an allocation that the host sees."""

    def __init__(self, environment, shape):
        super().__init__(environment, shape)
        self.extra_bytes = 0.0
        self.driver = False

    def usage(self):
        return Usage(
            cpu_s=0.0, memory_bytes=self.base_bytes + round(self.extra_bytes), definition="planted"
        )

    def run(self, argv, **_):
        taken = allocation.TAKEN_BYTES * self.seen
        if argv[0] == "cat":
            return said(MEMINFO)
        if argv[2] == allocation.TAKE:
            self.extra_bytes = taken
            return said("taken\n")
        reporting = self.driver and self.shape.balloon == "reporting"
        self.extra_bytes = taken * (self.kept_when_reporting if reporting else self.kept)
        return said("given\n")

    def start_balloon(self):
        self.driver = True

    def inflate(self, left_bytes):
        assert self.driver
        assert left_bytes == elasticity.GRANT_BYTES - allocation.TAKEN_BYTES
        self.extra_bytes = allocation.TAKEN_BYTES * self.seen * self.kept_by_balloon


class Machine(Inside):
    kept = 1.0


def like(kind, **attributes):
    return type("Like", (kind,), attributes)


def planted_pair(scope, container=Inside, machine=Machine):
    return Pair(
        name="planted",
        subjects={
            "container": Planted(scope, container),
            "vm": Planted(scope, machine, kind="vm"),
            "vm-restored": Planted(scope, machine, kind="vm"),
        },
    )


def judged(scope, **kinds):
    found = Bench(planted_pair(scope, **kinds)).measure("elasticity")
    return verdicts(performance.test_no_permanent_allocation, found)


def test_only_a_machine_without_a_balloon_keeps_what_was_freed(scope):
    assert judged(scope) == {
        "container-gives-back": "SUPPORTED",
        "vm-keeps": "SUPPORTED",
        "vm-keeps-with-reporting": "REFUTED",
        "vm-keeps-with-balloon": "REFUTED",
        "vm-holds-its-grant": "REFUTED",
    }


@pytest.mark.parametrize(
    ("kinds", "reading", "expected"),
    [
        ({"container": like(Inside, kept=1.0)}, "container-gives-back", "REFUTED"),
        ({"machine": Inside}, "vm-keeps", "REFUTED"),
        (
            {"machine": like(Machine, kept_when_reporting=1.0)},
            "vm-keeps-with-reporting",
            "SUPPORTED",
        ),
        ({"machine": like(Machine, kept_by_balloon=1.0)}, "vm-keeps-with-balloon", "SUPPORTED"),
        ({"machine": like(Machine, base_bytes=2000 * MIB)}, "vm-holds-its-grant", "SUPPORTED"),
    ],
)
def test_each_reading_can_come_out_the_other_way(scope, kinds, reading, expected):
    assert judged(scope, **kinds)[reading] == expected


def test_shares_and_bytes_are_those_of_the_host(scope):
    machine = like(Machine, kept_by_balloon=0.25)
    found = Bench(planted_pair(scope, machine=machine), blocks=7).measure("elasticity")
    assert [o.value for o in found.row("vm", "held_share")] == [1.0] * 7
    assert [o.value for o in found.row("vm", "inflated_share")] == [pytest.approx(0.25)] * 7
    assert [o.value for o in found.row("vm-reporting", "held_share")] == [0.0] * 7
    assert found.row("vm", "held_bytes")[0].value == BASE_BYTES + allocation.TAKEN_BYTES
    assert found.row("vm", "touched_bytes")[0].value == allocation.TAKEN_BYTES
    assert found.row("vm-untouched", "configured_bytes")[0].value == 2048 * MIB
    assert found.row("vm-untouched", "used_bytes")[0].value == 100_000 * 1024
    assert found.row("vm-untouched", "held_bytes")[0].value == BASE_BYTES
    assert found.find("vm", "held_share").facts.extra["ksm"] != ""
    assert scope.held == ()


def test_a_container_whose_limit_nobody_would_hold_is_left_out(scope):
    pair = planted_pair(scope)
    gap = Unavailable("limits are ignored")  # of the shape alone
    pair.subjects["container"]._options["unavailable"] = gap
    found = Bench(pair).measure("elasticity")
    assert found.reason_missing("container") == "limits are ignored"
    assert len(found.row("vm", "held_share")) == 6


def test_an_allocation_that_the_host_does_not_see_is_no_evidence(scope):
    container = like(Inside, seen=0.1)
    with pytest.raises(InfrastructureError, match="cannot be seen"):
        Bench(planted_pair(scope, container=container)).measure("elasticity")
    assert scope.held == ()


def test_a_workload_that_could_not_take_its_memory_is_no_evidence(scope):
    class Refuses(Inside):
        def run(self, argv, **_):
            return said(status=1)

    with pytest.raises(InfrastructureError, match="did not say"):
        Bench(planted_pair(scope, container=Refuses)).measure("elasticity")


def test_without_a_hypervisor_the_container_still_takes_part(scope):
    gap = Unavailable("no hypervisor")
    pair = Pair(
        name="planted",
        subjects={"container": Planted(scope, Inside)},
        missing={"vm": gap, "vm-restored": gap},
    )
    found = Bench(pair).measure("elasticity")
    assert len(found.row("container", "held_share")) == 6
    for subject in ("vm", "vm-reporting", "vm-untouched"):
        assert found.reason_missing(subject) == "no hypervisor"


def test_only_the_bare_machine_takes_a_balloon(scope):
    asked = Shape(balloon="reporting")
    with pytest.raises(Unavailable, match="balloon"):
        DockerProvider(ContainerSpec(image="any", userland="any"), scope).shaped(asked)
    with pytest.raises(Unavailable, match="balloon"):
        VagrantProvider(VagrantSpec(box="any", userland="any", tier="tcg"), scope).shaped(asked)


@pytest.mark.engine
def test_a_real_containers_memory_comes_back(scope):
    provider = catalog.load("minimal", scope).subjects["container"]
    with provider.launch(deadline_s=60) as environment:
        episode = allocation.take_and_give(environment)
        assert episode.height - episode.before > 0.9 * allocation.TAKEN_BYTES
        assert abs(episode.share(environment.usage().memory_bytes)) < 0.1


@pytest.mark.machine
def test_a_real_machine_keeps_it_until_its_balloon_is_inflated(scope):
    _, shape = elasticity.SHAPES["vm"]
    provider = catalog.load("minimal", scope).subjects["vm"].shaped(shape)
    with provider.launch(deadline_s=120) as machine:
        episode = allocation.take_and_give(machine)
        assert episode.share(machine.usage().memory_bytes) > 0.8
        machine.start_balloon()
        machine.inflate(elasticity.GRANT_BYTES - allocation.TAKEN_BYTES)
        assert episode.share(machine.usage().memory_bytes) < 0.5
        with pytest.raises(InfrastructureError, match="cannot load"):
            machine.start_balloon()
