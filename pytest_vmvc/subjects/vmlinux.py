"""The kernel in a boot image, unpacked: a machine that is given it need not unpack it by itself.

Monitors that boot machines by the thousand start such a kernel. QEMU enters it by the PVH protocol,
which it must have been built for (``CONFIG_PVH``, as distributions' kernels are).
"""

from __future__ import annotations

import mmap
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
ELF = b"\x7fELF"
ENTRY_NOTE = b"\x12\0\0\0Xen\0"
"""Type and owner of the ELF note that tells the PVH entry, XEN_ELFNOTE_PHYS32_ENTRY."""


def write_kernel(boot: Path, target: Path) -> None:
    """Write the ELF kernel that is in a boot image of x86 (bzImage) into a file.

    The image as it is where it is no such image, holds no kernel that QEMU can enter, or the
    program that unpacks it is missing. Raises `CommandTimedOut`.
    """
    image = boot.read_bytes()
    if not _unpack(image, target):
        target.write_bytes(image)


def _unpack(image: bytes, target: Path) -> bool:
    """Whether that went; a kernel is not held in memory, which would be the harness's largest."""
    if len(image) < HEADER_BYTES or image[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
        return False
    offset, length = struct.unpack_from("<II", image, PAYLOAD_AT)
    begin = (image[SECTORS_AT] + 1) * SECTOR_BYTES + offset
    payload = image[begin : begin + length]
    program = next((name for start, name in UNPACKERS.items() if payload.startswith(start)), "")
    if not program:
        return False
    # The size stands behind the payload, where no unpacker wants it: it may end with an error then.
    size = int.from_bytes(payload[-4:], "little")
    try:
        with target.open("wb") as kernel:
            process.run(
                [program, "-dcq"],
                stdin=payload,
                stdout=kernel,
                timeout_s=UNPACK_TIMEOUT_S,
                check=False,
            )
    except Unavailable:
        return False
    if size == 0 or target.stat().st_size != size:
        return False
    with target.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as kernel:
        return kernel[: len(ELF)] == ELF and kernel.find(ENTRY_NOTE) >= 0
