from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.process import run
from pytest_vmvc.subjects import disk

MIB = 1 << 20


@given(st.integers(min_value=2 * MIB, max_value=1 << 41), st.binary(max_size=600))
def test_the_table_has_one_active_linux_partition_to_the_end(size, code):
    record = disk.master_boot_record(code, disk_bytes=size)
    assert len(record) == 512
    assert record[:440] == code[:440].ljust(440, b"\0")
    assert record[510:] == b"\x55\xaa"
    active, kind, first, count = struct.unpack("<B3xB3xII", record[446:462])
    assert (active, kind) == (0x80, 0x83)
    assert first * 512 == disk.PARTITION_OFFSET_BYTES
    assert (first + count) * 512 == size // 512 * 512
    assert record[462:510] == bytes(48)


@pytest.mark.parametrize("size", [0, MIB, 1 << 42])
def test_a_size_that_no_table_can_express_is_refused(size):
    with pytest.raises(BuildFailed):
        disk.master_boot_record(b"", disk_bytes=size)


def test_both_stages_stand_in_front_of_the_partition(tmp_path: Path):
    image = tmp_path / "disk"
    image.write_bytes(bytes(2 * MIB - 3) + b"end")
    disk.write_boot_sectors(image, boot_code=b"boot", core=b"core" * 300)
    data = image.read_bytes()
    assert data[:4] == b"boot"
    assert data[512:1712] == b"core" * 300
    assert data.endswith(b"end")
    assert len(data) == 2 * MIB
    with pytest.raises(BuildFailed, match="does not fit"):
        disk.write_boot_sectors(image, boot_code=b"", core=bytes(MIB))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if not disk.GRUB_FOLDER.exists() or None in map(disk.find_tool, disk.TOOLS):
        pytest.skip("grub-pc-bin, e2fsprogs or qemu-utils is not installed — run `vmvc setup`")
    folder = tmp_path / "root"
    (folder / "boot" / "grub").mkdir(parents=True)
    (folder / "boot" / "grub" / "grub.cfg").write_text("echo found\n")
    return folder


def test_a_root_becomes_a_disk_with_its_files(root: Path, tmp_path: Path):
    target = tmp_path / "box.img"
    disk.write_disk(root, target, scratch=tmp_path, disk_bytes=32 * MIB)
    info = json.loads(run(["qemu-img", "info", "--output=json", target], timeout_s=20).stdout)
    assert (info["format"], info["virtual-size"]) == ("qcow2", 32 * MIB)
    raw, part = tmp_path / "again.raw", tmp_path / "part"
    run(["qemu-img", "convert", "-O", "raw", target, raw], timeout_s=60)
    data = raw.read_bytes()
    assert data[510:512] == b"\x55\xaa"
    assert any(data[512 : 512 + 4096])
    part.write_bytes(data[disk.PARTITION_OFFSET_BYTES :])
    shown = run([disk.find_tool("debugfs"), "-R", "cat /boot/grub/grub.cfg", part], timeout_s=20)
    assert shown.stdout == b"echo found\n"


def test_nothing_but_the_disk_is_left(root: Path, tmp_path: Path):
    target = tmp_path / "box.img"
    disk.write_disk(root, target, scratch=tmp_path, disk_bytes=16 * MIB)
    assert {path.name for path in tmp_path.iterdir()} == {"root", "box.img"}


def test_missing_firmware_files_have_their_remedy(root, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "GRUB_FOLDER", tmp_path / "nowhere")
    with pytest.raises(BuildFailed, match="vmvc setup"):
        disk.write_disk(root, tmp_path / "x", scratch=tmp_path, disk_bytes=16 * MIB)
