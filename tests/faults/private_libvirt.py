"""A libvirt daemon of a test's own: in its own mount and network namespaces, on its own socket.

The host's daemon, its machines and its network rules are not touched: this one sees empty folders
in the place of theirs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pytest_vmvc.backends import libvirt

START_S = 30.0
CAPABILITIES = Path("/var/cache/libvirt/qemu/capabilities")

DAEMON = """unix_sock_dir = "{place}/sock"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_rw_perms = "0700"
log_outputs = "4:file:{place}/log"
"""
QEMU = """stdio_handler = "file"
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
remember_owner = 0
dynamic_ownership = 0
"""
# libvirt's places are compiled in; only within its own mount namespace are they empty ones.
INSIDE = """set -e
mount --make-rprivate /
for name in run/libvirt var/lib/libvirt var/cache/libvirt etc/libvirt; do
    mount --bind "$0/$name" "/$name"
done
exec libvirtd -f "$0/libvirtd.conf" -p "$0/pid"
"""
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>
"""


class PrivateLibvirt:
    """The daemon, until it is stopped; its machines go on without it, as they do."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.uri = f"qemu+unix:///system?socket={place}/sock/libvirt-sock"
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", INSIDE, self.place],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + START_S
        while subprocess.run(
            ["virsh", "-q", "-c", self.uri, "uri"],
            check=False,
            capture_output=True,
            timeout=START_S,
        ).returncode:
            assert self.child.poll() is None, (self.place / "log").read_text()
            assert time.monotonic() < until, "the private libvirtd does not answer"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal; SIGKILL is waited for."""
        assert self.child is not None
        self.child.send_signal(number)
        if number == signal.SIGKILL:
            self.child.wait(START_S)

    def domain_file(self, name: str) -> Path:
        """A description of a machine that boots nothing."""
        path = self.place / f"{name}.xml"
        path.write_text(DOMAIN.format(name=name))
        return path

    def run_domain(self, name: str) -> None:
        """Define and start such a machine."""
        for words in (["define", self.domain_file(name)], ["start", name]):
            subprocess.run(
                ["virsh", "-q", "-c", self.uri, *words],
                check=True,
                capture_output=True,
                timeout=START_S,
            )


def _machines_of(place: Path) -> list[psutil.Process]:
    """QEMUs of this daemon, by the folder that they all have in their command lines."""
    return [
        found
        for found in psutil.process_iter(["cmdline"])
        if any("vmvc-r" in word and "-default" in word for word in found.info["cmdline"] or [])
        and _sees(found, place)
    ]


def _sees(found: psutil.Process, place: Path) -> bool:
    with suppress(OSError):
        return place.name in Path(f"/proc/{found.pid}/mountinfo").read_text()
    return False


@contextmanager
def private_libvirt(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateLibvirt]:
    """Run one, and have our code talk to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a daemon namespaces of its own")
    for program in ("libvirtd", "virsh", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    place = Path(f"/run/vmvc-test-libvirt-{os.getpid()}")
    for name in ("sock", "run/libvirt", "var/lib/libvirt", "var/cache/libvirt/qemu", "etc/libvirt"):
        (place / name).mkdir(parents=True)
    place.chmod(0o711)
    with suppress(OSError):  # what the host's daemon knows of QEMU saves seconds
        shutil.copytree(CAPABILITIES, place / "var/cache/libvirt/qemu/capabilities")
    (place / "libvirtd.conf").write_text(DAEMON.format(place=place))
    (place / "etc/libvirt/qemu.conf").write_text(QEMU)
    found = PrivateLibvirt(place)
    found.start()
    monkeypatch.setattr(libvirt, "URI", found.uri)
    try:
        yield found
    finally:
        for machine in _machines_of(place):
            machine.kill()
        if found.child is not None:
            found.child.kill()
            found.child.wait(START_S)
        shutil.rmtree(place)
