"""The machine of another architecture: its packages, its files, and a host that lacks something."""

import types

import pytest

from pytest_vmvc.errors import BuildFailed, Unavailable
from pytest_vmvc.model import Completed
from pytest_vmvc.resources import RunScope
from pytest_vmvc.setup import carry_out
from pytest_vmvc.subjects import apt, catalog, foreign

STANZAS = """Types: deb
URIs: http://mirror.example/debian
Suites: stable
Components: main
Architectures: amd64
"""
LINES = "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian stable main\n"


@pytest.fixture
def calls(monkeypatch):
    made = []

    def run(argv, **options):
        made.append((argv, options))
        return Completed(argv=(), exit_status=0, stdout=b"", stderr=b"", duration_s=0.0)

    monkeypatch.setattr(apt.process, "run", run)
    return made


def source(text):
    return apt.AptSource(distribution="debian", suite="stable", text=text, kernel="", title="")


@pytest.mark.parametrize(("text", "file"), [(STANZAS, "host.sources"), (LINES, "host.list")])
def test_a_private_apt_reads_the_hosts_mirror_for_another_architecture(tmp_path, calls, text, file):
    env = apt.private_apt(tmp_path, "arm64", source(text))
    ((argv, options),) = calls
    assert argv == ["apt-get", "update"]
    assert options["env"] == env == {"APT_CONFIG": str(tmp_path / "apt.conf")}
    config = (tmp_path / "apt.conf").read_text()
    assert 'APT::Architectures { "arm64"; };' in config
    assert f'Dir::Etc::sourcelist "{tmp_path / file}";' in config
    kept = (tmp_path / file).read_text()
    assert "amd64" not in kept
    assert "http://mirror.example/debian" in kept


def test_a_private_apt_keeps_its_state_to_itself(tmp_path, calls):
    apt.private_apt(tmp_path, "arm64", source(LINES))
    lines = (tmp_path / "apt.conf").read_text().splitlines()
    for place in ("Dir::State::lists", "Dir::State::status", "Dir::Cache"):
        (line,) = (line for line in lines if line.startswith(f"{place} "))
        assert f'"{tmp_path}/' in line


def test_without_the_emulator_nothing_is_built_and_the_remedy_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="qemu-system-aarch64 is not installed") as caught:
        foreign.build(lambda *_: None)
    assert "qemu-system-arm" in caught.value.hint


def test_ubuntu_keeps_other_architectures_elsewhere(monkeypatch):
    monkeypatch.setattr(foreign, "emulator", lambda: "/qemu")
    monkeypatch.setattr(foreign, "os_release", lambda: {"ID": "ubuntu"})
    with pytest.raises(Unavailable, match="on Debian only"):
        foreign.build(lambda *_: None)


def test_a_pair_offers_it_with_the_reason_where_it_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(foreign, "emulator", lambda: "/qemu")
    with RunScope() as scope, pytest.raises(Unavailable, match="not built"):
        catalog.load("minimal", scope).other("foreign")


def test_a_build_that_fails_does_not_stop_the_setup():
    said = []

    def build(_progress):
        raise BuildFailed("no mirror", hint="see the network")

    extra = types.SimpleNamespace(NAME="foreign", build=build)
    carry_out._try_to_build(extra, None, types.SimpleNamespace(say=said.append))
    assert said == ["note: foreign is not built: no mirror — see the network"]


@pytest.mark.machine
def test_kernel_and_program_are_for_64_bit_arm():
    try:
        built = foreign.build(lambda *_: None)
    except Unavailable as gap:
        pytest.skip(str(gap))
    assert foreign.load() == built
    assert built.kernel.read_bytes()[56:60] == b"ARM\x64"
    elf = built.initrd.read_bytes().split(b"\x7fELF", 1)[1]
    assert elf[14:16] == b"\xb7\0"  # e_machine of the first program, busybox
    assert "arm64" in built.kernel_release
