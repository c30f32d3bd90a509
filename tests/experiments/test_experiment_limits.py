"""Limits: random ones are found held, and each way of not holding them is found out."""

import mmap

import psutil
import pytest
from around import Around, Planted, said, verdicts
from bench import Bench
from hypothesis import given
from hypothesis import strategies as st

import claims.test_security as security
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.errors import EnvironmentDied, Unavailable
from pytest_vmvc.experiments import granted, limits
from pytest_vmvc.subjects import Pair, catalog

TOTAL_KB = psutil.virtual_memory().total // 1024
CPUS = psutil.cpu_count()
MIB = 2**20


class Container(Around):
    """Holds the limits that it was given, but for its flaws."""

    flaws = frozenset()
    version = 2

    def run(self, argv, **_):
        shape = self.shape or Shape()
        if argv[0] == "dd":
            return said(status=137 if self._exceeds(int(argv[3].removeprefix("bs="))) else 0)
        if argv[0] == "true":
            if "dies" in self.flaws:
                raise EnvironmentDied("it is gone")
            return said()
        if argv[2] == limits.FORK:
            return said("" if "forks on" in self.flaws else f"alive {shape.processes}\n")
        assert argv[2] == granted.READ
        return said(f"MemTotal: {TOTAL_KB} kB\nnproc {CPUS}\n" + self._files(shape))

    def _exceeds(self, size):
        if "grabs" in self.flaws:
            return False
        return "starves" in self.flaws or size >= (self.shape.memory_bytes or size + 1)

    def _files(self, shape):
        memory = shape.memory_bytes and shape.memory_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if memory and "one page less" in self.flaws:
            memory -= mmap.PAGESIZE
        cpus = shape.vcpus and shape.vcpus * (2 if "more CPU" in self.flaws else 1)
        quota = round(cpus * 100_000) if cpus else None
        processes = shape.processes and shape.processes + ("one process more" in self.flaws)
        if "limited by default" in self.flaws:
            memory, quota = memory or 512 * MIB, quota or 100_000
        if self.version == 2:
            return (
                f"memory.max {memory or 'max'}\ncpu.max {quota or 'max'} 100000\n"
                f"pids.max {processes or 'max'}\n"
            )
        return (
            f"memory/memory.limit_in_bytes {memory or 9223372036854771712}\n"
            f"pids/pids.max {processes or 'max'}\n"
            f"cpu/cpu.cfs_quota_us {quota or -1}\ncpu/cpu.cfs_period_us 100000\n"
        )


class Machine(Around):
    """Has what it was given, but for its flaws."""

    flaws = frozenset()

    def run(self, argv, **_):
        granted_bytes = self.shape.memory_bytes
        if argv[0] == "dd":
            size = int(argv[3].removeprefix("bs="))
            return said(status=1 if size >= granted_bytes and "grabs" not in self.flaws else 0)
        if argv[0] == "true":
            return said()
        total = granted_bytes // 1024 - 30_000
        if "shows the host's" in self.flaws:
            return said(f"MemTotal: {granted_bytes} kB\nnproc {self.shape.vcpus + 1}\n")
        return said(f"MemTotal: {total} kB\nnproc {self.shape.vcpus}\n")


def flawed(kind, *flaws, version=2):
    return type("Flawed", (kind,), {"flaws": frozenset(flaws), "version": version})


def measure(scope, container=Container, machine=Machine):
    subjects = {
        "container": Planted(scope, container),
        "vm": Planted(scope, machine, kind="vm"),
    }
    pair = Pair(name="planted", subjects=subjects)
    try:
        return Bench(pair).measure("limits")
    finally:
        pair.close()


def judged(scope, **kinds):
    return verdicts(security.test_hypervisor_restricts, measure(scope, **kinds))


@pytest.mark.parametrize("version", [1, 2])
def test_limits_that_are_held_support_all_but_the_hypervisors_privilege(scope, version):
    found = judged(scope, container=flawed(Container, version=version))
    refuted = {name for name, verdict in found.items() if verdict == "REFUTED"}
    assert refuted == {
        "only-a-hypervisor-restricts-memory",
        "only-a-hypervisor-restricts-processes",
    }
    assert {*found.values()} == {"SUPPORTED", "REFUTED"}


@pytest.mark.parametrize(
    ("flaw", "reading"),
    [
        ("grabs", "container-above-its-limit-dies"),
        ("starves", "container-below-its-limit-lives"),
        ("one page less", "container-limit-is-memory-asked"),
        ("more CPU", "container-limit-is-cpus-asked"),
        ("one process more", "container-limit-is-processes-asked"),
        ("limited by default", "container-has-no-memory-limit"),
        ("limited by default", "container-has-no-cpu-limit"),
    ],
)
def test_a_container_that_is_not_held_so_is_found_out(scope, flaw, reading):
    assert judged(scope, container=flawed(Container, flaw))[reading] == "REFUTED"


def test_without_limits_that_hold_only_a_hypervisor_restricts(scope):
    found = judged(scope, container=flawed(Container, "grabs", "forks on"))
    assert found["only-a-hypervisor-restricts-memory"] == "SUPPORTED"
    assert found["only-a-hypervisor-restricts-processes"] == "SUPPORTED"


@pytest.mark.parametrize(
    ("flaw", "reading"),
    [
        ("grabs", "vm-stops-at-its-memory"),
        ("shows the host's", "vm-shows-its-memory"),
        ("shows the host's", "vm-shows-its-cpus"),
    ],
)
def test_a_machine_that_is_not_held_is_found_out(scope, flaw, reading):
    assert judged(scope, machine=flawed(Machine, flaw))[reading] == "REFUTED"


def test_a_counter_example_is_recorded_with_its_limit(scope):
    found = measure(scope, container=flawed(Container, "grabs"))
    broken = found.row("container-limited", "beyond_dies")
    assert [o.value for o in broken] == [False] * 6
    assert broken[0].instance == str(granted.EDGE)
    assert len({o.instance for o in broken}) == 6


def test_an_environment_that_dies_with_its_allocation_is_no_error(scope):
    found = measure(scope, container=flawed(Container, "dies"))
    assert {o.value for o in found.row("container-limited", "survives")} == {False}
    assert found.row("container-limited", "forks_held") == ()


def test_what_cannot_take_part_is_missing_with_its_reason(scope):
    class Rigid(Planted):
        def shaped(self, shape):
            raise Unavailable("it has one shape")

    subjects = {"container": Rigid(scope, Container)}
    gap = {"vm": Unavailable("no hypervisor")}
    pair = Pair(name="planted", subjects=subjects, missing=gap)
    found = Bench(pair).measure("limits")
    pair.close()
    assert found.reason_missing("container-limited") == "it has one shape"
    assert found.reason_missing("vm") == "no hypervisor"
    assert found.row("container", "memory_limited")[0].value is False


@pytest.mark.parametrize(("count", "cpus"), [(2, 1), (6, 2), (12, 64)])
@pytest.mark.parametrize("seed", range(5))
def test_drawn_limits_are_distinct_repeatable_and_within_bounds(seed, count, cpus):
    drawn = granted.draw(count, seed=seed, cpus=cpus)
    assert drawn == granted.draw(count, seed=seed, cpus=cpus)
    assert drawn[0] == granted.EDGE
    assert len(set(drawn)) == len(drawn) == count
    for one in drawn:
        assert granted.LEAST_BYTES <= one.memory_bytes <= granted.MOST_BYTES
        assert one.within_bytes < one.memory_bytes <= one.beyond_bytes
        assert granted.LEAST_CPUS <= one.vcpus <= cpus


@given(st.binary(max_size=200))
def test_nothing_that_an_inside_says_breaks_the_reading(noise):
    class Noisy(Around):
        def run(self, argv, **_):
            return said(noise.decode("latin-1"))

    shown = granted.read(Noisy(None, None))
    assert shown.memory_bytes >= 0


@pytest.mark.engine
def test_a_real_container_is_held_at_its_limits_and_free_without(scope):
    real = catalog.load("minimal", scope)
    pair = Pair(name="real", subjects={"container": real.subjects["container"]})
    try:
        found = Bench(pair, blocks=2).measure("limits")
    finally:
        pair.close()
    for metric in ("memory_as_granted", "cpus_as_granted", "processes_as_granted"):
        assert [o.value for o in found.row("container-limited", metric)] == [True, True]
    for metric in ("within_lives", "beyond_dies", "survives", "forks_held"):
        assert [o.value for o in found.row("container-limited", metric)] == [True, True]
    assert found.row("container", "memory_limited")[0].value is False


@pytest.mark.engine
def test_a_real_container_without_the_limit_is_a_counter_example(scope):
    provider = catalog.load("minimal", scope).subjects["container"]
    with provider.launch(deadline_s=60) as environment:
        assert granted.read(environment).memory_limit is None
        assert limits._overrun(environment, 32 * MIB, deaths={137}) == {
            "beyond_dies": False,
            "survives": True,
        }
        assert not limits._fork(environment, 8)


@pytest.mark.machine
def test_a_real_machine_stops_at_what_it_was_granted(scope):
    real = catalog.load("minimal", scope)
    pair = Pair(name="real", subjects={"vm": real.subjects["vm"]})
    found = Bench(pair).measure("limits")
    values = {o.metric: o.value for o in found.observations if o.subject == "vm"}
    assert values["memory_as_granted"] is values["cpus_as_granted"] is True
    assert values["within_lives"] is values["beyond_dies"] is values["survives"] is True
