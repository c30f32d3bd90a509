"""Debian packages that are fetched and unpacked, and not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, CommandFailed

FETCH_TIMEOUT_S = 300.0
UNPACK_TIMEOUT_S = 60.0


def unpack(packages: Sequence[str], scratch: Path, progress: Progress) -> tuple[Path, str]:
    """Fetch packages of the host's own sources and unpack them all into one root.

    Returns the root, a folder in ``scratch``, and the version of the first package. Raises
    `BuildFailed`, `CommandTimedOut` and `Unavailable`.
    """
    progress(f"fetch {' and '.join(packages)}", None)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        process.run(["apt-get", "download", *packages], timeout_s=FETCH_TIMEOUT_S, cwd=scratch)
    except CommandFailed as error:
        raise BuildFailed(
            f"{packages[0]} could not be fetched", hint=f"run `apt-get update`; {error.hint}"
        ) from error
    root, version = scratch / "root", ""
    for package in sorted(scratch.glob("*.deb")):
        process.run(["dpkg-deb", "-x", package, root], timeout_s=UNPACK_TIMEOUT_S)
        name, found, _ = package.name.split("_")
        version = found if name == packages[0] else version
        package.unlink()
    return root, version
