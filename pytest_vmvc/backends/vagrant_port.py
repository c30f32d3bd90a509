"""A Vagrant machine on its way: its disk as a box, carried, added and brought up elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends import libvirt, vagrant_boxes
from pytest_vmvc.backends.optional import Arrival
from pytest_vmvc.backends.porting import Journey, found, journey
from pytest_vmvc.backends.vagrant_offer import HOME
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.vagrant import VagrantProvider

COMPARE_TIMEOUT_S = 120.0
NEEDS = ("vagrant", "libvirtd", "virtlogd", "qemu-system-x86_64", "dnsmasq", "ssh")
"""Programs that a machine's host must have, beside Vagrant's plugin."""
FAST_GZIP = "gzip -1"
"""In the machine's favour: Vagrant itself takes level 6, which lasts twice as long."""


@contextmanager
def ported_box(source: VagrantProvider, scope: RunScope) -> Iterator[Arrival]:
    """See `VagrantProvider.ported`: what ``vagrant package`` does, without what it prepares."""
    disk = _disk(source)
    name = scope.new_name()
    added = vagrant_boxes.prepare_home() / "boxes" / name
    resource = scope.hold(HOME, str(added))
    volume = ""
    with journey(scope) as way:
        try:
            with way.phase("packaged"):
                archive = _package(way, disk)
            archive = way.carry(archive)
            with way.phase("imported"):
                way.note("vagrant", "box", "add", "--name", name, archive)
                box = vagrant_boxes.ensure_box(
                    name, source=archive, progress=lambda _text, _fraction: None
                )
                image = vagrant_boxes.images(box)[0]
                volume = vagrant_boxes.volume_name(name, vagrant_boxes.version(box), image)
                # What the first `vagrant up` does before all else; here it belongs to the way.
                libvirt.ensure_volume(volume, image)
            way.note("vagrant", "init", name)
            way.note("vagrant", "up")
            spec = msgspec.structs.replace(
                source.spec, box=name, box_version=None, box_file=str(archive), until="answer"
            )
            yield Arrival(
                provider=source.bound(spec),
                marks=dict(way.marks),
                commands=tuple(way.commands),
                needs=("vagrant-libvirt", *found(NEEDS)),
                archive=archive,
                intact=_same(disk, image),
            )
        finally:
            shutil.rmtree(added, ignore_errors=True)
            if volume:
                libvirt.delete_volume(volume)
            scope.release(resource)


def _disk(source: VagrantProvider) -> Path:
    spec = source.spec
    box = vagrant_boxes.box_folder(spec.box, spec.box_version)
    if box is None:
        raise Unavailable(f"Vagrant has no box {spec.box}", hint="run `vmvc setup`")
    return vagrant_boxes.images(box)[0]


def _package(way: Journey, disk: Path) -> Path:
    """The disk flattened, in a box with the two small files that Vagrant wants beside it."""
    folder = way.folder / "box"
    folder.mkdir()
    way.run("qemu-img", "convert", "-O", "qcow2", disk, folder / "box.img")
    gib = -(-vagrant_boxes.virtual_bytes(disk) // 2**30)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": gib}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "Vagrantfile").write_text('Vagrant.configure("2") { |config| }\n')
    archive = way.folder / "machine.box"
    names = ("metadata.json", "Vagrantfile", "box.img")
    way.run("tar", "-I", FAST_GZIP, "-cf", archive, "-C", folder, *names)
    shutil.rmtree(folder)
    return archive


def _same(one: Path, other: Path) -> bool:
    """Whether both disks hold the same bytes, however the two files are laid out."""
    done = process.run(
        ["qemu-img", "compare", "-U", one, other], timeout_s=COMPARE_TIMEOUT_S, check=False
    )
    return done.exit_status == 0
