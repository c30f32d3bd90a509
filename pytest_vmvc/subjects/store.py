"""Content-addressed cache of built artefacts: what is made from the same recipe is made once.

An artefact is a folder ``<cache>/artefacts/<name>-<key>/`` with its files and a ``manifest.json``;
the key is derived from the recipe. A folder without a manifest does not exist: it is built under
another name and renamed when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from pytest_vmvc.errors import BuildFailed, CommandFailed
from pytest_vmvc.paths import cache_dir

MANIFEST = "manifest.json"
LOCK_TIMEOUT_S = 1800.0
"""Seconds to wait for another process that builds the same artefact."""

Build = Callable[[Path], Mapping[str, str]]
"""``build(folder)`` fills the empty folder and returns metadata to keep beside its files."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an artefact."""

    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the artefact consists of and what it was made from."""

    recipe: dict[str, str]
    metadata: dict[str, str]
    files: dict[str, StoredFile]
    built: str


class StoredArtefact(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact that is complete on disk."""

    path: Path
    key: str
    metadata: dict[str, str]
    digest: str
    """``sha256:...`` over the digests of all its files."""
    files: dict[str, StoredFile]


def recipe_key(recipe: Mapping[str, str]) -> str:
    """Twelve hex digits that stand for the recipe, whatever the order of its words."""
    text = msgspec.json.encode(dict(sorted(recipe.items())))
    return hashlib.sha256(text).hexdigest()[:12]


def stored(name: str, recipe: Mapping[str, str]) -> StoredArtefact | None:
    """Look the artefact up; None where it is absent or damaged. Never builds."""
    return _read(_folder(name, recipe), recipe_key(recipe))


def built(name: str, recipe: Mapping[str, str], build: Build) -> StoredArtefact:
    """Look the artefact up, or build it; two processes never build the same one at once.

    One whose content is not what was built is damaged, and is built anew.

    Raises `BuildFailed` when the disk is full or the cache cannot be written; what ``build`` itself
    raises passes through. An unfinished build leaves nothing behind.
    """
    folder = _folder(name, recipe)
    key = recipe_key(recipe)
    with _clear_errors(folder), _locked(folder):
        found = _read(folder, key)
        if found is not None and _whole(found):
            return found
        for leftover in folder.parent.glob(f".{folder.name}.*.part"):
            remove(leftover)
        remove(folder)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            part.chmod(0o755)
            metadata = dict(build(part))
            manifest = Manifest(
                recipe=dict(recipe),
                metadata=metadata,
                files=_inventory(part),
                built=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            (part / MANIFEST).write_bytes(encoded)
            part.rename(folder)
        finally:
            remove(part)
        return _artefact(folder, key, manifest)


def require_space(path: Path, need_bytes: int) -> None:
    """Raise `BuildFailed` unless the file system of ``path`` has so many bytes free."""
    free_bytes = _free_bytes(path)
    if free_bytes < need_bytes:
        raise BuildFailed(
            f"not enough disk space at {path}: {_mib(free_bytes)} free, {_mib(need_bytes)} needed",
            hint="free some space, or set VMVC_CACHE_DIR to a folder on a bigger disk",
        )


def remove(path: Path) -> None:
    """Remove a folder and everything in it; absent is fine."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _folder(name: str, recipe: Mapping[str, str]) -> Path:
    return cache_dir() / "artefacts" / f"{name}-{recipe_key(recipe)}"


def _read(folder: Path, key: str) -> StoredArtefact | None:
    """Read a complete artefact; sizes are checked, digests are not (a disk image is large)."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        for name, file in manifest.files.items():
            if (folder / name).stat().st_size != file.size_bytes:
                return None
    except (OSError, msgspec.DecodeError):
        return None
    return _artefact(folder, key, manifest)


def _whole(found: StoredArtefact) -> bool:
    return all(sha256_of(found.path / name) == file.sha256 for name, file in found.files.items())


def _artefact(folder: Path, key: str, manifest: Manifest) -> StoredArtefact:
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(manifest.files.items()))
    return StoredArtefact(
        path=folder,
        key=key,
        metadata=manifest.metadata,
        digest=f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}",
        files=manifest.files,
    )


def _inventory(folder: Path) -> dict[str, StoredFile]:
    return {
        path.relative_to(folder).as_posix(): StoredFile(
            size_bytes=path.stat().st_size, sha256=sha256_of(path)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        with lock.acquire(timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise BuildFailed(
            f"another process has been building {folder.name} for over {LOCK_TIMEOUT_S:.0f} s",
            hint="let it finish or end it, then try again",
        ) from None


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a cache that cannot be written into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(folder) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BuildFailed(
                f"the cache {folder.parent} cannot be written: {error}",
                hint="permit it, or set VMVC_CACHE_DIR to a folder of yours",
            ) from error
        raise
    except CommandFailed as error:
        # Archivers and disk tools report a full disk in words only.
        if os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise _disk_full(folder) from error
        raise


def _disk_full(folder: Path) -> BuildFailed:
    return BuildFailed(
        f"the disk is full: {folder.name} could not be built, "
        f"{_mib(_free_bytes(folder))} free at {folder.parent}",
        hint="free some space, or set VMVC_CACHE_DIR to a folder on a bigger disk",
    )


def _free_bytes(path: Path) -> int:
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
