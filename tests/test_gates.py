"""Each gate passes on a quiet host, fails on a noisy one, and is not available on a silent one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from quiet_host import both_windows, during, later, quiet, window

from pytest_vmvc.gates import GATES, Seen, checks, figure_words, limit_words
from pytest_vmvc.vitals import read


def of(seen, name):
    return next(check for check in checks(seen) if check.name == name)


def with_pressure(seen, at, kind, seconds):
    pressure = at(seen).pressure_s
    return {"pressure_s": pressure | {kind: pressure[kind] + seconds}}


def after_end(seen):
    return seen.after.end


def pressed_windows(kind, seconds):
    seen = quiet()
    return both_windows(seen, **with_pressure(seen, after_end, kind, seconds))


def only_after(**growth):
    seen = quiet()
    return seen._replace(after=window(seen.after.begin, **growth))


NOISY = {
    "load": (lambda: quiet()._replace(neighbours_s=13.0), "10.8%"),
    "load around": (
        lambda: Seen(
            window(quiet().before.begin, busy_s=0.29), window(quiet().after.begin, busy_s=0.27), 0.0
        ),
        "40.0%",
    ),
    "CPU pressure": (lambda: pressed_windows("cpu some", 0.1), "66.7%"),
    "disk pressure": (lambda: pressed_windows("io some", 0.06), "40.0%"),
    "memory pressure": (
        lambda: during(quiet(), **with_pressure(quiet(), after_end, "memory full", 0.9)),
        "1.50%",
    ),
    "swapping": (lambda: during(quiet(), swapped_pages=4660.0), "11.0 pages/s"),
    "free memory": (lambda: both_windows(quiet(), available_bytes=5e8), "500 MB"),
    "steal": (lambda: during(quiet(), steal_s=14.0), "5.41%"),
    "throttling": (lambda: during(quiet(), throttled_s=4.0), "1.66%"),
    "overheating": (lambda: during(quiet(), thermal_events=8.0), "1.00 events"),
    "frequency": (lambda: during(quiet(), frequency_hz=2.5e9), "20.0%"),
    "calibration": (lambda: only_after(loop_s=0.056), "12.0%"),
    "clock source": (lambda: during(quiet(), clock_source="hpet"), "hpet"),
    "clock step": (lambda: during(quiet(), real_ahead_s=1.7e9 - 2.0), "2.00 s"),
    "suspend": (lambda: during(quiet(), suspended_s=30.0, real_ahead_s=1.7e9 + 30.0), "30.0 s"),
}


def test_a_quiet_host_passes_every_gate():
    assert {check.name: check.passed for check in checks(quiet())} == {
        gate.name: True for gate in GATES
    }


def test_there_is_a_noisy_host_for_every_gate():
    assert list(NOISY) == [gate.name for gate in GATES]


@pytest.mark.parametrize("name", NOISY)
def test_each_kind_of_noise_fails_its_gate_and_no_other(name):
    make, figure = NOISY[name]
    seen = make()
    assert [check.name for check in checks(seen) if check.passed is not True] == [name]
    assert figure_words(of(seen, name)).replace("\u00a0", " ") == figure
    assert of(seen, name).passed is False


@pytest.mark.parametrize("name", [gate.name for gate in GATES])
def test_a_gate_that_a_host_does_not_have_is_neither_passed_nor_failed(name, tmp_path):
    """With no file to read, only what the clocks tell is left."""
    silent = read(root=tmp_path)
    before = window_of(silent)
    after = window_of(later(before.end, 60.0))
    check = of(Seen(before, after, None), name)
    if name in ("calibration", "clock step", "suspend"):
        assert check.passed
    else:
        assert (check.passed, check.figure) == (None, None)
        assert check.note


def window_of(begin):
    return msgspec.structs.replace(
        quiet().before, begin=begin, end=later(begin, 0.15, own_cpu_s=0.15)
    )


@pytest.mark.parametrize("name", ["load", "steal", "memory pressure", "swapping"])
def test_an_experiment_of_a_moment_tells_nothing_of_its_time(name):
    assert of(quiet(minutes=0.001), name).passed is None


@pytest.mark.parametrize("name", ["steal", "swapping", "throttling", "overheating"])
def test_a_counter_that_went_backwards_tells_nothing(name):
    reset = during(quiet(), steal_s=0.0, swapped_pages=0.0, throttled_s=0.0, thermal_events=0.0)
    assert of(reset, name).passed is None
    assert of(reset, name).note == "a counter went backwards"


def test_noise_that_is_over_before_one_of_the_windows_is_forgiven():
    seen = only_after(busy_s=0.29)
    assert of(seen, "load around").passed


def test_what_is_measured_is_not_held_against_the_host():
    """Both CPUs busy, every task waiting for one of them and for the disk: all of it ours."""
    seen = quiet()
    pressure = {"cpu some": 110.0, "io some": 70.0, "memory full": 1.0}
    busy = during(seen, busy_s=seen.before.end.busy_s + 120.0, pressure_s=pressure)
    assert of(busy, "CPU pressure").passed
    assert of(busy, "disk pressure").passed
    assert of(busy, "load").passed


def test_every_gate_says_what_it_looks_at_and_why_that_is_its_limit():
    assert all(gate.what and gate.why for gate in GATES)


def test_limits_in_words():
    words = {check.name: limit_words(check).replace("\u00a0", " ") for check in checks(quiet())}
    assert words["load"] == "10%"
    assert words["free memory"] == "at least 537 MB"
    assert words["clock source"].startswith("none of acpi_pm, hpet")


def table():
    """The gates as the documentation has them."""
    lines = ["| gate | limit | what it looks at | why that limit |", "|---|---|---|---|"]
    lines += [
        f"| {gate.name} | {limit_words(of(quiet(), gate.name))} | {gate.what} | {gate.why} |"
        for gate in GATES
    ]
    return "\n".join(lines)


def test_the_documentation_has_the_gates_as_they_are():
    page = Path(__file__).parent.parent / "docs" / "conditions.md"
    assert table() in page.read_text()
