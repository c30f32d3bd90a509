"""Who owns what: a run writes down each thing before it makes it, so that nothing is ever lost.

A run has a folder ``<state>/runs/<run id>/`` with ``owner.json`` (pid, process start time, boot id
of the host) and ``resources.jsonl`` (fsynced before each creation). Everything made carries the run
id in its name or label: ``vmvc-<run id>-<n>``. A living run also holds an abstract socket of its
name, which the kernel drops with the process: so everybody on the host can tell that it lives, also
those who keep their state elsewhere. The processes that it starts have its id in their environment.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import secrets
import select
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from pytest_vmvc.errors import InfrastructureError, TeardownFailed, Unavailable
from pytest_vmvc.paths import state_dir
from pytest_vmvc.watchdog import Watchdog, close_private, keep_private

LABEL = "org.pytest-vmvc.run"
"""Label key that every container, network and image of a run carries; its value is the run id."""

NAME = re.compile(r"vmvc-(r[0-9a-f]{10})-(\d+)")
"""Name of anything that a run makes."""


ROOMY = Path("/var/tmp")  # noqa: S108 - our own folders in it have names of their own, and 0700
"""Temporary files that need room: by the standard of file systems not a file system in memory."""

BEACON = "pytest-vmvc-run-"
"""Begin of the abstract socket's name that a living run holds; its run id follows."""

MARK = "VMVC_RUN_ID"
"""Variable in the environment of every process that a run starts; its value is the run id."""

ENDED = "ZXx"
"""States of a process that is only waited for."""

KILL_S = 10.0
"""How long a killed process may take to be gone."""

_open: list[str] = []
"""Ids of the runs that this process has open, the outermost first."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A thing on the host that somebody must destroy."""

    kind: str
    name: str
    run_id: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that a run lives in. A pid alone proves nothing: it is reused."""

    pid: int
    started: float
    """Seconds after the boot: unlike a time of day it stays when the clock is set."""
    boot_id: str

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        _, started = _state(os.getpid())
        return cls(pid=os.getpid(), started=started, boot_id=boot_id())

    def alive(self) -> bool:
        """Whether that very process still runs."""
        if self.boot_id != boot_id():
            return False
        try:
            state, started = _state(self.pid)
        except (OSError, ValueError, IndexError):
            return False
        # One that ended and that nobody has waited for yet does nothing any more.
        return started == self.started and state not in ENDED

    def await_end(self) -> None:
        """Wait for as long as it takes, without asking again and again."""
        # Where the number is still its own, the file stands for it.
        with suppress(OSError), _end_of(self.pid) as end:
            if self.alive():
                select.select([end], [], [])


def _state(pid: int) -> tuple[str, float]:
    """State of a process, as one letter, and when it was started, in seconds after the boot."""
    # The name, in brackets, may have anything in it.
    words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return words[0], int(words[19]) / os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """Random id of this boot of the host's kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class RunScope:
    """Everything that one run makes, from first to last; a context manager.

    ``watched``: a process of its own tidies up after it, should this one not live to do so.
    """

    def __init__(self, run_id: str | None = None, *, watched: bool = False) -> None:
        self.run_id = run_id or "r" + secrets.token_hex(5)
        self.owner = Owner.current()
        self.folder = state_dir() / "runs" / self.run_id
        self._counter = itertools.count(1)
        self._workdir: Path | None = None
        self._making = threading.Lock()
        self._beacon = -1
        self._watched = watched
        self._watchdog: Watchdog | None = None
        self._held: dict[tuple[str, str], Resource] = {}

    def __enter__(self) -> RunScope:
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "owner.json").write_bytes(msgspec.json.encode(self.owner))
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as beacon:
            beacon.bind(f"\0{BEACON}{self.run_id}")  # or else the folder says it
            self._beacon = keep_private(beacon.detach())
        if self._watched:
            with suppress(OSError):  # the next start tidies up, too
                environment = {key: value for key, value in os.environ.items() if key != MARK}
                self._watchdog = Watchdog(self.run_id, self.folder, environment)
        _open.append(self.run_id)
        atexit.register(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the work folder, unless a thing is still held in it.

        The run's own folder is kept while it holds anything: nobody owns that then, and whoever
        looks may destroy what it names.
        """
        atexit.unregister(self.close)
        if os.getpid() != self.owner.pid:
            return
        if self.run_id in _open:
            _open.remove(self.run_id)
        if self._workdir is not None:
            if not any(Path(one.name).is_relative_to(self._workdir) for one in self.held):
                shutil.rmtree(self._workdir, ignore_errors=True)
            self._workdir = None
        if self._held:
            (self.folder / "owner.json").unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        close_private(self._beacon)
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.leave_it_the_rest() if self._held else watchdog.dismiss()

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
                name = f"vmvc-{self.run_id}-{secrets.token_hex(4)}"
                with _writable(
                    "no temporary folder can be written",
                    "free some space in it, or set TMPDIR to a folder of yours",
                ):
                    path = Path(tempfile.gettempdir(), name).absolute()
                    self._write_down("folder", str(path))
                    path.mkdir(mode=0o700)
                self._workdir = path
            return self._workdir

    @contextmanager
    def roomy_folder(self) -> Iterator[Path]:
        """A 0700 folder for what is large: on a disk, where the work folder may be in memory.

        It has a fresh name and a short path, and is removed at the end.
        """
        path = ROOMY / self.new_name()
        resource = self.hold("folder", str(path))
        try:
            with _writable(f"{ROOMY} cannot be written", "free some space in it, or permit it"):
                path.mkdir(mode=0o700)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                self.release(resource)

    def hold(self, kind: str, name: str) -> Resource:
        """Write down, durably, that ``name`` is about to be made.

        Raises `InfrastructureError` where that fails: what nobody would know of is not made.
        """
        resource = self._write_down(kind, name)
        self._held[kind, name] = resource
        return resource

    def _write_down(self, kind: str, name: str) -> Resource:
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
        return resource

    def release(self, resource: Resource) -> None:
        """It was destroyed, and that was verified."""
        self._held.pop((resource.kind, resource.name), None)

    @property
    def held(self) -> tuple[Resource, ...]:
        """What is not yet destroyed."""
        return tuple(self._held.values())


@contextmanager
def _writable(complaint: str, remedy: str) -> Iterator[None]:
    """Tell what the system refuses to write as what this host lacks."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{complaint}: {error.strerror or error}", hint=remedy) from error


def marked(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a child of its run, and for all that this one starts."""
    return {**os.environ, **mark(), **(extra or {})}


def mark() -> dict[str, str]:
    """What tells of a child whose it is; nothing where no run is open."""
    for outermost in _open:  # it lives longest, and is watched
        return {MARK: outermost}
    return {}


def written_down(run_id: str) -> tuple[Resource, ...]:
    """Everything that a run has ever held; lines that were cut off are left out."""
    found = []
    with suppress(OSError):
        for line in (state_dir() / "runs" / run_id / "resources.jsonl").read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=Resource))
    return tuple(found)


def owner_of(run_id: str) -> Owner | None:
    """The process that a run lives in, or lived in; None where it was closed, or is not known."""
    return _owner(state_dir() / "runs" / run_id)


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


def runs_of(owner: Owner) -> frozenset[str]:
    """Ids of the runs that one and the same process has, or had."""
    return frozenset(folder.name for folder in _run_folders() if _owner(folder) == owner)


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
        """Our folders under the system's temporary directories, and where a run wrote one down.

        That may be elsewhere: a run and who tidies up after it need not have the same TMPDIR.
        """
        places = {Path(tempfile.gettempdir()), ROOMY}
        found = {path for place in places for path in place.glob("vmvc-r*-*")}
        found |= {
            Path(one.name)
            for run_id in dead_runs()
            for one in written_down(run_id)
            if one.kind == self.name and Path(one.name).is_dir()
        }
        return [
            Resource(kind=self.name, name=str(path), run_id=match[1])
            for path in sorted(found)
            if (match := re.match(r"vmvc-(r[0-9a-f]{10})-", path.name))
        ]

    def destroy(self, resource: Resource) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(resource.name, ignore_errors=True)


class ChildReaper:
    """Processes that runs have started: what outlives a run goes on making things."""

    name = "process"

    def inventory(self) -> list[Resource]:
        """All of them, of every run; named by pid, moment of the start and program."""
        return list(_children())

    def destroy(self, resource: Resource) -> None:
        """Kill it and see that it is gone; raises `TeardownFailed`."""
        pid, started, _ = resource.name.split(" ", 2)
        try:
            with _end_of(int(pid)) as end:
                if str(_state(int(pid))[1]) != started:
                    return
                # By the file, that cannot be another process meanwhile; a zombie is an end, too.
                signal.pidfd_send_signal(end, signal.SIGKILL)
                if select.select([end], [], [], KILL_S)[0]:
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        except PermissionError as error:
            raise TeardownFailed(f"process {pid} may not be killed", hint=str(error)) from error
        raise TeardownFailed(
            f"process {resource.name} is still there {KILL_S:g} s after it was killed",
            hint=f"the kernel holds it; see /proc/{pid}/stack",
        )


def end_children() -> None:
    """Kill what this process's run has started: nobody need wait for it any more."""
    reaper, mine = ChildReaper(), mark().get(MARK)
    for child in reaper.inventory():
        if child.run_id == mine:
            with suppress(TeardownFailed):  # whoever has started it will tell
                reaper.destroy(child)


@contextmanager
def _end_of(pid: int) -> Iterator[int]:
    """A file that can be read from once the process has ended; raises OSError."""
    end = os.pidfd_open(pid)
    try:
        yield end
    finally:
        os.close(end)


def _children() -> Iterator[Resource]:
    for process in psutil.process_iter():
        # Gone, or another user's; one that has ended has no environment any more.
        with suppress(psutil.Error, OSError):
            if run_id := process.environ().get(MARK):
                _, started = _state(process.pid)
                name = f"{process.pid} {started} {process.name()}"
                yield Resource(kind=ChildReaper.name, name=name, run_id=run_id)
