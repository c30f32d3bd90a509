"""Look at the host: what is installed, which daemons answer, what is built. Changes nothing."""

from __future__ import annotations

import getpass
import grp
import os
from contextlib import suppress
from pathlib import Path

from pytest_vmvc import host, process
from pytest_vmvc.errors import CommandFailed, InfrastructureError, Unavailable, VmvcError
from pytest_vmvc.setup import packages
from pytest_vmvc.setup.plan import Observed, Pair, State
from pytest_vmvc.setup.requirements import REQUIREMENTS

DOCKER_SOCKET = Path("/var/run/docker.sock")
LIBVIRT_SOCKET = Path("/var/run/libvirt/libvirt-sock")
LIBVIRT = ("virsh", "--connect", "qemu:///system")
QUICK_S = 15.0


def observe() -> Observed:
    """The host as it is now; a few hundred milliseconds."""
    engine, engine_reason = engine_state()
    libvirt = libvirt_state()
    present = packages.present(REQUIREMENTS)
    apt = packages.is_debian_like()
    kvm = Path("/dev/kvm")
    return Observed(
        os_name=host.os_name(),
        apt=apt,
        root=os.geteuid() == 0,
        user=getpass.getuser(),
        systemd=has_systemd(),
        present=present,
        unknown_to_apt=packages.without_candidate(REQUIREMENTS, present) if apt else frozenset(),
        engine=engine,
        engine_reason=engine_reason,
        engine_host=_other_engine(),
        libvirt=libvirt,
        network_active=libvirt == "answers" and network_active(),
        kvm_forbidden=kvm.exists() and not os.access(kvm, os.R_OK | os.W_OK),
        kvm_hidden=_kvm_hidden(),
        groups=_groups_of_process(),
        listed_groups=_groups_of_user(getpass.getuser()),
        built=built_pairs(),
        tier=known_tier(),
    )


def has_systemd() -> bool:
    """Whether systemd is the init of this host."""
    return Path("/run/systemd/system").is_dir()


def engine_state() -> tuple[State, str]:
    """Whether a container engine's API answers and, if not, why."""
    from pytest_vmvc.backends import docker

    try:
        docker.engine_summary()
    except VmvcError as error:
        if DOCKER_SOCKET.exists() and not os.access(DOCKER_SOCKET, os.R_OK | os.W_OK):
            return "forbidden", error.message
        return ("stopped" if packages.program("dockerd") else "absent"), error.message
    return "answers", ""


def libvirt_state() -> State:
    """Whether libvirt's system daemon answers this user."""
    try:
        if process.run([*LIBVIRT, "uri"], timeout_s=QUICK_S, check=False).exit_status == 0:
            return "answers"
    except (Unavailable, InfrastructureError):
        return "stopped" if packages.program("libvirtd") else "absent"
    if LIBVIRT_SOCKET.exists() and os.geteuid() != 0:
        return "forbidden"
    return "stopped"


def network_active(name: str = "default") -> bool:
    """Whether libvirt's network is up."""
    with suppress(VmvcError):
        done = process.run([*LIBVIRT, "net-list", "--name"], timeout_s=QUICK_S)
        return name in done.stdout.decode().split()
    return False


def network_defined(name: str = "default") -> bool:
    """Whether libvirt knows the network at all."""
    with suppress(CommandFailed):
        done = process.run([*LIBVIRT, "net-list", "--all", "--name"], timeout_s=QUICK_S)
        return name in done.stdout.decode().split()
    return False


def built_pairs() -> frozenset[Pair]:
    """Pairs whose artefacts are in the cache."""
    from pytest_vmvc.subjects import debian, klibc, minimal

    found: set[Pair] = set()
    if minimal.load() is not None and klibc.load() is not None:
        found.add("minimal")
    if debian.load() is not None:
        found.add("debian")
    return frozenset(found)


def known_tier() -> str:
    """The accelerator tier if it was found since the host booted, else empty."""
    from pytest_vmvc.backends import accelerator

    found = accelerator.cached()
    return found.tier if found else ""


def _kvm_hidden() -> bool:
    from pytest_vmvc.backends import libvirt

    return libvirt.kvm_hidden_from_machines()


def _other_engine() -> str:
    name = os.environ.get("DOCKER_HOST", "")
    own = {f"unix://{DOCKER_SOCKET}", "unix:///run/docker.sock"}
    return "" if name in own else name


def _groups_of_process() -> frozenset[str]:
    names = set()
    for number in {*os.getgroups(), os.getegid()}:
        with suppress(KeyError):
            names.add(grp.getgrgid(number).gr_name)
    return frozenset(names)


def _groups_of_user(user: str) -> frozenset[str]:
    return frozenset(group.gr_name for group in grp.getgrall() if user in group.gr_mem)
