"""Section "Operating system support"."""

from pytest_vmvc import (
    BoundReading,
    Evidence,
    at_least,
    at_most,
    claim,
    differs,
    distinct,
    holds,
    ratio,
    same,
)

VERY_LOW = 0.1
"""“Very low compared to”, our reading: at most a tenth."""


@claim(
    "os.guest-per-vm",
    quote="each virtual machine has its guest operating system above the host operating system",
    readings={
        "kernel-differs": differs("vm", "kernel_release", other="host").because(
            "the machine boots a kernel of its own from its own artefact, whatever the host runs; "
            "where that is the very same package, the release cannot tell, and the boot id can"
        ),
        "boot-id-differs": differs("vm", "boot_id", other="host").because(
            "a boot id is drawn by each kernel when it boots"
        ),
        "boot-time-differs": differs("vm", "boot_time", other="host").because(
            "the machine's kernel boots after the host's"
        ),
        "one-kernel-each": distinct("vm", "boot_id", min_n=2).because(
            "two machines are two boots, so two ids"
        ),
    },
)
def test_guest_per_vm(reading: BoundReading, kernel_facts: Evidence) -> None:
    """Two machines alive together; each asked for kernel release, boot id and boot time."""
    reading.judge(kernel_facts)


@claim(
    "os.vm-heavy",
    quote="which makes virtual machines heavy",
    readings={
        "os-on-disk": at_least("vm", "os_disk_share", 20, "%", min_n=1).because(
            "heavy is our reading: at least 1.25 times as heavy as without a system of its own, "
            "which is 20 %; a kernel with its modules is tens of MB, a userland tens to hundreds"
        ),
        "memory-over-container": ratio(
            "vm", "idle_memory_bytes", over="container", above=1.25
        ).because(
            "guest kernel, its caches and the hypervisor itself are tens of MB where the same "
            "payload alone needs one or two"
        ),
    },
)
def test_vm_heavy(reading: BoundReading, guest_cost: Evidence) -> None:
    """What the guest system costs: its share of the files, and the host's memory, both idle."""
    reading.judge(guest_cost)


@claim(
    "os.shared-kernel",
    quote="Docker containers share the host operating system",
    readings={
        "kernel-same": same("container", "kernel_release", other="host").because(
            "a container is a group of processes of the host's kernel"
        ),
        "boot-id-same": same("container", "boot_id", other="host").because(
            "the host's kernel booted once"
        ),
        "any-userland-kernel-same": same("userlands", "boot_id", other="host", min_n=3).because(
            "an image holds a userland and no kernel"
        ),
        "process-in-host-table": holds("container", "visible_on_host").because(
            "the pid namespace of the host contains those of its containers"
        ),
        "under-another-pid": holds("container", "pid_differs").because(
            "the container's own pid namespace numbers from 1"
        ),
        "vm-process-not-in-host-table": holds("vm", "visible_on_host", value=False).because(
            "the guest's processes are data of the guest's kernel; the host sees the hypervisor"
        ),
    },
)
def test_shared_kernel(reading: BoundReading, kernel_facts: Evidence) -> None:
    """Containers of three userlands: kernel, boot id, and their processes seen from the host."""
    reading.judge(kernel_facts)


@claim(
    "os.few-seconds",
    quote="helps them to boot up in just a few seconds",
    readings={
        "container-within-10-s": at_most("container", "start_s", 10, "s").because(
            "a container start is a few system calls and an exec"
        ),
        "own-system-slows-vm": at_least("vm", "os_share", 20, "%").because(
            "“helps”, our reading: without a system of its own to boot the machine would start in "
            "0.8 of the time or less; firmware, kernel and init are what a start mostly consists of"
        ),
    },
)
def test_few_seconds(reading: BoundReading, cold_start: Evidence) -> None:
    """From the request to the first answer; of a machine's, what its own system takes."""
    reading.judge(cold_start)


@claim(
    "os.overhead-low",
    quote="the overhead to manage the container system is very low compared to that of virtual "
    "machines",
    pairs=("minimal",),
    readings={
        "memory-a-tenth": ratio("container", "manager_bytes", over="vm", below=VERY_LOW).expecting(
            "REFUTED",
            why="a shim is some MB and an eighth of the engine some more; a hypervisor outside its "
            "guest's memory is some tens of MB: more, but not ten times",
        ),
        "memory-lower": ratio("container", "manager_bytes", over="vm", below=0.8).expecting(
            "INCONCLUSIVE",
            why="the engine is one for all: which side is lower depends on how many it manages",
        ),
        "cpu-below-a-hundredth": at_most("container", "manager_cpu_s", 0.2, "s").because(
            "“very low”, our reading: 1 % of a CPU; idle daemons wake for timers only"
        ),
        "cpu-a-tenth": ratio("container", "manager_cpu_s", over="vm", below=VERY_LOW).expecting(
            "INCONCLUSIVE",
            why="an idle engine and an idle hypervisor both wake for timers only; how often is a "
            "matter of versions and of the guest's kernel",
        ),
        "run-a-command": ratio("container", "exec_s", over="vm", below=VERY_LOW).expecting(
            "REFUTED",
            why="the engine starts a runtime that enters the namespaces; an agent inside forks",
        ),
        "inspect": ratio("container", "inspect_s", over="vm", below=VERY_LOW).expecting(
            "REFUTED",
            why="both are one question by a local socket to a process that has the answer",
        ),
        "stop": ratio("container", "stop_s", over="vm", below=VERY_LOW).expecting(
            "REFUTED",
            why="the engine hears of the end from its shim and undoes network and mounts; the end "
            "of a hypervisor is the end of one process",
        ),
    },
)
def test_overhead_low(reading: BoundReading, fleet: Evidence) -> None:
    """What manages each of eight idle instances; “very low”, our reading: a tenth or less."""
    reading.judge(fleet)


@claim(
    "os.many-apps-one-kernel",
    quote="run multiple applications over a single operating system kernel",
    readings={
        "all-answer-at-once": holds("container", "answered", min_n=3).because(
            "containers are groups of processes, which one kernel runs side by side"
        ),
        "one-kernel": same("container", "boot_id", other="host", min_n=3).because(
            "all of them are processes of the host's kernel"
        ),
        "of-several-userlands": at_least("container", "userlands", 2, "count", min_n=1).because(
            "an image brings its own userland: busybox here, Debian there"
        ),
    },
    pairs=("minimal",),
)
def test_many_apps_one_kernel(reading: BoundReading, many_apps: Evidence) -> None:
    """Web server, key-value store and interpreter at once; each answers requests of the host."""
    reading.judge(many_apps)


@claim(
    "os.flavours-need-vm",
    quote="applications or servers that need to run on different operating system flavors, "
    "then virtual machines are required",
    pairs=("minimal",),
    readings={
        "container-kernel-is-hosts": same("container", "kernel_release", other="host").because(
            "an image holds no kernel that could be booted"
        ),
        "any-image-same-kernel": same("userlands", "kernel_release", other="host", min_n=3).because(
            "the same, whatever the image"
        ),
        "vm-other-kernel": differs("vm", "kernel_release", other="host").because(
            "the machine boots the kernel that it is given, here its distribution's newest for "
            "virtual machines; a host that runs the very same package is the exception"
        ),
        "vm-other-architecture": differs("vm-foreign", "architecture", other="host").because(
            "the hypervisor can emulate a CPU that the host does not have"
        ),
        "container-no-other-module": holds("container", "module_refused").because(
            "loading a module takes a capability that a container is not given by default"
        ),
        "container-no-other-architecture": holds(
            "container-without-emulator", "program_refused"
        ).because(
            "the one kernel runs programs for its own CPU only, unless it hands them to an emulator"
        ),
    },
)
def test_flavours_need_vm(reading: BoundReading, other_kernel: Evidence) -> None:
    """Both are asked for another kernel, a kernel module and a program for another CPU."""
    reading.judge(other_kernel)
