"""Section "Performance"."""

from collections.abc import Callable

import pytest

from claims.published import CRUN, FIRECRACKER_BOOT, FIRECRACKER_MEMORY, LIGHTVM_BOOT, RUNC
from pytest_vmvc import (
    BoundReading,
    Evidence,
    at_least,
    at_most,
    below,
    claim,
    holds,
    ratio,
    slope,
)

SECONDS_EACH = 1.25
"""Eight replicas in 10 s."""


@claim(
    "perf.lightweight",
    quote="the lightweight architecture ... less resource-intensive",
    pairs=("minimal",),
    published=(FIRECRACKER_MEMORY,),
    readings={
        "vm-marginal-memory": slope("vm", "available_bytes", over="container", above=1.25).because(
            "each machine brings a kernel, its page tables and a hypervisor of its own"
        ),
        "vm-process-memory": ratio("vm", "pss_bytes", over="container", above=1.25).because(
            "the same, by the host's account of its processes"
        ),
        "vm-touches-more": ratio("vm", "touched_bytes", over="container", above=1.25).because(
            "a guest's kernel touches tens of MB before the payload starts"
        ),
        "vm-uses-more": ratio("vm", "used_bytes", over="container", above=1.25).because(
            "the same, by the account of the kernel that each runs on"
        ),
        "memory-ways-agree": holds("vm", "rank_agrees").because(
            "all three ways see the guest's kernel, so they put the same kind first"
        ),
        "vm-more-disk": ratio("vm", "disk_bytes", over="container", above=1.25).because(
            "a layer holds the file that was written; an overlay has tables and whole clusters"
        ),
        "vm-idles-dearer": ratio("vm", "idle_cpu_s", over="container", above=1.25).expecting(
            "INCONCLUSIVE",
            why="an idle machine wakes for its kernel's timers, an idle container's share of the "
            "engine for the engine's: which is more often is a matter of versions",
        ),
    },
)
def test_lightweight(reading: BoundReading, fleet: Evidence) -> None:
    """Eight idle instances of each kind: host memory three ways, disk, CPU time of 20 s."""
    reading.judge(fleet)


@claim(
    "perf.startup-faster",
    quote="containers can startup very fast compared to that of virtual machines",
    published=(FIRECRACKER_BOOT, LIGHTVM_BOOT, RUNC, CRUN),
    readings={
        "vm-over-container": ratio("vm", "start_s", over="container", above=1.25).because(
            "a machine runs firmware, a kernel and an init that a container does not have"
        ),
        "vm-over-container-usable": ratio("vm", "ready_s", over="container", above=1.25).because(
            "the same, up to the first command answered inside"
        ),
        "restored-vm-over-container": ratio("vm-restored", "start_s", over="container", above=1.25)
        .on("minimal")
        .expecting(
            "INCONCLUSIVE",
            why="a restored machine skips firmware, kernel and init: which side is faster depends "
            "on the host's storage and memory, so nothing is expected of it",
        ),
    },
)
def test_startup_faster(reading: BoundReading, cold_start: Evidence) -> None:
    """Paired, interleaved fresh starts: from the request to the host receiving the nonce."""
    reading.judge(cold_start)


@claim(
    "perf.usage-varies",
    quote="the resource usage varies depending on the load or traffic in it",
    pairs=("minimal",),
    readings={
        "cpu-follows-load": ratio(
            "container-high", "cpu_s", over="container-low", above=1.25
        ).because("four times the requests are four times the processes that serve them"),
        "memory-follows-load": ratio(
            "container-high", "memory_bytes", over="container-low", above=1.25
        ).because("four times the requests hold their memory at the same time"),
        "cpu-comes-back": below("container", "cpu_kept_share", 0.2, "ratio").because(
            "a server that nobody asks waits; what stays must be within the margin of a fifth"
        ),
        "memory-comes-back": below("container", "memory_kept_share", 0.2, "ratio").because(
            "the processes of answered requests have ended, and their memory is the host's again"
        ),
    },
)
def test_usage_varies(reading: BoundReading, load: Evidence) -> None:
    """Open-loop load on a fresh web server, from idle to low to high to idle again."""
    reading.judge(load)


@claim(
    "perf.no-permanent-allocation",
    quote="no need to allocate resources permanently to containers",
    pairs=("minimal",),
    readings={
        "container-gives-back": below("container", "held_share", 0.2, "ratio").because(
            "memory that a process frees is the one host kernel's again at once"
        ),
        "vm-keeps": at_least("vm", "held_share", 0.8, "ratio").because(
            "what the guest's processes free is free to the guest's kernel only; nobody tells "
            "the host"
        ),
        "vm-keeps-with-reporting": at_least("vm-reporting", "held_share", 0.8, "ratio").expecting(
            "REFUTED",
            why="free page reporting is made for this: the guest names its free pages and the "
            "hypervisor gives them up",
        ),
        "vm-keeps-with-balloon": at_least("vm", "inflated_share", 0.8, "ratio").expecting(
            "REFUTED",
            why="the balloon takes free pages from the guest, and the hypervisor gives them up",
        ),
        "vm-holds-its-grant": at_least(
            "vm-untouched", "untouched_share", 0.5, "ratio", min_n=1
        ).expecting(
            "REFUTED",
            why="a hypervisor's memory for a guest is the host's only once it is touched, and a "
            "small guest touches a fraction of 2 GiB; half is our reading of permanently allocated",
        ),
    },
)
def test_no_permanent_allocation(reading: BoundReading, elasticity: Evidence) -> None:
    """Most of a grant is taken and freed: what the host still holds; and a 2 GiB machine, idle."""
    reading.judge(elasticity)


@claim(
    "perf.scale-easy",
    quote="Scaling up and duplicating the containers is also an easy task",
    pairs=("minimal",),
    readings={
        "container-8-in-10-s": slope("container", "ready_s", below=SECONDS_EACH, unit="s").because(
            "each start is a few system calls and an exec: well below 1.25 s"
        ),
        "container-all-ready": holds("container", "all_ready", min_n=6).because(
            "no replica waits for another"
        ),
        "container-below-1-mb-each": slope(
            "container", "replica_bytes", below=1e6, unit="bytes"
        ).because("a replica has the image's layers in common, and an empty one of its own"),
        "vm-8-not-in-10-s": slope("vm", "ready_s", above=SECONDS_EACH, unit="s").expecting(
            "REFUTED",
            why="the counter reading: a small guest boots in about a second under hardware "
            "virtualisation, several side by side",
        ),
        "vm-over-1-mb-each": slope("vm", "replica_bytes", above=1e6, unit="bytes").expecting(
            "REFUTED",
            why="the counter reading: a linked clone holds its tables and what it has written, "
            "some hundred KB",
        ),
        "vm-slower": slope("vm", "ready_s", over="container", above=1.25).because(
            "a booted replica does everything a container does, and boots"
        ),
    },
)
def test_scale_easy(reading: BoundReading, scaling: Evidence) -> None:
    """Time and bytes to 1, 2, 4, 8 replicas; “easy”, our reading: 8 are ready within 10 s."""
    reading.judge(scaling)


@pytest.mark.parametrize("subject", ["container", "vm", "vm-restored"])
def test_start_up_path(
    subject: str, cold_start: Evidence, record_start_up: Callable[[Evidence, str], None]
) -> None:
    """The same samples as rows of pytest-benchmark's table; no claim of its own."""
    record_start_up(cold_start, subject)


@claim(
    "perf.no-os-install",
    quote="there is no need to install an operating system in them",
    readings={
        "image-holds-no-system": at_most("container", "system_bytes", 0, "bytes", min_n=1).because(
            "an image is a userland: kernel, modules and boot loader are the host's"
        ),
        "vm-holds-a-system": at_least("vm", "system_bytes", 1, "bytes", min_n=1).because(
            "a machine boots a kernel of its own"
        ),
        "image-takes-fewer-steps": ratio(
            "container", "steps", over="vm", below=0.8, min_n=1
        ).because("the machine's kernel is unpacked and copied on top of what an image takes"),
        "image-built-sooner": ratio(
            "container", "from_packages_s", over="vm", below=0.8, min_n=1
        ).because("a kernel's packages are many times the bytes of a small userland"),
        "duplicate-vm-needs-install": holds(
            "vm-clone", "answers_uninstalled", value=False
        ).expecting(
            "REFUTED",
            why="a linked clone is a copy of what was installed once: it boots as it is, so a "
            "machine needs an installation no more than an image needs to be built each time",
        ),
    },
    pairs=("minimal",),
)
def test_no_os_install(reading: BoundReading, building: Evidence) -> None:
    """Both sides made from packages, steps counted; and a clone started with nothing installed."""
    reading.judge(building)
