"""What there is of Vagrant and libvirt on this host, in which versions, and what is wrong."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import Any

from pytest_vmvc.backends import libvirt, vagrant_boxes
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable, VmvcError

VERSION_TIMEOUT_S = 60.0
INSTALL_HINT = (
    "run `vmvc setup`; where the distribution has no package (Debian 13, Ubuntu 24.04), install "
    "Vagrant as its vendor says and then the plugin vagrant-libvirt"
)


def versions() -> str:
    """Name Vagrant, its plugin, libvirt and QEMU, each with its version."""
    vagrant, plugin = _vagrant_versions()
    return f"Vagrant {vagrant}, vagrant-libvirt {plugin}, {libvirt.versions()}"


def _vagrant_versions() -> tuple[str, str]:
    """Ask Vagrant for its own version and its libvirt plugin's; seconds, as each is a Ruby."""
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

    home = vagrant_boxes.prepare_home()
    command = VagrantCommand(home, home=home, timeout_s=VERSION_TIMEOUT_S)
    plugins = command.plugin_versions()
    return command.version(), plugins.get("vagrant-libvirt", "?")


def vagrant_summary() -> dict[str, Any]:
    """What ``vmvc doctor`` tells of Vagrant and libvirt; never raises for what is missing."""
    summary: dict[str, Any] = {
        "vagrant": None,
        "providers": [],
        "libvirt": None,
        "network": None,
        "kvm_hidden_from_machines": libvirt.kvm_hidden_from_machines(),
        "problem": None,
    }
    if shutil.which("vagrant") is None:
        summary["problem"] = str(Unavailable("vagrant is not installed", hint=INSTALL_HINT))
    else:
        try:
            summary["vagrant"], plugin = _vagrant_versions()
            if vagrant_boxes.plugin_file() is not None:
                summary["providers"] = [f"libvirt (vagrant-libvirt {plugin})"]
        except VmvcError as error:
            summary["problem"] = str(error)
    if trouble := libvirt.problem():
        summary["problem"] = summary["problem"] or str(trouble)
        summary["network"] = trouble.message
    else:
        summary["network"] = "active"
        with suppress(CommandFailed, CommandTimedOut):  # it may end while it is asked
            summary["libvirt"] = libvirt.versions()
    return summary
