"""What Vagrant notes of a machine in its home, and a killed ``vagrant`` leaves there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pytest_vmvc.backends import vagrant_boxes, vagrant_folder
from pytest_vmvc.errors import TeardownFailed
from pytest_vmvc.paths import put
from pytest_vmvc.resources import NAME, Resource, dead_runs, written_down

KIND = "vagrant-machine"
"""A machine by its folder, which Vagrant ends or has noted."""
LOCK_S = 10.0
POLL_S = 0.05


def leftovers() -> list[Resource]:
    """Machines of any run that Vagrant knows of, or was at work on; each by its folder."""
    found = {Path(str(one.get("vagrantfile_path", ""))) for one in _machines().values()}
    found |= vagrant_folder.leftovers()
    for run_id in dead_runs():
        written = written_down(run_id)
        names = [one.name.removesuffix("-default") for one in written if one.kind == "domain"]
        places = [one.name for one in written if one.kind == "folder"]
        folders = [Path(place, name) for place in places for name in names]
        folders += [Path(one.name) for one in written if one.kind == KIND]
        found |= {folder for folder in folders if _lock_file(folder).exists()}
    return [
        Resource(kind=KIND, name=str(folder), run_id=match[1])
        for folder in sorted(found)
        if (match := NAME.fullmatch(folder.name))
    ]


def reap(folder: Path) -> None:
    """End the machine that a run has left in a folder, and forget it; raises `TeardownFailed`."""
    if folder in vagrant_folder.leftovers():
        vagrant_folder.destroy(folder)
    forget(folder)


def forget(folder: Path) -> None:
    """Drop the machine that ``vagrant`` has had in a folder; raises `TeardownFailed`."""
    _lock_file(folder).unlink(missing_ok=True)
    if not any(one.get("vagrantfile_path") == str(folder) for one in _machines().values()):
        return
    with _locked():
        index = _read()
        index["machines"] = {
            key: one
            for key, one in _machines().items()
            if one.get("vagrantfile_path") != str(folder)
        }
        put(_file(), json.dumps(index).encode())


def _file() -> Path:
    return vagrant_boxes.home() / "data" / "machine-index" / "index"


def _read() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        index = json.loads(_file().read_bytes())
        if isinstance(index, dict):
            return index
    return {}


def _machines() -> dict[str, dict[str, Any]]:
    machines = _read().get("machines")
    return {
        key: one
        for key, one in (machines.items() if isinstance(machines, dict) else ())
        if isinstance(one, dict)
    }


def _lock_file(folder: Path) -> Path:
    """The one that ``vagrant`` holds while it works on the machine, by Vagrant's own rule."""
    said = f"{folder}Vagrantfile{folder}/.vagrantdefault"
    name = hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()
    return vagrant_boxes.home() / "data" / f"lock.machine-action-{name}.lock"


@contextmanager
def _locked() -> Iterator[None]:
    """Vagrant's own lock on its index."""
    until = time.monotonic() + LOCK_S
    with _file().with_name("index.lock").open("w") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise TeardownFailed(f"Vagrant holds its index for over {LOCK_S:g} s")
            time.sleep(POLL_S)
        yield
