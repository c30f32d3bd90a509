"""The table: rows of their own where the prose does not already say the same."""

from claims.published import CRUN, FIRECRACKER_BOOT, LIGHTVM_BOOT, MIGRATION, PULL, RUNC
from pytest_vmvc import (
    BoundReading,
    Evidence,
    at_least,
    at_most,
    below,
    claim,
    differs,
    distinct,
    holds,
    ratio,
    same,
)

GB = 1e9


@claim(
    "table.isolation-level",
    quote="Hardware-level process isolation / OS level process isolation",
    readings={
        "vm-by-hypervisor": holds("vm", "hypervisor_flag").because(
            "the CPU that a guest sees says of itself that there is a hypervisor; on a host that "
            "is a guest itself the container sees that too, so the next reading belongs to it"
        ),
        "vm-hardware-of-its-own": differs("vm", "hardware", other="host").because(
            "firmware and devices of a machine are the hypervisor's, not the host's"
        ),
        "vm-kernel-of-its-own": differs("vm", "boot_id", other="host").because(
            "each machine boots a kernel of its own"
        ),
        "vm-process-not-in-host-table": holds("vm", "visible_on_host", value=False).because(
            "the guest's processes are data of the guest's kernel"
        ),
        "container-hardware-is-hosts": same("container", "hardware", other="host").because(
            "there is nothing between a container and the host's hardware but the host's kernel"
        ),
        "container-kernel-is-hosts": same("container", "boot_id", other="host").because(
            "a container is a group of processes of the host's kernel"
        ),
        "container-process-in-host-table": holds("container", "visible_on_host").because(
            "the pid namespace of the host contains those of its containers"
        ),
        "container-in-own-namespace": holds("container", "own_pid_namespace").because(
            "engines give each container a pid namespace of its own unless told otherwise"
        ),
    },
)
def test_isolation_level(reading: BoundReading, kernel_facts: Evidence) -> None:
    """Hardware, kernel, process table and namespace, seen from inside and from the host."""
    reading.judge(kernel_facts)


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
    published=(FIRECRACKER_BOOT, LIGHTVM_BOOT, RUNC, CRUN),
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


@claim(
    "table.ready-made",
    quote="Ready-made VMs are difficult to find / Pre-built docker containers are easily available",
    published=(PULL,),
    readings={
        "container-in-seconds": below("container", "ready_s", 60, "s").because(
            "a registry gives some MB to some tens of MB, and the rest is unpacking them"
        ),
        "bare-takes-more-steps": ratio("vm", "steps", over="container", above=1.25)
        .on("minimal")
        .because("kernel and initramfs are two files, an image has one name"),
        "vagrant-takes-more-steps": ratio("vm", "steps", over="container", above=1.25)
        .on("debian")
        .expecting("REFUTED", why="one command each: `docker pull`, `vagrant box add`"),
        "vm-more-bytes": ratio("vm", "fetched_bytes", over="container", above=1.25).because(
            "the same userland, and a kernel with its modules"
        ),
        "vm-later-there": ratio("vm", "present_s", over="container", above=1.25).expecting(
            "REFUTED",
            why="on the loopback more bytes cost little, and a disk image is put down as it is: "
            "a layer is decompressed and unpacked file by file",
        ),
        "vm-later-ready": ratio("vm", "ready_s", over="container", above=1.25)
        .on("minimal")
        .because("its kernel boots for longer than a layer of 1 MB takes to be unpacked"),
        "public-images": holds("public-images", "ready_made", min_n=8)
        .on("minimal")
        .because("systems, services and languages that many want have an official image"),
        "public-images-current": at_most("public-images", "age_days", 90, "days")
        .on("minimal")
        .because("official images are built anew with each release and each security update"),
        "no-public-boxes": holds("public-boxes", "ready_made", value=False)
        .on("minimal")
        .expecting("REFUTED", why="distributions and volunteers publish boxes of most systems"),
        "public-images-wanted-more": ratio(
            "public-images", "pulls", over="public-boxes", above=1.25
        )
        .on("minimal")
        .because("every build and every deployment pulls an image; a box is added by a person"),
    },
)
def test_ready_made(reading: BoundReading, acquisition: Evidence) -> None:
    """Image and machine from servers on the loopback; online only, what the public ones hold."""
    reading.judge(acquisition)


@claim(
    "table.move",
    quote="VMs can move to new host easily / Containers are destroyed and re-created rather than "
    "moving",
    published=(MIGRATION,),
    readings={
        "vm-goes-on": holds("vm", "counter_goes_on", min_n=6).because(
            "live migration carries the memory of a machine over while it runs"
        ),
        "vm-down-below-1-s": below("vm", "downtime_s", 1, "s").because(
            "our reading of “easily”: whoever talks to it takes the gap for a slow answer; the "
            "last dirty pages of a small guest are a fraction of a second"
        ),
        "container-starts-anew": holds(
            "container", "counter_goes_on", value=False, min_n=6
        ).because("what is re-created from an image has none of the memory of its predecessor"),
        "container-cannot-be-saved": holds(
            "container-checkpoint", "counter_goes_on", value=False
        ).expecting(
            "REFUTED",
            why="where engine and kernel support CRIU, a running container is saved and goes on",
        ),
    },
    pairs=("minimal",),
)
def test_move(reading: BoundReading, move: Evidence) -> None:
    """A counter in memory: live-migrated to another QEMU process; destroyed and re-created."""
    reading.judge(move)


@claim(
    "table.creation-time",
    quote="Creating VM takes a relatively longer time / Containers can be created in seconds",
    readings={
        "container-in-seconds": below("container", "create_s", 60, "s").because(
            "creating a container writes a few files and a folder for its layer"
        ),
        "container-within-10-s": at_most("container", "create_s", 10, "s").because(
            "the sharper reading of “seconds”"
        ),
        "bare-vm-longer": ratio("vm-clone", "create_s", over="container", above=1.25)
        .on("minimal")
        .expecting(
            "REFUTED",
            why="a bare machine is created by making the clone of its disk, one small file; what "
            "takes long is to boot it, and that is another claim",
        ),
        "vagrant-vm-longer": ratio("vm", "create_s", over="container", above=1.25)
        .on("debian")
        .because("`vagrant up` starts Ruby, reads its plugins and asks libvirt many times before"),
        "described-container-in-seconds": below("container", "describe_to_ready_s", 60, "s")
        .on("minimal")
        .because("a tar of a few MB is imported, and a process started"),
        "described-vm-longer": ratio("vm", "describe_to_ready_s", over="container", above=1.25)
        .on("minimal")
        .because("an initramfs is packed as quickly as an image, and then the machine boots"),
    },
)
def test_creation_time(reading: BoundReading, creation: Evidence, building: Evidence) -> None:
    """Create without starting; on the minimal pair also from a description to the first answer."""
    reading.judge(building if building.observations else creation)


@claim(
    "table.resource-usage",
    quote="More resource usage / Less resource usage",
    readings={
        "vm-more-cpu": ratio("vm", "cpu_s", over="container", above=1.25).because(
            "the guest's kernel does the work, and its timer, its devices and the exits to the "
            "hypervisor come on top"
        ),
        "vm-more-memory": ratio("vm", "memory_bytes", over="container", above=1.25).because(
            "the guest's kernel, its page cache and the hypervisor are held for this one server"
        ),
        "vm-more-disk": ratio("vm", "disk_bytes", over="container", above=1.25).because(
            "the same userland, and a kernel with its modules"
        ),
        "container-like-bare-cpu": ratio("container", "cpu_s", over="bare", below=1.25).because(
            "processes in namespaces make the same system calls of the same kernel; the filter on "
            "them costs a few percent"
        ),
    },
)
def test_resource_usage(reading: BoundReading, workload: Evidence) -> None:
    """The same requests to the same server in each fresh instance: CPU, memory, disk."""
    reading.judge(workload)
