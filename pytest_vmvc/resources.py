"""Who owns what: a run writes down each thing before it makes it, so that nothing is ever lost.

A run has a folder ``<state>/runs/<run id>/`` with ``owner.json`` (pid, process start time, boot id
of the host) and ``resources.jsonl`` (fsynced before each creation). Everything made carries the run
id in its name or label: ``vmvc-<run id>-<n>``. A living run also holds an abstract socket of its
name, which the kernel drops with the process: so everybody on the host can tell that it lives, also
those who keep their state elsewhere.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.paths import state_dir

LABEL = "org.pytest-vmvc.run"
"""Label key that every container, network and image of a run carries; its value is the run id."""

NAME = re.compile(r"vmvc-(r[0-9a-f]{10})-(\d+)")
"""Name of anything that a run makes."""


ROOMY = Path("/var/tmp")  # noqa: S108 - our own folders in it have names of their own, and 0700
"""Temporary files that need room: by the standard of file systems not a file system in memory."""

BEACON = "pytest-vmvc-run-"
"""Begin of the abstract socket's name that a living run holds; its run id follows."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A thing on the host that somebody must destroy."""

    kind: str
    name: str
    run_id: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that a run lives in. A pid alone proves nothing: it is reused."""

    pid: int
    started: float
    boot_id: str

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        return cls(pid=os.getpid(), started=psutil.Process().create_time(), boot_id=boot_id())

    def alive(self) -> bool:
        """Whether that very process still runs."""
        if self.boot_id != boot_id():
            return False
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < 0.02)
        except psutil.Error:
            return False


def boot_id() -> str:
    """Random id of this boot of the host's kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class RunScope:
    """Everything that one run makes, from first to last; a context manager."""

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id or "r" + secrets.token_hex(5)
        self.owner = Owner.current()
        self.folder = state_dir() / "runs" / self.run_id
        self._counter = itertools.count(1)
        self._workdir: Path | None = None
        self._making = threading.Lock()
        self._beacon: socket.socket | None = None
        self._held: dict[tuple[str, str], Resource] = {}

    def __enter__(self) -> RunScope:
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "owner.json").write_bytes(msgspec.json.encode(self.owner))
        self._beacon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with suppress(OSError):  # the folder says it as well
            self._beacon.bind(f"\0{BEACON}{self.run_id}")
        atexit.register(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the work folder; keep the run's folder while it still holds anything."""
        atexit.unregister(self.close)
        if os.getpid() != self.owner.pid:
            return
        if self._workdir is not None:
            shutil.rmtree(self._workdir, ignore_errors=True)
            self._workdir = None
        if not self._held:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._beacon is not None:
            self._beacon.close()
            self._beacon = None

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels for anything that can carry them."""
        return {LABEL: self.run_id}

    def new_name(self) -> str:
        """A fresh name, ``vmvc-<run id>-<n>``."""
        return f"vmvc-{self.run_id}-{next(self._counter)}"

    @property
    def workdir(self) -> Path:
        """A 0700 folder with a short path (unix sockets have 107 bytes), removed at the end."""
        with self._making:
            if self._workdir is None:
                try:
                    self._workdir = Path(tempfile.mkdtemp(prefix=f"vmvc-{self.run_id}-"))
                except OSError as error:
                    raise Unavailable(
                        f"no temporary folder can be written: {error.strerror or error}",
                        hint="free some space in it, or set TMPDIR to a folder of yours",
                    ) from error
            return self._workdir

    @contextmanager
    def roomy_folder(self) -> Iterator[Path]:
        """A 0700 folder for what is large: on a disk, where the work folder may be in memory.

        It has a fresh name and a short path, and is removed at the end.
        """
        path = ROOMY / self.new_name()
        resource = self.hold("folder", str(path))
        try:
            try:
                path.mkdir(mode=0o700)
            except OSError as error:
                raise Unavailable(
                    f"{ROOMY} cannot be written: {error.strerror or error}",
                    hint="free some space in it, or permit it",
                ) from error
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                self.release(resource)

    def hold(self, kind: str, name: str) -> Resource:
        """Write down, durably, that ``name`` is about to be made.

        Raises `InfrastructureError` where that fails: what nobody would know of is not made.
        """
        resource = Resource(kind=kind, name=name, run_id=self.run_id)
        line = msgspec.json.encode(resource) + b"\n"
        path = self.folder / "resources.jsonl"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise InfrastructureError(
                f"{kind} {name} is not made, as {path} cannot be written: {error.strerror}",
                hint="free some space, or set VMVC_STATE_DIR to a folder on another disk",
            ) from error
        self._held[kind, name] = resource
        return resource

    def release(self, resource: Resource) -> None:
        """It was destroyed, and that was verified."""
        self._held.pop((resource.kind, resource.name), None)

    @property
    def held(self) -> tuple[Resource, ...]:
        """What is not yet destroyed."""
        return tuple(self._held.values())


def live_runs() -> frozenset[str]:
    """Ids of the runs whose process still lives; nobody else may touch their things."""
    return frozenset(
        folder.name for folder in _run_folders() if (owner := _owner(folder)) and owner.alive()
    )


def beacons() -> frozenset[str]:
    """Ids of all runs that live on this host, whoever's they are and wherever their state is."""
    with suppress(OSError):
        lines = Path("/proc/net/unix").read_text().splitlines()
        names = (line.rpartition("@")[2] for line in lines)
        return frozenset(name[len(BEACON) :] for name in names if name.startswith(BEACON))
    return frozenset()


def dead_runs() -> frozenset[str]:
    """Ids of the runs that ended without tidying up."""
    return frozenset(folder.name for folder in _run_folders()) - live_runs()


def forget(run_id: str) -> None:
    """Drop the folder of a dead run whose things are gone."""
    shutil.rmtree(state_dir() / "runs" / run_id, ignore_errors=True)


def _run_folders() -> list[Path]:
    with suppress(FileNotFoundError):
        return [entry for entry in (state_dir() / "runs").iterdir() if entry.is_dir()]
    return []


def _owner(folder: Path) -> Owner | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / "owner.json").read_bytes(), type=Owner)
    return None


class FolderReaper:
    """Work folders and roomy folders of runs that died."""

    name = "folder"

    def inventory(self) -> list[Resource]:
        """Our folders under the system's temporary directories."""
        return [
            Resource(kind="folder", name=str(path), run_id=match[1])
            for place in {Path(tempfile.gettempdir()), ROOMY}
            for path in place.glob("vmvc-r*-*")
            if (match := re.match(r"vmvc-(r[0-9a-f]{10})-", path.name))
        ]

    def destroy(self, resource: Resource) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(resource.name, ignore_errors=True)
