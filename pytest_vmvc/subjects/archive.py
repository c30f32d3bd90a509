"""One file tree, two archives: a tar for an engine and a cpio for a kernel, both reproducible.

Entries are sorted, owned by root and dated 1970, so that the same files give the same bytes.
"""

from __future__ import annotations

import io
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

CPIO_END = "TRAILER!!!"
CHUNK_BYTES = 1 << 20
GZIP_WBITS = 16 + zlib.MAX_WBITS


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file, folder, symbolic link or device node of a tree."""

    path: str
    """Relative to the root, without a leading slash."""
    mode: int
    """Type and permissions, as in ``st_mode``."""
    data: bytes = b""
    """Content of a file, or target of a link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def folder(path: str, permissions: int = 0o755) -> Entry:
    """A folder."""
    return Entry(path=path, mode=stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path=path, mode=stat.S_IFREG | permissions, data=data)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path=path, mode=stat.S_IFLNK | 0o777, data=target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    """A character device node."""
    return Entry(path=path, mode=stat.S_IFCHR | 0o600, device=(major, minor))


def write_tar(entries: Iterable[Entry], target: BinaryIO) -> None:
    """Write files, folders and links as a tar; an engine makes its own device nodes."""
    kinds = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFREG: tarfile.REGTYPE}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in _sorted(entries):
            member = tarfile.TarInfo(entry.path)
            member.mode = stat.S_IMODE(entry.mode)
            if stat.S_ISLNK(entry.mode):
                member.type, member.linkname = tarfile.SYMTYPE, entry.data.decode()
                tar.addfile(member)
                continue
            member.type = kinds[stat.S_IFMT(entry.mode)]
            member.size = len(entry.data)
            tar.addfile(member, io.BytesIO(entry.data))


def packed_bytes(path: Path) -> int:
    """Bytes of a file as it would be downloaded: gzip's, where that is less."""
    gzip = zlib.compressobj(level=9, wbits=GZIP_WBITS)
    with path.open("rb") as file:
        packed = sum(
            len(gzip.compress(data)) for data in iter(partial(file.read, CHUNK_BYTES), b"")
        )
    return min(path.stat().st_size, packed + len(gzip.flush()))


def write_cpio(entries: Iterable[Entry], target: BinaryIO) -> None:
    """Write all entries in the kernel's ``newc`` format."""
    end = Entry(path=CPIO_END, mode=0)
    for number, entry in enumerate([*_sorted(entries), end]):
        target.writelines(_cpio_member(entry, number))


def _cpio_member(entry: Entry, number: int) -> Iterator[bytes]:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    fields = (
        number + 1, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, major, minor, len(name), 0
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    yield header + name + bytes(-(len(header) + len(name)) % 4)
    yield entry.data + bytes(-len(entry.data) % 4)


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    """By path, which also puts a folder in front of what is in it."""
    return sorted(entries, key=lambda entry: entry.path)
