"""Figures that others have published, each looked up at its source; never mixed with ours."""

from pytest_vmvc.model import Published

FIRECRACKER_BOOT = Published(
    name="Firecracker",
    finding="at most 125 ms from the API call to the guest's /sbin/init, serial console off, "
    "minimal kernel and root file system, on bare metal",
    source="firecracker, SPECIFICATION.md",
    metric="start_s",
    value=0.125,
)

FIRECRACKER_MEMORY = Published(
    name="Firecracker",
    finding="at most 5 MiB of memory overhead of the monitor's threads, for a machine of 1 CPU "
    "and 128 MiB",
    source="firecracker, SPECIFICATION.md",
)

LIGHTVM_BOOT = Published(
    name="LightVM",
    finding="a machine boots in 2.3 ms, fork and exec take 1 ms",
    source="Manco et al., My VM is Lighter (and Safer) than your Container, SOSP 2017, abstract",
    metric="start_s",
    value=0.0023,
)

RUNC = Published(
    name="runc",
    finding="create, start and delete of one container with runc 1.1.7 take 224.6 ms, mean",
    source="youki, README.md",
    metric="start_s",
    value=0.2246,
)

CRUN = Published(
    name="crun",
    finding="create, start and delete of one container with crun 1.15 take 47.3 ms, mean",
    source="youki, README.md",
    metric="start_s",
    value=0.0473,
)

PULL = Published(
    name="Pull",
    finding="pulling packages accounts for 76 % of container start time, and 6.4 % of that data "
    "is read",
    source="Harter et al., Slacker, FAST 2016, abstract",
)

MIGRATION = Published(
    name="Live migration",
    finding="service downtimes as low as 60 ms on a commodity cluster",
    source="Clark et al., Live Migration of Virtual Machines, NSDI 2005, abstract",
    metric="downtime_s",
    value=0.06,
)

EXPLOITS = Published(
    name="Exploits",
    finding="50 of 88 typical exploits (56.82 %) launch attacks from inside a container of the "
    "default configuration",
    source="Lin et al., A Measurement Study on Linux Container Security, ACSAC 2018, abstract",
)
