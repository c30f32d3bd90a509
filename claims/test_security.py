"""Section "Security"."""

from claims.published import EXPLOITS
from pytest_vmvc import BoundReading, Evidence, at_least, at_most, claim, holds, same


@claim(
    "sec.vm-strong-isolation",
    quote="there is strong isolation in the host kernel",
    pairs=("minimal",),
    readings={
        "host-outlives-guest-crash": holds("vm", "host_survived").because(
            "the guest's kernel and its last act are inside a process of the host"
        ),
        "other-vm-goes-on": holds("vm", "vm_survived").because(
            "two machines have nothing in common but the host"
        ),
        "container-goes-on": holds("vm", "container_survived").because(
            "the host's kernel, on which the container runs, has not panicked"
        ),
        "end-is-reported": holds("vm", "end_reported").because(
            "the hypervisor sees the guest panic, or at least its own end"
        ),
        "end-is-reported-within-10-s": at_most("vm", "report_s", 10, "s", min_n=1).because(
            "reported means at once, in our reading; a hang is what a time-out would end"
        ),
        "container-cannot-pull-the-trigger": holds(
            "container-with-sysrq", "trigger_refused"
        ).because("engines mount /proc/sysrq-trigger read-only by default"),
        "container-cannot-set-the-kernel": holds("container", "setting_refused").because(
            "engines mount /proc/sys read-only by default"
        ),
    },
)
def test_vm_strong_isolation(reading: BoundReading, guest_crash: Evidence) -> None:
    """A guest's kernel is made to panic beside a machine, a container and the host."""
    reading.judge(guest_crash)


@claim(
    "sec.vm-more-secure",
    quote="Hence, they are more secure as compared to Containers",
    readings={
        "fewer-host-files": holds("vm-host-files", "ahead").because(
            "the guest's pseudo-files are those of the guest's kernel; a container's are the host's"
        ),
        "fewer-host-namespaces": holds("vm-host-namespaces", "ahead").because(
            "the guest's kernel has namespaces of its own; engines leave some of the host's shared"
        ),
        "fewer-host-devices": holds("vm-host-devices", "ahead").because(
            "the guest's devices are emulated; a container has the host's null, zero, random..."
        ),
        "fewer-capabilities": holds("vm-capabilities", "ahead").expecting(
            "INCONCLUSIVE",
            why="an emulator has the capabilities of whoever starts it: a user has none, root has "
            "more than a container, libvirt drops them; so nothing is expected of it",
        ),
        "fewer-system-calls": holds("vm-system-calls", "ahead").expecting(
            "REFUTED",
            why="engines filter a container's system calls by default; QEMU filters its own only "
            "where it is asked to, and whoever takes it over has all of them",
        ),
        "every-proxy-agrees": holds("vm-proxies", "proxies_agree").expecting(
            "REFUTED",
            why="one proxy that does not agree is enough: the emulator's unfiltered system calls",
        ),
    },
)
def test_vm_more_secure(reading: BoundReading, attack_surface: Evidence) -> None:
    """A vector: what of the host's kernel is in reach inside, and of the process in between."""
    reading.judge(attack_surface)


@claim(
    "sec.shared-kernel-risk",
    quote="containers have a lot of security risks ... have shared host kernel",
    published=(EXPLOITS,),
    readings={
        "container-shows-host-state": at_least(
            "container", "host_files", 1, "files", min_n=1
        ).because("most of /proc and /sys is not namespaced, and engines mask only some of it"),
        "container-sees-change-on-host": holds("container", "canary_hidden", value=False).because(
            "the kernel has one counter of pseudo-terminals for all its namespaces"
        ),
        "vm-shows-no-host-state": at_most("vm", "host_files", 0, "files", min_n=1).because(
            "the guest reads the pseudo-files of its own kernel"
        ),
        "vm-sees-no-change-on-host": holds("vm", "canary_hidden").because(
            "the guest's kernel keeps counters of its own"
        ),
    },
)
def test_shared_kernel_risk(reading: BoundReading, host_view: Evidence) -> None:
    """A fixed list of pseudo-files inside against the host, and a counter changed on the host."""
    reading.judge(host_view)


@claim(
    "sec.not-namespaced",
    quote="docker resources are shared and not namespaced",
    readings={
        "none-namespaced-from-host": holds("container", "private", value=False).expecting(
            "REFUTED",
            why="taken literally one namespace is enough: engines give a container its own mounts, "
            "processes, network, IPC and host name",
        ),
        "none-namespaced-from-sibling": holds(
            "container-sibling", "private", value=False
        ).expecting("REFUTED", why="and they give them to each container anew"),
        "some-resources-shared": holds("container", "all_private", value=False).because(
            "kernel and clock have no namespace, and engines leave time and user shared by default"
        ),
        "vm-shares-none": holds("vm", "private").because(
            "another kernel has other namespaces, whatever their numbers"
        ),
    },
)
def test_not_namespaced(reading: BoundReading, namespaces: Evidence) -> None:
    """The eight namespaces, the kernel and the clock, against the host and a sibling."""
    reading.judge(namespaces)


NO_EXPLOIT = "; what an exploit of the kernel would give is not tried"


@claim(
    "sec.one-breach-all",
    quote="an attacker can exploit all the containers in a cluster if he/she gets access to even "
    "one container",
    pairs=("minimal",),
    readings={
        "default-gives-the-others": holds("container", "others_contained", value=False).expecting(
            "REFUTED",
            why="namespaces, control groups and dropped capabilities keep root inside from the "
            f"others' files, processes and memory{NO_EXPLOIT}",
        ),
        "hardened-gives-the-others": holds(
            "container-hardened", "others_contained", value=False
        ).expecting("REFUTED", why=f"the same, with no capabilities and no network{NO_EXPLOIT}"),
        "misconfigured-gives-the-others": holds(
            "container-misconfigured", "others_contained", value=False
        ).because("a shared volume and a shared process table are what hands the others over"),
        "default-reaches-the-others-by-network": holds(
            "container", "network_contained", value=False
        ).because(
            "siblings on the default bridge may connect to each other: a way to an exploit of "
            "what listens there, and none by itself, so it does not count as having the other"
        ),
        "vm-gives-the-others": holds("vm", "others_contained", value=False).expecting(
            "REFUTED", why=f"a guest's root is root of its own kernel only{NO_EXPLOIT}"
        ),
    },
)
def test_one_breach_all(reading: BoundReading, breach: Evidence) -> None:
    """Root inside tries a sibling and the host, by probes that are proved at their targets."""
    reading.judge(breach)


@claim(
    "sec.hypervisor-restricts",
    quote="hypervisor is there to restrict the usage of resources in a VM",
    pairs=("minimal",),
    readings={
        "vm-shows-its-memory": holds("vm", "memory_as_granted").because(
            "the guest's memory is what the hypervisor emulates, and no more"
        ),
        "vm-shows-its-cpus": holds("vm", "cpus_as_granted").because(
            "the guest's CPUs are the threads that the hypervisor runs for it"
        ),
        "vm-stops-at-its-memory": holds("vm", "beyond_dies").because(
            "the guest's kernel has nothing else to give"
        ),
        "container-shows-all-memory": same("container", "memory_seen", other="host").because(
            "/proc/meminfo is the host's, and a default container has no limit"
        ),
        "container-shows-all-cpus": same("container", "cpus_seen", other="host").because(
            "a default container may run on every CPU of the host"
        ),
        "container-has-no-memory-limit": holds("container", "memory_limited", value=False).because(
            "engines set no memory limit unless they are asked to"
        ),
        "container-has-no-cpu-limit": holds("container", "cpus_limited", value=False).because(
            "engines set no CPU quota unless they are asked to"
        ),
        "only-a-hypervisor-restricts-memory": holds(
            "container-limited", "beyond_dies", value=False
        ).expecting("REFUTED", why="the kernel's control groups kill what exceeds their limit"),
        "only-a-hypervisor-restricts-processes": holds(
            "container-limited", "forks_held", value=False
        ).expecting("REFUTED", why="the kernel's control groups refuse a fork at their limit"),
        "container-limit-is-memory-asked": holds(
            "container-limited", "memory_as_granted", min_n=6
        ).because("engines hand the number to the kernel, which rounds it down to a page"),
        "container-limit-is-cpus-asked": holds(
            "container-limited", "cpus_as_granted", min_n=6
        ).because("engines turn CPUs into a quota of microseconds"),
        "container-limit-is-processes-asked": holds(
            "container-limited", "processes_as_granted", min_n=6
        ).because("engines hand the number to the kernel"),
        "container-below-its-limit-lives": holds(
            "container-limited", "within_lives", min_n=6
        ).because("a limit is no reservation of less: half of it is the container's to use"),
        "container-above-its-limit-dies": holds(
            "container-limited", "beyond_dies", min_n=6
        ).because("without swap the kernel can only kill"),
    },
)
def test_hypervisor_restricts(reading: BoundReading, limits: Evidence) -> None:
    """More is asked for than was granted: of a machine, a container, and ones with limits."""
    reading.judge(limits)
