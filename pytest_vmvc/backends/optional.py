"""What only some technologies can do: small protocols, and the data that they speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.model import Artefact

Configuration = Literal["default", "hardened", "host-pid"]
"""``hardened``: no capabilities, read-only root, no new privileges, no network; ``host-pid``: the
host's process table, as a positive control."""


Balloon = Literal["", "plain", "reporting"]
"""Device by which a machine's memory can be had back: none; one that the host inflates; one that
also lets the guest tell the host of its free pages by itself."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a start is granted, where that is not its provider's default."""

    memory_bytes: int | None = None
    """Memory, swap included."""
    vcpus: float | None = None
    """CPUs, or CPU time in CPUs."""
    processes: int | None = None
    """Most processes and threads at once."""
    ports: tuple[int, ...] = ()
    """TCP ports inside that the host reaches on its loopback (`Serves`); nothing else does."""
    configuration: Configuration = "default"
    shared_folder: Path | None = None
    """A folder of the host that is writable inside, at ``/shared``: a fault, planted on purpose."""
    shares_pids_with: str = ""
    """Name of a container whose process table it shares: another fault, planted on purpose."""
    balloon: Balloon = ""
    """The machine's memory balloon (`Balloons`)."""

    def check_for_machine(self) -> None:
        """Raise `Unavailable` for what no machine of ours can be granted."""
        if self.processes is not None or self.configuration == "host-pid" or self.shares_pids_with:
            raise Unavailable("a machine has a process table of its own, which nobody can share")
        if self.shared_folder is not None:
            raise Unavailable("our machines share no folder with the host")
        if self.vcpus is not None and self.vcpus != int(self.vcpus):
            raise Unavailable("a machine has whole CPUs")


@runtime_checkable
class Shapeable(Protocol):
    """Can start the same artefact in another shape."""

    def shaped(self, shape: Shape) -> Provider:
        """The same artefact in that shape; raises `Unavailable` for what this technology lacks."""


@runtime_checkable
class Creatable(Protocol):
    """Can create one without starting it."""

    def created(self) -> AbstractContextManager[float]:
        """Create one and give the seconds that it took; leaving removes it.

        Raises `CommandFailed`, and `Unavailable` where there is nothing to create.
        """


@runtime_checkable
class Serves(Protocol):
    """Can be talked to by TCP from the host's loopback."""

    def address(self, port: int) -> tuple[str, int]:
        """Where a port of its `Shape` is reached from the host.

        Raises `InfrastructureError` for a port that its shape does not name, and
        `EnvironmentDied`.
        """


@runtime_checkable
class Balloons(Protocol):
    """Has a balloon in its `Shape`, by which the host can have memory back while it runs."""

    def start_balloon(self) -> None:
        """Have the guest load its driver; a reporting one then tells of free pages by itself.

        Raises `InfrastructureError` where the guest cannot, and `EnvironmentDied`.
        """

    def inflate(self, left_bytes: int, *, timeout_s: float = 30.0) -> None:
        """Take memory away until the guest has ``left_bytes``; needs `start_balloon` before.

        Raises `CommandTimedOut` where the guest does not yield, and `EnvironmentDied`.
        """


@runtime_checkable
class Confined(Protocol):
    """Reaches the host's kernel through one process of the host: its payload, or its emulator."""

    def capabilities(self) -> int:
        """How many capabilities that process has towards the host.

        Raises `Unavailable` where this host does not see it, and `EnvironmentDied`.
        """

    def system_calls(self) -> int:
        """How many system calls of the host's kernel that process may make.

        Raises `Unavailable` where its filter cannot be evaluated, and `EnvironmentDied`.
        """


@dataclass(frozen=True, kw_only=True)
class Acquired:
    """What was had from a server by somebody who had nothing of it."""

    present_s: float
    """From the request to fetched and unpacked."""
    fetched_bytes: int
    steps: tuple[str, ...]
    """The operator's commands that were carried out."""
    provider: Provider | None = None
    """Starts what was fetched; None where it is only kept."""


Acquire = Callable[[float], AbstractContextManager[Acquired]]
"""``acquire(deadline_s)``: fetch and unpack, with nothing of it there; leaving removes it again.

Entering raises `InfrastructureError` where that is not possible in time."""


@runtime_checkable
class Acquirable(Protocol):
    """Can be had from a server."""

    def offered(self) -> AbstractContextManager[Acquire]:
        """Put the artefact on a server of our own, on the loopback, for the time of the context.

        Entering raises `Unavailable`, `BuildFailed` and `InfrastructureError`.
        """


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a live move took."""

    move_s: float
    """From the request to the destination's first answer, the start of its process included."""
    downtime_s: float
    """From the source's stop to the destination's resumption, on our clock."""
    reported_downtime_s: float
    """The same as the hypervisor itself states it."""
    steps: tuple[str, ...]
    """The operator's commands that were carried out."""


@runtime_checkable
class Migratable(Protocol):
    """Can hand a running environment over to another hypervisor process."""

    def migrated(
        self, source: Environment, *, deadline_s: float
    ) -> AbstractContextManager[tuple[Environment, Moved]]:
        """Move what runs in ``source``, which it leaves stopped; leaving ends the destination.

        Raises `InfrastructureError` where the hypervisor does not complete it.
        """


@runtime_checkable
class Checkpointable(Protocol):
    """Can be saved while it runs, and go on from what was saved."""

    def checkpoint(self, *, timeout_s: float) -> None:
        """Save the processes to disk and end them.

        Raises `Unavailable`, in its own words, where engine, runtime or kernel refuse.
        """

    def restore(self, *, timeout_s: float) -> None:
        """Go on from what `checkpoint` saved; raises `Unavailable` as that does."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance costs the host: itself, what manages it, what manages all of its kind."""

    payload_bytes: int
    """PSS of the payload's processes; of the guest's memory where a hypervisor holds it."""
    manager_bytes: int
    """PSS of what manages this instance alone: shim; hypervisor outside the guest's memory."""
    daemons_bytes: int = 0
    """PSS of the daemons that manage all instances."""
    cpu_s: float
    """CPU time of the payload and of its own manager."""
    manager_cpu_s: float
    """CPU time of its own manager; a hypervisor's cannot be told from its guest's."""
    daemons_cpu_s: float = 0.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel that an instance runs on accounts to it."""

    configured_bytes: int
    """The most it may take: its grant; without a limit the host's memory."""
    used_bytes: int
    """Without page cache."""
    cache_bytes: int


@runtime_checkable
class Accountable(Protocol):
    """Can tell what it costs the host, and everything that manages it."""

    def account(self) -> Account:
        """As the host sees it now; raises `Unavailable` where it cannot, and `EnvironmentDied`."""

    def memory(self) -> Memory:
        """As its kernel accounts for it now; raises `EnvironmentDied`."""


@runtime_checkable
class Inspectable(Protocol):
    """Has a control plane that knows its state."""

    def inspect(self) -> str:
        """Its state in the control plane's own word; raises `EnvironmentDied`."""


@runtime_checkable
class Stoppable(Protocol):
    """Can be ended by its control plane."""

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """End it at once, without its consent, and wait until the control plane says that it has.

        Raises `CommandTimedOut`, and `EnvironmentDied` where it had ended before.
        """


@runtime_checkable
class HasDisk(Protocol):
    """Has storage of its own above what it shares with its siblings."""

    def write(self, data: bytes) -> None:
        """Put data on it, durably; raises `Unavailable` where this one has none."""

    def disk_bytes(self) -> int:
        """Bytes of the host's disk that it alone takes."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artefact is carried to; a machine needs nothing of it but its hypervisor."""

    address: str = ""
    """Of a container engine."""
    cgroup_parent: str = ""
    """Under which that engine shall put its containers."""
    needs: tuple[str, ...] = ()
    """Programs and daemons that must be there, found on this host."""
    network: Path | None = None
    """The network namespace in which its containers can be reached; None: the host's own."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact that was packed, carried and unpacked, and how that went."""

    provider: Provider
    """Starts it at the destination."""
    marks: dict[str, float]
    """Seconds since the departure, ascending: packaged, carried, imported."""
    commands: tuple[str, ...]
    """What an operator types, up to the start at the destination."""
    needs: tuple[str, ...]
    """Programs and daemons that the destination must have, found on this host."""
    archive: Path
    """What was carried."""
    intact: bool
    """Whether the content has the same digest at both ends."""


@runtime_checkable
class Portable(Protocol):
    """Can be packed into one file, carried, and unpacked elsewhere."""

    def destinations(self) -> Mapping[str, Callable[[], AbstractContextManager[Destination]]]:
        """Places of this host that it can be carried to, by a suffix of the subject's name.

        The first has no suffix. Entering one raises `Unavailable` where this host lacks it.
        """

    def ported(self, destination: Destination) -> AbstractContextManager[Arrival]:
        """Carry it there by what its technology gives an operator; leaving removes it there.

        Raises `BuildFailed` where the destination does not take it, `CommandFailed` and
        `CommandTimedOut`.
        """


class Laden(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact with a file tree in it."""

    provider: Portable
    reach: tuple[str, ...] = ()
    """The command that puts the tree at ``/tree`` inside; empty where it is there at once."""


@runtime_checkable
class Paddable(Protocol):
    """Can be made larger by any number of bytes that it does not use."""

    def padded(self, sizes: Sequence[int]) -> AbstractContextManager[Mapping[int, Portable]]:
        """The same artefact with so many bytes of incompressible data, by that number.

        Made once, on entering; leaving removes it. Raises `Unavailable` where the disk has no room.
        """


@runtime_checkable
class Loadable(Protocol):
    """Can take a file tree of the host into its artefact."""

    def laden(self, fill: Callable[[Path], None]) -> AbstractContextManager[Laden]:
        """The same artefact with the tree as well that ``fill`` writes into an empty folder.

        Leaving removes it. Raises `BuildFailed`, and what ``fill`` raises.
        """


@runtime_checkable
class Mortal(Environment, Protocol):
    """Its end is told to the host together with the cause."""

    def await_death(self, *, timeout_s: float) -> str:
        """Wait until it has ended and say how; raises `CommandTimedOut` where it goes on."""


@runtime_checkable
class HasArtefact(Protocol):
    """Can tell the size of what a user must fetch and keep."""

    def artefact(self) -> Artefact:
        """Bytes to fetch and to keep."""
