"""Start the engine and libvirt, by systemd or by hand where no service manager does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from pytest_vmvc import process
from pytest_vmvc.errors import CommandFailed, LaunchFailed, Unavailable
from pytest_vmvc.paths import state_dir
from pytest_vmvc.setup import observe, packages, superuser

START_S = 60.0
"""Deadline for a daemon to answer after its start."""
POLL_S = 0.2
GONE_LOOKS = 10
"""Looks in a row that find no process of it before we give up early."""
SYSTEMCTL_S = 120.0
NETWORK_XML = Path("/usr/share/libvirt/networks/default.xml")


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """How a daemon is started, and how we know that it is up."""

    name: Literal["docker", "libvirt"]
    units: tuple[tuple[str, ...], ...]
    """Sets of systemd units; the first set that this host has is started."""
    programs: tuple[tuple[str, ...], ...]
    """Commands, in order, where there is no systemd."""


DAEMONS = {
    "docker": Daemon(name="docker", units=(("docker.service",),), programs=(("dockerd",),)),
    "libvirt": Daemon(
        name="libvirt",
        units=(
            ("libvirtd.service",),
            ("virtqemud.socket", "virtnetworkd.socket", "virtstoraged.socket"),
        ),
        programs=(("virtlogd", "-d"), ("libvirtd", "-d")),
    ),
}


def start(name: Literal["docker", "libvirt"]) -> None:
    """Start the daemon unless it answers, and wait until it does.

    Raises `LaunchFailed` with the end of its log.
    """
    daemon = DAEMONS[name]
    if _answers(name):
        return
    log = log_file(name)
    if observe.has_systemd():
        superuser.run(["systemctl", "start", *_units(daemon)], log=log, timeout_s=SYSTEMCTL_S)
        _await(daemon, log, running=lambda: True)
        return
    for argv in daemon.programs:
        if not _running(argv[0]):
            _start_detached(argv, log)
    _await(daemon, log, running=lambda: all(_running(argv[0]) for argv in daemon.programs))


def start_network(name: str = "default") -> None:
    """Bring libvirt's network up, defining it first where it is unknown.

    Raises `CommandFailed` with libvirt's words.
    """
    if observe.network_active(name):
        return
    if not observe.network_defined(name):
        if not NETWORK_XML.exists():
            raise Unavailable(
                f"libvirt has no network `{name}`",
                hint="define a NAT network of that name with `virsh net-define`",
            )
        process.run([*observe.LIBVIRT, "net-define", NETWORK_XML], timeout_s=observe.QUICK_S)
    try:
        process.run([*observe.LIBVIRT, "net-start", name], timeout_s=2 * observe.QUICK_S)
    except CommandFailed as error:
        if not observe.network_active(name):  # somebody else may have been faster
            raise CommandFailed(
                f"libvirt's network `{name}` does not start",
                hint=f"{error.hint}; if its address range is taken on this host, choose another "
                f"with `virsh net-edit {name}`",
            ) from error


def log_file(name: str) -> Path:
    """Where a daemon that was started by hand writes."""
    return state_dir() / "daemons" / f"{name}.log"


def _start_detached(argv: Sequence[str], log: Path) -> None:
    """In a session of its own and no child of ours: it outlives us, and holds none of our pipes."""
    found = packages.program(argv[0])
    if not found:
        raise Unavailable(
            f"{argv[0]} is not installed", hint="run `vmvc setup` without --no-install"
        )
    superuser.run(
        ["setsid", "--fork", found, *argv[1:]],
        log=log,
        timeout_s=START_S,
        env={"PATH": packages.search_path()},  # it starts programs of its own
    )


def _await(daemon: Daemon, log: Path, *, running: Callable[[], bool]) -> None:
    """Wait until it answers; give up early once its process is gone."""
    from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

    gone = 0

    def settled() -> bool:
        nonlocal gone
        gone = 0 if running() else gone + 1
        return _answers(daemon.name) or gone > GONE_LOOKS

    with suppress(RetryError):
        Retrying(
            stop=stop_after_delay(START_S),
            wait=wait_fixed(POLL_S),
            retry=retry_if_result(lambda done: not done),
        )(settled)
    if not _answers(daemon.name):
        how = "systemctl status" if observe.has_systemd() else str(log)
        raise LaunchFailed(
            f"{daemon.name} was started and does not answer", hint=f"{superuser.tail(log)} ({how})"
        )


def _answers(name: Literal["docker", "libvirt"]) -> bool:
    """``forbidden`` counts: it is up, and only this user may not talk to it yet."""
    state = observe.engine_state()[0] if name == "docker" else observe.libvirt_state()
    return state in ("answers", "forbidden")


def _units(daemon: Daemon) -> tuple[str, ...]:
    for units in daemon.units:
        shown = process.run(
            ["systemctl", "show", "--property=LoadState", "--value", units[0]],
            timeout_s=observe.QUICK_S,
            check=False,
        )
        if shown.stdout.strip() == b"loaded":
            return units
    return daemon.units[0]


def _running(program: str) -> bool:
    return any(
        found.info["name"] == program and found.info["status"] != psutil.STATUS_ZOMBIE
        for found in psutil.process_iter(["name", "status"])
    )
