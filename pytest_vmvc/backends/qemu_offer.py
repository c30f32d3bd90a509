"""A machine's files on a file server of our own, and what it takes to have them from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc.backends.file_server import download, serving
from pytest_vmvc.backends.optional import Acquire, Acquired
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider


@contextmanager
def offered(spec: MachineSpec, scope: RunScope, provider: type[QemuProvider]) -> Iterator[Acquire]:
    """Serve the files as they are: a machine needs nothing else."""
    files = spec.files
    with serving(dict(files)) as server:

        @contextmanager
        def acquire(deadline_s: float) -> Iterator[Acquired]:
            folder = scope.workdir / scope.new_name()
            folder.mkdir()
            try:
                started = time.monotonic()
                fetched_bytes = sum(
                    _fetch(server.url(name), folder / name, deadline_s) for name in files
                )
                present_s = time.monotonic() - started
                fetched = msgspec.structs.replace(spec, **{name: folder / name for name in files})
                yield Acquired(
                    present_s=present_s,
                    fetched_bytes=fetched_bytes,
                    steps=tuple(f"fetch {name}" for name in files),
                    provider=provider(fetched, scope),
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        yield acquire


def _fetch(url: str, target: Path, deadline_s: float) -> int:
    try:
        return download(url, target, timeout_s=deadline_s)
    except OSError as error:
        raise InfrastructureError(f"{url} could not be fetched: {error}") from error
