"""The battery: the same works on both sides, and by how much the guest is slower."""

import itertools

import pytest
from bench import Bench

from pytest_vmvc import allowance
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import battery
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

HOST_S = 1e-4
"""Once any work on the host."""
ROUND_S = 10.0
"""From one round to the next, on every clock that is right."""


@pytest.fixture(autouse=True)
def stopwatch(request, monkeypatch):
    """The host's clock: each side is sent its round as if nothing else took time."""
    if not request.node.get_closest_marker("machine"):
        ticks = (ROUND_S * (look // 2) for look in itertools.count())
        monkeypatch.setattr(battery, "monotonic", lambda: next(ticks))


@pytest.fixture(autouse=True)
def program(request, monkeypatch, tmp_path):
    if request.node.get_closest_marker("machine"):
        return
    path = tmp_path / "busybox"
    path.write_bytes(b"the program")
    monkeypatch.setattr(battery.minimal, "program", lambda: path)


def works(slowdowns=None, *, system="ext2/ext3", asked=None, status=0, speed=1.0):
    """A script that plays one side: what each part takes there, over the host's."""
    rounds = itertools.count()

    def round_of(script):
        now, said = next(rounds) * ROUND_S * speed, []
        for line in script.splitlines():
            if line == battery.MARK:
                said.append(f"{now:.6f}")
            for part in battery.PARTS:
                if line.endswith(f"; {part.script}) || exit 1"):
                    times = int(line.split()[2].rstrip(";"))
                    now += HOST_S * times * (slowdowns or {}).get(part.name, 1.0)
        return "\n".join(said).encode()

    def script(_name, argv, stdin):
        if asked is not None:
            asked.append((argv, stdin))
        said, ended = b"", 0
        if battery.WORK in argv:
            said, ended = round_of(argv[-1]), status
        if battery.CARRY in argv:
            said = f"{system}\n".encode()
        return Completed(argv=argv, exit_status=ended, stdout=said, stderr=b"", duration_s=0.0)

    return script


def both(scope, guest, host=None, *, tier="tcg"):
    machine = FakeProvider(scope, kind="vm", accelerator=tier, script=guest)
    plain = FakeProvider(scope, kind="process", script=host or works())
    return Pair(name="planted", subjects={"vm": machine}, others={"bare": lambda: plain})


def slowdowns(found):
    rows = found.row("vm", "slowdown")
    return {row.instance: row.value for row in rows}


def test_a_planted_slowdown_is_found_in_every_part_and_makes_the_allowance(scope):
    planted = {part.name: 3.0 + place for place, part in enumerate(battery.PARTS)}
    found = Bench(both(scope, works(planted))).measure("battery")
    assert slowdowns(found) == pytest.approx(planted)
    assert len(found.row("vm", "slowdown")) == battery.ROUNDS * len(battery.PARTS)
    made = allowance.derived(found)
    assert made.worst == "disk"
    assert made.figure == pytest.approx(2 * planted["disk"])
    assert made.n == battery.ROUNDS
    assert scope.held == ()


def test_raw_times_of_both_sides_are_kept_in_turns(scope):
    found = Bench(both(scope, works({"timer": 7.0}))).measure("battery")
    for side, factor in (("vm", 7.0), ("bare", 1.0)):
        rows = [row for row in found.row(side, "work_s") if row.instance == "timer"]
        [timer] = [part for part in battery.PARTS if part.name == "timer"]
        assert [row.value for row in rows] == pytest.approx([HOST_S * timer.times * factor] * 3)
        assert len({row.position for row in rows}) == 2  # mirrored order


def test_the_same_program_is_carried_into_both_and_taken_away(scope):
    guest, host = [], []
    Bench(both(scope, works(asked=guest), works(asked=host))).measure("battery")
    for asked in (guest, host):
        assert asked[0] == (("sh", "-c", battery.CARRY), b"the program")
        assert asked[-1][0] == ("sh", "-c", battery.END)


def test_without_a_disk_that_part_is_missing_and_the_others_are_not(scope):
    found = Bench(both(scope, works({"timer": 2.0}, system="ramfs"))).measure("battery")
    assert set(slowdowns(found)) == {part.name for part in battery.PARTS} - {"disk"}
    assert found.reason_missing("disk") == "files of vm are in memory: there is no disk"
    assert allowance.derived(found).worst == "timer"


def test_what_is_not_emulated_is_not_measured(scope):
    found = Bench(both(scope, works(), tier="kvm-hw")).measure("battery")
    assert found.reason_missing("vm") == "machines run on the CPU itself"
    assert allowance.derived(found) is None


def test_without_plain_processes_there_is_nothing_to_compare_with(scope):
    def refuses():
        raise Unavailable("no control group can be made", hint="run as root")

    pair = both(scope, works())
    pair.others["bare"] = refuses
    found = Bench(pair).measure("battery")
    assert "run as root" in found.reason_missing("bare")
    assert found.observations == ()


def test_without_a_machine_the_reason_is_told(scope):
    gap = Unavailable("QEMU is not installed")
    found = Bench(Pair(name="planted", subjects={}, missing={"vm": gap})).measure("battery")
    assert "QEMU is not installed" in found.reason_missing("vm")


def test_a_part_that_fails_is_a_broken_harness_and_leaves_nothing_behind(scope):
    guest = []
    pair = both(scope, works(status=1, asked=guest))
    with pytest.raises(InfrastructureError, match="ended with 1"):
        Bench(pair).measure("battery")
    assert guest[-1][0] == ("sh", "-c", battery.END)


def test_a_work_that_takes_no_time_is_no_measurement(scope):
    planted = {part.name: 0.0 for part in battery.PARTS}
    with pytest.raises(InfrastructureError, match="no longer than nothing"):
        Bench(both(scope, works(planted))).measure("battery")


@pytest.mark.parametrize("speed", [0.5, 0.88, 1.12, 2.0])
def test_a_clock_that_goes_at_another_speed_is_not_trusted(scope, speed):
    with pytest.raises(InfrastructureError, match="the clock of vm goes"):
        Bench(both(scope, works(speed=speed))).measure("battery")


def test_a_clock_that_is_nearly_right_is_good_enough(scope):
    assert Bench(both(scope, works(speed=1.05))).measure("battery").observations


@pytest.mark.machine
def test_a_real_machine_is_measured(scope):
    pair = catalog.load("minimal", scope)
    if gap := pair.missing.get("vm"):
        pytest.skip(str(gap))
    found = Bench(pair).measure("battery")
    if gap := found.reason_missing("vm") or found.reason_missing("bare"):
        pytest.skip(gap)
    assert set(slowdowns(found)) == {part.name for part in battery.PARTS} - {"disk"}
    assert all(row.value > 0 for row in found.row("vm", "work_s"))
