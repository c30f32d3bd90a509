"""What there is of Vagrant and libvirt on this host, in which versions, and what is wrong."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import Any

from pytest_vmvc.backends import libvirt, vagrant_boxes, vagrant_providers
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable, VmvcError

VERSION_TIMEOUT_S = 60.0
INSTALL_HINT = (
    "run `vmvc setup`; where the distribution has no package (Debian 13, Ubuntu 24.04), install "
    "Vagrant as its vendor says and then the plugin vagrant-libvirt"
)


def versions() -> str:
    """Name Vagrant, its plugin, libvirt and QEMU, each with its version."""
    vagrant, plugin = _vagrant_versions(vagrant_providers.PLUGIN)
    return f"Vagrant {vagrant}, vagrant-libvirt {plugin}, {libvirt.versions()}"


def provider_versions(provider: str) -> str:
    """Name Vagrant, the provider with its plugin, and the hypervisor, each with its version."""
    known = vagrant_providers.KNOWN.get(provider)
    vagrant, plugin = _vagrant_versions(known.plugin if known else "")
    by = f" ({known.plugin} {plugin})" if known and known.plugin else ""
    return f"Vagrant {vagrant}, {provider}{by}, {vagrant_providers.hypervisor(provider)}"


def _vagrant_versions(plugin: str) -> tuple[str, str]:
    """Ask Vagrant for its own version and a plugin's; seconds, as each is a Ruby."""
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

    home = vagrant_boxes.prepare_home(any_plugin=plugin != vagrant_providers.PLUGIN)
    command = VagrantCommand(home, home=home, timeout_s=VERSION_TIMEOUT_S)
    plugins = command.plugin_versions()
    return command.version(), plugins.get(plugin, "?")


def vagrant_summary() -> dict[str, Any]:
    """What ``vmvc doctor`` tells of Vagrant and libvirt; never raises for what is missing."""
    summary: dict[str, Any] = {
        "vagrant": None,
        "providers": [],
        "others": _others(),
        "libvirt": None,
        "network": None,
        "kvm_hidden_from_machines": libvirt.kvm_hidden_from_machines(),
        "problem": None,
    }
    if shutil.which("vagrant") is None:
        summary["problem"] = str(Unavailable("vagrant is not installed", hint=INSTALL_HINT))
    else:
        try:
            summary["vagrant"], plugin = _vagrant_versions(vagrant_providers.PLUGIN)
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


def _others() -> list[str]:
    """Known providers that seem to be usable, beside libvirt; no Ruby is started."""
    return [
        f"{name} ({vagrant_providers.hypervisor(name)})"
        for name, known in vagrant_providers.KNOWN.items()
        if name != vagrant_providers.LIBVIRT
        and (known.plugin or known.needs)
        and (not known.plugin or vagrant_boxes.plugin_file(known.plugin))
        and (not known.needs or shutil.which(known.needs))
    ]
