"""The manifest and the load of a host, read from planted trees and from this one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import host
from pytest_vmvc.resources import boot_id


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_manifest_of_this_host_is_complete() -> None:
    found = host.manifest("tcg")

    assert found.boot_id == boot_id()
    assert found.tier == "tcg"
    assert found.cpus >= 1
    assert found.memory_bytes > 1 << 28
    assert found.cpu_model
    assert {"python", "pytest", "pytest-vmvc", "docker"} <= set(found.versions)
    assert json.loads(msgspec.json.encode(found))["kernel"] == found.kernel


def test_facts_name_kernel_boot_and_time() -> None:
    facts = host.host_facts()

    assert facts["boot_id"] == boot_id()
    assert facts["kernel_release"] == host.manifest("none").kernel
    assert isinstance(facts["boot_time"], int)
    assert facts["boot_time"] > 1_500_000_000


def test_load_is_read_in_bytes_and_ticks(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/loadavg": "1.25 0.80 0.50 2/300 4242\n",
            "proc/stat": "cpu  10 20 30 40 50 60 70 77 0 0\ncpu0 1 2 3 4\nbtime 1700000000\n",
            "proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:  1000 kB\n"
            "SwapTotal: 300 kB\nSwapFree: 100 kB\nHugePages_Total: 3\n",
            "proc/pressure/cpu": "some avg10=2.50 avg60=0.10 avg300=0.00 total=5\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        },
    )

    assert host.load_snapshot(root=root) == {
        "load_1m": 1.25,
        "steal_ticks": 77.0,
        "mem_available_bytes": 1000 * 1024,
        "swap_used_bytes": 200 * 1024,
        "psi_cpu_some_avg10": 2.5,
    }


def test_load_without_pressure_accounting_leaves_it_out(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/loadavg": "0.00 0.00 0.00 1/1 1"})

    found = host.load_snapshot(root=root)

    assert "psi_cpu_some_avg10" not in found
    assert found["steal_ticks"] == 0.0


def test_load_of_this_host_is_finite() -> None:
    found = host.load_snapshot()

    assert found["mem_available_bytes"] > 0
    assert all(value >= 0 for value in found.values())


@pytest.mark.parametrize(
    ("mounts", "mode"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", "v1"),
        ("cgroup /a cgroup rw,cpu 0 0\ncgroup2 /a/unified cgroup2 rw 0 0\n", "hybrid"),
        ("tmpfs /tmp tmpfs rw 0 0\n", "none"),
    ],
)
def test_cgroup_mode_is_told_from_the_mounts(tmp_path: Path, mounts: str, mode: str) -> None:
    assert host.cgroup_mode(root=plant(tmp_path, {"proc/mounts": mounts})) == mode


def test_names_are_unquoted(tmp_path: Path) -> None:
    root = plant(tmp_path, {"etc/os-release": 'ID=debian\nPRETTY_NAME="Some System 12"\n\n# x\n'})

    assert host.os_name(root=root) == "Some System 12"
    assert host.os_release(root=root)["ID"] == "debian"


def test_a_host_that_hides_its_files_has_a_manifest_all_the_same(tmp_path: Path) -> None:
    found = host.manifest("none", root=tmp_path)

    assert found.memory_bytes == 0
    assert found.os == "Linux"
    assert found.cpu_model


@pytest.mark.parametrize(
    ("flags", "khz"),
    [
        ("fpu tsc constant_tsc tsc_known_freq hypervisor", 2445406),
        ("fpu tsc constant_tsc hypervisor", None),  # measured at boot, and not told
        ("fpu tsc tsc_known_freq hypervisor", None),
        ("fpu tsc constant_tsc tsc_known_freq aperfmperf", None),  # the momentary frequency
    ],
)
def test_the_counter_s_frequency_is_told_where_it_is_known(
    tmp_path: Path, flags: str, khz: int | None
) -> None:
    cpu = f"processor\t: 0\ncpu MHz\t\t: 2445.406\nflags\t\t: {flags}\n\n"
    plant(tmp_path, {"proc/cpuinfo": cpu + cpu.replace("2445.406", "1.0")})
    assert host.tsc_khz(root=tmp_path) == khz
    assert host.tsc_khz(root=tmp_path / "no such tree") is None
