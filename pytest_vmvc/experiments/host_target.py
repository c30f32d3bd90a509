"""The host as a target: a file, a process, memory and a socket of ours, and what it has anyway."""

from __future__ import annotations

import ctypes
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments.breach_probes import Target, at_home
from pytest_vmvc.experiments.vantage import on_host

ENGINES = ("/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock")
"""Where engines listen; whoever may talk to one is root on the host."""

NO_DISKS = ("loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd")
PRIVATE, REMOVE, MODE = 0, 0, 0o600
"""IPC_PRIVATE, IPC_RMID, and who may have the segment."""


@contextmanager
def host_target(folder: Path) -> Iterator[Target]:
    """Describe the host as a target whose file will be in ``folder``; holds memory and a socket."""
    size_bytes = 2**20 + secrets.randbelow(2**20)
    target = Target(
        folder=str(folder),
        segment_bytes=size_bytes,
        disk=_disk(Path("/proc/partitions").read_text()),
        engine=next((path for path in ENGINES if Path(path).is_socket()), "/none"),
    )
    target = at_home(target, on_host)
    with _segment(size_bytes), socket.socket(socket.AF_UNIX) as channel:
        channel.bind(f"\0{target.name}")
        yield target


@contextmanager
def _segment(size_bytes: int) -> Iterator[None]:
    """System V memory that the kernel frees with its last user, so that nothing can be left."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    libc.shmdt.argtypes = (ctypes.c_void_p,)
    identity = libc.shmget(PRIVATE, ctypes.c_size_t(size_bytes), MODE)
    if identity < 0:
        raise InfrastructureError("the host gives no System V memory", hint="see `ipcs -l`")
    place = libc.shmat(identity, None, 0)
    libc.shmctl(identity, REMOVE, None)
    try:
        yield
    finally:
        libc.shmdt(place)


def _disk(partitions: str) -> str:
    """Name and number of the host's first disk."""
    for line in partitions.splitlines()[2:]:
        major, minor, _, name = line.split()
        if not name.startswith(NO_DISKS):
            return f"{name} {major} {minor}"
    return "none 0 0"
