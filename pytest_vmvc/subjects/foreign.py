"""A machine of another CPU architecture: 64-bit ARM, as a kernel and an initramfs.

The same init, agent and userland as the minimal pair's machine, from the same distribution's
packages of that architecture; the host's own package system does not hear of it.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.agent import GUEST_AGENT
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, CommandFailed, Unavailable
from pytest_vmvc.host import os_release
from pytest_vmvc.subjects import store
from pytest_vmvc.subjects.apt import AptSource, host_source, private_apt
from pytest_vmvc.subjects.archive import write_cpio
from pytest_vmvc.subjects.kernel import load_order, packaged_kernel
from pytest_vmvc.subjects.minimal import (
    CHANNEL_MODULES,
    INIT,
    INITRD,
    SPARE_MODULES,
    machine_only,
    userland,
)

NAME = "foreign"
KERNEL = "vmlinuz"
"""An arm64 boot image, as the distribution has it."""
ARCHITECTURE = "aarch64"
"""As ``uname -m`` says it."""
DEBIAN_ARCHITECTURE = "arm64"
PROGRAM = "qemu-system-aarch64"
USERLAND_PACKAGE = "busybox-static"
SPACE_NEEDED_BYTES = 400 * 2**20
FETCH_TIMEOUT_S = 300.0
UNPACK_TIMEOUT_S = 60.0
APPLETS = (
    "cat",
    "dd",
    "grep",
    "insmod",
    "mkdir",
    "mount",
    "setsid",
    "sh",
    "sleep",
    "stat",
    "true",
    "uname",
)
"""What init and agent call, and what is asked inside; it cannot be listed by a host program."""


class ForeignArtefacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine boots."""

    kernel: Path
    initrd: Path
    kernel_release: str
    userland: str


def emulator() -> str:
    """Path of the QEMU that emulates the architecture; raises `Unavailable`."""
    if found := shutil.which(PROGRAM):
        return found
    raise Unavailable(f"{PROGRAM} is not installed", hint="`apt-get install qemu-system-arm`")


def build(progress: Progress) -> ForeignArtefacts:
    """Build kernel and initramfs, or find them built.

    Raises `BuildFailed`, `CommandFailed`, `CommandTimedOut` and `Unavailable`: the emulator is not
    there, or the host is no Debian (Ubuntu keeps other architectures in another archive).
    """
    emulator()
    if os_release().get("ID") != "debian":
        raise Unavailable("a machine of another architecture can be built on Debian only")
    source = host_source()
    found = store.built(NAME, _recipe(), lambda target: _build(target, source, progress))
    return _artefacts(found)


def load() -> ForeignArtefacts | None:
    """Find them built; None where they are not. Asks no mirror."""
    found = store.stored(NAME, _recipe())
    return None if found is None else _artefacts(found)


def _build(target: Path, source: AptSource, progress: Progress) -> dict[str, str]:
    store.require_space(target, SPACE_NEEDED_BYTES)
    with tempfile.TemporaryDirectory(prefix="foreign-", dir=target) as name:
        scratch = Path(name)
        progress(f"read the package lists of {DEBIAN_ARCHITECTURE}", None)
        try:
            env = private_apt(scratch, DEBIAN_ARCHITECTURE, source)
        except CommandFailed as error:
            raise BuildFailed(
                f"the package lists of {DEBIAN_ARCHITECTURE} could not be read", hint=error.hint
            ) from error
        kernel = packaged_kernel(scratch / "kernel", progress, architecture=ARCHITECTURE, env=env)
        busybox, version = _busybox(scratch / "userland", env, progress)
        progress("pack kernel and initramfs", None)
        load = load_order(kernel.modules, CHANNEL_MODULES)
        modules = dict(load)
        for spare in SPARE_MODULES:
            with suppress(BuildFailed):
                modules |= load_order(kernel.modules, [spare])
        shutil.copyfile(kernel.image, target / KERNEL)
    tree = userland(busybox, [f"bin/{applet}" for applet in APPLETS])
    with (target / INITRD).open("wb") as initrd:
        write_cpio([*tree, *machine_only(modules, list(load))], initrd)
    return {"kernel_release": kernel.release, "userland": version}


def _busybox(scratch: Path, env: dict[str, str], progress: Progress) -> tuple[bytes, str]:
    """The program and its version, from the package that the host's own busybox comes from."""
    scratch.mkdir()
    progress(f"fetch {USERLAND_PACKAGE}", None)
    try:
        process.run(
            ["apt-get", "download", USERLAND_PACKAGE],
            timeout_s=FETCH_TIMEOUT_S,
            cwd=scratch,
            env=env,
        )
    except CommandFailed as error:
        raise BuildFailed(f"{USERLAND_PACKAGE} could not be fetched", hint=error.hint) from error
    package = next(scratch.glob("*.deb"))
    process.run(["dpkg-deb", "-x", package, scratch / "root"], timeout_s=UNPACK_TIMEOUT_S)
    program = next(path for path in scratch.rglob("busybox") if path.parent.name == "bin")
    return program.read_bytes(), f"BusyBox {unquote(package.name.split('_')[1])}"


def _recipe() -> dict[str, str]:
    release = os_release()
    return {
        "architecture": ARCHITECTURE,
        "system": f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip(),
        "init": INIT,
        "agent": GUEST_AGENT,
        "applets": " ".join(APPLETS),
        "modules": " ".join((*CHANNEL_MODULES, *SPARE_MODULES)),
    }


def _artefacts(found: store.StoredArtefact) -> ForeignArtefacts:
    return ForeignArtefacts(
        kernel=found.path / KERNEL,
        initrd=found.path / INITRD,
        kernel_release=found.metadata["kernel_release"],
        userland=found.metadata["userland"],
    )
