"""What a guest operating system costs by itself: bytes on disk, and memory of the host."""

from __future__ import annotations

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import Metric, Scalar

SYSTEM = (
    "/boot",
    "/lib/modules",
    "/lib/systemd",
    "/usr/lib/*/systemd",
    "/lib/udev",
    "/init",
    "/lib/vmvc-agent",
)
"""What only boots and runs the guest's own system: kernel, initramfs, modules, init."""
WEIGH = f"""weigh() {{
    find "$@" -xdev -type f -exec stat -c %s {{}} + 2>/dev/null |
        awk '{{ bytes += $1 }} END {{ printf "%.0f\\n", bytes }}'
}}
weigh {" ".join(SYSTEM)}
weigh /
"""
WEIGH_TIMEOUT_S = 60.0


class GuestCost:
    """Rides in fresh starts: the same payload idles in both, and one of them has a guest system.

    Files are weighed in the first start only: they are the same in each.
    """

    name = "guest_cost"
    metrics = (
        Metric(
            name="idle_memory_bytes",
            label="memory of the host, idle",
            unit="bytes",
            definition="just after the first command; of what, each backend's facts say",
            emulation="inflates",
        ),
        Metric(
            name="os_bytes",
            label="size of its own system",
            unit="bytes",
            definition="kernel, initramfs, modules and init: the content of their files",
        ),
        Metric(
            name="os_disk_share",
            label="its own system's share of what is on disk",
            unit="%",
            definition="kernel, initramfs, modules and init over all files that it has",
        ),
    )

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Scalar]] = {}

    def ride(self, environment: Environment, subject: str) -> dict[str, Scalar]:
        """Weigh memory first: looking at the files fills the guest's caches."""
        memory_bytes = environment.usage().memory_bytes
        if subject not in self._files:
            is_machine = environment.facts.kind == "vm"
            self._files[subject] = _weigh(environment) if is_machine else {}
        return {"idle_memory_bytes": memory_bytes, **self._files[subject]}


def _weigh(environment: Environment) -> dict[str, Scalar]:
    done = environment.run(["sh", "-c", WEIGH], timeout_s=WEIGH_TIMEOUT_S)
    # A kernel that the hypervisor itself loads is not among the guest's files.
    beside = int(environment.facts.extra.get("kernel_bytes") or 0)
    try:
        own, files = (beside + int(line) for line in done.stdout.split())
    except ValueError:
        raise InfrastructureError(
            f"the files of {environment.name} could not be weighed",
            hint=done.stderr.decode(errors="replace").strip(),
        ) from None
    return {"os_bytes": own, "os_disk_share": 100 * own / files}
