from __future__ import annotations

import io
import lzma
import re
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vmvc.backends import docker
from pytest_vmvc.errors import BuildFailed, CommandFailed, Unavailable
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import kernel, minimal
from pytest_vmvc.subjects.archive import (
    Entry,
    character_device,
    file,
    folder,
    link,
    write_cpio,
    write_tar,
)
from pytest_vmvc.subjects.kernel import Kernel

BUSYBOX = Path("/bin/busybox")
needs_busybox = pytest.mark.skipif(
    not BUSYBOX.exists(), reason="busybox-static is not installed — run `vmvc setup`"
)
TREE = [
    file("sub/text", b"abc", 0o640),
    folder("sub"),
    link("name", "sub/text"),
    character_device("console", 5, 1),
]


def quiet(_step: str, _fraction: float | None) -> None:
    pass


def cpio_of(entries: Sequence[Entry]) -> bytes:
    target = io.BytesIO()
    write_cpio(entries, target)
    return target.getvalue()


def tar_of(entries: Sequence[Entry]) -> bytes:
    target = io.BytesIO()
    write_tar(entries, target)
    return target.getvalue()


def module(depends: str) -> bytes:
    return b"\x7fELF...\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0"


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder of modules: virtio_pci needs virtio, which needs virtio_ring."""
    root = tmp_path / "lib" / "modules" / "6.1.0-9-test"
    drivers = root / "kernel" / "drivers"
    drivers.mkdir(parents=True)
    (drivers / "virtio.ko").write_bytes(module("virtio_ring"))
    (drivers / "virtio_ring.ko").write_bytes(module(""))
    (drivers / "virtio_pci.ko.xz").write_bytes(lzma.compress(module("virtio,virtio_ring")))
    (drivers / "virtio-rng.ko").write_bytes(module("virtio,rng-core"))
    (drivers / "virtio_console.ko").write_bytes(module("virtio"))
    (root / "modules.builtin").write_text("kernel/drivers/char/hw_random/rng-core.ko\n")
    return root


class TestArchive:
    def test_the_order_of_the_entries_does_not_matter(self) -> None:
        assert cpio_of(TREE) == cpio_of(TREE[::-1])
        assert tar_of(TREE[:3]) == tar_of(TREE[2::-1])

    @needs_busybox
    def test_a_cpio_is_what_another_program_reads(self) -> None:
        listed = subprocess.run(
            [BUSYBOX, "cpio", "-itv"],
            input=cpio_of(TREE),
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout.decode()
        lines = [line.split() for line in listed.splitlines()]
        assert [(line[0], line[-1]) for line in lines] == [
            ("crw-------", "console"),
            ("lrwxrwxrwx", "sub/text"),
            ("drwxr-xr-x", "sub"),
            ("-rw-r-----", "sub/text"),
        ]
        assert {line[1] for line in lines} == {"0/0"}
        assert {line[3] for line in lines} == {"1970-01-01"}

    def test_a_device_node_carries_its_numbers(self) -> None:
        (header,) = re.findall(rb"070701((?:[0-9A-F]{8}){13})console\0", cpio_of(TREE))
        fields = [int(header[at : at + 8], 16) for at in range(0, len(header), 8)]
        assert fields[9:11] == [5, 1]

    def test_a_tar_holds_the_tree_without_owners_and_dates(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(tar_of(TREE[:3]))) as tar:
            members = {member.name: member for member in tar}
            text = tar.extractfile("sub/text")
            assert text is not None
            assert text.read() == b"abc"
        assert list(members) == ["name", "sub", "sub/text"]
        assert members["name"].linkname == "sub/text"
        assert members["sub/text"].mode == 0o640
        assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}


class TestKernel:
    def test_modules_come_after_what_they_need(self, modules: Path) -> None:
        found = kernel.load_order(modules, ["virtio_pci", "virtio_console"])
        assert list(found) == ["virtio_ring", "virtio", "virtio_pci", "virtio_console"]
        assert found["virtio_pci"] == module("virtio,virtio_ring")

    def test_dashes_are_underscores_and_builtin_modules_are_left_out(self, modules: Path) -> None:
        assert list(kernel.load_order(modules, ["virtio_rng"])) == [
            "virtio_ring",
            "virtio",
            "virtio_rng",
        ]

    def test_a_missing_module_is_named(self, modules: Path) -> None:
        with pytest.raises(BuildFailed, match="no module vsock"):
            kernel.load_order(modules, ["vsock"])

    def test_the_newest_installed_kernel_with_modules_is_found(
        self, modules: Path, tmp_path: Path
    ) -> None:
        boot = tmp_path / "boot"
        boot.mkdir()
        assert kernel.installed_kernel(boot=boot, root=tmp_path) is None
        for release in ("6.1.0-9-test", "6.1.0-10-test"):
            (boot / f"vmlinuz-{release}").write_bytes(b"k")
        found = kernel.installed_kernel(boot=boot, root=tmp_path)
        assert found is not None
        assert found.release == "6.1.0-9-test"
        assert found.modules == modules

    def test_packages_are_read_from_what_apt_says(self) -> None:
        debian = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n"
        assert kernel.package_names(debian) == ("linux-image-6.1.0-56-cloud-amd64",)
        ubuntu = (
            "linux-image-6.8.0-49-generic\n  Depends: kmod\n  Depends: linux-base\n"
            "  Depends: linux-modules-6.8.0-49-generic\n"
        )
        assert kernel.package_names(ubuntu) == ("linux-modules-6.8.0-49-generic",)

    def test_without_package_lists_the_remedy_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: object, **__: object) -> Completed:
            raise CommandFailed("`apt-cache` ended with 100", hint="No packages found")

        monkeypatch.setattr(kernel.process, "run", fail)
        monkeypatch.setattr(kernel, "installed_kernel", lambda: None)
        monkeypatch.setattr(kernel, "_meta_package", lambda _: "linux-image-cloud-amd64")
        with pytest.raises(BuildFailed, match="apt-get update"):
            kernel.distribution_kernel(tmp_path, quiet)

    def test_an_installed_kernel_is_the_fallback(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, modules: Path
    ) -> None:
        own = Kernel(image=tmp_path, modules=modules, release="6", source="/boot/vmlinuz-6")

        def fail(_architecture: str) -> str:
            raise Unavailable("no kernel package is known")

        monkeypatch.setattr(kernel, "_meta_package", fail)
        monkeypatch.setattr(kernel, "installed_kernel", lambda: own)
        assert kernel.distribution_kernel(tmp_path, quiet) is own


class Engine:
    """Stands in for the container engine's image store."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.absent = False

    def image_id(self, ref: str) -> str | None:
        if self.absent:
            raise Unavailable("no container engine")
        return "sha256:1" if ref in self.images else None

    def import_image(self, path: Path, repository: str, tag: str, **_: object) -> str:
        self.images[f"{repository}:{tag}"] = path.read_bytes()
        return "sha256:1"


@needs_busybox
class TestBuild:
    @pytest.fixture(autouse=True)
    def cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))

    @pytest.fixture(autouse=True)
    def engine(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        own = Engine()
        monkeypatch.setattr(docker, "image_id", own.image_id)
        monkeypatch.setattr(docker, "import_image", own.import_image)
        return own

    @pytest.fixture(autouse=True)
    def fetched(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, modules: Path) -> list[Path]:
        """A mirror that has one kernel; lists where it was unpacked."""
        asked: list[Path] = []
        image = tmp_path / "vmlinuz"
        image.write_bytes(b"kernel")

        def fetch(scratch: Path, _progress: object) -> Kernel:
            asked.append(scratch)
            return Kernel(image=image, modules=modules, release="6.1.0-9-test", source="package")

        monkeypatch.setattr(minimal, "distribution_kernel", fetch)
        return asked

    def test_both_sides_have_the_very_same_userland(self) -> None:
        found = minimal.build(quiet)
        with tarfile.open(found.rootfs) as tar:
            image = {member.name for member in tar}
            program = tar.extractfile("bin/busybox")
            assert program is not None
            assert program.read() == BUSYBOX.read_bytes()
        listed = subprocess.run(
            [BUSYBOX, "cpio", "-it"],
            input=found.initrd.read_bytes(),
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout.decode()
        machine = set(listed.split())
        assert {"bin/sh", "bin/sleep", "etc/passwd", "tmp", "proc"} <= image < machine
        only = {name for name in machine - image if not name.endswith(".ko")}
        assert only == {"init", "dev/console", "lib/modules/load", "lib/vmvc-agent"}
        assert found.initrd.read_bytes().count(BUSYBOX.read_bytes()) == 1

    def test_the_bytes_depend_on_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        one = minimal.build(quiet)
        monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "other"))
        other = minimal.build(quiet)
        assert one.rootfs != other.rootfs
        assert one.rootfs.read_bytes() == other.rootfs.read_bytes()
        assert one.initrd.read_bytes() == other.initrd.read_bytes()

    def test_a_hit_asks_no_mirror_and_loads_the_same(self, fetched: list[Path]) -> None:
        assert minimal.load() is None
        found = minimal.build(quiet)
        assert minimal.build(quiet) == found == minimal.load()
        assert len(fetched) == 1
        assert not fetched[0].exists()
        assert found.kernel.read_bytes() == b"kernel"
        assert found.userland.startswith("BusyBox v")

    def test_an_image_that_the_engine_lost_is_imported_again(self, engine: Engine) -> None:
        found = minimal.build(quiet)
        assert engine.images.pop(found.image_ref) == found.rootfs.read_bytes()
        minimal.build(quiet)
        assert found.image_ref in engine.images

    def test_without_an_engine_it_is_built_all_the_same(self, engine: Engine) -> None:
        engine.absent = True
        assert minimal.build(quiet) == minimal.load()

    def test_a_static_busybox_is_needed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        dynamic = tmp_path / "busybox"
        dynamic.write_bytes(b"\x7fELF" + b"\0" * 600 + b"/lib64/ld-linux-x86-64.so.2\0")
        monkeypatch.setattr(minimal, "BUSYBOX", (tmp_path / "absent", dynamic))
        assert minimal.load() is None
        with pytest.raises(Unavailable, match="static busybox"):
            minimal.build(quiet)

    def test_modes_are_those_of_a_system(self) -> None:
        modes = {
            entry.path: stat.S_IMODE(entry.mode)
            for entry in minimal.userland(b"program", ["bin/busybox", "bin/sh", "usr/bin/id"])
        }
        assert modes["tmp"] == 0o1777
        assert modes["root"] == 0o700
        assert modes["bin/busybox"] == modes["usr/bin"] == 0o755
