"""Platforms to develop for: small userlands, each as an image and inside a machine of its own.

The machine boots the minimal pair's kernel and init; the userland lies in its initramfs, in a
folder of its own, and what is run for the platform runs with that folder as root.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.subjects import apps, klibc, minimal, store
from pytest_vmvc.subjects.archive import Entry, file, folder, link, packed_bytes, write_cpio

NAME = "platforms"
ROOT = "platform"
"""Folder of the machine with the userland in it."""
INITRD = "initramfs.cpio"

USERLANDS: Mapping[str, Callable[[], apps.AppsArtefacts | klibc.KlibcArtefacts | None]] = {
    "klibc": klibc.load,
    "debian": apps.load,
}
"""Userlands that are not the machine's own, by the platform's name."""


class PlatformMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine with one more userland boots."""

    kernel: Path
    kernel_release: str
    initrd: Path
    fetch_bytes: int
    """Kernel and initramfs compressed."""
    userland: str


def build(progress: Progress) -> None:
    """Make the machines of all platforms; raises what `machine` does."""
    for platform in USERLANDS:
        progress(f"pack the machine with {platform}", None)
        machine(platform)


def machine(platform: str) -> PlatformMachine:
    """Put the userland behind the minimal machine's; made once and kept.

    Raises `BuildFailed`, and `Unavailable` where one of both is not built.
    """
    host, guest = minimal.load(), USERLANDS[platform]()
    if host is None or guest is None:
        name = minimal.NAME if host is None else platform
        raise Unavailable(f"the {name} userland is not built", hint="run `vmvc setup`")

    def build(target: Path) -> dict[str, str]:
        with (target / INITRD).open("wb") as initrd:
            # The kernel unpacks one archive after the other.
            initrd.write(host.initrd.read_bytes())
            initrd.write(bytes(-initrd.tell() % 4))
            write_cpio(_entries(guest.rootfs), initrd)
        return {"fetch_bytes": str(packed_bytes(host.kernel) + packed_bytes(target / INITRD))}

    recipe = {
        "kernel": host.kernel_digest,
        "machine": host.initrd_digest,
        "userland": guest.image_ref,
        "root": ROOT,
    }
    found = store.built(f"{NAME}-{platform}", recipe, build)
    return PlatformMachine(
        kernel=host.kernel,
        kernel_release=host.kernel_release,
        initrd=found.path / INITRD,
        fetch_bytes=int(found.metadata["fetch_bytes"]),
        userland=guest.userland,
    )


def _entries(rootfs: Path) -> Iterator[Entry]:
    """Everything of the image's file system, one folder deeper."""
    yield folder(ROOT)
    with tarfile.open(rootfs) as tar:
        for member in tar:
            path = f"{ROOT}/{member.name.removeprefix('./').strip('/')}"
            if member.isdir():
                yield folder(path, member.mode)
            elif member.issym():
                yield link(path, member.linkname)
            elif (data := tar.extractfile(member)) is not None:
                yield file(path, data.read(), member.mode)
