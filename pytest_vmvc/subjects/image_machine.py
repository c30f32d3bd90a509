"""The machine matched to an image: its own file system on a disk, a kernel and an init beside it.

The disk holds exactly what `docker export` gives. The distribution's kernel boots an initramfs with
our init in it, which mounts the disk, brings the network up and runs the image's command there, as
the engine would: with its environment, in its folder, as its user.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.agent import GUEST_AGENT
from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, Unavailable, UsageError
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal, store, vmlinux
from pytest_vmvc.subjects.archive import (
    character_device,
    file,
    folder,
    link,
    packed_bytes,
    write_cpio,
)
from pytest_vmvc.subjects.disk import find_tool
from pytest_vmvc.subjects.kernel import distribution_kernel, load_order
from pytest_vmvc.subjects.unpacking import TOOLS, scratch_folder, unpacked

NAME = "image"
DISK, KERNEL, INITRD = "disk.img", "vmlinux", "initramfs.cpio"
LABEL = "vmvc-root"
PLACE = ".vmvc"
"""Folder with all of ours, in the initramfs and bound into the root."""
MODULES = ("virtio_pci", "virtio_blk", "ext4", "virtio_net", "virtio_console")
SPARE_MODULES = ("virtio_balloon", "virtio-rng")
SPARE_BYTES = 256 * 2**20
"""Room on the disk beside what the image holds."""
GROWTH = 1.3
"""What a file system takes over the tar of its files."""
BUILD_TIMEOUT_S = 900.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What an engine gives to an image that sets none."""

INIT = f"""#!/{PLACE}/bin/busybox sh
# PID 1. The image's file system is a root of its own: what is run, is run in there.
echo vmvc:init
export PATH=/{PLACE}/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
while read -r module; do insmod "/{PLACE}/modules/$module.ko"; done </{PLACE}/modules/load
until disk=$(findfs LABEL={LABEL} 2>/dev/null); do sleep 0.01; done
mount -t ext4 "$disk" /root
mkdir -p /root/{PLACE} /root/proc /root/sys /root/dev
mount -o bind /{PLACE} /root/{PLACE}
for place in proc sys dev; do mount -o bind /$place /root/$place; done
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
chroot /root /{PLACE}/bin/sh /{PLACE}/prepare
hostname vmvc
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
fi
for word in $(cat /proc/cmdline); do
  case $word in vmvc.nonce=*) nonce=${{word#*=}} ;; esac
done
sh /{PLACE}/payload "$nonce" </dev/null &
. /{PLACE}/agent
enter="chroot /root /{PLACE}/bin/sh /{PLACE}/enter / 0:0"
. /{PLACE}/search
supervise
"""

PREPARE = f"""# Inside the image's file system: what an engine puts there, too.
[ -s /etc/hosts ] || {{ mkdir -p /etc && echo 127.0.0.1 localhost vmvc >/etc/hosts; }}
mkdir -p /lib/modules && mount -o bind /{PLACE}/modules /lib/modules
"""

# Its own shell finds its own applets first, so the program is looked for by hand.
ENTER = f"""# folder, user:group, then the command; inside the image's file system.
cd "$1" || exit 126
user=$2
shift 2
case $1 in
*/*) program=$1 ;;
*)
  old=$IFS
  IFS=:
  for place in $PATH; do
    program=$place/$1
    [ -f "$program" ] && [ -x "$program" ] && break
    program=
  done
  IFS=$old
  if [ -z "$program" ]; then
    echo "$1: not found" >&2
    exit 127
  fi ;;
esac
shift
[ "$user" = 0:0 ] && exec "$program" "$@"
exec /{PLACE}/bin/start-stop-daemon -S -q -p /{PLACE}/none -c "$user" -a "$program" -- "$@"
"""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of its own command."""

    image_id: str
    layers: tuple[str, ...]
    """Digests of what its files come from."""
    argv: tuple[str, ...]
    """Entry point and command."""
    env: Mapping[str, str]
    folder: str
    user: str
    """As the image has it: a name or number, with or without a group."""


class ImageMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine made from an image boots."""

    kernel: Path
    kernel_release: str
    initrd: Path
    disk: Path
    fetch_bytes: int
    """Kernel and initramfs compressed, and the disk as a compressed qcow2."""


def config(ref: str) -> ImageConfig:
    """Ask the engine for the image's configuration; raises `Unavailable`."""
    from pytest_vmvc.backends.docker import Engine
    from pytest_vmvc.backends.docker_images import inspect_image

    found = inspect_image(Engine(), ref)
    if found is None:
        raise Unavailable(
            f"the container engine has no image {ref}", hint=f"`docker pull {ref}`, or build it"
        )
    said: Mapping[str, Any] = found.get("Config") or {}
    return ImageConfig(
        image_id=str(found["Id"]),
        layers=tuple((found.get("RootFS") or {}).get("Layers") or (str(found["Id"]),)),
        argv=(*(said.get("Entrypoint") or ()), *(said.get("Cmd") or ())),
        env=dict(pair.partition("=")[::2] for pair in said.get("Env") or ()),
        folder=str(said.get("WorkingDir") or "/"),
        user=str(said.get("User") or ""),
    )


def build(ref: str, argv: Sequence[str], scope: RunScope, progress: Progress) -> ImageMachine:
    """Make kernel, initramfs and disk, or find them made; ``argv`` empty: the image's own command.

    Raises `BuildFailed`, `CommandFailed`, `CommandTimedOut`, `Unavailable`, and `UsageError` where
    there is nothing to run.
    """
    image = config(ref)
    if not (argv or image.argv):
        raise UsageError(f"the image {ref} names no command", hint="name one for the pair")
    if missing := [tool for tool in ("mke2fs", "qemu-img", *TOOLS) if find_tool(tool) is None]:
        raise Unavailable(f"{', '.join(missing)} not installed", hint="run `vmvc setup`")
    kernel = _kernel(progress)
    disk = _disk(ref, image, scope, progress)
    boot = _initrd(image, tuple(argv) or image.argv, kernel, disk.path / DISK)
    return ImageMachine(
        kernel=kernel.path / KERNEL,
        kernel_release=kernel.metadata["release"],
        initrd=boot.path / INITRD,
        disk=disk.path / DISK,
        fetch_bytes=sum(int(part.metadata["fetch_bytes"]) for part in (kernel, boot, disk)),
    )


def _kernel(progress: Progress) -> store.StoredArtefact:
    """The distribution's kernel and the modules that reach a disk, in the order to load them."""

    def fill(target: Path) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="kernel-", dir=target) as scratch:
            found = distribution_kernel(Path(scratch), progress)
            wanted = load_order(found.modules, MODULES)
            spare = load_order(found.modules, SPARE_MODULES)
            for name, data in {**spare, **wanted}.items():
                (target / f"{name}.ko").write_bytes(data)
            (target / "load").write_text("".join(f"{name}\n" for name in wanted))
            vmlinux.write_kernel(found.image, target / KERNEL)
            fetched = packed_bytes(target / KERNEL)
            return {"release": found.release, "fetch_bytes": str(fetched)}

    recipe = {**minimal.kernel_recipe(), "modules": " ".join((*MODULES, *SPARE_MODULES))}
    return store.built(f"{NAME}-kernel", recipe, fill)


def _disk(
    ref: str, image: ImageConfig, scope: RunScope, progress: Progress
) -> store.StoredArtefact:
    from pytest_vmvc.backends.docker import Engine
    from pytest_vmvc.backends.docker_engine import unavailable
    from pytest_vmvc.backends.docker_port import exported

    def fill(target: Path) -> dict[str, str]:
        progress(f"make a disk of {ref}", None)
        with scratch_folder(target) as (scratch, helper):
            archive = scratch / "root.tar"
            with (
                unavailable(),
                exported(Engine(), image.image_id, scope) as pieces,
                archive.open("wb") as tar,
            ):
                tar.writelines(pieces)
            size = int(archive.stat().st_size * GROWTH) + SPARE_BYTES
            store.require_space(target, 2 * size)
            raw = scratch / DISK
            raw.touch()
            raw.chmod(0o666)  # the helper writes under another user id
            with unpacked(archive, scratch, helper) as root:
                process.run(
                    [*helper, find_tool("mke2fs") or "mke2fs", "-q", "-F", "-t", "ext4",
                     "-L", LABEL, "-d", root, "-E", "root_owner=0:0", raw, f"{size // 1024}k"],
                    timeout_s=BUILD_TIMEOUT_S,
                )  # fmt: skip
            packed = scratch / "packed.qcow2"
            process.run(
                ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed],
                timeout_s=BUILD_TIMEOUT_S,
            )
            raw.rename(target / DISK)
            return {"fetch_bytes": str(packed.stat().st_size)}

    recipe = {"layers": " ".join(image.layers), "label": LABEL, "spare_bytes": str(SPARE_BYTES)}
    return store.built(f"{NAME}-disk", recipe, fill)


def _initrd(
    image: ImageConfig, argv: tuple[str, ...], kernel: store.StoredArtefact, disk: Path
) -> store.StoredArtefact:
    busybox = minimal.program()
    payload = _payload(image, argv, _owner(image.user, disk))
    path = image.env.get("PATH") or DEFAULT_PATH

    def fill(target: Path) -> dict[str, str]:
        listing = process.run([busybox, "--list"], timeout_s=minimal.QUERY_TIMEOUT_S).stdout
        applets = listing.decode().split()
        texts = {
            "init": INIT,
            f"{PLACE}/prepare": PREPARE,
            f"{PLACE}/enter": ENTER,
            f"{PLACE}/payload": payload,
            f"{PLACE}/search": f"PATH={shlex.quote(path)}:/{PLACE}/bin\n",
            f"{PLACE}/agent": GUEST_AGENT,
        }
        places = ("dev", "proc", "sys", "run", "root", PLACE, f"{PLACE}/bin", f"{PLACE}/modules")
        modules = [kernel.path / name for name in kernel.files if name != KERNEL]
        with (target / INITRD).open("wb") as initrd:
            write_cpio(
                [
                    *(folder(place) for place in places),
                    *(file(place, text.encode(), 0o755) for place, text in texts.items()),
                    file(f"{PLACE}/bin/busybox", busybox.read_bytes(), 0o755),
                    *(
                        link(f"{PLACE}/bin/{name}", "busybox")
                        for name in applets
                        if name != "busybox"
                    ),
                    *(file(f"{PLACE}/modules/{one.name}", one.read_bytes()) for one in modules),
                    character_device("dev/console", 5, 1),
                ],
                initrd,
            )
        return {"fetch_bytes": str(packed_bytes(target / INITRD))}

    recipe = {
        "busybox": store.sha256_of(busybox),
        "kernel": kernel.digest,
        "init": INIT + PREPARE + ENTER + GUEST_AGENT,
        "payload": payload,
        "path": path,
    }
    return store.built(f"{NAME}-boot", recipe, fill)


def _payload(image: ImageConfig, argv: Sequence[str], owner: str) -> str:
    """The script that runs the command; its one argument is the nonce."""
    env = {"PATH": DEFAULT_PATH, "HOME": "/root", "HOSTNAME": "vmvc", **image.env}
    words = ["exec", "env", "-i", 'VMVC_NONCE="$1"']
    words += [shlex.quote(f"{name}={value}") for name, value in env.items()]
    words += [f"/{PLACE}/bin/chroot", "/root", f"/{PLACE}/bin/sh", f"/{PLACE}/enter"]
    words += [shlex.quote(word) for word in (image.folder, owner, *argv)]
    return " ".join(words) + "\n"


def _owner(user: str, disk: Path) -> str:
    """``uid:gid`` of an image's user, by the user database on its disk; raises `BuildFailed`."""
    name, _, group = user.partition(":")
    if name in ("", "0", "root") and group in ("", "0", "root"):
        return "0:0"
    users, groups = (_database(disk, f"/etc/{which}") for which in ("passwd", "group"))
    entry = users.get(name) or next((one for one in users.values() if one[2:3] == [name]), [])
    uid = name if name.isdigit() else (entry[2] if len(entry) > 3 else "")
    gid = group if group.isdigit() else ""
    if group and not gid:
        gid = groups[group][2] if len(groups.get(group, ())) > 2 else ""
    elif not group:
        gid = entry[3] if len(entry) > 3 else "0"
    if not uid.isdigit() or not gid.isdigit():
        raise BuildFailed(
            f"the image's user {user!r} is not in its own user database",
            hint="correct USER in its Dockerfile",
        )
    return f"{uid}:{gid}"


def _database(disk: Path, place: str) -> dict[str, list[str]]:
    """Read a file off the disk without mounting it: lines of words between colons, by the first."""
    done = process.run(
        [find_tool("debugfs") or "debugfs", "-R", f"cat {place}", disk],
        timeout_s=minimal.QUERY_TIMEOUT_S,
        check=False,
    )
    lines = (line.split(":") for line in done.stdout.decode(errors="replace").splitlines())
    return {words[0]: words for words in lines}
