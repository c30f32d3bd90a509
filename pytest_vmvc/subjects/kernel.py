"""The distribution's own kernel and its modules, taken from their packages and not installed."""

from __future__ import annotations

import lzma
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, CommandFailed, Unavailable
from pytest_vmvc.host import os_release

META_PACKAGES: Mapping[tuple[str, str], str] = {
    ("debian", "x86_64"): "linux-image-cloud-amd64",
    ("debian", "aarch64"): "linux-image-cloud-arm64",
    ("ubuntu", "x86_64"): "linux-image-virtual",
    ("ubuntu", "aarch64"): "linux-image-virtual",
}
"""The distribution's kernel for virtual machines, by distribution and architecture."""

FETCH_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 180.0
QUERY_TIMEOUT_S = 60.0


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel image and the folder of its modules."""

    image: Path
    modules: Path
    release: str
    source: str
    """Where it comes from, for people."""


def distribution_kernel(scratch: Path, progress: Progress) -> Kernel:
    """Fetch and unpack the kernel into ``scratch``, or fall back on the one in /boot.

    Raises `BuildFailed` with what to do, and `Unavailable` on a distribution without packages that
    are known here.
    """
    try:
        return packaged_kernel(scratch, progress)
    except (CommandFailed, BuildFailed, Unavailable) as error:
        installed = installed_kernel()
        if installed is None:
            raise
        progress(f"no kernel package ({error.message}); using {installed.source}", None)
        return installed


def installed_kernel(*, boot: Path = Path("/boot"), root: Path = Path("/")) -> Kernel | None:
    """The newest kernel in /boot that can be read and has its modules beside it."""
    for image in sorted(boot.glob("vmlinuz-*"), key=_version_key, reverse=True):
        release = image.name.removeprefix("vmlinuz-")
        modules = root / "lib" / "modules" / release
        if (modules / "kernel").is_dir() and _readable(image):
            return Kernel(image=image, modules=modules, release=release, source=str(image))
    return None


def load_order(modules: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Content of the modules and of all they depend on, each after what it needs.

    A module that is built into the kernel is left out; one that does not exist raises
    `BuildFailed`.
    """
    found = {_module_name(path.name): path for path in (modules / "kernel").rglob("*.ko*")}
    listing = modules / "modules.builtin"
    builtin = {
        _module_name(Path(line).name)
        for line in (listing.read_text().splitlines() if listing.exists() else ())
    }
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered or name in builtin:
            return
        if name not in found:
            raise BuildFailed(f"the kernel in {modules.name} has no module {name}")
        data = read_module(found[name])
        for needed in dependencies(data):
            add(needed)
        ordered[name] = data

    for name in wanted:
        add(_module_name(name))
    return ordered


def dependencies(module: bytes) -> tuple[str, ...]:
    """Names of the modules that a module (ELF, not compressed) says it depends on."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return (
        tuple(_module_name(name) for name in match[1].decode().split(",") if name) if match else ()
    )


def read_module(path: Path) -> bytes:
    """Read a module and decompress it: the initramfs loads plain ones on every kernel."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return process.run(["zstd", "-dcq", path], timeout_s=QUERY_TIMEOUT_S).stdout
    return path.read_bytes()


def package_names(depends: str) -> tuple[str, ...]:
    """Kernel packages among the dependencies that ``apt-cache depends`` prints."""
    pattern = r"^\s*Depends: (linux-(?:image|modules)-(?:unsigned-)?\d\S*)$"
    return tuple(re.findall(pattern, depends, re.MULTILINE))


def packaged_kernel(
    scratch: Path,
    progress: Progress,
    *,
    architecture: str = "",
    env: Mapping[str, str] | None = None,
) -> Kernel:
    """Fetch and unpack the distribution's kernel into ``scratch``.

    ``architecture``: the host's, where it is empty; for another one ``env`` names an apt that knows
    its packages. Raises `BuildFailed`, `CommandFailed` and `Unavailable`.
    """
    names = fetch_packages(scratch, progress, architecture=architecture, env=env)
    return unpack_packages(scratch, scratch / "root", progress, source=" + ".join(names))


def fetch_packages(
    folder: Path,
    progress: Progress,
    *,
    architecture: str = "",
    env: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Fetch the packages of the distribution's kernel into a folder; returns their names.

    Raises `BuildFailed`, `CommandFailed` and `Unavailable`.
    """
    names = _packages(architecture or platform.machine(), env or {})
    progress(f"fetch {names[0]}", None)
    folder.mkdir(parents=True, exist_ok=True)
    # apt's own sandbox user may not write into the folder; it then warns and goes on as root.
    process.run(["apt-get", "download", *names], timeout_s=FETCH_TIMEOUT_S, cwd=folder, env=env)
    return names


def unpack_packages(folder: Path, root: Path, progress: Progress, *, source: str) -> Kernel:
    """Unpack all packages of a folder into one root and find the kernel in it.

    Raises `BuildFailed` and `CommandFailed`.
    """
    for package in sorted(folder.glob("*.deb")):
        progress(f"unpack {package.name.split('_')[0]}", None)
        process.run(["dpkg-deb", "-x", package, root], timeout_s=UNPACK_TIMEOUT_S)
    for base in (root, root / "usr"):
        kernel = installed_kernel(boot=root / "boot", root=base)
        if kernel is not None:
            return msgspec.structs.replace(kernel, source=source)
    raise BuildFailed(f"the packages {source} hold no kernel with modules")


def _packages(architecture: str, env: Mapping[str, str]) -> tuple[str, ...]:
    meta = _meta_package(architecture)
    try:
        listed = package_names(_depends(meta, env))
        if not listed:
            raise BuildFailed(f"apt does not say which kernel {meta} stands for")
        images = [name for name in listed if name.startswith("linux-image-")]
        # On Ubuntu the modules are a package of their own, which the image depends on.
        further = [
            name
            for image in images
            for name in package_names(_depends(image, env))
            if "modules" in name
        ]
        return tuple(dict.fromkeys([*images, *listed, *further]))
    except CommandFailed as error:
        raise BuildFailed(
            f"apt does not know the kernel package {meta}", hint="run `apt-get update` first"
        ) from error


def _depends(package: str, env: Mapping[str, str]) -> str:
    return process.run(
        ["apt-cache", "depends", "--no-recommends", "--no-suggests", package],
        timeout_s=QUERY_TIMEOUT_S,
        env={**env, "LC_ALL": "C"},
    ).stdout.decode(errors="replace")


def _meta_package(architecture: str) -> str:
    release = os_release()
    for distribution in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        name = META_PACKAGES.get((distribution, architecture))
        if name:
            return name
    raise Unavailable(
        f"no kernel package is known for {release.get('ID') or 'this distribution'} "
        f"on {architecture}",
        hint="a kernel in /boot that you can read, with its modules, would do",
    )


def _module_name(file_name: str) -> str:
    """``virtio-rng.ko.xz`` and ``virtio_rng`` are the same module."""
    return re.sub(r"\.ko(\.\w+)?$", "", file_name).replace("-", "_")


def _version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _readable(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(file.read(1))
    except OSError:
        return False
