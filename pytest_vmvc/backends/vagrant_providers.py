"""What is known of Vagrant's providers, without starting Vagrant."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from pytest_vmvc import process
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable, UsageError
from pytest_vmvc.text import one_line

LIBVIRT = "libvirt"
"""The provider with a backend of its own; its machines are found and ended without Vagrant."""
PLUGIN = "vagrant-libvirt"
"""The gem that it is in."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
VERSION_TIMEOUT_S = 20.0
LONGEST_VERSION = 80
LONGEST_REASON = 300
UNKNOWN = re.compile(r"The provider '([^'\n]+)' could not be found")
THERE = re.compile(r"following providers: ([^\n]+)")
UNUSABLE = re.compile(r"The provider '([^'\n]+)' that was[^:]+?shown below:\s*([^\n]+)")
NO_MACHINES = ("docker", "lxc", "podman")
"""Providers that start containers."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one provider."""

    hypervisor: str
    plugin: str = ""
    """The gem that it is in; empty: it is a part of Vagrant."""
    needs: str = ""
    """Program of the hypervisor without which Vagrant does not begin."""
    version: tuple[str, ...] = ()
    """Command whose first line has the hypervisor's version."""
    boxes: tuple[str, ...] = ()
    """Providers whose boxes it takes as well."""
    is_qemu: bool = False
    """Its machine is a process of QEMU's on this host, with the machine's id in its arguments."""


_QEMU = ("qemu-system-x86_64", "--version")

KNOWN: Mapping[str, Known] = {
    LIBVIRT: Known(hypervisor="QEMU", plugin=PLUGIN, needs="virsh", version=_QEMU, is_qemu=True),
    "virtualbox": Known(
        hypervisor="VirtualBox", needs="VBoxManage", version=("VBoxManage", "--version")
    ),
    "hyperv": Known(hypervisor="Hyper-V"),
    "vmware_desktop": Known(
        hypervisor="VMware",
        plugin="vagrant-vmware-desktop",
        version=("vmware", "-v"),
        boxes=("vmware_workstation", "vmware_fusion"),
    ),
    "parallels": Known(
        hypervisor="Parallels", plugin="vagrant-parallels", version=("prlctl", "--version")
    ),
    "qemu": Known(
        hypervisor="QEMU", plugin="vagrant-qemu", version=_QEMU, boxes=(LIBVIRT,), is_qemu=True
    ),
}
"""By the name that Vagrant has for them. Any other provider is taken as it comes."""


def check_name(name: str) -> None:
    """Raise `UsageError` for what is no provider, or none of virtual machines."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r:.80} is no provider of Vagrant's", hint=f"like {', '.join(KNOWN)}"
        )
    if name in NO_MACHINES:
        raise UsageError(
            f"Vagrant's provider {name} starts containers, not virtual machines",
            hint=f"name one of machines, like {', '.join(KNOWN)}",
        )


def box_formats(name: str) -> tuple[str, ...]:
    """The providers whose boxes it takes; none where that is not known: then any will do."""
    return (name, *KNOWN[name].boxes) if name in KNOWN else ()


def hypervisor(name: str) -> str:
    """What is under a provider, with its version where that is told."""
    known = KNOWN.get(name)
    if known is None:
        return "hypervisor not known"
    if known.version and shutil.which(known.version[0]):
        with suppress(CommandFailed, CommandTimedOut, Unavailable):
            done = process.run(known.version, timeout_s=VERSION_TIMEOUT_S)
            for line in done.stdout.decode(errors="replace").splitlines():
                if found := re.search(r"\d+(\.\w+)+", line):
                    return f"{known.hypervisor} {found[0][:LONGEST_VERSION]}"
    return f"{known.hypervisor}, version not told"


def refused(said: str) -> tuple[str, str] | None:
    """Why Vagrant cannot use a provider, with a remedy; None where its errors say no such thing."""
    if found := UNKNOWN.search(said):
        name = found[1]
        there = THERE.search(said)
        plugin = KNOWN[name].plugin if name in KNOWN else f"vagrant-{name}"
        return (
            f"Vagrant does not know the provider {_line(name)}",
            f"`vagrant plugin install {_line(plugin)}`, or whatever plugin has it"
            + (f"; it knows {_line(there[1])}" if there else ""),
        )
    if found := UNUSABLE.search(said):
        return (
            f"Vagrant cannot use its provider {_line(found[1])}: {_line(found[2])}",
            "install its hypervisor, or name another provider",
        )
    return None


def _line(text: str) -> str:
    return one_line(text, LONGEST_REASON)
