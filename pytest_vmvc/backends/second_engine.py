"""Further container engines on this host: each in namespaces of its own, which end with it.

Engine and everything that it starts live in one process namespace, so that the end of its first
process is the end of all. Mounts and networks are of namespaces, too: they go with the last
process, whatever killed it, and the host's own engine, its bridge and its firewall never see them.
What stays is a folder and empty control groups; both carry the run's name.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil

from pytest_vmvc.backends.docker_engine import Deadline, Engine, until
from pytest_vmvc.backends.optional import Destination
from pytest_vmvc.backends.porting import found
from pytest_vmvc.errors import LaunchFailed, TeardownFailed, Unavailable
from pytest_vmvc.resources import NAME, ROOMY, Resource, RunScope, marked
from pytest_vmvc.text import last_line

Brand = Literal["docker", "podman"]
KIND = "engine"
START_S = 60.0
END_S = 30.0
CGROUPS = Path("/sys/fs/cgroup")
SUFFIX = ".engine"
"""Behind the name of an engine's control groups: those of others are not its own."""

NAMESPACES = (
    "unshare", "--net", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
HIDE = """for place in /run /dev/shm /var/lib/cni; do
    [ ! -d $place ] || mount -t tmpfs tmpfs $place || exit
done
exec "$@"
"""
"""Where engines put sockets, locks and address leases under names that the host's own use."""

CONTAINERS_CONF = """[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
stop_timeout = 0
{runtime}
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
"""
"""Limits that a process without CAP_SYS_RESOURCE may still set; and containers are killed to be
removed, as Docker does it."""

PROGRAMS: Mapping[Brand, str] = {"docker": "dockerd", "podman": "podman"}

NEEDS: Mapping[Brand, tuple[str, ...]] = {
    "docker": ("dockerd", "containerd", "containerd-shim-runc-v2", "runc", "iptables"),
    "podman": ("podman", "conmon", "runc", "crun", "netavark", "bridge", "iptables"),
}
"""Programs that an engine starts, where a host has them."""

PLACES = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/lib/cni")


@contextmanager
def second_engine(
    brand: Brand, scope: RunScope, *, deadline_s: float = START_S
) -> Iterator[Destination]:
    """Start an engine with storage and network of its own, and wait until it answers.

    Raises `Unavailable` where this host cannot run one and `LaunchFailed`; leaving ends it with
    everything in it and verifies that (`TeardownFailed`).
    """
    if gap := second_engine_gap(brand):
        raise gap
    with scope.roomy_folder() as folder:
        name = folder.name
        resource = scope.hold(KIND, name)
        try:
            with (folder / "log").open("wb") as log:
                child = subprocess.Popen(
                    [*NAMESPACES, "sh", "-c", HIDE, "sh", *COMMANDS[brand](folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=marked({"CONTAINERS_CONF": str(folder / "containers.conf")}),
                    start_new_session=True,
                )
            try:
                address = f"unix://{folder / 's'}"
                _await(child, address, folder / "log", deadline_s)
                yield Destination(
                    address=address,
                    cgroup_parent=f"/{name}{SUFFIX}",
                    needs=needs(brand),
                    network=Path(f"/proc/{child.pid}/ns/net"),
                )
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait(END_S)
        finally:
            _end(name)
            scope.release(resource)


def second_engine_gap(brand: Brand) -> Unavailable | None:
    """Why such an engine cannot be started on this host, or None."""
    if len(found((PROGRAMS[brand], NAMESPACES[0]))) < 2:
        return Unavailable(
            f"{PROGRAMS[brand]} or {NAMESPACES[0]} is not installed", hint="run `vmvc setup`"
        )
    if os.geteuid() != 0:
        return Unavailable(
            "a second container engine needs root, for namespaces of its own", hint="run as root"
        )
    return None


def needs(brand: Brand) -> tuple[str, ...]:
    """The programs of such an engine that this host has."""
    return found(NEEDS[brand], places=PLACES)


class EngineReaper:
    """Engines of ours, by the name in their command lines, and what is left of their cgroups."""

    name = KIND

    def inventory(self) -> list[Resource]:
        """Every engine of any run."""
        names = {name for _, name in _processes()} | {path.stem for path in _cgroups("vmvc-r*-*")}
        return [
            Resource(kind=KIND, name=name, run_id=match[1])
            for name in sorted(names)
            if (match := NAME.fullmatch(name))
        ]

    def destroy(self, resource: Resource) -> None:
        """Kill it and see that it is gone; raises `TeardownFailed`."""
        for process, name in _processes():
            if name == resource.name:
                with suppress(psutil.NoSuchProcess):
                    process.kill()  # checks pid and start time first
        _end(resource.name)


def _docker(folder: Path) -> list[str]:
    settings = folder / "daemon.json"
    settings.write_text("{}")  # else it would read the host's own
    return [
        PROGRAMS["docker"], "--config-file", str(settings), "--host", f"unix://{folder / 's'}",
        "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "pid"), "--exec-opt", "native.cgroupdriver=cgroupfs",
        "--log-level", "warn",
    ]  # fmt: skip


def _podman(folder: Path) -> list[str]:
    runtime = 'runtime = "runc"' if found(("runc",)) else ""
    (folder / "containers.conf").write_text(CONTAINERS_CONF.format(runtime=runtime))
    return [
        PROGRAMS["podman"], "--root", str(folder / "data"), "--runroot", str(folder / "run"),
        "--tmpdir", str(folder / "tmp"), "system", "service", "--time", "0",
        f"unix://{folder / 's'}",
    ]  # fmt: skip


COMMANDS: Mapping[Brand, Callable[[Path], list[str]]] = {"docker": _docker, "podman": _podman}


def _await(child: subprocess.Popen[bytes], address: str, log: Path, deadline_s: float) -> None:
    def answers() -> bool:
        with suppress(Unavailable):
            return bool(Engine(address).api_version)
        return child.poll() is not None

    if not until(answers, Deadline(deadline_s)) or child.poll() is not None:
        raise LaunchFailed(
            f"the second engine did not answer within {deadline_s:g} s",
            hint=last_line(log.read_text(errors="replace")),
        )


def _end(name: str) -> None:
    """See that no process of it is left, and remove its control groups."""

    def gone() -> bool:
        if any(running == name for _, running in _processes()):
            return False
        for place in _cgroups(name):
            for inner in (*sorted(place.rglob("*/"), reverse=True), place):
                with suppress(OSError):
                    inner.rmdir()
        return not _cgroups(name)

    if not until(gone, Deadline(END_S)):
        raise TeardownFailed(
            f"engine {name} is still there {END_S:g} s after it was killed", hint="run `vmvc clean`"
        )


def _processes() -> Iterator[tuple[psutil.Process, str]]:
    """Engines of ours and what waits for them; zombies have no command line."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        if Path(words[0]).name not in (NAMESPACES[0], *PROGRAMS.values()):
            continue
        for word in words:
            _, ours, rest = word.partition(f"{ROOMY}/")
            if ours and NAME.fullmatch(name := rest.partition("/")[0]):
                yield process, name
                break


def _cgroups(pattern: str) -> list[Path]:
    """Of engines; version 2 has one tree, version 1 one for each controller."""
    return [*CGROUPS.glob(f"{pattern}{SUFFIX}"), *CGROUPS.glob(f"*/{pattern}{SUFFIX}")]
