"""Which accelerator machines can really have here: found by booting a guest, not by a device file.

There are hosts where ``/dev/kvm`` opens, creates a machine, and every guest then hangs.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider, qemu_version, sha256
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, Unavailable
from pytest_vmvc.model import Tier
from pytest_vmvc.paths import cache_dir
from pytest_vmvc.resources import RunScope, boot_id

DEVICE = Path("/dev/kvm")
CPUINFO = Path("/proc/cpuinfo")
DEADLINE_S = 20.0
"""Five to ten times what the same boot takes when it is wholly emulated: KVM that works is faster
by far, and KVM that does not costs this once per boot of the host."""


class Accelerator(msgspec.Struct, frozen=True, kw_only=True):
    """The tier with the reason, what would give a better one, and the figures it rests on."""

    tier: Tier
    reason: str
    hint: str = ""
    figures: dict[str, float] = {}
    """Seconds: ``answer_s`` of the guest under KVM, or the ``deadline_s`` that it missed."""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest boot has shown, and what it stays true for."""

    boot_id: str
    qemu: str
    kernel_sha256: str
    accelerator: Accelerator


def detect(kernel: Path, initrd: Path, *, deadline_s: float = DEADLINE_S) -> Accelerator:
    """Find the tier; boots a guest under KVM unless that was done since the host booted.

    Raises `Unavailable` where there is no QEMU and `TeardownFailed`.
    """
    without = without_boot()
    if without is not None:
        return without
    known, version, digest = _read(), qemu_version(), sha256(kernel)
    if known and (known.qemu, known.kernel_sha256) == (version, digest):
        return known.accelerator
    accelerator = _boot(kernel, initrd, deadline_s=deadline_s)
    _write(_Found(boot_id=boot_id(), qemu=version, kernel_sha256=digest, accelerator=accelerator))
    return accelerator


def cached() -> Accelerator | None:
    """The tier as far as it is known without a guest; None where only a guest can tell."""
    without = without_boot()
    if without is not None:
        return without
    known = _read()
    with suppress(Unavailable):
        if known and known.qemu == qemu_version():
            return known.accelerator
    return None


def without_boot(device: Path = DEVICE) -> Accelerator | None:
    """The tier where the device cannot even be opened."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return Accelerator(
                tier="tcg",
                reason=f"{device} may not be opened",
                hint="join the group kvm (`usermod -aG kvm $USER`) and log in again",
            )
        return Accelerator(
            tier="tcg",
            reason=f"{device} cannot be opened: {error.strerror}",
            hint="a CPU with virtualization, switched on and passed through, would give KVM",
        )
    return None


def is_nested(cpuinfo: str) -> bool:
    """Whether the host is itself a guest, by the CPU flag ``hypervisor``."""
    flags = (line for line in cpuinfo.splitlines() if line.startswith("flags"))
    return "hypervisor" in next(flags, "").split()


def _boot(kernel: Path, initrd: Path, *, deadline_s: float) -> Accelerator:
    tier: Tier = "kvm-nested" if is_nested(CPUINFO.read_text()) else "kvm-hw"
    spec = MachineSpec(kernel=kernel, initrd=initrd, accelerator=tier)
    try:
        with (
            RunScope(watched=True) as scope,
            QemuProvider(spec, scope).launch(deadline_s=deadline_s) as guest,
        ):
            answer_s = guest.marks["answer"]
    except LaunchTimedOut:
        return Accelerator(
            tier="kvm-unusable",
            reason=f"{DEVICE} opens, and a guest did not answer within {deadline_s:g} s",
            hint="machines are emulated; a host with working virtualization would give KVM",
            figures={"deadline_s": deadline_s},
        )
    except LaunchFailed as error:
        return Accelerator(
            tier="kvm-unusable",
            reason=f"{DEVICE} opens, and a guest does not start: {error.hint or error.message}",
            hint="machines are emulated; a host with working virtualization would give KVM",
        )
    return Accelerator(
        tier=tier,
        reason=f"a guest under KVM answered after {answer_s:.2f} s"
        + (", on a host that is a guest itself" if tier == "kvm-nested" else ""),
        figures={"answer_s": answer_s},
    )


def _file() -> Path:
    return cache_dir() / "accelerator.json"


def _read() -> _Found | None:
    """What was found since the host booted."""
    with suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode(_file().read_bytes(), type=_Found)
        return found if found.boot_id == boot_id() else None
    return None


def _write(found: _Found) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(msgspec.json.encode(found))
    part.replace(path)
