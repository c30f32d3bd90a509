"""Where pytest-vmvc keeps its things; both places can be moved by an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_state_path


def cache_dir() -> Path:
    """Built images, kernels, disks and boxes (``VMVC_CACHE_DIR``); safe to delete."""
    return Path(os.environ.get("VMVC_CACHE_DIR") or user_cache_path("pytest-vmvc"))


def state_dir() -> Path:
    """Run ledgers of resources and the host lock (``VMVC_STATE_DIR``)."""
    return Path(os.environ.get("VMVC_STATE_DIR") or user_state_path("pytest-vmvc"))
