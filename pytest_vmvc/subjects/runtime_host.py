"""The bare machine with an OCI runtime in it: a host with a kernel of its own for containers.

The runtime is the host's own runc with the libraries that it needs; the kernel unpacks a second
archive right behind the first one, so the machine's own initramfs is used as it is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.subjects import store
from pytest_vmvc.subjects.archive import file, folder, write_cpio
from pytest_vmvc.subjects.minimal import MinimalArtefacts

NAME = "runtime-host"
INITRD = "initramfs.cpio"
QUERY_TIMEOUT_S = 20.0
LIBRARY = re.compile(rb"(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


class RuntimeHost(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's initramfs, complete, and what runs in it."""

    initrd: Path
    runtime: str
    """``runc 1.1.5``."""


def build(minimal: MinimalArtefacts) -> RuntimeHost:
    """Put the machine together, or find it; takes a moment and asks no mirror.

    Raises `Unavailable` without runc, `BuildFailed`, `CommandFailed` and `CommandTimedOut`.
    """
    runc = shutil.which("runc") or shutil.which("runc", path="/usr/sbin:/sbin")
    if runc is None:
        raise Unavailable("runc is not installed", hint="run `vmvc setup`")
    program = Path(runc)
    recipe = {"initrd": minimal.initrd_digest, "runc": store.sha256_of(program)}
    found = store.built(NAME, recipe, lambda target: _build(target, minimal.initrd, program))
    return RuntimeHost(initrd=found.path / INITRD, runtime=found.metadata["runtime"])


def _build(target: Path, initrd: Path, program: Path) -> Mapping[str, str]:
    places = {"usr/sbin/runc": program}
    places |= {str(library).lstrip("/"): library for library in _libraries(program)}
    folders = {parent.as_posix() for place in places for parent in Path(place).parents[:-1]}
    entries = [
        *(folder(name) for name in folders),
        *(file(place, source.read_bytes(), 0o755) for place, source in places.items()),
    ]
    with (target / INITRD).open("wb") as joined:
        joined.write(initrd.read_bytes())
        write_cpio(entries, joined)
    said = process.run([program, "--version"], timeout_s=QUERY_TIMEOUT_S).stdout.decode()
    return {"runtime": said.partition("\n")[0].replace("version ", "")}


def _libraries(program: Path) -> list[Path]:
    """What the loader would load, the loader with it; none for a program that is static."""
    done = process.run(["ldd", program], timeout_s=QUERY_TIMEOUT_S, check=False)
    return [Path(path.decode()) for path in LIBRARY.findall(done.stdout)]
