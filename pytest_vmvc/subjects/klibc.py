"""A third userland, beside busybox and Debian: klibc's, with a C library and a shell of its own.

The article says that containers share the host's kernel whatever is in them; that takes userlands
which have nothing in common. This one is 400 kB from two packages that are not installed.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

import msgspec

from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.subjects import debs, store
from pytest_vmvc.subjects.archive import Entry, file, folder, write_tar
from pytest_vmvc.subjects.image import ensure_image

NAME = "klibc"
REPOSITORY = "vmvc/klibc"
PACKAGES = ("klibc-utils", "libklibc")
ROOTFS = "rootfs.tar"
NEEDED = ("cat", "sh", "sleep", "true")


class KlibcArtefacts(msgspec.Struct, frozen=True, kw_only=True):
    """The userland as an image."""

    image_ref: str
    rootfs: Path
    userland: str


def build(progress: Progress) -> KlibcArtefacts:
    """Build the image, or find it built; then make sure that the engine has it.

    Raises `BuildFailed`, `CommandFailed`, `CommandTimedOut` and `Unavailable`.
    """
    found = store.built(NAME, _recipe(), lambda target: _build(target, progress))
    artefacts = _artefacts(found)
    ensure_image(artefacts.image_ref, artefacts.rootfs, progress)
    return artefacts


def load() -> KlibcArtefacts | None:
    """Find the image built; None where it is not. Asks no daemon and no mirror."""
    found = store.stored(NAME, _recipe())
    return None if found is None else _artefacts(found)


def _build(target: Path, progress: Progress) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="klibc-", dir=target) as name:
        root, version = debs.unpack(PACKAGES, Path(name), progress)
        with (target / ROOTFS).open("wb") as rootfs:
            write_tar(_tree(root), rootfs)
    return {"userland": f"klibc {version}"}


def _tree(root: Path) -> list[Entry]:
    """Programs in /bin, and the library, which programs look for under its one name in /lib."""
    programs = {path.name: path for path in (root / "usr/lib/klibc/bin").iterdir()}
    if lacking := [name for name in NEEDED if name not in programs]:
        raise BuildFailed(f"{PACKAGES[0]} has no {', '.join(lacking)}")
    libraries = [*root.glob("lib/klibc-*.so"), *root.glob("usr/lib/klibc-*.so")]
    return [
        *(folder(name) for name in ("bin", "dev", "lib", "proc", "sys")),
        folder("tmp", 0o1777),
        *(file(f"bin/{name}", path.read_bytes(), 0o755) for name, path in programs.items()),
        *(file(f"lib/{path.name}", path.read_bytes(), 0o755) for path in libraries),
    ]


def _recipe() -> dict[str, str]:
    return {"packages": " ".join(PACKAGES), "architecture": platform.machine()}


def _artefacts(found: store.StoredArtefact) -> KlibcArtefacts:
    return KlibcArtefacts(
        image_ref=f"{REPOSITORY}:{found.files[ROOTFS].sha256[:12]}",
        rootfs=found.path / ROOTFS,
        userland=found.metadata["userland"],
    )
