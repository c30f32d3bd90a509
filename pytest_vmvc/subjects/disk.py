"""A bootable disk from a root file system: MBR, GRUB and one ext4 partition, no loop device.

The layout is the classic one of a PC: boot code and partition table in sector 0, GRUB's core image
right behind it, the partition from 1 MiB to the end. Nothing is mounted, so no privilege is needed.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.errors import BuildFailed

SECTOR_BYTES = 512
PARTITION_OFFSET_BYTES = 1 << 20
"""Where the one partition starts; GRUB's core image fits in front of it."""

ROOT_DEVICE = "/dev/vda1"
"""The partition as a guest with a virtio disk sees it."""

GRUB_FOLDER = Path("/usr/lib/grub/i386-pc")
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "normal", "configfile")
BOOT_CODE_BYTES = 440
LINUX_PARTITION = 0x83
ACTIVE = 0x80
BEYOND_CHS = b"\xfe\xff\xff"
"""Cylinder, head and sector of an address that only the sector numbers can express."""

TOOLS = ("mke2fs", "grub-mkimage", "qemu-img")


def find_tool(name: str) -> str | None:
    """Find a program also where an ordinary user's PATH does not look."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def master_boot_record(boot_code: bytes, *, disk_bytes: int) -> bytes:
    """Sector 0: GRUB's first stage and a table with one active Linux partition to the end.

    Raises `BuildFailed` when the disk is too small or too large for such a table.
    """
    first = PARTITION_OFFSET_BYTES // SECTOR_BYTES
    count = disk_bytes // SECTOR_BYTES - first
    if not 0 < count <= 0xFFFF_FFFF:
        raise BuildFailed(f"a disk of {disk_bytes} bytes cannot have a PC partition table")
    entry = struct.pack("<B3sB3sII", ACTIVE, BEYOND_CHS, LINUX_PARTITION, BEYOND_CHS, first, count)
    code = boot_code[:BOOT_CODE_BYTES].ljust(446, b"\0")
    return code + entry + bytes(48) + b"\x55\xaa"


def write_boot_sectors(disk: Path, *, boot_code: bytes, core: bytes) -> None:
    """Put both stages of GRUB in front of the partition of a raw disk."""
    if SECTOR_BYTES + len(core) > PARTITION_OFFSET_BYTES:
        raise BuildFailed(f"GRUB's core image has {len(core)} bytes and does not fit")
    record = master_boot_record(boot_code, disk_bytes=disk.stat().st_size)
    with disk.open("r+b") as file:
        file.write(record)
        file.write(core)


def write_disk(
    root: Path,
    target: Path,
    *,
    scratch: Path,
    disk_bytes: int,
    helper: Sequence[str] = (),
    timeout_s: float = 300.0,
) -> None:
    """Make ``target`` (qcow2) from the folder ``root``, which holds kernel and ``grub.cfg``.

    ``helper`` is put in front of the command that reads ``root``: what makes the caller see its
    owners. The raw disk lives in ``scratch`` meanwhile and is removed. Raises `BuildFailed`,
    `CommandFailed`, `CommandTimedOut` and `Unavailable`.
    """
    boot, mke2fs = GRUB_FOLDER / "boot.img", find_tool("mke2fs") or "mke2fs"
    if not boot.exists():
        raise BuildFailed("GRUB for PC firmware (grub-pc-bin) is missing", hint="run `vmvc setup`")
    raw, core = scratch / "disk.raw", scratch / "core.img"
    raw.touch()
    with raw.open("r+b") as file:
        file.truncate(disk_bytes)
    if helper:
        raw.chmod(0o666)  # the helper writes under another user id
    try:
        process.run(
            [
                *helper, mke2fs, "-q", "-F", "-t", "ext4", "-L", "root", "-d", root,
                "-E", f"offset={PARTITION_OFFSET_BYTES},root_owner=0:0",
                raw, f"{(disk_bytes - PARTITION_OFFSET_BYTES) // 1024}k",
            ],
            timeout_s=timeout_s,
        )  # fmt: skip
        process.run(
            ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core,
             *GRUB_MODULES],
            timeout_s=60,
        )  # fmt: skip
        write_boot_sectors(raw, boot_code=boot.read_bytes(), core=core.read_bytes())
        process.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target], timeout_s=timeout_s
        )
    finally:
        raw.unlink(missing_ok=True)
        core.unlink(missing_ok=True)
