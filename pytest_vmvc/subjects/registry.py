"""A registry of images, from its package but not installed: the package would start a service."""

from __future__ import annotations

import platform
import shutil
import tempfile
from pathlib import Path

from pytest_vmvc.backends.base import Progress
from pytest_vmvc.subjects import debs, store

NAME = "registry"
PACKAGE = "docker-registry"


def build(progress: Progress) -> Path:
    """Fetch the registry's program, or find it fetched; returns its path.

    Raises `BuildFailed`, `CommandTimedOut` and `Unavailable`.
    """
    found = store.built(NAME, _recipe(), lambda target: _build(target, progress))
    return found.path / PACKAGE


def load() -> Path | None:
    """Find the program fetched; None where it is not."""
    found = store.stored(NAME, _recipe())
    return None if found is None else found.path / PACKAGE


def _build(target: Path, progress: Progress) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="registry-", dir=target) as scratch:
        root, version = debs.unpack([PACKAGE], Path(scratch), progress)
        shutil.copy(root / "usr" / "bin" / PACKAGE, target / PACKAGE)
    return {"version": version}


def _recipe() -> dict[str, str]:
    return {"package": PACKAGE, "architecture": platform.machine()}
