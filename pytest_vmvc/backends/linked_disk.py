"""A linked clone of a disk: an overlay that holds only what one machine has written."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from pytest_vmvc import process

LEAST_BYTES = 64 * 2**20
"""Size of a disk over a smaller base."""
QCOW2_MAGIC = b"QFI\xfb"
WRITE_OFFSET_BYTES = 32 * 2**20
"""Where a machine writes: behind what a base holds."""
QUERY_TIMEOUT_S = 30.0
FULL_BYTES = 1 << 20
"""A file system with less is full."""

GUEST_WRITE = f"""insmod /lib/modules/virtio_blk.ko 2>/dev/null
until [ -b /dev/vda ]; do sleep 0.01; done
dd of=/dev/vda bs=4k seek={WRITE_OFFSET_BYTES // 4096} conv=fsync status=none"""
"""Writes standard input to the disk, through to the host's file."""


GUEST_WRITE_FILE = "dd of=/vmvc-written bs=4k conv=fsync status=none"
"""The same into a file, where the root file system is on the disk."""


def disk_format(image: Path) -> str:
    """``qcow2`` or ``raw``, by how the file begins; who opens one that is gone will say so."""
    with suppress(OSError), image.open("rb") as file:
        return "qcow2" if file.read(4) == QCOW2_MAGIC else "raw"
    return "raw"


class LinkedDisk:
    """A qcow2 overlay over a base that many machines share and none writes to."""

    def __init__(self, base: Path, overlay: Path) -> None:
        self.base = base
        self.overlay = overlay

    def create(self) -> None:
        """Make the overlay; raises `CommandFailed`."""
        kind = disk_format(self.base)
        small = kind == "raw" and self._bytes() < LEAST_BYTES
        process.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", self.base, self.overlay,
             *([str(LEAST_BYTES)] if small else [])],
            timeout_s=QUERY_TIMEOUT_S,
        )  # fmt: skip

    def _bytes(self) -> int:
        return self.base.stat().st_size if self.base.exists() else 0

    @property
    def words(self) -> tuple[str, str]:
        """QEMU's option for it; a comma in a path is doubled there."""
        path = str(self.overlay).replace(",", ",,")
        # The guest is told of an error at once; by default QEMU would stop it until somebody acts.
        return "-drive", f"file={path},format=qcow2,if=virtio,werror=report,rerror=report"

    def allocated_bytes(self) -> int:
        """Bytes of the host's disk that the overlay takes."""
        return self.overlay.stat().st_blocks * 512

    def trouble(self) -> str:
        """What may be wrong with it on the host, for people."""
        place = self.overlay.parent
        if not self.overlay.exists():
            return f"its overlay {self.overlay} is gone"
        with suppress(OSError):
            if shutil.disk_usage(place).free < FULL_BYTES:
                return f"the file system of {place} is full: free some space"
        return "the host's disk may be failing; see `dmesg`"

    def remove(self) -> None:
        """Remove the overlay; the base stays."""
        self.overlay.unlink(missing_ok=True)
