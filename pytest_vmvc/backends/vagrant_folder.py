"""A machine of Vagrant's by its folder: what is noted there, its process, its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from pytest_vmvc.backends import vagrant_boxes
from pytest_vmvc.backends.console import one_line
from pytest_vmvc.backends.vagrant_providers import LIBVIRT
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, TeardownFailed, Unavailable
from pytest_vmvc.resources import dead_runs, written_down

DESTROY_TIMEOUT_S = 60.0
"""For `vagrant destroy`, and for what `vagrant status` says of it."""
GONE = "not_created"
LEAST_ID = 8
"""Signs of an id that no other process has in its arguments by chance."""
ID_FILES = ".vagrant/machines/*/*/id"
NAMES = "vmvc-r*-*"


def machine_id(folder: Path) -> str:
    """What the provider calls the machine; empty where Vagrant has made none there."""
    for _, found in _noted(folder):
        return found
    return ""


def _noted(folder: Path) -> Iterator[tuple[str, str]]:
    """Provider and id of each machine."""
    for file in sorted(_found(folder, ID_FILES)):
        with suppress(OSError):
            yield file.parent.name, file.read_text(errors="replace").strip()


def process_of(identity: str) -> psutil.Process | None:
    """The process of this host that has the machine's id in its arguments, the biggest of them."""
    if len(identity) < LEAST_ID:
        return None
    found = [
        (one.info["memory_info"].rss, one.pid, one)
        for one in psutil.process_iter(["cmdline", "memory_info"])
        if any(identity in word for word in one.info["cmdline"] or ()) and one.info["memory_info"]
    ]
    return max(found)[2] if found else None


def destroy(folder: Path) -> None:
    """Have Vagrant destroy what it has made in the folder, and see that it is gone.

    Raises `TeardownFailed` with the folder and the command that is left to do.
    """
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

    for provider, _ in list(_noted(folder)):
        command = VagrantCommand(
            folder, home=vagrant_boxes.home(), timeout_s=DESTROY_TIMEOUT_S, provider=provider
        )
        try:
            command.destroy()  # type: ignore[no-untyped-call] # library
            state = command.state()
            why = "" if state == GONE else f"Vagrant says that it is {state}"
        except (CommandFailed, CommandTimedOut, Unavailable) as error:
            why = one_line(str(error))
        if why or any(name == provider for name, _ in _noted(folder)):
            raise TeardownFailed(
                f"the {provider} machine of {folder} is not gone: "
                f"{why or 'Vagrant has still its id'}",
                hint=f"`VAGRANT_HOME={vagrant_boxes.home()} vagrant destroy -f` in that folder, "
                "or end it in its provider; then `vmvc clean`",
            )


def leftovers() -> set[Path]:
    """Folders of any run in which Vagrant has a machine that nobody but Vagrant would end."""
    places = set(_found(Path(tempfile.gettempdir()), NAMES))
    for run_id in dead_runs():
        places |= {Path(one.name) for one in written_down(run_id) if one.kind == "folder"}
    return {
        folder
        for place in places
        for folder in _found(place, NAMES)
        if any(provider != LIBVIRT for provider, _ in _noted(folder))
    }


def _found(place: Path, pattern: str) -> list[Path]:
    """What there is; nothing where it is being removed, or another user's."""
    with suppress(OSError):
        return list(place.glob(pattern))
    return []
