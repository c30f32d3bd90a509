"""The suite on several platforms: it really checks, and each verdict comes out the other way."""

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.declaration import at_most, differs, holds, ratio
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.platforms import CHECKS, PLATFORMS, SUITE
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

PASSES = holds("container", "passed", min_n=6)
SLOWER = ratio("vm", "suite_s", over="container", above=1.25)
MORE_MEMORY = ratio("vm", "memory_bytes", over="container", above=1.25)
MORE_BYTES = ratio("vm", "kept_bytes", over="container", above=1.25)
ANOTHER_KERNEL = differs("container", "kernel_release", other="host", min_n=6)
ONE_KERNEL = at_most("container", "kernels", 1, "count", min_n=1)
HOST = host_facts()["kernel_release"]


def says(failed="none", *, release=HOST, lines=None):
    passed = CHECKS - (0 if failed == "none" else 1)
    out = f"passed {passed} failed {failed}\n{release}\n" if lines is None else lines

    def script(_name, argv, stdin):
        assert stdin == SUITE.encode()
        return Completed(argv=argv, exit_status=0, stdout=out.encode(), stderr=b"", duration_s=0.0)

    return script


def tour_pair(scope, *, container=0.3, vm=4.0, heavy=False, scripts=None):
    """Containers of 1 MB and machines of 90 MB; ``heavy``: the other way round."""
    clock, others = FakeClock(), {}

    def offer(platform, side, start_s):
        light = (side == "container") is not heavy
        return FakeProvider(
            scope,
            clock=clock,
            kind="container" if side == "container" else "vm",
            accelerator=None if side == "container" else "kvm-hw",
            memory_bytes=1 << 20 if light else 90 << 20,
            launches=[FakeLaunch(marks={"answer": start_s}) for _ in range(9)],
            script=(scripts or {}).get((platform, side), says()),
        )

    for platform in PLATFORMS:
        for side, start_s in (("container", container), ("machine", vm)):
            made = offer(platform, side, start_s)
            others[f"{platform}-{side}"] = lambda made=made: made
    return Pair(name="planted", subjects={}, others=others)


def test_three_platforms_in_containers_that_cost_less(scope):
    found = Bench(tour_pair(scope)).measure("platforms")
    asked = (PASSES, SLOWER, MORE_MEMORY, MORE_BYTES, ONE_KERNEL)
    assert [verdict(question, found) for question in asked] == ["SUPPORTED"] * 5
    assert verdict(ANOTHER_KERNEL, found) == "REFUTED"
    seen = [o.instance for o in found.row("container", "passed")]
    assert seen == [*PLATFORMS, *PLATFORMS]
    assert scope.held == ()


def test_a_suite_that_fails_on_one_platform_is_told(scope):
    scripts = {("klibc", "container"): says("file-mode")}
    found = Bench(tour_pair(scope, scripts=scripts)).measure("platforms")
    assert verdict(PASSES, found) == "REFUTED"
    assert verdict(holds("vm", "passed", min_n=6), found) == "SUPPORTED"


def test_containers_that_cost_more_refute_it(scope):
    found = Bench(tour_pair(scope, container=9.0, vm=1.0, heavy=True)).measure("platforms")
    asked = (SLOWER, MORE_MEMORY, MORE_BYTES)
    assert [verdict(question, found) for question in asked] == ["REFUTED"] * 3


def test_containers_with_kernels_of_their_own_are_found_out(scope):
    scripts = {(platform, "container"): says(release=f"6.6-{platform}") for platform in PLATFORMS}
    found = Bench(tour_pair(scope, scripts=scripts)).measure("platforms")
    assert verdict(ANOTHER_KERNEL, found) == "SUPPORTED"
    assert found.row("container", "kernels")[0].value == 3
    assert verdict(ONE_KERNEL, found) == "REFUTED"


def test_a_start_that_is_too_late_is_a_lower_bound(scope):
    found = Bench(tour_pair(scope, vm=400.0), deadline_s=30.0).measure("platforms")
    assert all(o.censored and o.value == 30.0 for o in found.row("vm", "suite_s"))
    assert verdict(SLOWER, found) == "SUPPORTED"


def test_a_suite_without_a_result_is_the_harness_fault(scope):
    scripts = {("busybox", "container"): says(lines="Segmentation fault\n")}
    with pytest.raises(InfrastructureError, match="no result on busybox"):
        Bench(tour_pair(scope, scripts=scripts)).measure("platforms")


def test_a_platform_that_is_not_there_takes_its_side_out(scope):
    pair = tour_pair(scope)

    def refuses():
        raise Unavailable("the klibc userland is not built", hint="run `vmvc setup`")

    pair.others["klibc-machine"] = refuses
    found = Bench(pair).measure("platforms")
    assert found.reason_missing("vm").startswith("klibc: the klibc userland is not built")
    assert verdict(PASSES, found) == "SUPPORTED"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    [
        ('"C.txt a.txt b.txt"', '"a.txt b.txt C.txt"', "sort-order"),
        ("mkdir -m 700 private", "mkdir -m 755 private", "file-mode"),
        ("ln -s a.txt link", "ln -s b.txt link", "link"),
    ],
)
def test_the_suite_notices_what_is_wrong(scope, right, wrong, failed):
    assert SUITE.count(right) == 1
    with FakeProvider(scope).launch() as env:
        good = env.run(["sh"], stdin=SUITE.encode()).stdout.decode().splitlines()
        bad = env.run(["sh"], stdin=SUITE.replace(right, wrong).encode()).stdout.decode()
    assert good == [f"passed {CHECKS} failed none", HOST]
    assert bad.splitlines()[0] == f"passed {CHECKS - 1} failed  {failed}"


@pytest.mark.engine
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_suite_passes_in_a_real_container(scope, platform):
    try:
        provider = catalog.load("minimal", scope).other(f"{platform}-container")
    except Unavailable as gap:
        pytest.skip(str(gap))
    with provider.launch(deadline_s=60) as env:
        done = env.run(["sh"], stdin=SUITE.encode())
    assert done.stdout.decode().splitlines() == [f"passed {CHECKS} failed none", HOST]


@pytest.mark.machine
def test_the_suite_passes_on_a_real_machine_with_a_userland_of_its_own(scope):
    try:
        provider = catalog.load("minimal", scope).other("klibc-machine")
    except Unavailable as gap:
        pytest.skip(str(gap))
    with provider.launch(deadline_s=120) as env:
        done = env.run(["chroot", "/platform", "/bin/sh"], stdin=SUITE.encode())
    passed, release = done.stdout.decode().splitlines()
    assert passed == f"passed {CHECKS} failed none"
    assert release != HOST
