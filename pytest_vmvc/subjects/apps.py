"""A small Debian userland with a server in it: memcached, a shell, a few tools, their libraries.

The programs come from the packages of the host's own distribution, unpacked and not installed; of
all that these bring along only the files stay that the loader asks for. So it is Debian's userland,
in some ten megabytes, for whoever has to carry it into a machine.
"""

from __future__ import annotations

import os
import platform
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, CommandFailed, Unavailable
from pytest_vmvc.subjects import store
from pytest_vmvc.subjects.apt import AptSource, host_source
from pytest_vmvc.subjects.archive import Entry, file, folder, link, write_tar
from pytest_vmvc.subjects.disk import find_tool
from pytest_vmvc.subjects.image import ensure_image

NAME = "apps"
REPOSITORY = "vmvc/apps"
PACKAGES = ("memcached", "dash", "coreutils")
PROGRAMS = (
    "cat", "chmod", "dash", "ln", "ls", "memcached", "mkdir", "readlink", "rm", "sleep", "true",
    "uname",
)  # fmt: skip
ROOTFS = "rootfs.tar"
FETCH_TIMEOUT_S = 300.0
LIST_TIMEOUT_S = 20.0
SPACE_NEEDED_BYTES = 400 * 2**20
PLACES = ("bin", "usr/bin")

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"

LIBRARY = re.compile(rb"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
"""A line of the loader's ``--list``."""


class AppsArtefacts(msgspec.Struct, frozen=True, kw_only=True):
    """The userland as an image."""

    image_ref: str
    rootfs: Path
    userland: str


def build(progress: Progress) -> AppsArtefacts:
    """Build the image, or find it built; then make sure that the engine has it.

    Raises `BuildFailed`, `CommandFailed`, `CommandTimedOut` and `Unavailable`.
    """
    source = host_source()
    found = store.stored(NAME, _recipe(source))
    if found is None:
        if find_tool("mmdebstrap") is None:
            raise Unavailable("mmdebstrap is not installed", hint="run `vmvc setup`")
        found = store.built(NAME, _recipe(source), lambda target: _build(target, source, progress))
    artefacts = _artefacts(found)
    ensure_image(artefacts.image_ref, artefacts.rootfs, progress)
    return artefacts


def load() -> AppsArtefacts | None:
    """Find the image built; None where it is not. Asks no daemon and no mirror."""
    try:
        found = store.stored(NAME, _recipe(host_source()))
    except Unavailable:
        return None
    return None if found is None else _artefacts(found)


def _build(target: Path, source: AptSource, progress: Progress) -> dict[str, str]:
    store.require_space(target, SPACE_NEEDED_BYTES)
    with tempfile.TemporaryDirectory(prefix="apps-", dir=target) as name:
        scratch = Path(name)
        progress(f"fetch {', '.join(PACKAGES)}", None)
        _fetch(scratch / "packages.tar", source)
        root = scratch / "root"
        with tarfile.open(scratch / "packages.tar") as packages:
            packages.extractall(root, members=_plain(packages), filter="tar")
        tree = _tree(root)
        with (target / ROOTFS).open("wb") as rootfs:
            write_tar(tree, rootfs)
        server = process.run(
            [*_loader(root), _program(root, "memcached"), "-V"], timeout_s=LIST_TIMEOUT_S
        )
    return {"userland": f"{source.title}, {server.stdout.decode(errors='replace').strip()}"}


def _fetch(target: Path, source: AptSource) -> None:
    """Unpack the packages and all that they depend on into a tar; nothing of them is run."""
    mode = "root" if os.geteuid() == 0 else "unshare"
    argv = [
        "mmdebstrap", "--quiet", "--variant=extract", f"--mode={mode}", "--format=tar",
        '--aptopt=APT::Install-Recommends "false"', f"--include={','.join(PACKAGES)}",
        source.suite, str(target), "-",
    ]  # fmt: skip
    try:
        process.run(argv, stdin=source.text.encode(), timeout_s=FETCH_TIMEOUT_S)
    except CommandFailed as error:
        raise BuildFailed(f"{PACKAGES[0]} could not be fetched", hint=error.hint) from error


def _plain(packages: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Programs and libraries, without device nodes and documentation."""
    for member in packages:
        if not member.isdev() and not member.name.startswith(("./usr/share", "./var", "./etc")):
            yield member


def _tree(root: Path) -> list[Entry]:
    """Programs in /bin, and the libraries where Debian has them."""
    paths = {f"bin/{name}": _program(root, name) for name in PROGRAMS}
    loader, *words = _loader(root)
    paths[str(Path(loader).relative_to(root))] = Path(loader)
    for program in list(paths.values())[: len(PROGRAMS)]:
        listed = process.run([loader, *words, "--list", program], timeout_s=LIST_TIMEOUT_S)
        for found in LIBRARY.findall(listed.stdout):
            library = Path(os.fsdecode(found))
            if not library.is_relative_to(root):
                raise BuildFailed(f"{program.name} asks for {library}, which no package brought")
            paths[str(library.relative_to(root))] = library
    folders = {str(parent) for path in paths for parent in Path(path).parents} - {"."}
    return [
        *(file(path, place.read_bytes(), 0o755) for path, place in paths.items()),
        *(folder(path) for path in {*folders, "dev", "etc", "proc", "sys"}),
        folder("tmp", 0o1777),
        link("bin/sh", "dash"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
    ]


def _program(root: Path, name: str) -> Path:
    found = next((root / place / name for place in PLACES if (root / place / name).exists()), None)
    if found is None:
        raise BuildFailed(f"the packages have no {name}")
    return found


def _loader(root: Path) -> list[str]:
    """The packages' own loader, told to look nowhere but there."""
    found = sorted(root.glob("lib*/ld-linux*.so.*"))
    libraries = [
        str(path) for path in (*root.glob("lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*"))
    ]
    if not found or not libraries:
        raise BuildFailed("the packages have no loader", hint="is this a glibc distribution?")
    return [str(found[0]), "--inhibit-cache", "--library-path", ":".join(libraries)]


def _recipe(source: AptSource) -> dict[str, str]:
    return {
        "suite": source.suite,
        "sources": source.text,
        "packages": " ".join(PACKAGES),
        "programs": " ".join(PROGRAMS),
        "architecture": platform.machine(),
    }


def _artefacts(found: store.StoredArtefact) -> AppsArtefacts:
    return AppsArtefacts(
        image_ref=f"{REPOSITORY}:{found.files[ROOTFS].sha256[:12]}",
        rootfs=found.path / ROOTFS,
        userland=found.metadata["userland"],
    )
