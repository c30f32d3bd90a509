"""Experiments on fake pairs: what they record, and that each can come out the other way."""

import itertools
import subprocess

import pytest
from bench import Bench, planted, starts, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.declaration import at_least, differs, distinct, holds, same
from pytest_vmvc.errors import LaunchFailed, TeardownFailed, Unavailable
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, pair

# --- cold_start ----------------------------------------------------------------------------------


def test_a_cold_start_is_the_time_to_the_answer_and_to_the_first_command(scope):
    found = Bench(planted(scope, container=starts(9, *[0.3] * 6), vm=starts(9, *[4] * 6))).measure(
        "cold_start"
    )
    assert [o.value for o in found.row("vm", "start_s")] == [pytest.approx(4)] * 6
    assert [o.value for o in found.row("vm", "ready_s")] == [pytest.approx(4.01)] * 6
    assert [o.value for o in found.row("container", "start_s")] == [pytest.approx(0.3)] * 6
    first = found.row("vm", "start_s")[0]
    assert list(first.marks) == ["created", "answer", "ready"]
    assert first.harness_cpu_s == 0  # the fake's clock stands still meanwhile
    assert {o.position for o in found.observations} == {0, 1}
    assert found.find("vm", "start_s").facts.kind == "vm"


def test_the_warm_up_is_thrown_away_and_done_once_a_run(scope):
    bench = Bench(planted(scope, container=starts(9, *[0.3] * 6)))
    bench.lab.pair("planted").warmed("container")
    found = bench.measure("cold_start")
    assert found.row("container", "start_s")[0].value == pytest.approx(9)


def test_every_subject_of_the_pair_takes_part(scope):
    found = Bench(planted(scope, container=[], vm=[], vm_restored=[]), blocks=7).measure(
        "cold_start"
    )
    assert {o.subject for o in found.observations} == {"container", "vm", "vm-restored"}
    assert {o.position for o in found.observations} == {0, 1, 2}
    assert len(found.row("vm-restored", "start_s")) == 7


def test_a_failed_start_is_retried_and_counted(scope):
    launches = [*starts(1, 1), FakeLaunch(failure="launch"), FakeLaunch(failure="death")]
    found = Bench(planted(scope, container=launches)).measure("cold_start")
    assert len(found.row("container", "start_s")) == 6
    assert [(r.subject, r.block) for r in found.retries] == [("container", 1), ("container", 1)]


def test_a_start_that_always_fails_breaks_the_experiment(scope):
    bench = Bench(planted(scope, container=[*starts(1), *[FakeLaunch(failure="launch")] * 9]))
    with pytest.raises(LaunchFailed):
        bench.measure("cold_start")
    with pytest.raises(LaunchFailed):
        bench.measure("cold_start")
    assert scope.held == ()


def test_a_teardown_that_fails_is_told(scope):
    bench = Bench(planted(scope, container=[*starts(1), *[FakeLaunch(failure="teardown")] * 9]))
    with pytest.raises(TeardownFailed):
        bench.measure("cold_start")


def test_an_interrupt_keeps_what_was_measured_and_leaves_nothing(scope):
    class Ends(FakeProvider):
        def launch(self, **options):
            if len(list(bench.records)) > 8:
                raise KeyboardInterrupt
            return super().launch(**options)

    clock = FakeClock()
    subjects = {"container": Ends(scope, clock=clock), "vm": Ends(scope, clock=clock, kind="vm")}
    bench = Bench(Pair(name="planted", subjects=subjects))
    with pytest.raises(KeyboardInterrupt):
        bench.measure("cold_start")
    assert len(bench.records) > 8
    assert scope.held == ()


def test_the_share_of_the_own_system_is_that_of_machines_that_boot(scope):
    def launches(**marks):
        return [FakeLaunch(marks={**marks, "answer": 4.0}) for _ in range(7)]

    found = Bench(
        planted(
            scope,
            container=launches(created=0.1, started=0.2),
            vm=launches(process=0.1, firmware=0.8, kernel=1.0),
            vm_restored=launches(process=0.1),
            vm_up=launches(process=3.8),
        )
    ).measure("cold_start")
    assert found.row("vm", "os_share")[0].value == pytest.approx(80)
    assert not found.row("container", "os_share")
    assert not found.row("vm-restored", "os_share")
    boots = at_least("vm", "os_share", 20, "%")
    assert verdict(boots, found) == "SUPPORTED"
    assert verdict(at_least("vm-up", "os_share", 20, "%"), found) == "REFUTED"


# --- kernel_facts --------------------------------------------------------------------------------


SEES = """QEMU
Standard PC
pci:v00008086d000029C0sv00001AF4sd00001100bc06sc00i00
processor\t: 0
flags\t\t: fpu hypervisor nx
pid:[1]
"""


def guests(*, boot_ids, btime=1_700_000_000, on_host=None, sees=SEES):
    """A script that answers like machines with these boot ids, one after the other.

    With ``on_host`` their processes are processes of the host, and gathered there. ``sees`` is the
    hardware; None for the host's own.
    """
    ids, known = itertools.cycle(boot_ids), {}

    def script(name, argv, stdin):
        if argv[0] == "cat":
            out = f"6.1.0-guest\n{known.setdefault(name, next(ids))}\nbtime {btime}\n"
        elif argv[0] == "sh" and not stdin:
            if sees is None:
                return None
            out = sees
        elif argv[0] == "sh" and on_host is not None:
            on_host.append(subprocess.Popen(stdin.decode().split(" >")[0].split()))
            out = f"{on_host[-1].pid}\n"
        elif argv[0] == "sh":
            out = "17\n"
        else:
            return None
        return Completed(argv=argv, exit_status=0, stdout=out.encode(), stderr=b"", duration_s=0.0)

    return script


def kernel_pair(scope, vm):
    host = host_facts()
    same_kernel = (
        f"{host['kernel_release']}\n{host['boot_id']}\nbtime {host['boot_time']}\n".encode()
    )

    def container(_name, argv, stdin):
        if argv[0] == "sh" and not stdin:
            return None  # it sees the host's hardware
        out = same_kernel if argv[0] == "cat" else b"17\n"
        return Completed(argv=argv, exit_status=0, stdout=out, stderr=b"", duration_s=0.0)

    return Pair(
        name="planted",
        subjects={
            "container": FakeProvider(scope, script=container),
            "vm": FakeProvider(scope, kind="vm", script=vm),
        },
        userlands=tuple(FakeProvider(scope, script=container) for _ in range(3)),
    )


def test_machines_with_kernels_of_their_own_support_the_claims(scope):
    pair_ = kernel_pair(scope, guests(boot_ids=["one", "two"]))
    found = Bench(pair_).measure("kernel_facts")
    assert verdict(same("container", "boot_id", other="host"), found) == "SUPPORTED"
    assert verdict(same("userlands", "boot_id", other="host", min_n=3), found) == "SUPPORTED"
    assert verdict(differs("vm", "kernel_release", other="host"), found) == "SUPPORTED"
    assert verdict(differs("vm", "boot_time", other="host"), found) == "SUPPORTED"
    assert verdict(distinct("vm", "boot_id"), found) == "SUPPORTED"
    assert verdict(holds("vm", "visible_on_host", value=False), found) == "SUPPORTED"
    assert verdict(same("container", "hardware", other="host"), found) == "SUPPORTED"
    assert verdict(differs("vm", "hardware", other="host"), found) == "SUPPORTED"
    assert verdict(holds("vm", "hypervisor_flag"), found) == "SUPPORTED"
    assert found.row("vm", "hardware")[0].value == "QEMU Standard PC; 8086:29C0"


def test_a_machine_without_hardware_of_its_own_is_found_out(scope):
    found = Bench(kernel_pair(scope, guests(boot_ids=["one", "two"], sees=None))).measure(
        "kernel_facts"
    )
    assert verdict(differs("vm", "hardware", other="host"), found) == "REFUTED"
    bare = guests(boot_ids=["one", "two"], sees="Vendor\nflags\t\t: fpu nx\npid:[1]\n")
    found = Bench(kernel_pair(scope, bare)).measure("kernel_facts")
    assert verdict(holds("vm", "hypervisor_flag"), found) == "REFUTED"


@pytest.mark.parametrize(("sees", "expected"), [(SEES, "SUPPORTED"), (None, "REFUTED")])
def test_a_namespace_is_compared_where_the_process_is_one_of_the_host(scope, sees, expected):
    on_host = []
    pair_ = kernel_pair(scope, guests(boot_ids=["one"], on_host=on_host, sees=sees))
    try:
        found = Bench(pair_, instances=1).measure("kernel_facts")
    finally:
        for process in on_host:
            process.kill()
            process.wait(timeout=10)
    assert verdict(holds("vm", "own_pid_namespace"), found) == expected


def test_machines_that_share_a_kernel_are_found_out(scope):
    shared = kernel_pair(scope, guests(boot_ids=["one"]))
    found = Bench(shared).measure("kernel_facts")
    assert verdict(distinct("vm", "boot_id"), found) == "REFUTED"
    of_host = kernel_pair(scope, guests(boot_ids=[host_facts()["boot_id"]]))
    found = Bench(of_host).measure("kernel_facts")
    assert verdict(differs("vm", "boot_id", other="host"), found) == "REFUTED"


def test_a_container_with_a_kernel_of_its_own_is_found_out(scope):
    pair_ = kernel_pair(scope, guests(boot_ids=["one", "two"]))
    planted_ = Pair(
        name="planted", subjects={"container": pair_.subjects["vm"], "vm": pair_.subjects["vm"]}
    )
    found = Bench(planted_).measure("kernel_facts")
    assert verdict(same("container", "boot_id", other="host"), found) == "REFUTED"
    assert verdict(holds("container", "visible_on_host"), found) == "REFUTED"


def test_a_process_that_is_on_the_host_is_seen(scope):
    on_host = []
    pair_ = kernel_pair(scope, guests(boot_ids=["one", "two"], on_host=on_host))
    try:
        found = Bench(pair_, instances=1).measure("kernel_facts")
    finally:
        for process in on_host:
            process.kill()
            process.wait(timeout=10)
    assert verdict(holds("vm", "visible_on_host", value=False), found) == "REFUTED"
    assert verdict(holds("vm", "pid_differs"), found) == "REFUTED"


# --- sizes ---------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_artefacts_and_nothing_is_started(scope):
    subjects = {
        "container": FakeProvider(scope, memory_bytes=2_000_000),
        "vm": FakeProvider(scope, kind="vm", memory_bytes=3_000_000_000),
    }
    found = Bench(Pair(name="planted", subjects=subjects)).measure("sizes")
    assert found.row("vm", "kept_bytes")[0].value == 3_000_000_000
    assert found.row("container", "fetch_bytes")[0].value == 1_000_000
    assert scope.new_name().endswith("-1")


def test_a_subject_that_does_not_tell_its_size_is_missing_with_a_reason(scope):
    class Mute:
        name = "mute"

    subjects = {"container": FakeProvider(scope), "vm": Mute()}
    found = Bench(Pair(name="planted", subjects=subjects)).measure("sizes")
    assert found.reason_missing("vm") == "mute does not tell what this one takes"
    assert found.row("container", "kept_bytes")


# --- pairs and the lab ---------------------------------------------------------------------------


def test_what_a_host_lacks_is_missing_with_its_reason(scope):
    gap = Unavailable("no hypervisor", hint="install one")

    def refuses():
        raise gap

    found = pair(
        "planted",
        {
            "container": lambda: FakeProvider(scope),
            "vm": lambda: FakeProvider(scope, unavailable=gap),
            "vm-restored": refuses,
        },
        userlands={"a": lambda: FakeProvider(scope), "b": refuses},
    )
    assert list(found.subjects) == ["container"]
    assert found.missing == {"vm": gap, "vm-restored": gap}
    assert found.missing_userland is gap
    assert len(found.userlands) == 1
    evidence = Bench(found).measure("cold_start")
    assert evidence.reason_missing("vm") == "no hypervisor — install one"


def test_an_experiment_is_made_once_on_each_pair(scope):
    bench = Bench(planted(scope, container=[]))
    assert bench.measure("sizes") is bench.measure("sizes")
    assert sum(type(record).__name__ == "Series" for record in bench.records) == 3
