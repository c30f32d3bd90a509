"""The web workload: the same work on every side, and each verdict the other way."""

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.declaration import ratio
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments import workload
from pytest_vmvc.model import Completed, Usage
from pytest_vmvc.subjects import Pair, catalog

MORE_CPU = ratio("vm", "cpu_s", over="container", above=1.25)
MORE_MEMORY = ratio("vm", "memory_bytes", over="container", above=1.25)
MORE_DISK = ratio("vm", "disk_bytes", over="container", above=1.25)
LIKE_BARE = ratio("container", "cpu_s", over="bare", below=1.25)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    for name in ("SCHEDULE_S", "TAIL_S", "FINISH_S"):
        monkeypatch.setattr(workload, name, 0.0)


class Working(FakeProvider):
    """Its workload takes ``cpu_s`` between two looks at it."""

    cpu_s = 1.0

    def launch(self, **options):
        return _Counting(super().launch(**options), self.cpu_s)


class _Counting:
    def __init__(self, inner, cpu_s):
        self.inner, self.cpu_s = inner, cpu_s

    def __enter__(self):
        env, looks = self.inner.__enter__(), []

        def usage():
            looks.append(1)
            return Usage(
                cpu_s=5 + self.cpu_s * (len(looks) - 1), memory_bytes=env._memory_bytes,
                definition="planted",
            )  # fmt: skip

        env.usage = usage
        return env

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def serves(answered=workload.REQUESTS, *, busybox=True, asked=None):
    """A script that plays the inside."""
    has = {"busybox": busybox}

    def script(_name, argv, stdin):
        status, out = 0, b""
        if asked is not None:
            asked.append((argv, stdin))
        if workload.CARRY in argv:
            has["busybox"] = True
        elif workload.SERVE in argv and not has["busybox"]:
            status = workload.NO_BUSYBOX
        elif workload.DONE in argv:
            out = b"" if answered is None else b"%d\n" % answered
        return Completed(argv=argv, exit_status=status, stdout=out, stderr=b"", duration_s=0.0)

    return script


def side(scope, clock, kind, cpu_s, memory_bytes, script, disk_bytes=0):
    launches = [FakeLaunch(disk_bytes=disk_bytes)] * 9
    made = Working(
        scope, clock=clock, kind=kind, memory_bytes=memory_bytes, script=script, launches=launches,
        accelerator="kvm-hw" if kind == "vm" else None,
    )  # fmt: skip
    made.cpu_s = cpu_s
    return made


def work_pair(scope, *, container=(1.0, 2 << 20), vm=(4.0, 90 << 20), bare=(1.0, 1 << 20), **how):
    clock, script = FakeClock(), how.pop("script", serves())
    return Pair(
        name="planted",
        subjects={
            "container": side(scope, clock, "container", *container, script, **how),
            "vm": side(scope, clock, "vm", *vm, serves()),
        },
        others={"bare": lambda: side(scope, clock, "process", *bare, serves())},
    )


def test_a_machine_that_takes_more_supports_the_claim(scope):
    found = Bench(work_pair(scope)).measure("workload")
    asked = (MORE_CPU, MORE_MEMORY, MORE_DISK, LIKE_BARE)
    assert [verdict(question, found) for question in asked] == ["SUPPORTED"] * 4
    assert len(found.row("bare", "cpu_s")) == 6
    assert found.find("bare", "cpu_s").facts.kind == "process"
    assert scope.held == ()


def test_a_container_that_is_heavier_than_a_machine_refutes_it(scope):
    heavy = work_pair(scope, container=(9.0, 900 << 20), disk_bytes=1 << 30)
    found = Bench(heavy).measure("workload")
    asked = (MORE_CPU, MORE_MEMORY, MORE_DISK, LIKE_BARE)
    assert [verdict(question, found) for question in asked] == ["REFUTED"] * 4


def test_bare_processes_are_no_start_of_the_carrier(scope):
    bench = Bench(work_pair(scope), wanted=[("workload", "planted")])
    starts = bench.measure("cold_start")
    assert {o.subject for o in starts.observations} == {"container", "vm"}
    assert {o.subject for o in bench.measure("workload").observations} == {
        "container", "vm", "bare"
    }  # fmt: skip


def test_other_riders_do_not_see_what_is_started_for_this_one(scope):
    bench = Bench(work_pair(scope), wanted=[("workload", "planted"), ("guest_cost", "planted")])
    bench.lab._catalogue = _without_weighing(bench.lab._catalogue)
    bench.measure("cold_start")
    assert {o.subject for o in bench.measure("guest_cost").observations} == {"container", "vm"}


def _without_weighing(load):
    class Glance:
        name, metrics = "guest_cost", load("guest_cost").metrics

        def ride(self, environment, subject):
            return {"idle_memory_bytes": environment.usage().memory_bytes}

    return lambda name: Glance() if name == "guest_cost" else load(name)


def test_what_left_a_request_out_has_not_done_the_same_work(scope):
    found = Bench(work_pair(scope, script=serves(workload.REQUESTS - 1))).measure("workload")
    assert [o.value for o in found.row("container", "answered")] == [workload.REQUESTS - 1] * 6
    assert found.row("container", "cpu_s") == ()
    assert verdict(MORE_CPU, found) == "NOT TESTABLE"


def test_what_never_gets_through_is_given_up(scope):
    found = Bench(work_pair(scope, script=serves(None))).measure("workload")
    assert [o.value for o in found.row("container", "answered")] == [0] * 6


def test_a_userland_without_busybox_is_given_one(scope, monkeypatch, tmp_path):
    program = tmp_path / "busybox"
    program.write_bytes(b"the program")
    monkeypatch.setattr(workload.minimal, "program", lambda: program)
    asked = []
    script = serves(busybox=False, asked=asked)
    found = Bench(work_pair(scope, script=script)).measure("workload")
    assert len(found.row("container", "cpu_s")) == 6
    assert [stdin for argv, stdin in asked if workload.CARRY in argv] == [b"the program"]


def test_without_control_groups_the_bare_processes_are_missing(scope):
    pair = work_pair(scope)

    def refuses():
        raise Unavailable("no control group can be made", hint="run as root")

    pair.others["bare"] = refuses
    found = Bench(pair).measure("workload")
    assert verdict(LIKE_BARE, found) == "NOT TESTABLE"
    assert "run as root" in found.reason_missing("bare")
    assert verdict(MORE_CPU, found) == "SUPPORTED"


@pytest.mark.engine
def test_a_real_container_and_real_processes_serve_the_same(scope, monkeypatch):
    monkeypatch.undo()
    pair = catalog.load("minimal", scope)
    if gap := pair.missing.get("container"):
        pytest.skip(str(gap))
    ride = workload.Workload()
    for subject, provider in (("container", pair.subjects["container"]), ("bare", _bare(pair))):
        provider.prepare()
        ride.meet(subject, provider)
        with provider.launch(deadline_s=60) as env:
            seen = ride.ride(env, subject)
        assert seen["answered"] == workload.REQUESTS
        assert seen["cpu_s"] > 0
        assert seen["memory_bytes"] > 0
        assert seen["disk_bytes"] >= 1_000_000


def _bare(pair):
    try:
        return pair.other("bare")
    except Unavailable as gap:
        pytest.skip(str(gap))
