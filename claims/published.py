"""Figures that others have published, each looked up at its source; never mixed with ours."""

FIRECRACKER_BOOT = (
    "Firecracker: at most 125 ms from the API call to the guest's /sbin/init, serial console "
    "off, minimal kernel and root file system, on bare metal (firecracker, SPECIFICATION.md)"
)

FIRECRACKER_MEMORY = (
    "Firecracker: at most 5 MiB of memory overhead of the monitor's threads, for a machine of "
    "1 CPU and 128 MiB (firecracker, SPECIFICATION.md)"
)

LIGHTVM_BOOT = (
    "LightVM: a machine boots in 2.3 ms, fork and exec take 1 ms (Manco et al., My VM is "
    "Lighter (and Safer) than your Container, SOSP 2017, abstract)"
)

RUNTIMES = (
    "create, start and delete of one container: runc 1.1.7 224.6 ms, crun 1.15 47.3 ms, mean "
    "(youki, README.md)"
)

PULL = (
    "pulling packages accounts for 76 % of container start time, and 6.4 % of that data is "
    "read (Harter et al., Slacker, FAST 2016, abstract)"
)

MIGRATION = (
    "live migration on a commodity cluster: service downtimes as low as 60 ms (Clark et al., "
    "Live Migration of Virtual Machines, NSDI 2005, abstract)"
)

EXPLOITS = (
    "50 of 88 typical exploits (56.82 %) launch attacks from inside a container of the "
    "default configuration (Lin et al., A Measurement Study on Linux Container Security, "
    "ACSAC 2018, abstract)"
)
