"""The minimal pair: one busybox userland, as an image from scratch and as a bare machine.

The image is a tar of busybox and its applet links; the machine is the distribution's kernel,
unpacked, with an initramfs of the very same files, plus its init, the agent and a few modules.
"""

from __future__ import annotations

import platform
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.agent import GUEST_AGENT
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, Unavailable
from pytest_vmvc.host import os_release
from pytest_vmvc.subjects import store, vmlinux
from pytest_vmvc.subjects.archive import (
    Entry,
    character_device,
    file,
    folder,
    link,
    packed_bytes,
    write_cpio,
    write_tar,
)
from pytest_vmvc.subjects.image import ensure_image
from pytest_vmvc.subjects.kernel import Kernel, distribution_kernel, load_order

NAME = "minimal"
REPOSITORY = "vmvc/minimal"
KERNEL, INITRD, ROOTFS = "vmlinux", "initramfs.cpio", "rootfs.tar"
SPACE_NEEDED_BYTES = 400 * 2**20
QUERY_TIMEOUT_S = 20.0

BUSYBOX = tuple(Path(place) for place in ("/bin/busybox", "/usr/bin/busybox"))
CHANNEL_MODULES = ("virtio_pci", "virtio_console")
"""Loaded by init, once the payload has answered: the agent's channel."""
PANIC_MODULES = ("pvpanic-mmio",)
"""Loaded with them where the kernel has them: tell the host of a panic."""
SPARE_MODULES = ("virtio_balloon", "virtio_net", "virtio_blk", "virtio-rng")
"""In the initramfs, in ``/lib/modules``, for whoever needs them."""

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"

INIT = """#!/bin/sh
# PID 1 of the bare machine. It answers as soon as the userland is up: what only the host's tools
# need comes after that.
echo vmvc:init
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
read -r words </proc/cmdline
for word in $words; do
  case $word in vmvc.nonce=*) echo "vmvc:nonce ${word#*=}" ;; esac
done
# The payload: the same as in the container.
sleep 2147483647 &
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
while read -r module; do insmod "/lib/modules/$module.ko"; done </lib/modules/load
. /lib/vmvc-agent
supervise
"""


class MinimalArtefacts(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of the pair, built."""

    image_ref: str
    """``vmvc/minimal:<first twelve digits of the tar's digest>``."""
    rootfs: Path
    kernel: Path
    initrd: Path
    kernel_release: str
    kernel_source: str
    userland: str
    rootfs_digest: str
    kernel_digest: str
    initrd_digest: str
    fetch_bytes: int
    """Kernel and initramfs compressed, as they would be downloaded."""


def build(progress: Progress) -> MinimalArtefacts:
    """Build the pair, or find it built; then make sure that the engine has the image.

    An engine that this host lacks is passed over: its provider's ``probe`` tells. Raises
    `BuildFailed`, `CommandFailed`, `CommandTimedOut` and `Unavailable`.
    """
    busybox = program()
    recipe = _recipe(busybox)
    found = store.built(NAME, recipe, lambda target: _build(target, busybox, progress))
    artefacts = _artefacts(found)
    ensure_image(artefacts.image_ref, artefacts.rootfs, progress, command="/bin/sh")
    return artefacts


def load() -> MinimalArtefacts | None:
    """Find the pair built; None where it is not. Asks no daemon and no mirror."""
    busybox = _busybox()
    found = store.stored(NAME, _recipe(busybox)) if busybox else None
    return _artefacts(found) if found else None


def program() -> Path:
    """The host's busybox, which is the one in the pair's userland; raises `Unavailable`."""
    found = _busybox()
    if found is None:
        raise Unavailable("a static busybox is missing (busybox-static)", hint="run `vmvc setup`")
    return found


def userland(busybox: bytes, applets: list[str]) -> list[Entry]:
    """The tree that both sides share: busybox, its applets, users and the usual folders."""
    files = [
        file("bin/busybox", busybox, 0o755),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
    ]
    links = [link(path, "/bin/busybox") for path in applets if path != "bin/busybox"]
    folders = {
        parent.as_posix()
        for entry in (*files, *links)
        for parent in Path(entry.path).parents
        if parent != Path()
    } | {"dev", "proc", "sys", "run", "lib", "lib/modules", "var", "var/log"}
    return [
        *files,
        *links,
        *(folder(path) for path in folders),
        folder("root", 0o700),
        folder("tmp", 0o1777),
    ]


def machine_only(modules: dict[str, bytes], load: list[str]) -> list[Entry]:
    """What the initramfs has beyond the userland."""
    return [
        file("init", INIT.encode(), 0o755),
        file("lib/vmvc-agent", GUEST_AGENT.encode()),
        file("lib/modules/load", "".join(f"{name}\n" for name in load).encode()),
        *(file(f"lib/modules/{name}.ko", data) for name, data in modules.items()),
        # The kernel opens it for init before anything is mounted.
        character_device("dev/console", 5, 1),
    ]


def pack_image(busybox: Path, target: Path) -> None:
    """Write the image's file system into a folder; raises `CommandFailed`."""
    with (target / ROOTFS).open("wb") as rootfs:
        write_tar(_tree(busybox), rootfs)


def pack_machine(busybox: Path, kernel: Kernel, target: Path) -> None:
    """Write the machine's kernel, unpacked where that can be done, and initramfs into a folder.

    Raises `BuildFailed` where the kernel lacks a module, and `CommandFailed`.
    """
    modules = load_order(kernel.modules, CHANNEL_MODULES)
    load = list(modules)
    for optional in (*PANIC_MODULES, *SPARE_MODULES):
        with suppress(BuildFailed):
            found = load_order(kernel.modules, [optional])
            load += found if optional in PANIC_MODULES else ()
            modules |= {name: data for name, data in found.items() if name not in modules}
    vmlinux.write_kernel(kernel.image, target / KERNEL)
    with (target / INITRD).open("wb") as initrd:
        write_cpio([*_tree(busybox), *machine_only(modules, load)], initrd)


def _tree(busybox: Path) -> list[Entry]:
    listing = process.run([busybox, "--list-full"], timeout_s=QUERY_TIMEOUT_S).stdout.decode()
    return userland(busybox.read_bytes(), listing.split())


def _build(target: Path, busybox: Path, progress: Progress) -> dict[str, str]:
    store.require_space(target, SPACE_NEEDED_BYTES)
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=target) as scratch:
        kernel = distribution_kernel(Path(scratch), progress)
        progress("pack image and initramfs", None)
        pack_image(busybox, target)
        pack_machine(busybox, kernel, target)
    fetched = sum(packed_bytes(target / name) for name in (KERNEL, INITRD))
    return {
        "kernel_release": kernel.release,
        "kernel_source": kernel.source,
        "userland": _version(busybox),
        "fetch_bytes": str(fetched),
    }


def _recipe(busybox: Path) -> dict[str, str]:
    """What the artefacts depend on; the kernel's version is not in it, so a hit asks no mirror."""
    return {
        "busybox": store.sha256_of(busybox),
        "init": INIT,
        "agent": GUEST_AGENT,
        "kernel": KERNEL,
        "modules": " ".join((*CHANNEL_MODULES, *PANIC_MODULES, *SPARE_MODULES)),
        **kernel_recipe(),
    }


def kernel_recipe() -> dict[str, str]:
    """What the packages of the machine's kernel depend on."""
    return {"system": _system(), "architecture": platform.machine()}


def _system() -> str:
    release = os_release()
    return f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip()


def _busybox() -> Path | None:
    """A busybox that needs no library: it must run in an image from scratch."""
    return next((path for path in BUSYBOX if path.is_file() and _is_static(path)), None)


def _is_static(path: Path) -> bool:
    """A program that is linked dynamically names its loader near its start."""
    with path.open("rb") as program:
        head = program.read(4096)
    return head.startswith(b"\x7fELF") and b"/ld-" not in head


def _version(busybox: Path) -> str:
    first = process.run([busybox], timeout_s=QUERY_TIMEOUT_S, check=False).stdout.splitlines()[0]
    return first.decode(errors="replace").removesuffix(" multi-call binary.").strip()


def _artefacts(found: store.StoredArtefact) -> MinimalArtefacts:
    digest = {name: f"sha256:{entry.sha256}" for name, entry in found.files.items()}
    return MinimalArtefacts(
        image_ref=f"{REPOSITORY}:{found.files[ROOTFS].sha256[:12]}",
        rootfs=found.path / ROOTFS,
        kernel=found.path / KERNEL,
        initrd=found.path / INITRD,
        kernel_release=found.metadata["kernel_release"],
        kernel_source=found.metadata["kernel_source"],
        userland=found.metadata["userland"],
        rootfs_digest=digest[ROOTFS],
        kernel_digest=digest[KERNEL],
        initrd_digest=digest[INITRD],
        fetch_bytes=int(found.metadata["fetch_bytes"]),
    )
