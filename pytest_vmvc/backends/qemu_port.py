"""A bare machine on its way: its files in a tar, carried, and unpacked elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.optional import Arrival, Laden, Portable
from pytest_vmvc.backends.porting import found, journey
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.qemu import QemuProvider

DISK_TIMEOUT_S = 60.0
DISK_BYTES = 64 * 2**20
CHUNK_BYTES = 1 << 20
SPARE_BYTES = 10**9
"""Left free on the disk, whatever is made on it."""
REACH = """insmod /lib/modules/virtio_blk.ko
until [ -b /dev/vda ]; do sleep 0.05; done
mkdir -p /tree && mount -t ext4 -o ro /dev/vda /tree"""
"""Puts the tree's disk where the tree is looked for."""


@contextmanager
def ported_machine(source: QemuProvider, scope: RunScope) -> Iterator[Arrival]:
    """See `QemuProvider.ported`. The tar is not compressed: kernels are, and it costs time."""
    spec = source.spec
    files = [*spec.files.values(), *spec.images]
    with journey(scope) as way:
        archive = way.folder / "machine.tar"
        with way.phase("packaged"):
            places = (word for file in files for word in ("-C", file.parent, file.name))
            way.run("tar", "-cf", archive, *places)
        archive = way.carry(archive)
        with way.phase("imported"):
            way.run("tar", "-xf", archive, "-C", way.there)
        arrived = source.bound(
            msgspec.structs.replace(
                spec,
                images=tuple(way.there / image.name for image in spec.images),
                **{name: way.there / file.name for name, file in spec.files.items()},
            )
        )
        way.note(*arrived.command(""))
        yield Arrival(
            provider=arrived,
            marks=dict(way.marks),
            commands=tuple(way.commands),
            needs=found(("tar", Path(arrived.command("")[0]).name)),
            archive=archive,
            intact=all(_same(file, way.there / file.name) for file in files),
        )


@contextmanager
def laden_machine(
    source: QemuProvider, fill: Callable[[Path], None], scope: RunScope
) -> Iterator[Laden]:
    """See `QemuProvider.laden`: the tree as a disk with ext4, made without mounting it."""
    mke2fs = shutil.which("mke2fs") or shutil.which("mke2fs", path="/usr/sbin:/sbin")
    if mke2fs is None:
        raise Unavailable("mke2fs (e2fsprogs) is not installed", hint="run `vmvc setup`")
    with scope.roomy_folder() as folder:
        disk, tree = folder / "tree.img", folder / "tree"
        tree.mkdir()
        fill(tree)
        process.run(
            [mke2fs, "-q", "-F", "-t", "ext4", "-d", tree, disk, f"{DISK_BYTES // 1024}k"],
            timeout_s=DISK_TIMEOUT_S,
        )
        yield Laden(provider=_with_image(source, disk), reach=("sh", "-c", REACH))


@contextmanager
def padded_machines(
    source: QemuProvider, sizes: Sequence[int], scope: RunScope
) -> Iterator[Mapping[int, Portable]]:
    """See `QemuProvider.padded`."""
    with scope.roomy_folder() as folder:
        # The padding, and the largest one in an archive and unpacked again.
        need_bytes = sum(sizes) + 2 * max(sizes) + SPARE_BYTES
        if (free_bytes := shutil.disk_usage(folder).free) < need_bytes:
            raise Unavailable(
                f"{folder.parent} has {free_bytes / 1e9:.1f} GB free, "
                f"{need_bytes / 1e9:.1f} GB are needed",
                hint="free some space",
            )
        machines: dict[int, Portable] = {}
        for size in sizes:
            image = folder / f"{size}.img"
            _write_random(image, size)
            machines[size] = _with_image(source, image) if size else source
        yield machines


def _write_random(target: Path, size: int) -> None:
    from numpy.random import default_rng

    random = default_rng(size)
    with target.open("wb") as file:
        for start in range(0, size, CHUNK_BYTES):
            file.write(random.bytes(min(CHUNK_BYTES, size - start)))


def _with_image(source: QemuProvider, image: Path) -> QemuProvider:
    images = (*source.spec.images, image)
    return source.bound(msgspec.structs.replace(source.spec, images=images))


def _same(one: Path, other: Path) -> bool:
    done = process.run(["cmp", "-s", one, other], timeout_s=DISK_TIMEOUT_S, check=False)
    return done.exit_status == 0
