"""Where pytest-vmvc keeps its things, and how a file is put there whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path, user_state_path


def cache_dir() -> Path:
    """Built images, kernels, disks and boxes (``VMVC_CACHE_DIR``); safe to delete."""
    return Path(os.environ.get("VMVC_CACHE_DIR") or user_cache_path("pytest-vmvc"))


def state_dir() -> Path:
    """Run ledgers of resources and the host lock (``VMVC_STATE_DIR``)."""
    return Path(os.environ.get("VMVC_STATE_DIR") or user_state_path("pytest-vmvc"))


def put(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file in one step, its folder too: an old one stays whole until the new one is.

    What is large can be given in parts.

    Raises OSError, and leaves nothing behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
