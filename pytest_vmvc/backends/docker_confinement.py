"""What confines a container: the configuration that its runtime was given, read from this host."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from pytest_vmvc.backends.confinement import Profile
from pytest_vmvc.errors import Unavailable


def seccomp_profile(keeper: psutil.Process) -> Profile:
    """The container's seccomp profile, by the process that keeps it; raises `Unavailable`."""
    try:
        config = _bundle(keeper) / "config.json"
        profile: Profile | None = json.loads(config.read_bytes())["linux"].get("seccomp")
    except (OSError, psutil.Error) as error:
        raise Unavailable(
            f"the runtime's configuration cannot be read: {error}", hint="run as root"
        ) from error
    except (ValueError, KeyError) as error:
        raise Unavailable("the runtime's configuration is not that of an OCI runtime") from error
    if profile is None:
        raise Unavailable("the container has a filter that its runtime was not asked for")
    return profile


def _bundle(keeper: psutil.Process) -> Path:
    """Where the runtime's configuration is: conmon is told; containerd's shim works there."""
    words = keeper.cmdline()
    if "-b" in words[:-1]:
        return Path(words[words.index("-b") + 1])
    return Path(keeper.cwd())
