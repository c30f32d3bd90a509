"""The small Debian userland with a server, and the machines that carry it."""

import io
import tarfile

import pytest

from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.errors import BuildFailed, Unavailable
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import apps, minimal, platforms


def unpacked(root, *, without="", library="{root}/usr/lib/x86_64-linux-gnu/libevent.so"):
    """A root as packages leave it; its loader knows one library."""
    for name in apps.PROGRAMS:
        if name != without:
            path = root / ("usr/bin" if name == "memcached" else "bin") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    for name in ("libevent.so", "libunused.so"):
        path = root / "usr/lib/x86_64-linux-gnu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    loader = root / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    loader.write_text(
        "#!/bin/sh\necho '    linux-vdso.so.1 (0x00007ffe)'\n"
        f"echo '    libevent.so => {library.format(root=root)} (0x00007f12)'\n"
    )
    loader.chmod(0o755)
    return root


def test_only_what_the_loader_asks_for_is_in_it(tmp_path):
    tree = {entry.path: entry for entry in apps._tree(unpacked(tmp_path))}
    assert tree["bin/memcached"].data == b"memcached"
    assert tree["bin/memcached"].mode & 0o777 == 0o755
    assert tree["bin/sh"].data == b"dash"
    assert tree["usr/lib/x86_64-linux-gnu/libevent.so"].data == b"libevent.so"
    assert "lib64/ld-linux-x86-64.so.2" in tree
    assert "usr/lib/x86_64-linux-gnu" in tree
    assert not any("unused" in path for path in tree)


def test_a_program_that_no_package_has_is_named(tmp_path):
    with pytest.raises(BuildFailed, match="no readlink"):
        apps._tree(unpacked(tmp_path, without="readlink"))


def test_a_library_of_the_host_is_not_taken_in(tmp_path):
    root = unpacked(tmp_path / "root", library="/lib/of-the-host.so")
    with pytest.raises(BuildFailed, match=r"of-the-host.so, which no package brought"):
        apps._tree(root)


def test_packages_without_a_loader_are_refused(tmp_path):
    (unpacked(tmp_path) / "lib64/ld-linux-x86-64.so.2").unlink()
    with pytest.raises(BuildFailed, match="no loader"):
        apps._tree(tmp_path)


def test_devices_and_documentation_stay_behind(tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("./bin/cat", "./usr/share/doc/cat", "./etc/issue", "./dev/null"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.CHRTYPE if name == "./dev/null" else tarfile.REGTYPE
            tar.addfile(member)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        assert [member.name for member in apps._plain(tar)] == ["./bin/cat"]


def test_a_host_without_the_tool_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(apps, "find_tool", lambda _: None)
    with pytest.raises(Unavailable):
        apps.build(lambda *_: None)
    assert apps.load() is None


# --- machines with one more userland -------------------------------------------------------------


def guest(tmp_path):
    rootfs = tmp_path / "rootfs.tar"
    with tarfile.open(rootfs, "w") as tar:
        for kind, name, data in (
            (tarfile.DIRTYPE, "./bin", b""),
            (tarfile.REGTYPE, "./bin/dash", b"the shell"),
            (tarfile.SYMTYPE, "./bin/sh", b"dash"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size = kind, 0o755, 0
            if kind == tarfile.SYMTYPE:
                member.linkname = data.decode()
            elif kind == tarfile.REGTYPE:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return apps.AppsArtefacts(image_ref="vmvc/apps:0", rootfs=rootfs, userland="planted")


def host(tmp_path):
    for name in ("vmlinuz", "initramfs.cpio"):
        (tmp_path / name).write_bytes(name.encode() * 3)
    return minimal.MinimalArtefacts(
        image_ref="vmvc/minimal:0",
        rootfs=tmp_path / "rootfs.tar",
        kernel=tmp_path / "vmlinuz",
        initrd=tmp_path / "initramfs.cpio",
        kernel_release="6.1",
        kernel_source="planted",
        userland="busybox",
        rootfs_digest="sha256:0",
        kernel_digest="sha256:1",
        initrd_digest="sha256:2",
        fetch_bytes=1,
    )


def test_the_userland_stands_behind_the_machines_own(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(platforms.minimal, "load", lambda: host(tmp_path))
    monkeypatch.setattr(platforms, "USERLANDS", {"debian": lambda: guest(tmp_path)})
    made = platforms.machine("debian")
    packed = made.initrd.read_bytes()
    assert packed.startswith(b"initramfs.cpio" * 3)
    assert packed.index(b"070701") % 4 == 0
    for text in (b"platform/bin/dash\0", b"the shell", b"platform/bin/sh\0"):
        assert text in packed
    assert platforms.machine("debian") == made


def test_a_userland_that_is_not_built_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(platforms.minimal, "load", lambda: host(tmp_path))
    monkeypatch.setattr(platforms, "USERLANDS", {"klibc": lambda: None})
    with pytest.raises(Unavailable, match="klibc userland is not built"):
        platforms.machine("klibc")


@pytest.mark.engine
def test_its_server_runs_as_a_container():
    built = apps.load()
    if built is None:
        pytest.skip("the apps artefacts are not built")
    with RunScope() as scope:
        provider = DockerProvider(
            ContainerSpec(image=built.image_ref, userland=built.userland), scope
        )
        if gap := provider.probe():
            pytest.skip(str(gap))
        with provider.launch(deadline_s=60) as container:
            done = container.run(["memcached", "-V"])
    assert done.exit_status == 0
    assert done.stdout.decode().strip() in built.userland
