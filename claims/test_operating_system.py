"""Section "Operating system support"."""

from pytest_vmvc import BoundReading, Evidence, claim, differs, distinct, holds, same


@claim(
    "os.guest-per-vm",
    quote="each virtual machine has its guest operating system above the host operating system",
    readings={
        "kernel-differs": differs("vm", "kernel_release", other="host").because(
            "the machine boots a kernel of its own from its own artefact, whatever the host runs"
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
