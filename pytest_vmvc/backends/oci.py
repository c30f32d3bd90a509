"""A container inside a machine: a saved image is unpacked there and run by an OCI runtime.

No engine is needed: an archive of ``docker save`` is layers and two JSON files, and a runtime wants
a folder and a JSON file.
"""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pytest_vmvc.backends.base import ANSWER, Environment, new_nonce
from pytest_vmvc.errors import BuildFailed, InfrastructureError

IMAGE, BUNDLE = "/run/image", "/run/bundle"
TIMEOUT_S = 60.0
RUN = ("runc", "run", "--no-pivot", "--bundle", BUNDLE)
"""A machine that lives in its initramfs has no root that could be pivoted."""

UNPACK = f"""mkdir -p {IMAGE} {BUNDLE}/rootfs /sys/fs/cgroup && tar -xf - -C {IMAGE} &&
{{ [ -e /sys/fs/cgroup/cgroup.procs ] || mount -t cgroup2 cgroup /sys/fs/cgroup; }}"""
LAYERS = f"""for layer; do tar -xf {IMAGE}/$layer -C {BUNDLE}/rootfs || exit; done
cd {IMAGE} && sha256sum "$@" """
CONFIGURE = f"cat >{BUNDLE}/config.json"
CLEAR = f"rm -rf {IMAGE} {BUNDLE}"

MOUNTS = (
    ("proc", "proc", "/proc", ()),
    ("tmpfs", "tmpfs", "/dev", ("nosuid", "mode=755", "size=65536k")),
    ("sysfs", "sysfs", "/sys", ("nosuid", "noexec", "nodev", "ro")),
)
CAPABILITY_SETS = ("bounding", "effective", "permitted")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")


LAYER = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)
"""A layer's place in an archive, as engines write it; a guest's shell gets it, and its tar."""
JSON_LIMIT_BYTES = 4 << 20


class _Manifest(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]


class _Rootfs(msgspec.Struct):
    diff_ids: list[str]


class _Image(msgspec.Struct):
    rootfs: _Rootfs


class Guested(msgspec.Struct, frozen=True, kw_only=True):
    """What came of running a saved image inside a machine."""

    answered: bool
    """Whether the payload's nonce came out."""
    intact: bool
    """Whether each layer, as it arrived, has the digest that the image names."""
    kernel_release: str
    """Asked inside the container."""


@contextmanager
def guested(machine: Environment, archive: Path) -> Iterator[Guested]:
    """Unpack a saved image in the machine and run its shell there by ``runc``; cleared at the end.

    Raises `BuildFailed` for an archive that is none, or has files that take others away, and
    `InfrastructureError` where the machine does not do what it is told.
    """
    layers, diff_ids = saved_layers(archive)
    try:
        _do(machine, ["sh", "-c", UNPACK], archive.read_bytes())
        sums = _do(machine, ["sh", "-c", LAYERS, "sh", *layers]).decode().split()[::2]
        nonce = new_nonce()
        _do(machine, ["sh", "-c", CONFIGURE], json.dumps(bundle_config(nonce)).encode())
        said = machine.run([*RUN, nonce], timeout_s=TIMEOUT_S).stdout
        yield Guested(
            answered=nonce.encode() in ANSWER.findall(said),
            intact=[f"sha256:{found}" for found in sums] == list(diff_ids),
            kernel_release=said.decode(errors="replace").strip().rpartition("\n")[2],
        )
    finally:
        machine.run(["sh", "-c", CLEAR], timeout_s=TIMEOUT_S)


def saved_layers(archive: Path) -> tuple[Sequence[str], Sequence[str]]:
    """Paths of an archive's layers, lowest first, and the digests that its image names for them.

    Raises `BuildFailed`.
    """
    try:
        with tarfile.open(archive) as tar:
            [manifest] = msgspec.json.decode(_member(tar, "manifest.json"), type=list[_Manifest])
            image = msgspec.json.decode(_member(tar, manifest.config), type=_Image)
            for layer in manifest.layers:
                _refuse_whiteouts(tar, layer)
    except (
        OSError, EOFError, ValueError, LookupError, RecursionError, tarfile.TarError, zlib.error,
    ) as error:  # fmt: skip
        raise BuildFailed(f"{archive.name} is no saved image: {error}") from error
    return manifest.layers, image.rootfs.diff_ids


def bundle_config(nonce: str) -> dict[str, Any]:
    """The runtime's configuration: the payload says its nonce and the kernel's release."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "container",
        "process": {
            "terminal": False,
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"VMVC_NONCE={nonce}"],
            "args": [
                "sh", "-c", 'echo "vmvc:nonce $VMVC_NONCE"; cat /proc/sys/kernel/osrelease'
            ],
            "capabilities": {kind: list(CAPABILITIES) for kind in CAPABILITY_SETS},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"type": kind, "source": source, "destination": place, "options": list(options)}
            for kind, source, place, options in MOUNTS
        ],
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
    }  # fmt: skip


def _do(machine: Environment, argv: Sequence[str], stdin: bytes = b"") -> bytes:
    done = machine.run(argv, timeout_s=TIMEOUT_S, stdin=stdin)
    if done.exit_status != 0:
        raise InfrastructureError(
            f"{machine.name} does not take the image: {argv[2].splitlines()[0]}",
            hint=done.stderr.decode(errors="replace").strip()[-300:],
        )
    return done.stdout


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    text = file.read(JSON_LIMIT_BYTES + 1)
    if len(text) > JSON_LIMIT_BYTES:
        raise ValueError(f"{name} is larger than {JSON_LIMIT_BYTES >> 20} MiB")
    return text


def _refuse_whiteouts(tar: tarfile.TarFile, layer: str) -> None:
    """Unpacking one layer over the other is right only where none takes files of another away."""
    if not LAYER.fullmatch(layer):
        raise ValueError(f"{layer[:80]!r} is no name of a layer")
    file = tar.extractfile(layer)
    if file is None:
        raise KeyError(layer)
    with tarfile.open(fileobj=file) as inner:
        names = (PurePosixPath(member.name).name for member in inner)
        if any(name.startswith(".wh.") for name in names):
            raise ValueError("a layer of it removes files of another")
