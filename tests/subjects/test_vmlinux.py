"""Boot images with a kernel and without: what is taken out of them is the kernel, or nothing."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess

import pytest

from pytest_vmvc import process
from pytest_vmvc.subjects import minimal, vmlinux

KERNEL = b"\x7fELF" + bytes(3000) + b"\x04\0\0\0\x08\0\0\0" + vmlinux.ENTRY_NOTE + bytes(8)


def boot_image(payload, *, size=None, sectors=3):
    """A boot image as x86's protocol has it: setup, code that unpacks, payload, some more code."""
    payload += struct.pack("<I", len(KERNEL) if size is None else size)
    head = bytearray((sectors + 1) * 512)
    head[vmlinux.SECTORS_AT] = sectors
    head[vmlinux.MAGIC_AT : vmlinux.MAGIC_AT + 4] = vmlinux.MAGIC
    struct.pack_into("<II", head, vmlinux.PAYLOAD_AT, 100, len(payload))
    return bytes(head) + bytes(100) + payload + b"more code"


def written(image, folder):
    """What the machine is given."""
    (folder / "boot").write_bytes(image)
    vmlinux.write_kernel(folder / "boot", folder / "kernel")
    return (folder / "kernel").read_bytes()


def by(program):
    def compress(data):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed — run `vmvc setup`")
        options = ["-l"] if program == "lz4" else []
        done = subprocess.run(
            [program, *options, "-qc"], input=data, capture_output=True, check=True, timeout=60
        )
        return done.stdout

    return compress


@pytest.mark.parametrize(
    "compress",
    [by("lz4"), by("zstd"), gzip.compress, lzma.compress],
    ids=["lz4", "zstd", "gz", "xz"],
)
def test_the_kernel_is_taken_out_byte_for_byte(compress, tmp_path):
    assert written(boot_image(compress(KERNEL)), tmp_path) == KERNEL


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\x7fELF" + bytes(4000),
        boot_image(KERNEL),
        boot_image(gzip.compress(KERNEL)[:-20]),
        boot_image(gzip.compress(KERNEL), size=len(KERNEL) + 1),
        boot_image(gzip.compress(b"MZ" + KERNEL[2:])),
        boot_image(gzip.compress(KERNEL.replace(vmlinux.ENTRY_NOTE, bytes(8)))),
        boot_image(gzip.compress(KERNEL))[:600],
        boot_image(gzip.compress(KERNEL))[:530],
    ],
    ids=["empty", "elf", "plain", "cut", "size", "no elf", "no entry", "short", "head"],
)
def test_what_is_no_such_image_is_left_alone(image, tmp_path):
    assert written(image, tmp_path) == image


@pytest.mark.parametrize("chunk", range(16, 40))
def test_the_entry_is_found_wherever_it_is(chunk, monkeypatch, tmp_path):
    monkeypatch.setattr(vmlinux, "CHUNK_BYTES", chunk)
    assert written(boot_image(gzip.compress(KERNEL)), tmp_path) == KERNEL


def test_without_its_unpacker_an_image_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(vmlinux.UNPACKERS, b"\x1f\x8b\x08", "vmvc-no-such-program")
    image = boot_image(gzip.compress(KERNEL))
    assert written(image, tmp_path) == image


def test_a_kernel_may_be_larger_than_what_a_command_may_print(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", len(KERNEL) - 1)
    assert written(boot_image(by("zstd")(KERNEL)), tmp_path) == KERNEL


@pytest.mark.machine
def test_the_machine_boots_an_unpacked_kernel():
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    assert found.kernel.read_bytes()[:4] == b"\x7fELF"
