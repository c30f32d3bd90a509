"""What a container's control group holds, read from this host's files."""

from __future__ import annotations

from contextlib import suppress

from pytest_vmvc.backends import control_group


def cgroup_usage(pid: int, container_id: str) -> control_group.Held | None:
    """Figures of the control group of a container's process; None where the host shows none."""
    group = control_group.of_process(pid, container_id)
    if group is not None:
        with suppress(OSError, KeyError):  # it has just ended
            return group.held()
    return None
