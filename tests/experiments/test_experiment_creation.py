"""Created, built, duplicated: what is planted slow is slow, what holds a kernel is found out."""

import tarfile
from contextlib import contextmanager

import pytest
from bench import Bench, planted, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.declaration import at_most, below, holds, ratio
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments.building import Building
from pytest_vmvc.subjects import Pair, builders, catalog
from pytest_vmvc.subjects.builders import Built

LONGER = ratio("vm", "create_s", over="container", above=1.25)
SOONER = ratio("container", "from_packages_s", over="vm", below=0.8, min_n=1)
NO_SYSTEM = at_most("container", "system_bytes", 0, "bytes", min_n=1)
DESCRIBED = ratio("vm", "describe_to_ready_s", over="container", above=1.25)
NEEDS = holds("vm-clone", "answers_uninstalled", value=False)


# --- created -------------------------------------------------------------------------------------


def created(scope, **seconds):
    launches = {
        name: [FakeLaunch(marks={"created": s, "answer": s + 1})] * 7 for name, s in seconds.items()
    }
    found = Bench(
        planted(scope, **launches), wanted=[("creation", "planted"), ("cold_start", "planted")]
    )
    return found.measure("creation")


def test_what_is_created_later_takes_longer(scope):
    assert verdict(LONGER, created(scope, container=0.02, vm=20.0)) == "SUPPORTED"
    assert verdict(LONGER, created(scope, container=2.0, vm=0.02)) == "REFUTED"


def test_a_container_that_takes_minutes_to_create_is_found_out(scope):
    in_seconds = below("container", "create_s", 60, "s")
    assert verdict(in_seconds, created(scope, container=0.02)) == "SUPPORTED"
    assert verdict(in_seconds, created(scope, container=90.0)) == "REFUTED"


def test_a_start_that_creates_nothing_gives_no_figure(scope):
    [launch] = [FakeLaunch(marks={"answer": 2.0})]
    bench = Bench(planted(scope, vm=[launch] * 7), wanted=[("creation", "planted")])
    assert bench.measure("creation").row("vm", "create_s") == ()


# --- built ---------------------------------------------------------------------------------------


class PlantedBuilder:
    """Takes so long, in so many steps, and leaves so many bytes of a system."""

    def __init__(self, provider, *, clock, seconds, steps, system_bytes):
        self.provider = provider
        self.clock = clock
        self.seconds = seconds
        self.steps = tuple(f"step {n}" for n in range(steps))
        self.system_bytes = system_bytes
        self.standing = 0

    def prepare(self):
        self.provider.prepare()

    @contextmanager
    def built(self, *, from_packages):
        self.clock.advance(self.seconds * (2 if from_packages else 1))
        self.standing += 1
        yield Built(provider=self.provider, steps=self.steps, system_bytes=self.system_bytes)
        self.standing -= 1


class Clonable(FakeProvider):
    @contextmanager
    def created(self):
        yield 0.02


def build(scope, *, container, vm, clone_launch=None, gap=None):
    clock = FakeClock()
    starts = {"container": 0.3, "vm": 3.0}
    made = {}
    for name, (seconds, steps, system_bytes) in {"container": container, "vm": vm}.items():
        marks = {"created": 0.05, "answer": starts[name]}
        provider = FakeProvider(
            scope, clock=clock, kind=name, launches=[FakeLaunch(marks=marks)] * 7
        )
        made[name] = PlantedBuilder(
            provider, clock=clock, seconds=seconds, steps=steps, system_bytes=system_bytes
        )
    clone = Clonable(scope, kind="vm", clock=clock, launches=[clone_launch or FakeLaunch()])
    pair = Pair(
        name="planted",
        subjects={name: builder.provider for name, builder in made.items() if name != gap},
        missing={gap: Unavailable("not on this host")} if gap else {},
        builders=made,
        others={"vm-linked": lambda: clone},
    )
    bench = Bench(pair, experiments={"building": Building(clock=clock)})
    found = bench.measure("building")
    assert [builder.standing for builder in made.values()] == [0, 0]
    return found


IMAGE, MACHINE = (0.2, 2, 0), (2.0, 3, 8_000_000)


def test_an_image_is_made_sooner_and_holds_no_system(scope):
    found = build(scope, container=IMAGE, vm=MACHINE)
    for asked in (SOONER, NO_SYSTEM, DESCRIBED):
        assert verdict(asked, found) == "SUPPORTED"
    assert found.row("vm", "describe_to_ready_s")[0].value == pytest.approx(5.0)
    assert found.row("vm", "from_packages_s")[0].value == pytest.approx(4.0)
    assert found.row("vm", "steps")[0].value == 3
    assert len(found.row("vm-clone", "create_s")) == 6
    assert verdict(NEEDS, found) == "REFUTED"


def test_an_image_that_holds_a_kernel_or_takes_long_is_found_out(scope):
    found = build(scope, container=(20.0, 5, 9_000_000), vm=MACHINE)
    for asked in (SOONER, NO_SYSTEM, DESCRIBED):
        assert verdict(asked, found) == "REFUTED"


@pytest.mark.parametrize("failure", ["launch", "timeout"])
def test_a_duplicate_that_does_not_come_up_needs_an_installation(scope, failure):
    found = build(scope, container=IMAGE, vm=MACHINE, clone_launch=FakeLaunch(failure=failure))
    assert verdict(NEEDS, found) == "SUPPORTED"


def test_without_a_hypervisor_the_image_is_still_made(scope):
    found = build(scope, container=IMAGE, vm=MACHINE, gap="vm")
    assert verdict(NO_SYSTEM, found) == "SUPPORTED"
    assert found.reason_missing("vm-clone") == "not on this host"


def test_a_pair_that_nothing_makes_in_a_run_says_so(scope):
    pair = Pair(name="planted", subjects={"container": FakeProvider(scope)})
    found = Bench(pair).measure("building")
    assert "nothing makes the container" in found.reason_missing("container")


def test_a_kernel_in_an_image_is_counted(tmp_path):
    for name in ("boot/vmlinuz-6.1", "lib/modules/6.1/a.ko", "bin/sh"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    with tarfile.open(tmp_path / "rootfs.tar", "w") as tar:
        for name in ("boot", "lib", "bin"):
            tar.add(tmp_path / "root" / name, name)
    assert builders._system_bytes(tmp_path / "rootfs.tar") == 200


@pytest.mark.engine
@pytest.mark.machine
def test_both_sides_are_made_anew_on_this_host(scope, whole_minimal_pair):
    pair = whole_minimal_pair
    for subject, builder in pair.builders.items():
        builder.prepare()
        with builder.built(from_packages=True) as built:
            built.provider.prepare()
            assert len(built.steps) == (2 if subject == "container" else 3)
            assert (built.system_bytes > 0) is (subject == "vm")
            with built.provider.launch(deadline_s=120) as environment:
                assert environment.run(["true"]).exit_status == 0
    with pair.other("vm-linked").created() as seconds:
        assert seconds > 0
        assert len(list(scope.workdir.glob("*.qcow2"))) == 1
    assert scope.held == ()
    assert not list(scope.workdir.glob("*-built"))
    assert not list(scope.workdir.glob("*.qcow2"))


@pytest.mark.machine
def test_a_machine_without_a_disk_has_nothing_to_create(scope):
    pair = catalog.load("minimal", scope)
    if "vm" in pair.missing:
        pytest.skip(str(pair.missing["vm"]))
    with pytest.raises(Unavailable, match="nothing to create"), pair.subjects["vm"].created():
        pass
