"""Both sides of the minimal pair made anew: from packages, or from what they were unpacked to."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from pytest_vmvc.backends.base import Progress, Provider
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal, store
from pytest_vmvc.subjects.kernel import Kernel, fetch_packages, unpack_packages

if TYPE_CHECKING:
    from pytest_vmvc.backends.qemu import QemuProvider

NAME = "kernel-packages"
IMPORT_TIMEOUT_S = 60.0
SYSTEM = ("boot/", "lib/modules/", "usr/lib/modules/", "vmlinuz", "usr/lib/grub/")
"""Where a file system keeps kernel, modules and boot loader."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was made, and how."""

    provider: Provider
    """Starts it."""
    steps: tuple[str, ...]
    """The steps of its making that were carried out, in order."""
    system_bytes: int
    """Bytes of files in it that are kernel, module or boot loader."""


class Builder(Protocol):
    """Makes one side of a pair."""

    def prepare(self) -> None:
        """Have everything at hand that stands outside the stopwatch; raises `Unavailable`."""

    def built(self, *, from_packages: bool) -> AbstractContextManager[Built]:
        """Make it under a name of its own; leaving removes it.

        Raises `BuildFailed`, `CommandFailed` and `Unavailable`.
        """


def build(progress: Progress) -> Path:
    """Fetch the packages of the machine's kernel, or find them fetched; returns their folder.

    Raises `BuildFailed`, `CommandFailed` and `Unavailable`.
    """

    def fetch(target: Path) -> dict[str, str]:
        return {"source": " + ".join(fetch_packages(target, progress))}

    return store.built(NAME, minimal.kernel_recipe(), fetch).path


class ImageBuilder:
    """The image: a tar of the userland, imported into the engine."""

    def __init__(self, scope: RunScope, runtime: str = "") -> None:
        """``runtime``: the engine's for its container; empty: the default."""
        self._scope = scope
        self._runtime = runtime or None

    def prepare(self) -> None:
        """Check that there is a busybox; raises `Unavailable`."""
        minimal.program()

    @contextmanager
    def built(self, *, from_packages: bool) -> Iterator[Built]:  # noqa: ARG002 - its one package is installed: busybox
        """See `Builder.built`; there is nothing to unpack."""
        from pytest_vmvc.backends.docker import (
            ContainerSpec,
            DockerProvider,
            import_image,
            passing_image,
        )

        name = self._scope.new_name()
        with _folder(self._scope, name) as folder:
            minimal.pack_image(minimal.program(), folder)
            rootfs = folder / minimal.ROOTFS
            repository = f"vmvc/{name}"
            with passing_image(self._scope, f"{repository}:1") as ref:
                import_image(rootfs, repository, "1", timeout_s=IMPORT_TIMEOUT_S)
                spec = ContainerSpec(image=ref, userland="busybox", runtime=self._runtime)
                yield Built(
                    provider=DockerProvider(spec, self._scope),
                    steps=("pack the userland as a tar", "import it into the engine"),
                    system_bytes=_system_bytes(rootfs),
                )


class MachineBuilder:
    """The bare machine: the distribution's kernel, and userland with modules as initramfs."""

    def __init__(self, scope: RunScope, like: QemuProvider) -> None:
        """``like``: the machine whose grant and accelerator the new one has."""
        self._scope = scope
        self._like = like
        self._kernel: Kernel | None = None

    def prepare(self) -> None:
        """Unpack the kernel once, for those that start from there; raises `Unavailable`."""
        minimal.program()
        if self._kernel is None:
            self._kernel = self._unpack(self._scope.workdir / "kernel")

    @contextmanager
    def built(self, *, from_packages: bool) -> Iterator[Built]:
        """See `Builder.built`; without packages it starts from the unpacked kernel."""
        from pytest_vmvc.backends.qemu import QemuProvider

        with _folder(self._scope, self._scope.new_name()) as folder:
            steps = [
                "unpack the kernel from its boot image",
                "pack userland, modules and init as an initramfs",
            ]
            if from_packages:
                steps.insert(0, "unpack the kernel's packages")
                kernel = self._unpack(folder / "kernel")
            else:
                self.prepare()
                assert self._kernel is not None
                kernel = self._kernel
            minimal.pack_machine(minimal.program(), kernel, folder)
            image, initrd = folder / minimal.KERNEL, folder / minimal.INITRD
            spec = msgspec.structs.replace(self._like.spec, kernel=image, initrd=initrd, digest="")
            yield Built(
                provider=QemuProvider(spec, self._scope),
                steps=tuple(steps),
                system_bytes=image.stat().st_size,
            )

    def _unpack(self, root: Path) -> Kernel:
        found = store.stored(NAME, minimal.kernel_recipe())
        if found is None:
            raise Unavailable("the kernel's packages are not at hand", hint="run `vmvc setup`")
        return unpack_packages(found.path, root, lambda *_: None, source=found.metadata["source"])


def _system_bytes(rootfs: Path) -> int:
    with tarfile.open(rootfs) as tar:
        return sum(one.size for one in tar if one.isfile() and one.name.startswith(SYSTEM))


@contextmanager
def _folder(scope: RunScope, name: str) -> Iterator[Path]:
    folder = scope.workdir / f"{name}-built"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
