"""A linked clone of a disk: an overlay that holds only what one machine has written."""

from __future__ import annotations

from pathlib import Path

from pytest_vmvc import process

SIZE_BYTES = 64 * 2**20
WRITE_OFFSET_BYTES = 32 * 2**20
"""Where a machine writes: behind what a base holds."""
QUERY_TIMEOUT_S = 30.0

GUEST_WRITE = f"""insmod /lib/modules/virtio_blk.ko 2>/dev/null
until [ -b /dev/vda ]; do sleep 0.01; done
dd of=/dev/vda bs=4k seek={WRITE_OFFSET_BYTES // 4096} conv=fsync 2>/dev/null"""
"""Writes standard input to the disk, through to the host's file."""


class LinkedDisk:
    """A qcow2 overlay over a raw base that many machines share and none writes to."""

    def __init__(self, base: Path, overlay: Path) -> None:
        self.base = base
        self.overlay = overlay

    def create(self) -> None:
        """Make the overlay; raises `Unavailable` and `CommandFailed`."""
        process.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.base, self.overlay,
             str(SIZE_BYTES)],
            timeout_s=QUERY_TIMEOUT_S,
        )  # fmt: skip

    @property
    def words(self) -> tuple[str, str]:
        """QEMU's option for it; a comma in a path is doubled there."""
        path = str(self.overlay).replace(",", ",,")
        return "-drive", f"file={path},format=qcow2,if=virtio"

    def allocated_bytes(self) -> int:
        """Bytes of the host's disk that the overlay takes."""
        return self.overlay.stat().st_blocks * 512

    def remove(self) -> None:
        """Remove the overlay; the base stays."""
        self.overlay.unlink(missing_ok=True)
