"""The kernel in a boot image, unpacked: a machine that is given it need not unpack it by itself.

Monitors that boot machines by the thousand start such a kernel. QEMU enters it by the PVH protocol,
which it must have been built for (``CONFIG_PVH``, as distributions' kernels are).
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.errors import Unavailable

UNPACK_TIMEOUT_S = 60.0
UNPACKERS: dict[bytes, str] = {
    b"\x02\x21\x4c\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x1f\x8b\x08": "gzip",
}
"""By what the payload begins with."""

# x86's boot protocol: Documentation/arch/x86/boot.rst of the kernel.
MAGIC_AT, MAGIC = 0x202, b"HdrS"
SECTORS_AT, PAYLOAD_AT, HEADER_BYTES = 0x1F1, 0x248, 0x250
SECTOR_BYTES = 512
CHUNK_BYTES = 1 << 20
ELF = b"\x7fELF"
ENTRY_NOTE = b"\x12\0\0\0Xen\0"
"""Type and owner of the ELF note that tells the PVH entry, XEN_ELFNOTE_PHYS32_ENTRY."""


def write_kernel(boot: Path, target: Path) -> None:
    """Write the ELF kernel that is in a boot image of x86 (bzImage) into a file.

    The image as it is where it is no such image, holds no kernel that QEMU can enter, or the
    program that unpacks it is missing. Raises `CommandTimedOut`.
    """
    if not _unpack(_payload(boot), target):
        shutil.copyfile(boot, target)


def _payload(boot: Path) -> bytes:
    """The packed kernel and, in its last four bytes, its size; nothing where there is none."""
    with boot.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES or head[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
            return b""
        offset, length = struct.unpack_from("<II", head, PAYLOAD_AT)
        file.seek((head[SECTORS_AT] + 1) * SECTOR_BYTES + offset)
        return file.read(length)


def _unpack(payload: bytes, target: Path) -> bool:
    """Whether that went; straight into the file, as a kernel would be the most that we hold."""
    program = next((name for start, name in UNPACKERS.items() if payload.startswith(start)), "")
    if not program:
        return False
    try:
        with target.open("wb") as kernel:
            # No unpacker wants the size behind the payload: it may end with an error.
            process.run(
                [program, "-dcq"],
                stdin=payload,
                stdout=kernel,
                timeout_s=UNPACK_TIMEOUT_S,
                check=False,
            )
    except Unavailable:
        return False
    size = int.from_bytes(payload[-4:], "little")
    return target.stat().st_size == size and _can_be_entered(target)


def _can_be_entered(kernel: Path) -> bool:
    with kernel.open("rb") as file:
        window = file.read(CHUNK_BYTES)
        if not window.startswith(ELF):
            return False
        while ENTRY_NOTE not in window:
            data = file.read(CHUNK_BYTES)
            if not data:
                return False
            window = window[-len(ENTRY_NOTE) :] + data
    return True
