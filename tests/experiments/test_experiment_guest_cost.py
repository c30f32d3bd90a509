"""What a guest system costs: weighed in fresh starts, and able to come out the other way."""

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeProvider
from pytest_vmvc.declaration import at_least, ratio
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

ON_DISK = at_least("vm", "os_disk_share", 20, "%", min_n=1)
IN_MEMORY = ratio("vm", "idle_memory_bytes", over="container", above=1.25)


def weighs(out, asked=None):
    def script(_name, argv, _stdin):
        if "weigh" not in argv[-1]:
            return None
        if asked is not None:
            asked.append(argv)
        return Completed(argv=argv, exit_status=0, stdout=out, stderr=b"sh: no", duration_s=0.0)

    return script


def cost_pair(scope, script, *, container=1 << 20, vm=100 << 20, kernel=0):
    clock = FakeClock()
    return Pair(
        name="planted",
        subjects={
            "container": FakeProvider(scope, clock=clock, memory_bytes=container),
            "vm": FakeProvider(
                scope,
                clock=clock,
                kind="vm",
                memory_bytes=vm,
                script=script,
                accelerator="kvm-hw",
                extra={"kernel_bytes": kernel},
            ),
        },
    )


def test_a_heavy_machine_is_seen_to_be_heavy(scope):
    asked = []
    found = Bench(cost_pair(scope, weighs(b"300\n1000\n", asked))).measure("guest_cost")
    assert verdict(ON_DISK, found) == verdict(IN_MEMORY, found) == "SUPPORTED"
    assert len(found.row("vm", "idle_memory_bytes")) == 6
    assert len(asked) == 1  # the files are the same in each start


def test_a_light_machine_is_seen_to_be_light(scope):
    light = cost_pair(scope, weighs(b"100\n1000\n"), vm=1 << 20)
    found = Bench(light).measure("guest_cost")
    assert verdict(ON_DISK, found) == verdict(IN_MEMORY, found) == "REFUTED"


def test_a_kernel_that_the_hypervisor_loads_counts_on_both_sides(scope):
    found = Bench(cost_pair(scope, weighs(b"100\n200\n"), kernel=300)).measure("guest_cost")
    assert found.row("vm", "os_bytes")[0].value == 400
    assert found.row("vm", "os_disk_share")[0].value == pytest.approx(80)


def test_a_container_has_no_system_to_weigh(scope):
    found = Bench(cost_pair(scope, weighs(b"1\n2\n"))).measure("guest_cost")
    assert not found.row("container", "os_bytes")


def test_files_that_cannot_be_weighed_break_the_experiment(scope):
    with pytest.raises(InfrastructureError, match="could not be weighed"):
        Bench(cost_pair(scope, weighs(b""))).measure("guest_cost")


@pytest.mark.machine
def test_a_real_machines_kernel_and_init_are_most_of_it(scope):
    provider = catalog.load("minimal", scope).subjects["vm"]
    with provider.launch(deadline_s=120) as machine:
        rider = Bench(Pair(name="real", subjects={})).lab._catalogue("guest_cost")
        values = rider.ride(machine, "vm")
    sizes = provider.artefact()
    assert 50 < values["os_disk_share"] < 100
    assert values["os_bytes"] < sizes.virtual_bytes
    assert values["idle_memory_bytes"] > 10 * 2**20
