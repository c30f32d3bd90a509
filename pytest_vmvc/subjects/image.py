"""A root file system of ours as an image in the engine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import Unavailable

IMPORT_TIMEOUT_S = 300.0


def ensure_image(ref: str, rootfs: Path, progress: Progress, *, command: str = "") -> None:
    """Import the tar as ``repository:tag`` unless the engine has it; ``command`` is its default.

    An absent engine is no error: its provider's ``probe`` tells. Raises `BuildFailed`.
    """
    from pytest_vmvc.backends import docker

    repository, tag = ref.split(":")
    with suppress(Unavailable):
        if docker.image_id(ref) is None:
            progress(f"import the image {repository}", None)
            docker.import_image(
                rootfs,
                repository,
                tag,
                changes=(f'CMD ["{command}"]',) if command else (),
                timeout_s=IMPORT_TIMEOUT_S,
            )
