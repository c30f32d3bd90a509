from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.backends import libvirt, vagrant_boxes
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.ready import Line, Port
from pytest_vmvc.backends.vagrant import (
    VagrantMachine,
    VagrantProvider,
    VagrantReaper,
    VagrantSpec,
    vagrant_summary,
)
from pytest_vmvc.backends.vagrant_command import environment, meaningful_line
from pytest_vmvc.backends.vagrant_offer import HomeReaper
from pytest_vmvc.backends.vagrantfile import ruby_string, vagrantfile
from pytest_vmvc.errors import BuildFailed, TeardownFailed, Unavailable, UsageError
from pytest_vmvc.model import Completed
from pytest_vmvc.process import run
from pytest_vmvc.resources import Resource, RunScope
from pytest_vmvc.subjects import debian, guest
from pytest_vmvc.testing import ProviderContract

SPEC = VagrantSpec(box="vmvc/debian", userland="Debian", tier="tcg")
NETWORK = ("default", "192.168.122.0/24")


def described(spec: VagrantSpec, address: tuple[str, int] | None = None) -> str:
    return vagrantfile(
        spec, name="vmvc-r0123456789-1", boot_timeout_s=300, network=NETWORK, answer_address=address
    )


# --- the Vagrantfile -----------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_one_literal_of_plain_signs(text):
    literal = ruby_string(text)
    assert re.fullmatch(r'"([A-Za-z0-9 ._/:,=@+-]|\\u\{[0-9a-f]+\})*"', literal)
    back = re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), literal[1:-1])
    assert back == text


def test_what_vagrant_leaves_when_it_is_ended_goes_with_its_folder(tmp_path):
    settings = environment(tmp_path / "home", tmp_path / "machine")
    assert settings["TMPDIR"] == settings["VAGRANT_CWD"] == str(tmp_path / "machine")


def test_ruby_reads_back_what_was_quoted():
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    text = "\"'\\ #{1+1} #$0 \n\r\n\0 `id` %w ä 🐋 __END__\n=begin"
    done = run(
        ["ruby", "-e", f"$stdout.binmode; print {ruby_string(text)}"],
        timeout_s=30,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stdout.decode() == text


def test_half_a_sign_is_refused():
    with pytest.raises(UsageError):
        ruby_string("\ud800")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_box_name_adds_a_line(box):
    plain = described(SPEC)
    odd = described(VagrantSpec(box=box, userland="", tier="tcg"))
    assert len(odd.splitlines()) == len(plain.splitlines())


def test_an_emulated_machine_names_its_processor_and_an_accelerated_one_the_hosts():
    assert 'driver = "qemu"' in described(SPEC)
    fast = described(VagrantSpec(box="b", userland="u", tier="kvm-hw"))
    assert 'driver = "kvm"' in fast
    assert 'cpu_mode = "host-model"' in fast


def test_only_a_box_with_the_payload_gets_the_port():
    assert "qemuargs" not in described(SPEC)
    assert "host=127.0.0.1,port=4711" in described(SPEC, ("127.0.0.1", 4711))


def test_vagrants_last_word_is_found():
    text = "\n==> default: An error occurred. The error will be shown\n\nThe box 'x' is bad\n\n"
    assert meaningful_line(text) == "The box 'x' is bad"
    assert meaningful_line("\n \n") == "it said nothing"
    trace = "/x.rb:4:in `y': Log level must be in 0..8 (ArgumentError)\n\tfrom /x.rb:8:in `z'\n"
    assert "Log level" in meaningful_line(trace)


# --- what is missing -----------------------------------------------------------------------------


def test_a_refusal_is_explained():
    assert "permission" in libvirt.explain_refusal("error: ...: Permission denied").message
    gone = libvirt.explain_refusal("error: Failed to connect socket to '/x': No such file")
    assert "not running" in gone.message
    assert "vmvc setup" in gone.hint


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(libvirt, "LOGS", tmp_path / "logs")
    return tmp_path


def program(folder: Path, name: str, script: str = "") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def probe() -> str:
    return str(VagrantProvider(SPEC, RunScope()).probe())


def test_each_missing_thing_has_its_remedy(empty_path, monkeypatch):
    assert "vagrant is not installed" in probe()
    program(empty_path, "vagrant", "exit 1")
    monkeypatch.setattr(vagrant_boxes, "SYSTEM_PLUGINS", ())
    monkeypatch.setenv("HOME", str(empty_path))
    assert "libvirt provider is not installed" in probe()
    (empty_path / "vagrant-libvirt.json").write_text("{}")
    monkeypatch.setattr(vagrant_boxes, "SYSTEM_PLUGINS", (empty_path,))
    program(empty_path, "ssh")
    assert "virsh is not installed" in probe()
    program(empty_path, "virsh", "echo 'error: Failed to connect socket' >&2; exit 1")
    assert "libvirtd is not running" in probe()
    program(empty_path, "virsh")
    assert "no network 'default'" in probe()
    program(empty_path, "virsh", 'case "$*" in *--all*) echo default;; esac')
    assert "is not active" in probe()
    program(empty_path, "virsh", "echo default")
    assert "no box vmvc/debian" in probe()
    assert not (empty_path / "cache").exists()


def test_a_reaper_without_libvirt_finds_nothing(empty_path):
    assert list(VagrantReaper().inventory()) == []
    assert "not installed" in vagrant_summary()["problem"]


def test_a_box_is_found_whatever_the_layout(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    assert vagrant_boxes.box_folder("a/b", None) is None
    for version, place in (("1.0", "libvirt"), ("2.0", "amd64/libvirt")):
        folder = vagrant_boxes.home() / "boxes" / "a-VAGRANTSLASH-b" / version / place
        folder.mkdir(parents=True)
        (folder / "metadata.json").write_text("{}")
        found = vagrant_boxes.box_folder("a/b", version)
        assert found == folder
        assert vagrant_boxes.version(found) == version
    assert vagrant_boxes.box_folder("a/b", "3.0") is None
    assert vagrant_boxes.box_folder("a/b", None) is not None


def test_a_box_without_a_file_is_unavailable(empty_path):
    with pytest.raises(Unavailable):
        vagrant_boxes.ensure_box("no/such", progress=lambda *_: None)


def test_a_domain_that_refuses_to_die_is_named(empty_path):
    program(empty_path, "virsh", 'case "$*" in *"list --all"*) echo vmvc-x-default;; esac')
    with pytest.raises(TeardownFailed, match="domain vmvc-x-default still there"):
        libvirt.destroy("vmvc-x-default")


def test_a_reaper_whose_libvirt_does_not_answer_says_so(empty_path):
    program(empty_path, "virsh", "echo 'error: Failed to connect socket' >&2; exit 1")
    with pytest.raises(Unavailable, match="libvirtd is not running"):
        VagrantReaper().inventory()


def test_throw_away_homes_are_found_and_removed(empty_path):
    home = empty_path / "cache" / "vmvc-r0123456789-4"
    (home / "boxes").mkdir(parents=True)
    (found,) = HomeReaper().inventory()
    assert (found.name, found.run_id) == (str(home), "r0123456789")
    HomeReaper().destroy(found)
    assert not home.exists()


def test_what_vagrant_noted_of_a_machine_is_forgotten(empty_path, monkeypatch):
    monkeypatch.setenv("VMVC_STATE_DIR", str(empty_path / "state"))
    run_id, data = "r0123456789", empty_path / "cache" / "vagrant" / "data"
    folder, other = (
        f"/tmp/vmvc-{run_id}-ab/vmvc-{run_id}-1",
        f"/tmp/vmvc-{run_id}-ab/vmvc-{run_id}-2",
    )
    mine = {"vagrantfile_path": "/home/me/box"}
    (data / "machine-index").mkdir(parents=True)
    index = data / "machine-index" / "index"
    index.write_text(
        json.dumps({"version": 1, "machines": {"a": {"vagrantfile_path": folder}, "b": mine}})
    )
    # Killed before it was in the index: only the lock is there, and the run's own ledger.
    rule = f"{other}Vagrantfile{other}/.vagrantdefault".encode()
    lock = data / f"lock.machine-action-{hashlib.md5(rule).hexdigest()}.lock"
    lock.touch()
    ledger = empty_path / "state" / "runs" / run_id / "resources.jsonl"
    ledger.parent.mkdir(parents=True)
    written = [("folder", f"/tmp/vmvc-{run_id}-ab"), ("domain", f"vmvc-{run_id}-2-default")]
    lines = [msgspec.json.encode(Resource(kind=k, name=n, run_id=run_id)) for k, n in written]
    ledger.write_bytes(b"\n".join(lines))

    found = HomeReaper().inventory()
    assert {(one.name, one.run_id) for one in found} == {(folder, run_id), (other, run_id)}
    for one in found:
        HomeReaper().destroy(one)
        HomeReaper().destroy(one)
    assert list(HomeReaper().inventory()) == []
    assert json.loads(index.read_text()) == {"version": 1, "machines": {"b": mine}}
    assert not lock.exists()


def test_leftovers_carry_a_runs_name(empty_path):
    run_id = "r0123456789"
    logs = empty_path / "logs"
    logs.mkdir()
    for name in (f"vmvc-{run_id}-1-default", f"vmvc-{run_id}-3-default", "mine"):
        (logs / f"{name}.log").touch()
    program(
        empty_path,
        "virsh",
        f"""case "$*" in
        *"list --all"*) echo vmvc-{run_id}-1-default; echo mine;;
        *vol-list*) echo "vmvc-{run_id}-1-default.img /a"; echo "vmvc-{run_id}-2-default.img /b"
                    echo "vmvc-VAGRANTSLASH-debian_vagrant_box_image_1_box.img /c";;
        esac""",
    )
    assert {(found.kind, found.name, found.run_id) for found in VagrantReaper().inventory()} == {
        ("domain", f"vmvc-{run_id}-1-default", run_id),
        ("volume", f"vmvc-{run_id}-2-default.img", run_id),
        ("log", f"vmvc-{run_id}-3-default", run_id),
    }
    VagrantReaper().destroy(Resource(kind="log", name=f"vmvc-{run_id}-3-default", run_id=run_id))
    assert {path.stem for path in logs.iterdir()} == {f"vmvc-{run_id}-1-default", "mine"}


@pytest.mark.parametrize(
    ("status", "state", "alive"),
    [(0, "running", True), (0, "paused", True), (0, "shut off", False), (1, "", False)],
)
def test_a_paused_machine_is_not_dead(monkeypatch, status, state, alive):
    done = Completed(
        argv=("virsh",),
        exit_status=status,
        stdout=f"{state}\n\n".encode(),
        stderr=b"error: failed to get domain 'x'" if status else b"",
        duration_s=0,
    )
    monkeypatch.setattr(libvirt, "virsh", lambda *_, **__: done)
    assert libvirt.alive("vmvc-r0123456789-1-default") is alive


# --- the real thing ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artefacts() -> debian.DebianArtefacts:
    found = debian.load()
    if found is None:
        pytest.skip("the debian pair is not built — run `vmvc setup`")
    return found


@pytest.fixture(scope="module")
def spec(artefacts: debian.DebianArtefacts) -> VagrantSpec:
    return VagrantSpec(
        box=artefacts.box_name,
        box_version=artefacts.box_version,
        userland=artefacts.userland,
        tier="tcg",
        box_file=str(artefacts.box_path),
    )


@pytest.fixture(scope="module")
def provider(run_scope: RunScope, spec: VagrantSpec) -> VagrantProvider:
    found = VagrantProvider(spec, run_scope)
    if reason := found.probe():
        pytest.skip(str(reason))
    found.prepare()
    return found


@pytest.fixture(scope="module")
def broken_provider(provider: VagrantProvider, run_scope: RunScope, spec) -> VagrantProvider:
    """More processors than any machine of QEMU has: libvirt refuses to define it."""
    return VagrantProvider(msgspec.structs.replace(spec, vcpus=4096), run_scope)


def box_file(folder: Path, *, format_: str = "qcow2") -> Path:
    image = folder / "box.img"
    run(["qemu-img", "create", "-q", "-f", format_, image, "1M"], timeout_s=20)
    metadata = {"provider": "libvirt", "format": format_, "virtual_size": 1}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with tarfile.open(folder / "tiny.box", "w:gz") as box:
        box.add(folder / "metadata.json", "metadata.json")
        box.add(image, "box.img")
    return folder / "tiny.box"


@pytest.mark.vagrant
def test_a_box_is_added_once_with_and_without_a_version(provider, monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    steps: list[str] = []
    source = box_file(tmp_path)
    for name, version in (("vmvc/tiny", "0.0.4294967295"), ("vmvc/plain", None)):
        for _ in range(2):
            found = vagrant_boxes.ensure_box(
                name, version=version, source=source, progress=lambda step, _: steps.append(step)
            )
            assert [image.name for image in vagrant_boxes.images(found)] == ["box.img"]
        assert vagrant_boxes.version(found) == (version or "0")
    assert len(steps) == 2
    assert {path.name for path in vagrant_boxes.home().glob("box-*")} == set()


@pytest.mark.vagrant
def test_a_box_that_vagrant_does_not_take_is_refused_in_its_words(provider, monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(vagrant_boxes, "check_box", lambda *_: None)  # it would say so before
    (tmp_path / "x.box").write_text("no box")
    with pytest.raises(BuildFailed, match=r"did not take the box vmvc/x: .+"):
        vagrant_boxes.ensure_box("vmvc/x", source=tmp_path / "x.box", progress=lambda *_: None)


@pytest.mark.vagrant
class TestContract(ProviderContract):
    launch_s = 240.0
    bound_s = 40.0

    def kill(self, env: Environment) -> None:
        assert isinstance(env, VagrantMachine)
        qemu = libvirt.qemu_process(env.domain)
        assert qemu is not None
        qemu.kill()

    def leftovers(self) -> Sequence[Resource]:
        return VagrantReaper().inventory()

    def test_vagrants_own_share_is_marked(self, shared_env: Environment) -> None:
        marks = shared_env.marks
        order = ["cloned", "created", "process", "answer", "up"]
        assert [mark for mark in marks if mark in order] == order
        assert {"address", "login"} <= marks.keys()

    def test_it_is_the_packaged_debian_and_nothing_failed(
        self, shared_env: Environment, artefacts: debian.DebianArtefacts
    ) -> None:
        listed = shared_env.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"])
        packages = listed.stdout.decode().splitlines()
        assert set(artefacts.extra_packages) < set(packages)
        assert len(packages) == artefacts.packages + len(artefacts.extra_packages)
        failed = shared_env.run(["systemctl", "--failed", "--plain", "--no-legend"])
        assert failed.stdout == b""

    def test_nobody_logs_in_by_password(self, shared_env: Environment) -> None:
        settings = shared_env.run(["sshd", "-T"]).stdout.decode()
        assert "passwordauthentication no" in settings
        assert shared_env.run(["getent", "shadow", "vagrant"]).stdout.startswith(b"vagrant:*:")

    def test_the_key_that_everybody_has_opens_nothing(self, shared_env: Environment) -> None:
        assert isinstance(shared_env, VagrantMachine)
        allowed = shared_env.run(["cat", "/home/vagrant/.ssh/authorized_keys"]).stdout.decode()
        assert guest.PUBLIC_KEY.split()[1] not in allowed
        assert len(allowed.split("\n")) == 2
        for place in ("/root/.ssh/authorized_keys", "/etc/ssh/authorized_keys"):
            assert shared_env.run(["cat", place]).exit_status != 0
        assert shared_env._connection is not None
        [key] = shared_env._connection._config.identity_files
        # Made for this machine, in its own folder, which goes with it.
        assert Path(key).is_relative_to(Path(tempfile.gettempdir()))
        assert shared_env.name in key
        assert stat.S_IMODE(Path(key).stat().st_mode) == 0o600
        for folder in Path(key).parents:
            if folder.name.startswith("vmvc-r") and shared_env.name not in folder.name:
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_it_listens_to_ssh_alone_and_knows_nothing_of_our_environment(
        self, shared_env: Environment
    ) -> None:
        listening = shared_env.run(["ss", "-Hltn"]).stdout.decode().splitlines()
        assert {line.split()[3].rpartition(":")[2] for line in listening} == {"22"}
        names = [line.partition("=")[0] for line in
                 shared_env.run(["env"]).stdout.decode().splitlines()]  # fmt: skip
        assert not [name for name in names if name.startswith(("VMVC_", "VAGRANT_", "PYTEST"))]

    def test_status_255_of_a_command_is_data(self, shared_env: Environment) -> None:
        assert shared_env.run(["sh", "-c", "exit 255"]).exit_status == 255

    def test_the_box_is_sized(self, provider: VagrantProvider, artefacts) -> None:
        found = provider.artefact()
        assert found.fetch_bytes == artefacts.box_bytes
        assert found.fetch_bytes < found.kept_bytes < found.virtual_bytes == artefacts.disk_bytes

    def test_the_domain_is_in_the_inventory(self, shared_env, run_scope) -> None:
        names = {found.name for found in self.leftovers() if found.run_id == run_scope.run_id}
        assert f"{shared_env.name}-default" in names


@pytest.mark.vagrant
def test_a_box_without_the_payload_answers_by_ssh(provider, run_scope, spec):
    other = VagrantProvider(msgspec.structs.replace(spec, answers="ssh"), run_scope)
    other.prepare()
    with other.launch(deadline_s=240) as machine:
        assert "process" not in machine.marks
        assert machine.marks["answer"] > machine.marks["up"]
        assert "ssh" in machine.facts.readiness


@pytest.mark.vagrant
@pytest.mark.parametrize(
    ("ready", "marks", "how"),
    [
        (Line("login:"), {"process"}, "pushed to the host; no polling"),
        (Port(22), {"address"}, "once Vagrant tells its address"),
    ],
    ids=str,
)
def test_any_box_is_ready_by_what_it_shows(provider, run_scope, spec, tmp_path, ready, marks, how):
    """Of a Vagrantfile of the user's own; a start may end there, with Vagrant still at it."""
    (tmp_path / "Vagrantfile").write_text(
        f"""Vagrant.configure("2") do |config|
        config.vm.box = "{spec.box}"
        config.vm.box_version = "{spec.box_version}"
        end"""
    )
    other = VagrantProvider(
        msgspec.structs.replace(
            spec, answers="ssh", until="answer", ready=ready, vagrantfile=tmp_path
        ),
        run_scope,
    )
    other.prepare()
    assert how in other.facts.readiness
    with other.launch(deadline_s=240) as machine:
        assert machine.marks.keys() >= {"created", "answer", *marks}
        assert "up" not in machine.marks
        assert machine.alive()
        with pytest.raises(Unavailable, match="ended at its answer"):
            machine.run(["true"])
    assert machine.domain not in {found.name for found in VagrantReaper().inventory()}
