"""A box in a catalogue of our own, and what it takes to have it from there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_vmvc.backends import vagrant_boxes, vagrant_index
from pytest_vmvc.backends.file_server import FileServer, serving
from pytest_vmvc.backends.optional import Acquire, Acquired
from pytest_vmvc.backends.vagrant_boxes import box_folder, images
from pytest_vmvc.errors import CommandFailed, InfrastructureError
from pytest_vmvc.paths import cache_dir
from pytest_vmvc.resources import NAME, Resource, RunScope

HOME = "vagrant-home"
"""Kind of a throw-away Vagrant home."""
VERSION = "1"


@contextmanager
def offered(box_file: Path, scope: RunScope) -> Iterator[Acquire]:
    """Serve the box with its catalogue; it is added in a Vagrant home that holds nothing else.

    That home is on the disk of our own one, and is removed with all that a download leaves there.
    """
    with serving({"box": box_file}) as server, _home(scope) as home:

        @contextmanager
        def acquire(deadline_s: float) -> Iterator[Acquired]:
            name = scope.new_name()
            server.files = {**server.files, f"{name}.json": _catalogue(name, server)}
            before_bytes = server.sent_bytes
            try:
                yield Acquired(
                    present_s=_add(name, server.url(f"{name}.json"), home, deadline_s),
                    fetched_bytes=server.sent_bytes - before_bytes,
                    steps=(f"vagrant box add {server.url(f'{name}.json')}",),
                )
            finally:
                shutil.rmtree(home / "boxes" / name, ignore_errors=True)

        yield acquire


@contextmanager
def _home(scope: RunScope) -> Iterator[Path]:
    home = cache_dir() / scope.new_name()
    resource = scope.hold(HOME, str(home))
    home.mkdir(parents=True)
    try:
        yield home
    finally:
        shutil.rmtree(home)
        scope.release(resource)


def _catalogue(name: str, server: FileServer) -> bytes:
    provider = {"name": "libvirt", "url": server.url("box")}
    entry = {"version": VERSION, "providers": [provider]}
    return json.dumps({"name": name, "versions": [entry]}).encode()


def _add(name: str, url: str, home: Path, deadline_s: float) -> float:
    """Add the box; returns the seconds. Raises `InfrastructureError`."""
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

    command = VagrantCommand(home, home=home, timeout_s=deadline_s)
    started = time.monotonic()
    try:
        command.box_add(name, url, "libvirt")  # type: ignore[no-untyped-call] # library
    except CommandFailed as error:
        raise InfrastructureError(f"Vagrant did not take the box {url}: {error.hint}") from error
    present_s = time.monotonic() - started
    folder = box_folder(name, VERSION, home_folder=home)
    if folder is None or not images(folder):
        raise InfrastructureError(f"Vagrant added {url} and has no disk image of it")
    return present_s


class HomeReaper:
    """Throw-away Vagrant homes, boxes added for a run, and machines that only Vagrant knows."""

    name = HOME

    def inventory(self) -> Sequence[Resource]:
        """All of them, of every run."""
        homes = [
            Resource(kind=HOME, name=str(path), run_id=match[1])
            for place in (cache_dir(), vagrant_boxes.home() / "boxes")
            for path in place.glob("vmvc-r*")
            if (match := NAME.fullmatch(path.name))
        ]
        return [*homes, *vagrant_index.leftovers()]

    def destroy(self, resource: Resource) -> None:
        """Remove the folder and everything in it, or have Vagrant destroy the machine in it.

        Raises `TeardownFailed`.
        """
        if resource.kind == vagrant_index.KIND:
            vagrant_index.reap(Path(resource.name))
        else:
            shutil.rmtree(resource.name, ignore_errors=True)
