"""What `fleet` measures, one metric a row."""

from __future__ import annotations

from pytest_vmvc.model import Metric

IDLE_S = 20.0
"""Length of the idle window."""

METRICS = (
    Metric(
        name="available_bytes",
        label="memory gone from the host",
        unit="bytes",
        definition="MemAvailable that the host has lost over all starts of its kind so far; the "
        "dose is how many live",
        emulation="inflates",
        dose="instances",
    ),
    Metric(
        name="pss_bytes",
        label="memory of its processes",
        unit="bytes",
        definition="PSS (RSS where PSS may not be read) of its whole process set after the idle "
        "window: payload and shim; QEMU; daemons apart",
        emulation="inflates",
    ),
    Metric(
        name="touched_bytes",
        label="memory touched by its inside",
        unit="bytes",
        definition="PSS of the payload's processes; of QEMU's mapping of the guest's memory, which "
        "the same guest touches under any accelerator",
    ),
    Metric(
        name="used_bytes",
        label="memory used by its own kernel's account",
        unit="bytes",
        definition="page cache apart: its cgroup; the machine's grant without what /proc/meminfo "
        "inside calls free, cached and buffers",
    ),
    Metric(
        name="cache_bytes",
        label="page cache",
        unit="bytes",
        definition="page cache by the same account",
    ),
    Metric(
        name="configured_bytes",
        label="memory granted",
        unit="bytes",
        definition="the most it may take: its grant; without a limit the host's memory",
    ),
    Metric(
        name="rank_agrees",
        label="three ways to see memory rank both kinds alike",
        unit="",
        definition="MemAvailable per instance, PSS, and the own kernel's account put the same kind "
        "first",
    ),
    Metric(
        name="manager_bytes",
        label="memory of what manages it",
        unit="bytes",
        definition="PSS of the shim with the engine's and containerd's, divided by the instances; "
        "of QEMU outside the guest's memory",
        emulation="inflates",
    ),
    Metric(
        name="idle_cpu_s",
        label="CPU time while idle",
        unit="s",
        definition="host CPU seconds per 20 s of idling, of the instance and what manages it",
        emulation="inflates",
    ),
    Metric(
        name="manager_cpu_s",
        label="CPU time of what manages it",
        unit="s",
        definition="host CPU seconds per 20 s of idling: the shim with its share of the engine's "
        "and containerd's; all of QEMU, as its guest's cannot be told apart",
        emulation="inflates",
    ),
    Metric(
        name="exec_s",
        label="time to run a command",
        unit="s",
        definition="`true` from the host's request to its exit status: the engine's exec; our "
        "agent in the guest by virtio-serial",
        emulation="inflates",
    ),
    Metric(
        name="inspect_s",
        label="time to tell its state",
        unit="s",
        definition="the engine's inspect; QEMU's query-status",
        emulation="inflates",
    ),
    Metric(
        name="stop_s",
        label="time to end it",
        unit="s",
        definition="at once, without its consent, until the control plane knows the end: the "
        "engine's kill and wait; QEMU's quit and the end of its process. No shutdown inside: the "
        "payload of neither kind has one to do",
        emulation="inflates",
    ),
    Metric(
        name="disk_bytes",
        label="disk that it alone takes",
        unit="bytes",
        definition="after it has written 4 KiB: its writable layer by the engine, without the "
        "engine's own records; blocks of its qcow2 overlay",
    ),
    Metric(
        name="instances",
        label="instances alive at once",
        unit="instances",
        definition="as many as were asked for, or as the host could hold and keep 512 MiB",
    ),
    Metric(
        name="ksm",
        label="same-page merging",
        unit="",
        definition="state of the host's KSM; no machine has a balloon",
    ),
)
