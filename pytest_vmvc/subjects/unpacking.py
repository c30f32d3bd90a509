"""A root file system in a folder, with its owners: what a disk is made of."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_vmvc import process

TIMEOUT_S = 600.0
TOOLS: tuple[str, ...] = ("tar",) if os.geteuid() == 0 else ("tar", "mmdebstrap", "newuidmap")
"""Programs that it takes; an ordinary user's are for being root in a user namespace."""


@contextmanager
def scratch_folder(folder: Path) -> Iterator[tuple[Path, Sequence[str]]]:
    """A folder for what a build throws away, and what runs a command as root inside of it.

    An ordinary user's root is a mapped user id, which cannot enter a private home.
    """
    helper = () if os.geteuid() == 0 else ("mmdebstrap", "--unshare-helper")
    place = tempfile.mkdtemp(prefix=".scratch-", dir=folder if not helper else "/var/tmp")  # noqa: S108 -- a fresh folder of mkdtemp
    scratch = Path(place)
    scratch.chmod(0o755)
    try:
        yield scratch, helper
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def unpacked(archive: Path, scratch: Path, helper: Sequence[str]) -> Iterator[Path]:
    """Unpack a root and remove the archive; device nodes are left out, the kernel makes them."""
    outer = scratch / "root"
    outer.mkdir()
    if helper:
        outer.chmod(0o777)  # the helper unpacks under another user id
    root = outer / "fs"
    try:
        process.run([*helper, "mkdir", "-m", "0755", root], timeout_s=TIMEOUT_S)
        process.run(
            [*helper, "tar", "-xpf", archive, "-C", root, "--numeric-owner",
             "--anchored", "--exclude=./dev/*", "--exclude=dev/*"],
            timeout_s=TIMEOUT_S,
        )  # fmt: skip
        archive.unlink()
        yield root
    finally:
        process.run([*helper, "rm", "-rf", root], timeout_s=TIMEOUT_S, check=False)
