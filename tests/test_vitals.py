"""Vital signs from planted trees, from garbage, and from this host."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quiet_host import plant

from pytest_vmvc import neighbours, vitals
from pytest_vmvc.vitals import read

OWN_STAT = "42 (a (b) c) R 1 " + " ".join(["0"] * 34) + " 1 0\n"
FILES: dict[str, str] = {
    "proc/stat": "cpu  100 20 30 40 50 60 70 77 0 0\ncpu0 1 2 3\ncpu1 4 5 6\nbtime 1700000000\n",
    "proc/vmstat": "pgfault 9\npswpin 3\npswpout 4\n",
    "proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:  1000 kB\n",
    "proc/pressure/cpu": "some avg10=2.50 avg60=0.10 avg300=0.00 total=5000000\n",
    "proc/pressure/io": "some avg10=0 total=7\nfull avg10=0.00 total=1500000\n",
    "proc/self/stat": OWN_STAT,
    "proc/self/cgroup": "4:cpu,cpuacct:/a/b\n3:memory:/x\n0::/a/b\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.stat": "nr_periods 9\nthrottled_time 2000000000\n",
    "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 5\nthrottled_usec 1000000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "3\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock\n",
}


def test_everything_is_read_in_seconds_bytes_and_counts(tmp_path):
    found = read(root=plant(tmp_path, dict(FILES)))
    assert found.cpus == 2
    assert found.busy_s == pytest.approx(280 * vitals.TICK_S)
    assert found.steal_s == pytest.approx(77 * vitals.TICK_S)
    assert found.pressure_s == {"cpu some": 5.0, "io some": 7e-6, "io full": 1.5}
    assert found.swapped_pages == 7
    assert found.available_bytes == 1000 * 1024
    assert found.throttled_s == pytest.approx(3.0)
    assert found.thermal_events == 5
    assert found.frequency_hz == 3e9
    assert found.clock_source == "kvm-clock"


def test_clocks_are_compared_with_the_monotonic_one(tmp_path):
    clocks = {
        time.CLOCK_MONOTONIC: 100.0,
        time.CLOCK_REALTIME: 1700.0,
        time.CLOCK_BOOTTIME: 130.0,
        time.CLOCK_PROCESS_CPUTIME_ID: 4.0,
    }
    found = read(root=tmp_path, clock=clocks.__getitem__)
    assert (found.at_s, found.real_ahead_s, found.suspended_s, found.own_cpu_s) == (
        100.0, 1600.0, 30.0, 4.0,
    )  # fmt: skip


def test_a_host_that_hides_everything_has_only_clocks(tmp_path):
    found = msgspec.to_builtins(read(root=tmp_path))
    told = {name for name, value in found.items() if value not in (None, {})}
    assert told == {"at_s", "real_ahead_s", "suspended_s", "own_cpu_s"}


def test_a_path_out_of_the_own_namespace_is_not_followed(tmp_path):
    files = {"proc/self/cgroup": "0::/../../a\n", "sys/fs/cgroup/cpu.stat": "throttled_usec 5\n"}
    root = plant(tmp_path / "root", files)
    plant(tmp_path, {"root/sys/a/cpu.stat": "throttled_usec 900\n"})
    assert read(root=root).throttled_s == pytest.approx(5e-6)


garbage = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"cpu -1 nan 1e999 2 3 4 5 6\n", b"some total=-5\n", b"0::/\x00/a\n"]),
    st.integers(0, 400).map(lambda n: b"cpu " + b" ".join([b"9" * n] * 9)),
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(FILES)), garbage))
def test_garbage_is_never_a_trace_and_never_a_figure_below_zero(changes):
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder), {**FILES, **changes})
        found = read(root=root)
        assert neighbours.alive(root=root) is None
    told = [found.busy_s, found.steal_s, found.swapped_pages, found.available_bytes]
    told += [found.throttled_s, found.thermal_events, found.frequency_hz]
    told += found.pressure_s.values()
    assert all(value is None or 0 <= value < float("inf") for value in told)


def test_this_host_tells_the_main_things():
    found = read()
    assert found.cpus
    assert found.busy_s
    assert found.available_bytes
    assert abs(found.suspended_s) < found.at_s
