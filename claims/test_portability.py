"""Section "Portability"."""

from pytest_vmvc import (
    BoundReading,
    Evidence,
    at_least,
    at_most,
    below,
    claim,
    differs,
    holds,
    ratio,
    slope,
)

MINUTE_PER_GB = 60 / 1e9
"""In seconds for each byte."""


@claim(
    "port.containers-easy",
    quote="Docker containers are easily portable because they do not have separate operating "
    "systems",
    readings={
        "second-engine-runs-it": holds("container", "runs_unchanged").because(
            "an image is files and a digest, and every engine takes the same archive"
        ),
        "podman-runs-it": holds("container-podman", "runs_unchanged").because(
            "another implementation of the same image format"
        ),
        "another-kernel-runs-it": holds("container-guest", "runs_unchanged")
        .on("minimal")
        .because("it has no kernel of its own, and Linux keeps its system calls stable"),
        "under-that-kernel": differs("container-guest", "kernel_release", other="host")
        .on("minimal")
        .because("the guest boots the distribution's kernel, whatever the host runs"),
        "few-steps": at_most("container", "operator_steps", 4, "commands", min_n=1).because(
            "our reading of “easily”: save, copy, load, run"
        ),
        "names-arrive": holds("container", "names_kept", min_n=8).because("a tar takes any name"),
        "content-arrives": holds("container", "content_kept", min_n=8).because(
            "layers are known by their digest"
        ),
        "modes-arrive": holds("container", "modes_kept", min_n=8).because(
            "a tar has all twelve bits"
        ),
        "links-arrive": holds("container", "links_kept", min_n=8).because("a tar has both kinds"),
        "times-arrive": holds("container", "times_kept", min_n=8).because(
            "a tar has times to the second"
        ),
        "times-before-1970-arrive": holds("container", "early_times_kept").expecting(
            "REFUTED",
            why="engines unpack layers with a library that turns any time before 1970 into 1970",
        ),
        "content-arrives-in-podman": holds("container-podman", "content_kept", min_n=8).because(
            "it unpacks the same layers"
        ),
    },
)
def test_containers_easy(reading: BoundReading, porting: Evidence, fidelity: Evidence) -> None:
    """Saved; loaded by a second engine, Podman, and runc in a guest. Random trees go along."""
    reading.judge(fidelity if reading.reading.question.metric.endswith("_kept") else porting)


@claim(
    "port.immediate-start",
    quote="ported to a different OS, and it can start immediately",
    readings={
        "not-faster-than-at-home": at_least("container", "start_ratio", 0.5, "ratio").because(
            "the same steps of the same technology on the same host"
        ),
        "not-slower-than-at-home": at_most("container", "start_ratio", 2, "ratio")
        .on("minimal")
        .because("nothing is left for the first start: loading has unpacked the layers"),
        "large-not-slower-than-at-home": at_most("container", "start_ratio", 2, "ratio")
        .on("debian")
        .expecting(
            "INCONCLUSIVE",
            why="the engine makes a container durable on disk, which waits until the hundreds of "
            "MB that were just unpacked are written back: how long depends on the disk",
        ),
        "within-10-s": at_most("container", "first_start_s", 10, "s").because(
            "a container start is a few system calls and an exec, wherever"
        ),
        "in-seconds": below("container", "first_start_s", 60, "s").because(
            "the wide reading of “immediately”"
        ),
    },
)
def test_immediate_start(reading: BoundReading, porting: Evidence) -> None:
    """First start behind a load, over a start at the origin in the same block; and in seconds."""
    reading.judge(porting)


@claim(
    "port.vm-difficult",
    quote="porting a virtual machine is difficult as compared to containers",
    contradicts=("table.move",),
    readings={
        "bare-takes-more-steps": ratio(
            "vm", "operator_steps", over="container", above=1.25, min_n=1
        )
        .on("minimal")
        .expecting(
            "REFUTED", why="pack, copy, unpack, start: as many commands as save, copy, load, run"
        ),
        "vagrant-takes-more-steps": ratio(
            "vm", "operator_steps", over="container", above=1.25, min_n=1
        )
        .on("debian")
        .because("a box is converted, packed and added, and a project is made before its start"),
        "bare-needs-more-programs": ratio(
            "vm", "host_prerequisites", over="container", above=1.25, min_n=1
        )
        .on("minimal")
        .expecting(
            "REFUTED",
            why="a hypervisor is one program; an engine is a daemon, a supervisor, a shim, a "
            "runtime and a firewall",
        ),
        "vagrant-needs-more-programs": ratio(
            "vm", "host_prerequisites", over="container", above=1.25, min_n=1
        )
        .on("debian")
        .because("Vagrant, its plugin, libvirt's daemons, a hypervisor, DHCP and ssh"),
        "takes-longer": ratio("vm", "port_s", over="container", above=1.25).because(
            "the machine boots at its destination"
        ),
        "vm-runs-unchanged": holds("vm", "runs_unchanged").because(
            "what arrives is what left, and it sees the same virtual hardware"
        ),
        "vm-content-arrives": holds("vm", "content_kept", min_n=8)
        .on("minimal")
        .because("a disk image is copied as a whole"),
        "vm-times-before-1970-arrive": holds("vm", "early_times_kept")
        .on("minimal")
        .because("nobody unpacks the files of a disk image on its way"),
    },
)
def test_vm_difficult(reading: BoundReading, porting: Evidence, fidelity: Evidence) -> None:
    """The same journey of both: package, carry, import, start; commands and programs counted."""
    reading.judge(fidelity if reading.reading.question.metric.endswith("_kept") else porting)


@claim(
    "port.vm-slow-because-size",
    quote="it also takes a lot of time to port a virtual machine because of its size",
    readings={
        "vm-larger": ratio("vm", "carried_bytes", over="container", above=1.25, min_n=1)
        .on("minimal")
        .because("the same userland, and a kernel with its modules"),
        "vm-slower": ratio("vm", "port_s", over="container", above=1.25).because(
            "it boots at its destination"
        ),
        "bare-transfer-slower": ratio("vm", "transfer_s", over="container", above=1.25)
        .on("minimal")
        .expecting(
            "REFUTED",
            why="a few MB are copied in no time, while an engine unpacks, digests and registers",
        ),
        "vagrant-transfer-slower": ratio("vm", "transfer_s", over="container", above=1.25)
        .on("debian")
        .because("hundreds of MB are converted, compressed, unpacked and copied once more"),
        "bytes-cost-time": slope("vm-padded", "transfer_s", above=0, unit="s/byte")
        .on("minimal")
        .because("every byte is packed, copied and unpacked"),
        "a-minute-for-each-gb": slope("vm-padded", "transfer_s", above=MINUTE_PER_GB, unit="s/byte")
        .on("minimal")
        .expecting(
            "REFUTED", why="three copies at the speed of any disk of the last decade take less"
        ),
        "size-explains-most": below("vm", "unexplained_share", 0.5, "ratio")
        .on("minimal")
        .expecting(
            "REFUTED",
            why="a bare machine is carried in a fraction of the time that its kernel boots in",
        ),
    },
)
def test_vm_slow_because_size(reading: BoundReading, porting: Evidence) -> None:
    """Both journeys; and the same machine with 0, 64, 256, 1024 MB of padding carried along."""
    reading.judge(porting)


@claim(
    "port.dev-many-platforms",
    quote="applications must be developed and tested in different platforms, Docker containers are "
    "the ideal choice",
    readings={
        "suite-passes-in-containers": holds("container", "passed", min_n=6).because(
            "a userland's programs need nothing but the kernel's system calls"
        ),
        "suite-passes-in-machines": holds("vm", "passed", min_n=6).because(
            "the same userlands behind another kernel of the same family"
        ),
        "vm-slower": ratio("vm", "suite_s", over="container", above=1.25).because(
            "each platform's machine boots before the suite can begin"
        ),
        "vm-more-memory": ratio("vm", "memory_bytes", over="container", above=1.25).because(
            "each platform's machine holds a kernel and a hypervisor of its own"
        ),
        "vm-more-bytes": ratio("vm", "kept_bytes", over="container", above=1.25).because(
            "each platform's machine has a kernel on disk beside the userland"
        ),
        "containers-cover-another-kernel": differs(
            "container", "kernel_release", other="host", min_n=6
        ).expecting(
            "REFUTED",
            why="where a platform is also a kernel, no container has it: an image holds none",
        ),
        "machines-cover-another-kernel": differs(
            "vm", "kernel_release", other="host", min_n=6
        ).because("a machine boots the kernel that its artefact brings, whatever the host runs"),
        "one-kernel-for-all-containers": at_most(
            "container", "kernels", 1, "count", min_n=1
        ).because("what the containers cannot cover: they all ran on the one kernel of the host"),
    },
    pairs=("minimal",),
)
def test_dev_many_platforms(reading: BoundReading, platforms: Evidence) -> None:
    """One small suite on three userlands, each a container and a machine: time, memory, bytes."""
    reading.judge(platforms)
