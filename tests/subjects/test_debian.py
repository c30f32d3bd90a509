from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.errors import BuildFailed, Unavailable
from pytest_vmvc.process import run
from pytest_vmvc.subjects import debian
from pytest_vmvc.subjects.apt import AptSource, host_source, own_lines, own_stanzas
from pytest_vmvc.subjects.guest import CUSTOMIZE
from pytest_vmvc.subjects.packages import extra_packages, parse_status, read_packages

SOURCE = AptSource(
    distribution="debian",
    suite="trixie",
    text="deb http://mirror.example trixie main\n",
    kernel="k",
    title="Debian 13",
)
DEBIAN = {"ID": "debian", "VERSION_CODENAME": "trixie", "PRETTY_NAME": "Debian 13"}
STANZAS = """# the main archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://mirror.example/security
Suites: trixie-security
Components: main

Types: deb
URIs: http://third.example
Suites: stable
Components: main

Enabled: no
Types: deb
URIs: http://off.example
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example
Suites: trixie
Components: main
"""
LINES = """# deb http://commented.example trixie main
deb cdrom:[Debian]/ trixie main
deb http://mirror.example/debian trixie main contrib
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/security trixie-security main
deb-src http://mirror.example/debian trixie main
deb http://third.example stable main
deb http://old.example bookworm main
"""


def etc_apt(place: Path, *, stanzas: str = "", lines: str = "") -> Path:
    (place / "sources.list.d").mkdir()
    if stanzas:
        (place / "sources.list.d" / "debian.sources").write_text(stanzas)
    if lines:
        (place / "sources.list").write_text(lines)
    (place / "sources.list.d" / "third.sources").write_text(STANZAS.replace("mirror", "third"))
    return place


def test_only_the_distributions_own_stanzas_are_taken():
    kept = own_stanzas(STANZAS, "trixie")
    assert kept.count("Types: deb\n") == 2
    assert "deb-src" not in kept
    for word in ("third", "off.example", "source.example"):
        assert word not in kept
    assert "Signed-By: /usr/share/keyrings/k.gpg" in kept


def test_only_the_distributions_own_lines_are_taken():
    assert own_lines(LINES, "trixie").splitlines() == [
        "deb http://mirror.example/debian trixie main contrib",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/security trixie-security main",
    ]


def test_the_file_of_stanzas_goes_first_and_third_parties_are_never_read(tmp_path):
    found = host_source(etc_apt=etc_apt(tmp_path, stanzas=STANZAS, lines=LINES), os_release=DEBIAN)
    assert (found.suite, found.kernel) == ("trixie", "linux-image-cloud-amd64")
    assert "third" not in found.text
    assert "Types" in found.text


def test_the_old_file_of_lines_will_do(tmp_path):
    found = host_source(etc_apt=etc_apt(tmp_path, lines=LINES), os_release=DEBIAN)
    assert found.text == own_lines(LINES, "trixie")


def test_a_host_without_sources_or_of_another_kind_is_told(tmp_path):
    with pytest.raises(Unavailable, match="no apt source of debian trixie"):
        host_source(etc_apt=etc_apt(tmp_path), os_release=DEBIAN)
    for release in ({}, {"ID": "fedora", "VERSION_CODENAME": "x"}, {"ID": "debian"}):
        with pytest.raises(Unavailable, match="Debian and Ubuntu only"):
            host_source(etc_apt=tmp_path, os_release=release)


@given(st.text())
def test_any_sources_text_is_read(text):
    assert isinstance(own_stanzas(text, "trixie"), str)
    assert isinstance(own_lines(text, "trixie"), str)


STATUS = """Package: base-files
Status: install ok installed
Version: 12.4
Description: x
 Package: not-this-one

Package: removed
Status: deinstall ok config-files
Version: 1

Package: libc6
Status: hold ok installed
Version: 2:36-9
"""


def root_tar(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def test_installed_packages_are_read_from_a_root(tmp_path):
    expected = {"base-files": "12.4", "libc6": "2:36-9"}
    assert parse_status(STATUS) == expected
    root = root_tar(tmp_path / "r.tar", {"./etc/x": "", "./var/lib/dpkg/status": STATUS})
    assert read_packages(root) == expected
    with pytest.raises(BuildFailed, match="no Debian root"):
        read_packages(root_tar(tmp_path / "e.tar", {"./etc/x": ""}))


def test_a_machine_holds_the_base_or_is_no_pair():
    assert extra_packages({"a": "1"}, {"a": "1", "b": "2"}) == {"b": "2"}
    for machine in ({"b": "2"}, {"a": "1.1"}):
        with pytest.raises(BuildFailed, match="differ in a"):
            extra_packages({"a": "1"}, machine)


def test_the_guest_is_customised_by_valid_shell(tmp_path):
    run(["sh", "-n"], stdin=CUSTOMIZE.encode(), timeout_s=10)
    assert r"BindsTo=dev-virtio\x2dports-org.vmvc.answer.device" in CUSTOMIZE


def test_a_host_that_lacks_a_tool_is_told_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "host_source", lambda: SOURCE)
    with pytest.raises(Unavailable, match=r"mmdebstrap, tar, (mke2fs, )?grub-mkimage, qemu-img"):
        debian.build(lambda *_: None)
    assert debian.load() is None


# --- the pair as built ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artefacts() -> debian.DebianArtefacts:
    found = debian.load()
    if found is None:
        pytest.skip("the debian pair is not built — run `vmvc setup`")
    return found


def test_the_machine_is_the_image_and_what_makes_it_a_machine(artefacts):
    base = read_packages(artefacts.base_path)
    extra = dict(line.split(" ", 1) for line in artefacts.extra_packages)
    assert len(base) == artefacts.packages
    assert not base.keys() & extra.keys()
    assert {"systemd", "udev", "openssh-server", "sudo"} <= extra.keys()
    assert any(name.startswith("linux-image-") for name in extra)


def test_the_box_is_one_for_libvirt(artefacts):
    with tarfile.open(artefacts.box_path) as box:
        assert box.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        metadata = box.extractfile("metadata.json")
        assert metadata is not None
        found = json.load(metadata)
    assert (found["provider"], found["format"]) == ("libvirt", "qcow2")
    assert found["virtual_size"] << 30 == artefacts.disk_bytes


def test_image_and_box_are_named_after_their_content(artefacts):
    assert artefacts.image_ref.split(":")[1] in artefacts.base_digest
    number = int(artefacts.box_version.rsplit(".", 1)[1])
    assert f"{number:08x}" == artefacts.box_digest.removeprefix("sha256:")[:8]


def test_the_build_left_nothing_else(artefacts):
    folder = artefacts.base_path.parent
    assert {path.name for path in folder.iterdir()} == {"base.tar", "debian.box", "manifest.json"}
