"""What the host must have: system packages by their Debian names, and words for other systems."""

from __future__ import annotations

from typing import Literal

import msgspec

Area = Literal["engine", "machine", "disk", "vagrant", "extra"]
"""``extra``: what only single experiments need; without it their claims are NOT TESTABLE."""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """A system package of Debian, and a program whose presence does as well."""

    package: str
    program: str = ""
    """Empty where only the package itself will do."""
    words: str
    """What it is called elsewhere."""
    area: Area


def _need(area: Area, package: str, program: str, words: str) -> Requirement:
    return Requirement(package=package, program=program, words=words, area=area)


REQUIREMENTS = (
    _need("engine", "docker.io", "dockerd", "Docker Engine, or Podman with its API socket"),
    _need("engine", "iptables", "iptables", "iptables"),
    _need("machine", "qemu-system-x86", "qemu-system-x86_64", "QEMU for x86-64"),
    _need("machine", "qemu-utils", "qemu-img", "qemu-img"),
    _need("machine", "busybox-static", "", "a statically linked busybox"),
    _need("machine", "lz4", "lz4", "lz4"),
    _need("machine", "zstd", "zstd", "zstd"),
    _need("machine", "kmod", "depmod", "kmod"),
    _need("machine", "iproute2", "ip", "iproute2"),
    _need("disk", "mmdebstrap", "mmdebstrap", "mmdebstrap"),
    _need("disk", "e2fsprogs", "mke2fs", "e2fsprogs"),
    _need("disk", "grub-pc-bin", "", "GRUB for BIOS"),
    _need("disk", "uidmap", "newuidmap", "newuidmap (a build without root)"),
    _need("disk", "grub-common", "grub-mkimage", "GRUB's tools"),
    _need("disk", "openssh-client", "ssh", "an OpenSSH client"),
    _need("vagrant", "vagrant", "vagrant", "Vagrant"),
    _need("vagrant", "vagrant-libvirt", "", "the Vagrant plugin vagrant-libvirt"),
    _need("vagrant", "libvirt-daemon-system", "libvirtd", "the libvirt daemon"),
    _need("vagrant", "libvirt-clients", "virsh", "virsh"),
    _need("vagrant", "dnsmasq-base", "dnsmasq", "dnsmasq"),
    _need("extra", "podman", "podman", "Podman, as a second engine"),
    _need("extra", "qemu-system-arm", "qemu-system-aarch64", "QEMU for 64-bit ARM"),
)
