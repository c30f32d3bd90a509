"""The table: rows of their own where the prose does not already say the same."""

from pytest_vmvc import (
    BoundReading,
    Evidence,
    at_least,
    at_most,
    below,
    claim,
    distinct,
    ratio,
    same,
)

GB = 1e9


@claim(
    "table.os-per-instance",
    quote="Each VM has a separate OS / Each container can share OS",
    readings={
        "vm-separate": distinct("vm", "boot_id", min_n=2).because(
            "each machine boots a kernel of its own"
        ),
        "container-shares": same("container", "boot_id", other="host", min_n=2).because(
            "all containers are processes of one kernel"
        ),
    },
)
def test_os_per_instance(reading: BoundReading, kernel_facts: Evidence) -> None:
    """N of each alive together: N boot ids for machines, the host's one for containers."""
    reading.judge(kernel_facts)


@claim(
    "table.boot-time",
    quote="Boots in minutes / Boots in seconds",
    readings={
        "container-in-seconds": below("container", "start_s", 60, "s").because(
            "a container start is a few system calls and an exec"
        ),
        "container-within-10-s": at_most("container", "start_s", 10, "s").because(
            "the sharper reading of “a few seconds”"
        ),
        "vm-in-minutes": at_least("vm", "start_s", 60, "s").expecting(
            "REFUTED",
            why="firmware, kernel and init of a small guest are seconds of work on any CPU of the "
            "last decade; published figures are 0.1 s to 20 s",
        ),
        "vm-usable-in-minutes": at_least("vm", "ready_s", 60, "s").expecting(
            "REFUTED",
            why="the same, up to the first command answered; a Vagrant machine adds address, keys "
            "and its own start, which is seconds too under hardware virtualisation",
        ),
        "vm-slower": ratio("vm", "start_s", over="container", above=1.25).because(
            "a machine does everything a container does, and boots"
        ),
    },
)
def test_boot_time(reading: BoundReading, cold_start: Evidence) -> None:
    """From the request to the payload's first answer, on the host's clock."""
    reading.judge(cold_start)


@claim(
    "table.size",
    quote="VMs are of few GBs / Containers are lightweight (KBs/MBs)",
    readings={
        "container-fetched-in-mbs": below("container", "fetch_bytes", GB, "bytes", min_n=1).because(
            "a minimal userland is some MB, a whole Debian some tens of MB"
        ),
        "container-kept-in-mbs": below("container", "kept_bytes", GB, "bytes", min_n=1).because(
            "unpacked, a Debian base is below 200 MB"
        ),
        "vm-fetched-in-gbs": at_least("vm", "fetch_bytes", GB, "bytes", min_n=1).expecting(
            "REFUTED", why="the same userland with a kernel added is tens or hundreds of MB"
        ),
        "vm-kept-in-gbs": at_least("vm", "kept_bytes", GB, "bytes", min_n=1).expecting(
            "REFUTED", why="the same userland with a kernel added stays below 1 GB on disk"
        ),
        "vm-larger": ratio("vm", "kept_bytes", over="container", above=1.25, min_n=1).because(
            "the machine holds the same userland and a kernel with its modules"
        ),
    },
)
def test_size(reading: BoundReading, sizes: Evidence) -> None:
    """Bytes to fetch (compressed) and to keep (unpacked), the same userland on both sides."""
    reading.judge(sizes)
