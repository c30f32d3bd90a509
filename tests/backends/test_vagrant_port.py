"""A box on its way: a tiny disk, made, packed, carried and added for real; nothing is booted."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from pytest_vmvc import process
from pytest_vmvc.backends import libvirt, vagrant_boxes, vagrant_offer
from pytest_vmvc.backends.optional import Destination, Portable
from pytest_vmvc.backends.porting import Journey
from pytest_vmvc.backends.vagrant import VagrantProvider, VagrantSpec
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope

SPEC = VagrantSpec(box="tiny", userland="none", tier="tcg")


@pytest.fixture
def provider(
    run_scope: RunScope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> VagrantProvider:
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    return VagrantProvider(SPEC, run_scope)


@pytest.fixture
def boxed(provider: VagrantProvider, tmp_path: Path) -> VagrantProvider:
    """With a box whose disk holds 1 MiB of something and nothing else."""
    reason = provider.probe()
    if reason and "no box" not in reason.message:  # which is made right now
        pytest.skip(str(reason))
    folder = vagrant_boxes.home() / "boxes" / "tiny" / "0" / "libvirt"
    folder.mkdir(parents=True)
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": 1}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    raw = tmp_path / "raw.img"
    raw.write_bytes(b"something" * 2**17)
    process.run(["qemu-img", "convert", "-O", "qcow2", raw, folder / "box.img"], timeout_s=30)
    return provider


def test_without_its_box_there_is_nothing_to_carry(provider: VagrantProvider) -> None:
    assert isinstance(provider, Portable)
    with pytest.raises(Unavailable, match="no box"), provider.ported(Destination()):
        pytest.fail("something was carried")


@pytest.mark.vagrant
def test_a_box_arrives_under_another_name_and_leaves_nothing(
    boxed: VagrantProvider, run_scope: RunScope
) -> None:
    with boxed.ported(Destination()) as arrival:
        assert arrival.intact
        assert list(arrival.marks) == ["packaged", "carried", "imported"]
        words = [command.split()[0] for command in arrival.commands]
        assert words == ["qemu-img", "tar", "cp", "vagrant", "vagrant", "vagrant"]
        with tarfile.open(arrival.archive, "r:gz") as box:
            assert box.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        assert arrival.provider.probe() is None
        name = run_scope.held[0].name.rpartition("/")[2]
        assert any(volume.startswith(name) for volume in libvirt.volumes())
        # A run that is killed here leaves a box that the reaper finds.
        found = vagrant_offer.HomeReaper().inventory()
        assert [one.name.rpartition("/")[2] for one in found] == [name]
    assert not run_scope.held
    assert not any(volume.startswith(name) for volume in libvirt.volumes())
    assert vagrant_offer.HomeReaper().inventory() == []


@pytest.mark.vagrant
def test_a_disk_that_was_changed_under_way_is_not_intact(
    boxed: VagrantProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    carry = Journey.carry

    def careless(self: Journey, archive: Path) -> Path:
        there = carry(self, archive)
        with tarfile.open(there) as box:
            box.extractall(tmp_path / "open", filter="data")
        process.run(
            ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", tmp_path / "open" / "box.img"],
            timeout_s=30,
        )
        process.run(["tar", "-czf", there, "-C", tmp_path / "open", "."], timeout_s=30)
        return there

    monkeypatch.setattr(Journey, "carry", careless)
    with boxed.ported(Destination()) as arrival:
        assert not arrival.intact
