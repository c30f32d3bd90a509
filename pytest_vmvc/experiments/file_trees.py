"""Arbitrary file trees, and a manifest of one that is the same wherever it is read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

NAME_BYTES = 255
LARGEST_HOLE_BYTES = 1 << 20


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A file, folder or symbolic link; what is not of its kind is left empty."""

    mode: int
    """Type and permissions, as in ``st_mode``."""
    mtime: int = 0
    """Seconds since 1970; the times of links are left alone."""
    data: bytes = b""
    """Content of a file, or target of a link."""
    hole_bytes: int = 0
    """Zeros in front of the content that are never written."""
    children: Mapping[str, Node] = {}
    twin: str = ""
    """A second name of the same file, in the same folder."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a tree as it was found."""

    mode: str
    """Type and permissions in hex, as `stat` prints them."""
    mtime: int
    content: str
    """Digest and size of a file, target of a link, nothing of a folder."""
    names: frozenset[bytes]
    """All names in the tree of the same file."""


Manifest = Mapping[bytes, Seen]

READ = r"""cd /tree || exit
find "$@" -print0 | xargs -0 -r sh -c 'for entry; do
    printf "%s\0" "$entry"; stat -c "%f %Y %i %s" "$entry"
    if [ -L "$entry" ]; then readlink -n "$entry"; elif [ -f "$entry" ]; then sha256sum <"$entry"
    fi; printf "\0"
done' sh"""
"""Prints name, NUL, type and times, newline, content, NUL; its arguments are below ``/tree``."""


def written(folder: Path, trees: Sequence[Node]) -> list[Manifest]:
    """Write each tree into a folder of its own, named by its number; returns what is there then."""
    for number, tree in enumerate(trees):
        _write(folder / str(number), tree)
    return [_on_host(folder, str(number)) for number in range(len(trees))]


def parse(printed: bytes, count: int) -> list[Manifest]:
    """Read what the script has printed of so many trees; raises ValueError for anything else."""
    *fields, end = printed.split(b"\0")
    if end or len(fields) % 2:
        raise ValueError("the list of files breaks off")
    entries = {}
    for name, rest in zip(fields[::2], fields[1::2], strict=True):
        line, _, content = rest.partition(b"\n")
        mode, mtime, inode, size = line.decode().split()
        kind = int(mode, 16)
        text = content.hex() if stat.S_ISLNK(kind) else ""
        if stat.S_ISREG(kind):
            text = f"{content.split()[0].decode()} {size}"
        entries[name] = (mode, int(mtime), text, inode)
    return _grouped(entries, count)


def short(name: bytes) -> str:
    """A name for people: escaped, and never long."""
    return ascii(name.decode(errors="replace"))[1:-1][:60]


def random_trees(seed: int, count: int) -> list[Node]:
    """So many trees by Hypothesis, the same for the same seed.

    They are only drawn here: all of them make the journey together, which one by one would take
    minutes. So a counter-example is not shrunk.
    """
    from hypothesis import HealthCheck, Phase, given
    from hypothesis import seed as seeded
    from hypothesis import settings as configured
    from hypothesis import strategies as st

    surrogates: Literal["Cs"] = "Cs"
    letters = st.characters(exclude_categories=(surrogates,), exclude_characters="/\0")
    names = st.text(letters, min_size=1, max_size=80).filter(
        lambda name: name not in (".", "..") and len(name.encode()) <= NAME_BYTES
    )
    targets = st.text(st.characters(exclude_categories=(surrogates,), exclude_characters="\0"),
                      min_size=1, max_size=60)  # fmt: skip
    permissions = st.integers(0, 0o7777).map(lambda bits: bits | _needed())
    times = st.one_of(st.integers(0, 2**31 - 1), st.integers(-(2**31), -1))
    files = st.builds(
        Node,
        mode=permissions.map(lambda bits: stat.S_IFREG | bits),
        mtime=times,
        data=st.binary(max_size=2000),
        hole_bytes=st.sampled_from([0, 0, LARGEST_HOLE_BYTES]),
        twin=st.one_of(st.just(""), names),
    )
    links = targets.map(lambda to: Node(mode=stat.S_IFLNK | 0o777, data=to.encode()))

    def folders(inside: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        return st.builds(
            Node,
            mode=permissions.map(lambda bits: stat.S_IFDIR | bits),
            mtime=times,
            children=st.dictionaries(names, inside, max_size=4),
        )

    found: list[Node] = []

    @seeded(seed)
    @configured(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(folders(st.recursive(files | links, folders, max_leaves=8)))
    def collect(tree: Node) -> None:
        found.append(tree)

    collect()
    return found


def _needed() -> int:
    """Permissions without which an ordinary user could not pack what is theirs."""
    return 0 if os.geteuid() == 0 else 0o700


def _write(path: Path, node: Node) -> None:
    if stat.S_ISLNK(node.mode):
        path.symlink_to(node.data.decode())
        return
    if stat.S_ISDIR(node.mode):
        path.mkdir()
        for name, child in node.children.items():
            _write(path / name, child)
        for name, child in node.children.items():
            _write_twin(path, name, child.twin)
    else:
        with path.open("wb") as file:
            file.seek(node.hole_bytes)
            file.write(node.data)
            file.truncate()
    path.chmod(stat.S_IMODE(node.mode))
    os.utime(path, (node.mtime, node.mtime))


def _write_twin(folder: Path, name: str, twin: str) -> None:
    if twin and not os.path.lexists(folder / twin):
        (folder / twin).hardlink_to(folder / name)


def _on_host(folder: Path, tree: str) -> Manifest:
    entries = {}
    for path in (folder / tree, *(folder / tree).rglob("*")):
        found = path.lstat()
        text = ""
        if stat.S_ISLNK(found.st_mode):
            text = os.readlink(os.fsencode(path)).hex()  # noqa: PTH115 - a Path loses a last slash
        elif stat.S_ISREG(found.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            text = f"{digest} {found.st_size}"
        name = os.fsencode(path.relative_to(folder))
        entries[name] = (f"{found.st_mode:x}", int(found.st_mtime), text, str(found.st_ino))
    (manifest,) = _grouped(entries, 1, first=int(tree))
    return manifest


def _grouped(
    entries: Mapping[bytes, tuple[str, int, str, str]], count: int, *, first: int = 0
) -> list[Manifest]:
    """Entries by tree, with inode numbers turned into sets of names: they differ by disk."""
    manifests: list[Manifest] = []
    for number in range(first, first + count):
        top = str(number).encode()
        own = {name: e for name, e in entries.items() if name.split(b"/")[0] == top}
        inodes: dict[str, set[bytes]] = {}
        for name, entry in own.items():
            inodes.setdefault(entry[3], set()).add(name)
        manifests.append(
            {
                name: Seen(mode=mode, mtime=at, content=text, names=frozenset(inodes[inode]))
                for name, (mode, at, text, inode) in own.items()
            }
        )
    return manifests
