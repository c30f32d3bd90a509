"""Networks of their own on this host, each with a wire to it: what another host is, to ssh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

COMMAND_S = 10.0
OURS = re.compile(r"vmvc-h(\d+)-\w+")
"""Names carry the process that made them: what a killed test has left is told by that."""


class Network(NamedTuple):
    """A network namespace, by its name, and the address in it."""

    name: str
    address: str
    wire: str
    """This host's end of the only wire to it."""

    def cut(self) -> None:
        """Nothing comes through any more, and neither side is told."""
        ip("link", "set", self.wire, "down")

    @property
    def inside(self) -> tuple[str, ...]:
        """Words that start what follows them in it.

        Not ``ip netns exec``: that mounts a /sys without control groups.
        """
        return ("nsenter", f"--net=/run/netns/{self.name}")


@contextmanager
def network(word: str, number: int) -> Iterator[Network]:
    """Make one; ``number`` (0 to 63) tells its addresses, which are reserved for tests."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        pytest.skip("networks of their own need root, ip and nsenter — run `vmvc setup`")
    sweep()
    name, wire = f"vmvc-h{os.getpid()}-{word}", f"vmvc-{os.getpid():x}-{number}"
    outer, inner = (f"198.51.100.{4 * number + end}" for end in (1, 2))
    ip("netns", "add", name)
    try:
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{outer}/30", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", name, "addr", "add", f"{inner}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        yield Network(name, inner, wire)
    finally:
        # The kernel takes its time over a namespace, and over a wire whose end was in it.
        if Path("/sys/class/net", wire).exists():
            ip("link", "del", wire)
        ip("netns", "del", name)
        assert name not in names()
        assert not Path("/sys/class/net", wire).exists()


def sweep() -> None:
    """Remove what tests that were killed have left."""
    for name in names():
        if (made := OURS.fullmatch(name)) and not psutil.pid_exists(int(made[1])):
            ip("netns", "del", name)


def names() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]


def ip(*words: str) -> str:
    done = subprocess.run(
        ["ip", *words], capture_output=True, check=False, timeout=COMMAND_S, text=True
    )
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout
