"""The pair ``debian``: one root file system of the host's own distribution, on both sides.

The container image is a minimal root made by mmdebstrap. The machine is that root plus exactly what
makes it a machine: a kernel, an init system, a device manager, a remote login. That the machine
holds every package of the image in the same version is checked at build time, and what it holds
beyond it is on record.
"""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.subjects import store, unpacking
from pytest_vmvc.subjects.apt import AptSource, host_source
from pytest_vmvc.subjects.disk import TOOLS, find_tool, write_disk
from pytest_vmvc.subjects.guest import CUSTOMIZE
from pytest_vmvc.subjects.image import ensure_image
from pytest_vmvc.subjects.packages import extra_packages, read_packages
from pytest_vmvc.subjects.unpacking import scratch_folder, unpacked

NAME = "debian"
REPOSITORY = "vmvc/debian"
"""Repository of the image, and name of the box."""

MACHINE_PACKAGES = (
    "systemd-sysv", "udev", "dbus", "initramfs-tools", "openssh-server", "sudo", "iproute2",
)  # fmt: skip
"""What makes a machine of the root, apart from the kernel."""

DISK_BYTES = 2 << 30
SPACE_NEEDED_BYTES = 2 << 30
"""Free space that a build wants: two roots, a raw disk, a box."""

BOOTSTRAP_TIMEOUT_S = 900.0
BASE, BOX = "base.tar", "debian.box"

# A box knows what is in it: without the guest's name Vagrant asks the machine, one command for each
# system that it knows.
BOX_VAGRANTFILE = """Vagrant.configure("2") do |config|
  config.vm.guest = :%s
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
"""


class DebianArtefacts(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of the pair, complete on disk."""

    image_ref: str
    base_path: Path
    """The image's file system as a tar, to be imported by an engine."""
    box_path: Path
    box_name: str
    box_version: str
    """Derived from the box's content, so that no stale copy is ever taken for it."""
    userland: str
    base_digest: str
    box_digest: str
    base_bytes: int
    box_bytes: int
    disk_bytes: int
    packages: int
    extra_packages: tuple[str, ...]
    """``name version`` of each package that only the machine has."""


def build(progress: Progress) -> DebianArtefacts:
    """Build the pair, or find it built; then hand image and box to those who run them.

    An engine or Vagrant that this host lacks is passed over: its provider's ``probe`` tells.
    Raises `BuildFailed`, `CommandFailed`, `CommandTimedOut` and `Unavailable`.
    """
    source = host_source()
    found = store.stored(NAME, _recipe(source))
    if found is None:
        _require_tools()
        found = store.built(NAME, _recipe(source), lambda folder: _build(folder, source, progress))
    artefacts = _artefacts(found)
    ensure_image(artefacts.image_ref, artefacts.base_path, progress, command="/bin/bash")
    ensure_box(artefacts, progress)
    return artefacts


def load() -> DebianArtefacts | None:
    """Find the pair built; None where it is not. Asks no daemon and no mirror."""
    try:
        found = store.stored(NAME, _recipe(host_source()))
    except Unavailable:
        return None
    return None if found is None else _artefacts(found)


def ensure_box(artefacts: DebianArtefacts, progress: Progress) -> None:
    """Add the box to Vagrant unless it has it; an absent Vagrant is no error."""
    from pytest_vmvc.backends import vagrant

    with suppress(Unavailable):
        vagrant.ensure_box(
            artefacts.box_name,
            version=artefacts.box_version,
            source=artefacts.box_path,
            progress=progress,
        )


def _recipe(source: AptSource) -> dict[str, str]:
    return {
        "suite": source.suite,
        "sources": source.text,
        "kernel": source.kernel,
        "packages": " ".join(MACHINE_PACKAGES),
        "customize": CUSTOMIZE,
        "architecture": platform.machine(),
        "disk_bytes": str(DISK_BYTES),
        "box": _vagrantfile(source),
    }


def _vagrantfile(source: AptSource) -> str:
    return BOX_VAGRANTFILE % source.distribution


def _artefacts(found: store.StoredArtefact) -> DebianArtefacts:
    base, box = found.files[BASE], found.files[BOX]
    return DebianArtefacts(
        image_ref=f"{REPOSITORY}:{base.sha256[:12]}",
        base_path=found.path / BASE,
        box_path=found.path / BOX,
        box_name=REPOSITORY,
        box_version=f"0.0.{int(box.sha256[:8], 16)}",
        userland=found.metadata["userland"],
        base_digest=f"sha256:{base.sha256}",
        box_digest=f"sha256:{box.sha256}",
        base_bytes=base.size_bytes,
        box_bytes=box.size_bytes,
        disk_bytes=DISK_BYTES,
        packages=int(found.metadata["packages"]),
        extra_packages=tuple(found.metadata["extra_packages"].splitlines()),
    )


def _require_tools() -> None:
    tools = dict.fromkeys(("mmdebstrap", *unpacking.TOOLS, *TOOLS))
    missing = [tool for tool in tools if find_tool(tool) is None]
    if platform.machine() != "x86_64":
        raise Unavailable(
            f"the debian pair boots by PC firmware, which {platform.machine()} does not have",
            hint="use a pair of your own image and box",
        )
    if missing:
        raise Unavailable(f"{', '.join(missing)} not installed", hint="run `vmvc setup`")


def _build(folder: Path, source: AptSource, progress: Progress) -> Mapping[str, str]:
    store.require_space(folder, SPACE_NEEDED_BYTES)
    with scratch_folder(folder) as (scratch, helper):
        progress("debian: root file system of the image", 0.0)
        _bootstrap(folder / BASE, source, include=(), customize="")
        progress("debian: the same root as a machine", 0.2)
        machine = scratch / "machine.tar"
        _bootstrap(machine, source, include=(source.kernel, *MACHINE_PACKAGES), customize=CUSTOMIZE)
        base_packages, machine_packages = read_packages(folder / BASE), read_packages(machine)
        extra = extra_packages(base_packages, machine_packages)
        progress("debian: bootable disk", 0.6)
        disk = scratch / "box.img"
        with unpacked(machine, scratch, helper) as root:
            write_disk(root, disk, scratch=scratch, disk_bytes=DISK_BYTES, helper=helper)
        progress("debian: box", 0.75)
        _pack_box(disk, folder / BOX, _vagrantfile(source))
        disk.unlink()
    return {
        "userland": f"{source.title} ({len(base_packages)} packages)",
        "packages": str(len(base_packages)),
        "extra_packages": "\n".join(f"{name} {extra[name]}" for name in sorted(extra)),
    }


def _bootstrap(target: Path, source: AptSource, *, include: Sequence[str], customize: str) -> None:
    mode = "root" if os.geteuid() == 0 else "unshare"
    argv = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--mode={mode}", "--format=tar",
        '--aptopt=APT::Install-Recommends "false"',
    ]  # fmt: skip
    if include:
        argv.append(f"--include={','.join(include)}")
    if customize:
        argv.append(f"--customize-hook={customize}")
    process.run(
        [*argv, source.suite, target, "-"],
        stdin=source.text.encode(),
        timeout_s=BOOTSTRAP_TIMEOUT_S,
    )


def _pack_box(disk: Path, target: Path, vagrantfile: str) -> None:
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_BYTES >> 30}
    texts = {"metadata.json": json.dumps(metadata), "Vagrantfile": vagrantfile}
    with tarfile.open(target, "w:gz", compresslevel=6) as tar:
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        tar.add(disk, "box.img")
