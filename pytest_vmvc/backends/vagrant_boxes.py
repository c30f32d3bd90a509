"""The boxes in our own Vagrant home; the user's is never touched."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_vmvc import process
from pytest_vmvc.backends import libvirt, vagrant_providers
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import (
    BuildFailed,
    CommandFailed,
    CommandTimedOut,
    Unavailable,
    UsageError,
)
from pytest_vmvc.paths import cache_dir

BOX_ADD_TIMEOUT_S = 600.0
LOCK_TIMEOUT_S = 900.0
METADATA = "metadata.json"
METADATA_BYTES = 1 << 20
READ_BYTES = 1 << 20
OWN_BOXES = "vmvc-VAGRANTSLASH-"
"""How the names of our boxes begin where Vagrant makes file and volume names of them."""
FORMATS = vagrant_providers.box_formats(vagrant_providers.LIBVIRT)
"""Providers whose boxes are wanted unless others are named; none of them: any box will do."""

SYSTEM_PLUGINS = (Path("/usr/share/vagrant-plugins/plugins.d"),)
"""Where a distribution's package registers a plugin."""


def home() -> Path:
    """Vagrant's home (``VAGRANT_HOME``) for everything we do."""
    return cache_dir() / "vagrant"


def user_home() -> Path:
    """Vagrant's home of the user, where plugins may be installed."""
    return Path("~/.vagrant.d").expanduser()


def plugin_file(plugin: str = vagrant_providers.PLUGIN) -> Path | None:
    """Find where a provider's plugin is registered; None where it is not installed."""
    for folder in SYSTEM_PLUGINS:
        if (folder / f"{plugin}.json").is_file():
            return folder / f"{plugin}.json"
    for place in (home(), user_home()):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if plugin in json.loads((place / "plugins.json").read_text())["installed"]:
                return place / "plugins.json"
    return None


def prepare_home(*, any_plugin: bool = False) -> Path:
    """Make our home, with the user's own plugins in it: if libvirt's is one, or ``any_plugin``."""
    ours, users = home(), user_home()
    ours.mkdir(parents=True, exist_ok=True)
    listed = users / "plugins.json"
    if plugin_file() == listed or (any_plugin and listed.is_file()):
        for name in ("plugins.json", "gems"):
            with suppress(FileExistsError):
                (ours / name).symlink_to(users / name)
    return ours


def box_folder(
    name: str,
    version: str | None,
    formats: Sequence[str] = FORMATS,
    *,
    home_folder: Path | None = None,
) -> Path | None:
    """Find the unpacked box, its newest version where none is asked for."""
    boxes = (home_folder or home()) / "boxes"
    versions = boxes / _folder_name(name)
    wanted = [versions / version] if version is not None else sorted(_folders(versions), key=_age)
    for folder in reversed(wanted):
        # Vagrant 2.4 puts the architecture between version and provider.
        for place in (folder, *_folders(folder)):
            for found in [place / one for one in formats] or _folders(place):
                if (found / METADATA).is_file():
                    return found
    return None


def known(name: str, formats: Sequence[str] = FORMATS) -> Path | None:
    """Find a box in our home or the user's; None where neither has it."""
    ours = box_folder(name, None, formats)
    return ours or box_folder(name, None, formats, home_folder=user_home())


def borrow(name: str, formats: Sequence[str] = FORMATS) -> None:
    """Let our home see a box of the user's; nothing where it has it, or nobody does."""
    if box_folder(name, None, formats) is None and known(name, formats):
        theirs, ours = (place / "boxes" / _folder_name(name) for place in (user_home(), home()))
        ours.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            ours.symlink_to(theirs)


def _folder_name(name: str) -> str:
    return name.replace("/", "-VAGRANTSLASH-").replace(":", "-VAGRANTCOLON-")


def _folders(place: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (entry for entry in place.iterdir() if entry.is_dir())


def _age(folder: Path) -> float:
    return folder.stat().st_mtime


def images(folder: Path) -> Sequence[Path]:
    """Disk images of an unpacked box."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".img", ".qcow2"))


def version(folder: Path) -> str:
    """Version of an unpacked box, by its place ``<version>[/<architecture>]/<provider>``."""
    place = folder.parent
    return place.name if place.parent.parent.name == "boxes" else place.parent.name


def digest(files: Sequence[Path]) -> str:
    """``sha256:...`` of a file, or over the digests of several; raises `Unavailable`."""
    try:
        found = [_sha256(file) for file in files]
    except OSError as error:
        raise Unavailable(f"the box cannot be read: {error}", hint="run `vmvc setup`") from error
    if len(found) == 1:
        return f"sha256:{found[0]}"
    return f"sha256:{hashlib.sha256(''.join(found).encode()).hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def volume_name(name: str, version: str, image: Path) -> str:
    """How vagrant-libvirt calls a box's disk in the pool."""
    if version == "0":
        version = f"0_{int(image.stat().st_mtime)}"
    return f"{name.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_{version}_box.img"


def ensure_box(
    name: str,
    *,
    version: str | None = None,
    source: Path | None = None,
    formats: Sequence[str] = FORMATS,
    progress: Progress,
) -> Path:
    """Add the box from its file unless it is there; returns its folder.

    Raises `Unavailable` where Vagrant, its libvirt provider or the file is missing, `BuildFailed`
    when Vagrant does not take the box.
    """
    if (plugin_file() is None and formats == FORMATS) or shutil.which("vagrant") is None:
        raise Unavailable(
            "vagrant or its libvirt provider is not installed", hint="run `vmvc setup`"
        )
    ours = prepare_home()
    try:
        with FileLock(ours / "vmvc.lock", timeout=LOCK_TIMEOUT_S):
            there = box_folder(name, version, formats)
            return there or _added(name, version, source, formats, progress)
    except Timeout:
        raise BuildFailed(
            f"another process has been adding a box for over {LOCK_TIMEOUT_S:.0f} s",
            hint="let it finish or end it, then try again",
        ) from None


def _added(
    name: str,
    version: str | None,
    source: Path | None,
    formats: Sequence[str],
    progress: Progress,
) -> Path:
    if source is None or not source.is_file():
        raise Unavailable(
            f"box {name} is not there" + (f": no file {source}" if source else ""),
            hint="run `vmvc setup`, or name the file of the box",
        )
    progress(f"add the box {name} to Vagrant", None)
    check_box(source, formats)
    _add(name, version, source, formats, home())
    found = box_folder(name, version, formats)
    if found is None:
        raise BuildFailed(
            f"{source} was added and is no box for {' or '.join(formats) or 'any provider'}",
            hint="`vagrant box add` ended well and left no box: is `vagrant` Vagrant?",
        )
    return found


def check_box(source: Path, formats: Sequence[str] = FORMATS) -> None:
    """Read a box to its end, once, before anybody waits for what cannot become a machine.

    Raises `BuildFailed` for a file that is damaged or no box, and `UsageError` for one of another
    provider.
    """
    found = None
    try:
        with tarfile.open(source) as box:
            for member in box:
                if member.name.removeprefix("./") == METADATA and member.isfile():
                    file = box.extractfile(member)
                    found = file.read(METADATA_BYTES) if file else None
                    break
            if isinstance(box.fileobj, io.BufferedReader):
                box.getmembers()  # not compressed, so without a checksum: it may still be cut
            # The checksum stands at the end.
            while box.fileobj is not None and box.fileobj.read(READ_BYTES):
                pass
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise BuildFailed(
            f"{source} is damaged, or no box: {' '.join(str(error).split())}",
            hint="fetch or build it again",
        ) from error
    if found is None:
        raise BuildFailed(f"{source} has no {METADATA}, so it is no box", hint="name a .box file")
    try:
        wanted = json.loads(found)["provider"]
    except (ValueError, KeyError, TypeError):
        wanted = None
    if not isinstance(wanted, str):
        raise BuildFailed(f"{METADATA} in {source} names no provider", hint="build the box again")
    if formats and wanted not in formats:
        raise UsageError(
            f"{source} is a box for {''.join(c for c in wanted if c.isprintable())[:80]}",
            hint=f"name one for {' or '.join(formats)}, which is what machines are run by here",
        )


def _add(name: str, version: str | None, source: Path, formats: Sequence[str], ours: Path) -> None:
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

    with tempfile.TemporaryDirectory(prefix="box-", dir=ours) as place:
        folder = Path(place)
        url = str(source.absolute())
        if version is not None:
            # Only a catalogue can give a box file a version.
            catalogue = folder / "catalogue.json"
            provider = {"name": formats[0], "url": source.absolute().as_uri()}
            entry = {"version": version, "providers": [provider]}
            catalogue.write_text(json.dumps({"name": name, "versions": [entry]}))
            url = str(catalogue)
        command = VagrantCommand(folder, home=ours, timeout_s=BOX_ADD_TIMEOUT_S)
        try:
            only = formats[0] if len(formats) == 1 else None  # else the box says it
            command.box_add(name, url, only, True)  # type: ignore[no-untyped-call] # noqa: FBT003 -- the library's signature
        except (CommandFailed, CommandTimedOut) as error:
            said = error.hint if isinstance(error, CommandFailed) else error.message
            raise BuildFailed(
                f"Vagrant did not take the box {name}: {said}", hint=f"see {source}, and its maker"
            ) from error


def remove_boxes() -> None:
    """Drop all of our boxes and their disks in libvirt's pool; idempotent."""
    shutil.rmtree(home() / "boxes", ignore_errors=True)
    with suppress(Unavailable, CommandFailed):
        for volume in libvirt.volumes():
            if volume.startswith(OWN_BOXES) and "_vagrant_box_image_" in volume:
                libvirt.delete_volume(volume)


def virtual_bytes(image: Path) -> int:
    """Size of the disk as the machine sees it."""
    done = process.run(["qemu-img", "info", "-U", "--output=json", image], timeout_s=30)
    return int(json.loads(done.stdout)["virtual-size"])
