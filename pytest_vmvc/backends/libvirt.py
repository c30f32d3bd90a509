"""The libvirt daemon under Vagrant: what runs, what is left, what is missing; by ``virsh``."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from pytest_vmvc import process
from pytest_vmvc.errors import (
    BuildFailed,
    CommandFailed,
    CommandTimedOut,
    TeardownFailed,
    Unavailable,
)
from pytest_vmvc.model import Completed
from pytest_vmvc.resources import NAME, Resource
from pytest_vmvc.text import last_line

URI = "qemu:///system"
NETWORK = "default"
POOL = "default"
QUERY_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 5.0
WARM_TIMEOUT_S = 300.0
UPLOAD_TIMEOUT_S = 600.0
QEMU_USERS = ("libvirt-qemu", "qemu")
"""Account that libvirt runs machines under: Debian's name, and everybody else's."""

KVM = Path("/dev/kvm")
LOGS = Path("/var/log/libvirt/qemu")
"""Where libvirt leaves a log of each domain for ever."""


def virsh(*words: str | Path, timeout_s: float | None = None, check: bool = True) -> Completed:
    """Ask the system's libvirt daemon, for `QUERY_TIMEOUT_S`; errors as of `process.run`."""
    return process.run(
        ["virsh", "-q", "-c", URI, *words],
        timeout_s=QUERY_TIMEOUT_S if timeout_s is None else timeout_s,
        env={"LC_ALL": "C"},
        check=check,
    )


def _text(*words: str, timeout_s: float | None = None) -> str:
    return virsh(*words, timeout_s=timeout_s).stdout.decode(errors="replace")


def problem() -> Unavailable | None:
    """Why libvirt cannot run a machine here, or None; quick, and changes nothing."""
    if shutil.which("virsh") is None:
        return Unavailable("libvirt's client virsh is not installed", hint="run `vmvc setup`")
    try:
        networks = virsh("net-list", "--all", "--name", timeout_s=PROBE_TIMEOUT_S)
        active = virsh("net-list", "--name", timeout_s=PROBE_TIMEOUT_S)
    except CommandTimedOut:
        return Unavailable(
            f"libvirtd does not answer within {PROBE_TIMEOUT_S:g} s", hint="restart libvirtd"
        )
    except CommandFailed as error:
        return explain_refusal(error.hint)
    if NETWORK not in networks.stdout.decode().split():
        return Unavailable(f"libvirt has no network {NETWORK!r}", hint="run `vmvc setup`")
    if NETWORK not in active.stdout.decode().split():
        return Unavailable(
            f"libvirt's network {NETWORK!r} is not active",
            hint=f"run `vmvc setup`, or `virsh -c {URI} net-start {NETWORK}`",
        )
    return None


def explain_refusal(said: str) -> Unavailable:
    """Tell a stopped daemon from a lack of permission by what virsh said."""
    if "ermission denied" in said or "authentication" in said:
        return Unavailable(
            "no permission to use libvirt", hint="join the group libvirt and log in again"
        )
    return Unavailable(
        "libvirtd is not running" if "onnect" in said else "libvirt refused to answer",
        hint=f"run `vmvc setup`, or start it ({last_line(said)})",
    )


def versions() -> str:
    """Name libvirt and QEMU with their versions."""
    text = _text("version", "--daemon", timeout_s=WARM_TIMEOUT_S)
    daemon = re.search(r"against daemon: (\S+)", text)
    qemu = re.search(r"hypervisor: QEMU (\S+)", text)
    return f"libvirt {daemon[1] if daemon else '?'}, QEMU {qemu[1] if qemu else '?'}"


def network() -> tuple[str, str]:
    """Name and address (``a.b.c.d/n``) of the network that machines get; raises `Unavailable`."""
    xml = _text("net-dumpxml", NETWORK)
    found = re.search(r"<ip address='([\d.]+)' (?:netmask='([\d.]+)'|prefix='(\d+)')", xml)
    if found is None:
        raise Unavailable(
            f"libvirt's network {NETWORK!r} has no IPv4 address", hint="run `vmvc setup`"
        )
    interface = ipaddress.ip_interface(f"{found[1]}/{found[2] or found[3]}")
    return NETWORK, str(interface.network)


# --- machines ------------------------------------------------------------------------------------


def domains() -> list[str]:
    """Names of all domains, running or not."""
    return _text("list", "--all", "--name").split()


def alive(domain: str) -> bool:
    """Whether the domain has a machine, be it paused; an unknown domain has none.

    Raises `Unavailable` where libvirt cannot tell, and `CommandTimedOut`.
    """
    done = virsh("domstate", domain, check=False)
    said = done.stderr.decode(errors="replace")
    if done.exit_status != 0 and "failed to get domain" not in said:
        raise explain_refusal(said)
    return done.exit_status == 0 and done.stdout.strip() not in (b"shut off", b"crashed")


def qemu_process(domain: str) -> psutil.Process | None:
    """Find the QEMU process of a domain by its name."""
    for found in psutil.process_iter(["cmdline"]):
        words = found.info["cmdline"] or []
        for flag, value in itertools.pairwise(words):
            if flag == "-name" and value.split(",")[0] in (domain, f"guest={domain}"):
                return found
    return None


def destroy(domain: str) -> None:
    """Destroy a domain with its volumes and verify it; raises `TeardownFailed`."""
    try:
        if domain in domains():
            virsh("destroy", domain, check=False)
            virsh("undefine", domain, "--managed-save", "--snapshots-metadata", "--nvram",
                  check=False)  # fmt: skip
        for volume in volumes_of(domain):
            virsh("vol-delete", "--pool", POOL, volume, check=False)
        left = remains(domain)
    except CommandTimedOut as error:
        raise TeardownFailed(
            f"libvirt did not answer while destroying {domain}",
            hint="restart libvirtd, then run `vmvc clean`",
        ) from error
    except (CommandFailed, Unavailable) as error:
        raise TeardownFailed(
            f"libvirt refused while destroying {domain}: {' '.join(error.hint.split())}",
            hint="start libvirtd, then run `vmvc clean`",
        ) from error
    if left:
        raise TeardownFailed(f"{', '.join(left)} still there", hint="run `vmvc clean`")
    remove_log(domain)


def remove_log(domain: str) -> None:
    """Remove what libvirt has noted of a domain that is gone, where we may."""
    with suppress(OSError):
        (LOGS / f"{domain}.log").unlink(missing_ok=True)


def remains(domain: str) -> list[str]:
    """List what is left of a domain: itself and its volumes."""
    found = [f"domain {domain}"] if domain in domains() else []
    return found + [f"volume {volume}" for volume in volumes_of(domain)]


# --- volumes -------------------------------------------------------------------------------------


def volumes() -> list[str]:
    """Names of the volumes in the pool; none where there is no such pool yet."""
    done = virsh("vol-list", POOL, check=False)
    lines = done.stdout.decode(errors="replace").splitlines() if done.exit_status == 0 else []
    return [words[0] for line in lines if (words := line.split())]


def volumes_of(domain: str) -> list[str]:
    """Names of a domain's own disks, as vagrant-libvirt calls them."""
    return [volume for volume in volumes() if _is_disk_of(volume, domain)]


def _is_disk_of(volume: str, domain: str) -> bool:
    return re.fullmatch(re.escape(domain) + r"([_-][\w.-]*)?\.\w+", volume) is not None


def delete_volume(volume: str) -> None:
    """Delete a volume and verify that; raises `TeardownFailed`."""
    virsh("vol-delete", "--pool", POOL, volume, check=False)
    if volume in volumes():
        raise TeardownFailed(f"volume {volume} still there")


def ensure_volume(volume: str, image: Path) -> None:
    """Upload a box's disk image under the name that vagrant-libvirt looks for; idempotent.

    A half-uploaded volume, which Vagrant would take for a good one, is replaced. Raises
    `BuildFailed`.
    """
    _ensure_pool()
    if volume in volumes():
        found = re.search(r"<physical unit='bytes'>(\d+)<",
                          _text("vol-dumpxml", "--pool", POOL, volume))  # fmt: skip
        if found and int(found[1]) >= image.stat().st_size:
            return
        delete_volume(volume)
    info = process.run(["qemu-img", "info", "--output=json", image], timeout_s=QUERY_TIMEOUT_S)
    size = json.loads(info.stdout)["virtual-size"]
    try:
        virsh("vol-create-as", POOL, volume, f"{size}B", "--format", "qcow2")
        virsh("vol-upload", "--pool", POOL, volume, image, timeout_s=UPLOAD_TIMEOUT_S)
    except BaseException as error:
        virsh("vol-delete", "--pool", POOL, volume, check=False)
        if isinstance(error, CommandFailed | CommandTimedOut):
            raise BuildFailed(
                f"the box's disk could not be put into libvirt's pool: {error.message}",
                hint=error.hint,
            ) from error
        raise


def _ensure_pool() -> None:
    if POOL not in _text("pool-list", "--all", "--name").split():
        # What vagrant-libvirt does at a first start, at the place that libvirt means for it.
        virsh("pool-define-as", POOL, "dir", "--target", "/var/lib/libvirt/images")
        virsh("pool-build", POOL, check=False)
    if POOL not in _text("pool-list", "--name").split():
        virsh("pool-start", POOL)


# --- what slows a first start down ---------------------------------------------------------------


def warm_capabilities(*, accelerated: bool) -> None:
    """Make libvirt find out now what QEMU can do; it keeps that, and a start need not wait."""
    kind = "kvm" if accelerated else "qemu"
    virsh("domcapabilities", "--virttype", kind, timeout_s=WARM_TIMEOUT_S, check=False)


def kvm_hidden_from_machines() -> bool:
    """Whether /dev/kvm exists and the account that machines run under may not open it.

    libvirt examines QEMU with more rights than it runs it with, finds KVM there and then not, and
    so throws its findings away and examines QEMU again at each step of a start (some 100 s).
    """
    if not KVM.exists():
        return False
    found = KVM.stat()
    for user in _qemu_accounts():
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        if user.pw_uid == found.st_uid:
            bits = found.st_mode >> 6
        elif found.st_gid in groups:
            bits = found.st_mode >> 3
        else:
            bits = found.st_mode
        return bits & 0o6 != 0o6
    return False


def _qemu_accounts() -> Iterator[pwd.struct_passwd]:
    for name in QEMU_USERS:
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue


# --- what runs left behind -----------------------------------------------------------------------


def leftovers() -> list[Resource]:
    """Domains, and volumes and logs without a domain, that carry a run's name."""
    machines = domains()
    found = [("domain", name) for name in machines]
    found += [
        ("volume", volume)
        for volume in volumes()
        if not any(_is_disk_of(volume, name) for name in machines)
    ]
    with suppress(OSError):
        logs = [path for path in LOGS.glob("vmvc-r*.log") if path.stem not in machines]
        found += [("log", path.stem) for path in logs if os.access(path.parent, os.W_OK)]
    return [
        Resource(kind=kind, name=name, run_id=match[1])
        for kind, name in found
        if (match := NAME.match(name))
    ]
