"""Whose kernel runs inside: asked of several instances that live at the same time."""

from __future__ import annotations

import re
import secrets
import subprocess
import time

import psutil

from pytest_vmvc import process
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.resources import marked
from pytest_vmvc.subjects import Pair

READ = ["cat", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/random/boot_id", "/proc/stat"]
HARDWARE = [
    "sh",
    "-c",
    "cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name"
    " /sys/bus/pci/devices/*/modalias /proc/cpuinfo 2>/dev/null; readlink /proc/self/ns/pid",
]
PCI_DEVICE = re.compile(r"pci:v0{4}(\w{4})d0{4}(\w{4})")
HOST = "host"

SEEN_S = 5.0
"""How long a process of the host may take to show its command line."""


class KernelFacts:
    """N machines and N containers alive together, and one container of each other userland."""

    name = "kernel_facts"
    metrics = (
        Metric(
            name="kernel_release",
            label="kernel release",
            unit="",
            definition="/proc/sys/kernel/osrelease",
        ),
        Metric(
            name="boot_id", label="boot id", unit="", definition="/proc/sys/kernel/random/boot_id"
        ),
        Metric(
            name="boot_time",
            label="boot time",
            unit="s",
            definition="btime of /proc/stat, seconds since 1970",
        ),
        Metric(
            name="visible_on_host",
            label="its process is in the host's process table",
            unit="",
            definition="a process started inside is in the host's process table",
        ),
        Metric(
            name="pid_differs",
            label="its process has another pid on the host",
            unit="",
            definition="that process has another pid on the host than inside",
        ),
        Metric(
            name="own_pid_namespace",
            label="its processes are in a namespace of their own",
            unit="",
            definition="/proc/self/ns/pid inside is another one than the host's; asked where the "
            "host has its process in its table, for each kernel numbers its namespaces by itself",
        ),
        Metric(
            name="hypervisor_flag",
            label="its CPU says that there is a hypervisor",
            unit="",
            definition="flag `hypervisor` (CPUID leaf 1, ECX bit 31) in /proc/cpuinfo",
            emulation="flatters",
        ),
        Metric(
            name="hardware",
            label="the hardware that it sees",
            unit="",
            definition="DMI's vendor and product, and the PCI devices",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record the facts of the host, then of every instance of every kind."""
        _control()
        said = process.run(HARDWARE, timeout_s=10.0, check=False).stdout.decode(errors="replace")
        for metric, value in (host_facts() | _hardware(said)).items():
            record.observe(HOST, metric, value, facts=None, instance=HOST)
        for done, subject in enumerate(("container", "vm")):
            record.progress(done, 3, "part")
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
            elif subject in pair.subjects:
                for environment in pair.standing(
                    subject, settings.instances, deadline_s=settings.deadline_s
                ):
                    _inspect(environment, subject, record, pid_namespace=_pid_namespace(said))
        record.progress(2, 3, "part")
        if pair.missing_userland is not None:
            record.missing("userlands", str(pair.missing_userland))
        for provider in pair.userlands:
            provider.prepare()
            with provider.launch(deadline_s=settings.deadline_s) as environment:
                _inspect(environment, "userlands", record, pid_namespace=_pid_namespace(said))
        record.progress(3, 3, "part")


def _inspect(
    environment: Environment, subject: str, record: Recorder, *, pid_namespace: str
) -> None:
    """Record one instance; ``pid_namespace`` is the host's."""
    release, boot_id, *stat = environment.run(READ).stdout.decode(errors="replace").splitlines()
    marker = _marker()
    script = f"sleep {marker} >/dev/null 2>&1 & echo $!"
    # The script travels on standard input, so that no command line on the host has the marker.
    inside = environment.run(["sh"], stdin=script.encode()).stdout.decode(errors="replace").strip()
    outside = _pids_on_host(marker)
    said = environment.run(HARDWARE).stdout.decode(errors="replace")
    facts = environment.facts
    values: dict[str, Scalar] = {
        "kernel_release": release,
        "boot_id": boot_id,
        "boot_time": _boot_time(stat),
        "visible_on_host": bool(outside),
        **_hardware(said),
    }
    if outside:
        values["pid_differs"] = str(outside[0]) != inside
        values["own_pid_namespace"] = _pid_namespace(said) != pid_namespace
    for metric, value in values.items():
        record.observe(subject, metric, value, facts=facts, instance=environment.name)


def _boot_time(stat: list[str]) -> int:
    return next(int(line.split()[1]) for line in stat if line.startswith("btime "))


def _hardware(said: str) -> dict[str, Scalar]:
    lines = said.splitlines()
    devices = sorted({":".join(found) for found in PCI_DEVICE.findall(said)})
    # What DMI says comes first, and may be nothing.
    ends = (n for n, line in enumerate(lines) if line.startswith(("pci:", "processor", "pid:")))
    model = " ".join(line.strip() for line in lines[: next(ends, None)])
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "hypervisor_flag": "hypervisor" in flags.split(),
        "hardware": "; ".join(part for part in (model, " ".join(devices)) if part),
    }


def _pid_namespace(said: str) -> str:
    return said.splitlines()[-1] if said else ""


def _marker() -> str:
    """A duration that no other `sleep` on the host has: some 30 years and 12 random digits."""
    return f"1{secrets.randbelow(10**8):08d}.{secrets.randbelow(10**6):06d}"


def _pids_on_host(marker: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if marker in (process.info["cmdline"] or [])
    ]


def _control() -> None:
    """The positive control: a process of the host itself must be found, or the probe is void."""
    marker = _marker()
    child = subprocess.Popen(["sleep", marker], env=marked())
    try:
        # Between its start and its command line lies a moment, in which it may be made to wait.
        until = time.monotonic() + SEEN_S
        while (seen := _pids_on_host(marker)) != [child.pid] and time.monotonic() < until:
            time.sleep(0.01)
        if seen != [child.pid]:
            raise InfrastructureError(
                "the host's process table does not show the host's own process",
                hint="is /proc mounted with hidepid? run with permission to see all processes",
            )
    finally:
        child.kill()
        child.wait(timeout=10)
