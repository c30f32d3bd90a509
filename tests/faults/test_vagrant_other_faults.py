"""Vagrant with a provider that is not libvirt, by a program in Vagrant's place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import process
from pytest_vmvc.backends import vagrant_boxes, vagrant_folder, vagrant_start
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.backends.ready import Http, Line
from pytest_vmvc.backends.vagrant_diagnosis import vagrant_summary
from pytest_vmvc.backends.vagrant_offer import HomeReaper
from pytest_vmvc.backends.vagrant_other import OtherVagrantProvider
from pytest_vmvc.backends.vagrantfile import VagrantSpec, plain_vagrantfile
from pytest_vmvc.clean import sweep
from pytest_vmvc.errors import (
    EnvironmentDied,
    LaunchFailed,
    LaunchTimedOut,
    NoUsage,
    TeardownFailed,
    Unavailable,
    UsageError,
)
from pytest_vmvc.resources import MARK, FolderReaper, RunScope
from pytest_vmvc.subjects import own, own_offers
from tests.faults.guests import one_clear_line
from tests.faults.sshd import serving

SHORT_S = 0.5
LONG_S = 60.0
BOX = "acme/web"
ID = "5f0c8a8e-0000-4000-8000-d1d1d1d1d1d1"
Play = Callable[..., None]

WELL = {
    "plugin list": "exit 0",
    "--version": "echo Vagrant 2.4.1",
    "up": f"mkdir -p .vagrant/machines/default/$PROVIDER\n"
    f"printf {ID} >.vagrant/machines/default/$PROVIDER/id",
    "ssh-config": "cat $LOGIN",
    "status": "if [ -e .vagrant/machines/default/*/id ]; then s=running; else s=not_created; fi\n"
    "echo 1,default,metadata,provider,x; echo 1,default,state,$s",
    "destroy": "rm -rf .vagrant/machines",
}
"""What a program in Vagrant's place does, but for the fault."""

UNKNOWN = """The provider 'acme' could not be found, but was requested to
back the machine 'default'. Please use a provider that exists.

Vagrant knows about the following providers: virtualbox, docker, hyperv"""
UNUSABLE = """The provider 'virtualbox' that was requested to back the machine
'default' is reporting that it isn't usable on this system. The
reason is shown below:

Vagrant could not detect VirtualBox! Make sure VirtualBox is properly installed.
Vagrant uses the VBoxManage binary that ships with VirtualBox."""


@pytest.fixture
def scope(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunScope]:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # A place of its own, with a short path: sockets are made below it.
    with tempfile.TemporaryDirectory(prefix="other-") as place, monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", place)
        with RunScope() as scope:
            yield scope


@pytest.fixture
def plays(scope: RunScope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Put a program in Vagrant's place: what its commands do is given, the rest goes well."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for module, wait in ((process, "KILL_GRACE_S"), (vagrant_start, "STOP_S")):
        monkeypatch.setattr(module, wait, SHORT_S)
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(vagrant_boxes, "SYSTEM_PLUGINS", (tmp_path,))

    def program(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    def play(faults: Mapping[str, str] = {}) -> None:
        cases = "".join(f'  "{name}"*)\n{text}\n;;\n' for name, text in {**WELL, **faults}.items())
        program(
            "vagrant",
            f"PROVIDER=$VAGRANT_DEFAULT_PROVIDER LOGIN={tmp_path}/login\n"
            f'echo "$PROVIDER: $*" >>{tmp_path}/said\ncase "$*" in\n{cases}esac',
        )

    program("VBoxManage", "echo WARNING: no kernel module; echo 7.0.14r161095")
    add_box("virtualbox")
    play()
    return play


def add_box(provider: str) -> Path:
    folder = vagrant_boxes.home() / "boxes" / BOX.replace("/", "-VAGRANTSLASH-") / "0" / provider
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"provider": provider}))
    (folder / "box.vmdk").write_text("a disk")
    return folder


def provider(scope: RunScope, name: str = "virtualbox", **spec: object) -> OtherVagrantProvider:
    wanted = VagrantSpec(box=BOX, userland="box", tier="kvm-hw", provider=name)
    return OtherVagrantProvider(msgspec.structs.replace(wanted, **spec), scope)


def said(tmp_path: Path) -> list[str]:
    return (tmp_path / "said").read_text().splitlines()


# --- from first to last --------------------------------------------------------------------------


@pytest.fixture
def machine_server(tmp_path: Path) -> Iterator[None]:
    """A server of ssh in the machine's place."""
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server") as server:
        (tmp_path / "login").write_text(
            f"Host default\nHostName {server.address}\nUser root\nPort {server.port}\n"
            f"IdentityFile {server.folder}/login\n"
        )
        yield


def test_a_machine_is_started_used_and_destroyed_by_vagrant_and_ssh_alone(
    plays, scope, tmp_path, machine_server
):
    one = provider(scope, memory_bytes=256 << 20, vcpus=2)
    one.prepare()
    facts = one.facts
    assert facts.version == "Vagrant 2.4.1, virtualbox, VirtualBox 7.0.14r161095"
    assert (facts.accelerator, facts.kind, facts.vcpus) == ("other", "vm", 2.0)
    assert facts.extra["vagrant_provider"] == "virtualbox"
    with one.launch(deadline_s=LONG_S) as machine:
        folder = scope.workdir / machine.name
        text = (folder / "Vagrantfile").read_text()
        assert {"up", "answer"} <= machine.marks.keys()
        assert machine.run(["echo", "1"]).stdout == b"1\n"
        assert machine.alive()
        with pytest.raises(NoUsage, match="the host cannot tell") as caught:
            machine.usage()
        one_clear_line(caught.value)
        assert facts.extra[caught.value.fact] is False
        assert [held.name for held in scope.held] == [str(folder)]
    assert text.startswith(f'ENV.delete("{MARK[:4]}')
    for line in (f'config.vm.box = "{BOX}"', "machine.memory = 256 if", "machine.cpus = 2 if"):
        assert line in text
    assert 'config.vm.provider "virtualbox" do' in text.replace("\\u{5f}", "_")
    commands = [line for line in said(tmp_path) if "version" not in line and "plugin" not in line]
    assert commands == [
        f"virtualbox: {words}"
        for words in (
            "up --provider=virtualbox", "ssh-config", "status --machine-readable",
            "destroy --force", "status --machine-readable",
        )
    ]  # fmt: skip
    assert not scope.held
    assert not folder.exists()


def test_the_end_of_its_process_is_the_end_of_the_machine(plays, scope, machine_server):
    child = subprocess.Popen(["sh", "-c", "read -r word", "box", ID], stdin=subprocess.PIPE)
    try:
        with provider(scope).launch(deadline_s=LONG_S) as machine:
            assert machine.alive()
            child.kill()
            child.wait(LONG_S)
            with pytest.raises(EnvironmentDied):
                machine.run(["sleep", "1000"], timeout_s=LONG_S)
            assert not machine.alive()
            with pytest.raises(NoUsage):
                machine.usage()
    finally:
        child.kill()
        child.wait(LONG_S)
        process.close_pipes(child)


VAGRANT = """module Vagrant
  Any = Struct.new(:all) do
    def method_missing(name, *words)
      all[name] = words[0]
      yield self if block_given?
      self
    end
    def respond_to?(name, *) = %i[memory= smp=].include?(name)
  end
  def self.configure(_) = yield(Any.new($all = {}))
end
load ARGV[0]
$all.each { |key, value| puts "#{key} #{value}" }
puts ENV.key?("VMVC_RUN_ID")"""
"""Stands in for Vagrant: takes down every setting."""


def test_ruby_sets_the_sizes_that_there_are_and_unmarks_what_it_starts(plays, scope, tmp_path):
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    spec = VagrantSpec(box=BOX, userland="", tier="other", provider="acme", vcpus=3)
    (tmp_path / "Vagrantfile").write_text(plain_vagrantfile(spec, boot_timeout_s=9))
    said = process.run(["ruby", "-e", VAGRANT, tmp_path / "Vagrantfile"], timeout_s=LONG_S).stdout
    lines = said.decode().splitlines()
    assert {"provider acme", "memory= 512", "smp= 3", "box= acme/web"} <= set(lines)
    assert not [line for line in lines if line.startswith("cpus=")]
    assert lines[-1] == "false"


# --- `vagrant up` --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "error", "text"),
    [
        ({"up": "exec sleep 1000"}, LaunchTimedOut, "no return of `vagrant up`"),
        ({"up": "trap '' INT TERM; yes"}, LaunchTimedOut, "no return of `vagrant up`"),
        ({"up": "head -c 100000 /dev/urandom >&2; exit 3"}, LaunchFailed, "ended with 3"),
        ({"up": f"cat >&2 <<'E'\n{UNUSABLE}\nE\nexit 1"}, LaunchFailed,
         "cannot use its provider virtualbox: Vagrant could not detect VirtualBox!"),
        ({"up": f"cat >&2 <<'E'\n{UNKNOWN}\nE\nexit 1"}, LaunchFailed,
         "does not know the provider acme — `vagrant plugin install vagrant-acme`"),
        ({"ssh-config": "exit 1"}, LaunchFailed, "`vagrant ssh-config` failed"),
        ({"ssh-config": "head -c 100000 /dev/urandom"}, LaunchFailed, "no login in the ssh"),
        ({"ssh-config": "echo Host x; echo HostName -oProxyCommand=id"}, LaunchFailed, "odd line"),
    ],
)  # fmt: skip
def test_whatever_it_does_the_start_ends_and_nothing_is_left(
    plays, scope, tmp_path, faults, error, text
):
    plays(faults)
    deadline_s = 2 * SHORT_S if error is LaunchTimedOut else LONG_S
    with (
        pytest.raises(error) as caught,
        provider(scope).launch(deadline_s=deadline_s),
    ):
        pytest.fail("it came up")
    assert type(caught.value) is error
    assert text in one_clear_line(caught.value)
    assert not getattr(caught.value, "__notes__", None)
    assert not scope.held
    assert list(scope.workdir.iterdir()) == []


def test_a_port_of_the_hosts_is_not_taken_for_the_machines(plays, scope):
    plays({"up": "echo '    default: SSH address: 127.0.0.1:2222'; exec sleep 1000"})
    with (
        pytest.raises(LaunchFailed, match="the machine has no address at which http:80/") as caught,
        provider(scope, ready=Http(80)).launch(deadline_s=LONG_S),
    ):
        pytest.fail("it came up")
    assert "leave the ready probe out" in one_clear_line(caught.value)


# --- its end -------------------------------------------------------------------------------------

KEEPS = {
    "refuses": ("echo The machine is locked >&2; exit 1", "The machine is locked"),
    "hangs": ("exec sleep 1000", "did not end within"),
    "lies": ("exit 0", "Vagrant says that it is running"),
    "prints nonsense": ("head -c 100000 /dev/urandom; exit 1", "ended with 1"),
}


@pytest.mark.parametrize("how", KEEPS)
def test_a_machine_that_stays_is_named_kept_and_ended_later(
    plays, scope, tmp_path, monkeypatch, how
):
    script, text = KEEPS[how]
    if how == "hangs":
        monkeypatch.setattr(vagrant_folder, "DESTROY_TIMEOUT_S", SHORT_S)
    plays({"ssh-config": "exit 1", "destroy": script})
    with pytest.raises(LaunchFailed) as caught, provider(scope).launch(deadline_s=LONG_S):
        pytest.fail("it came up")
    [note] = caught.value.__notes__
    [held] = scope.held
    assert held.name in note
    assert text in note
    assert "vagrant destroy -f` in that folder" in note
    place = scope.workdir
    scope.close()
    assert Path(held.name, "Vagrantfile").is_file()
    use = [HomeReaper(), FolderReaper()]

    monkeypatch.setattr(vagrant_folder, "DESTROY_TIMEOUT_S", SHORT_S if how == "hangs" else LONG_S)
    report = sweep(use=use)
    assert not report.destroyed
    assert [one.resource.name for one in report.left] == [held.name, str(place)]
    assert report.left[1].reason == f"it still has {held.name}"
    assert Path(held.name).is_dir()

    plays()
    monkeypatch.setattr(vagrant_folder, "DESTROY_TIMEOUT_S", LONG_S)
    report = sweep(use=use)
    assert [one.name for one in report.destroyed] == [held.name, str(place)]
    assert not report.left
    assert not place.exists()


def test_an_id_that_stays_is_not_believed_to_be_gone(plays, scope, tmp_path):
    plays({"destroy": "exit 0", "status": "echo 1,default,state,not_created"})
    folder = machine_folder(scope.workdir / scope.new_name())
    with pytest.raises(TeardownFailed, match="Vagrant has still its id"):
        vagrant_folder.destroy(folder)


def machine_folder(folder: Path, name: str = "virtualbox") -> Path:
    file = folder / ".vagrant" / "machines" / "default" / name / "id"
    file.parent.mkdir(parents=True)
    file.write_text(ID)
    return folder


def test_machines_of_runs_that_live_and_those_of_libvirt_are_let_alone(plays, scope, tmp_path):
    mine = machine_folder(scope.workdir / scope.new_name())
    machine_folder(scope.workdir / scope.new_name(), "libvirt")
    assert [one.name for one in HomeReaper().inventory()] == [str(mine)]
    report = sweep(use=[HomeReaper(), FolderReaper()])
    assert {str(mine), str(scope.workdir)} <= {one.name for one in report.untouched}
    assert not (tmp_path / "said").exists()


# --- what it is asked for, and what there is -----------------------------------------------------


def test_what_is_missing_is_told_before_anything_starts(plays, scope, tmp_path):
    def probe(name: str = "virtualbox", **spec: object) -> str:
        gap = provider(scope, name, **spec).probe()
        return "" if gap is None else one_clear_line(gap)

    assert probe() == ""
    assert "docker starts containers, not virtual machines" in probe("docker")
    assert "is no provider of Vagrant's" in probe("a b")
    assert "console" in probe(ready=Line("login:"))
    assert "`vagrant plugin install vagrant-vmware-desktop`" in probe("vmware_desktop")
    (tmp_path / "vagrant-vmware-desktop.json").touch()
    assert "no box acme/web for vmware_desktop" in probe("vmware_desktop")
    add_box("vmware_workstation")
    assert probe("vmware_desktop") == ""
    assert probe("acme") == ""  # of a provider that is not known any box will do
    assert "Vagrant has no box x/y for acme" in probe("acme", box="x/y")
    (tmp_path / "bin" / "VBoxManage").unlink()
    assert "VirtualBox is not installed: there is no program VBoxManage" in probe()
    assert not (tmp_path / "said").exists()


def test_of_an_unknown_provider_the_facts_say_so(plays, scope):
    one = provider(scope, "acme")
    assert one.facts.version == "Vagrant 2.4.1, acme, hypervisor not known"
    assert "not known" in str(one.facts.extra["size"])
    with pytest.raises(Unavailable, match="grants a size is not known"):
        one.shaped(Shape(memory_bytes=64 << 20))
    assert one.shaped(Shape(ports=(80,))).spec == one.spec
    assert provider(scope).shaped(Shape(vcpus=1.0)).spec.vcpus == 1


def test_the_users_plugins_are_there_for_a_provider_that_may_be_one(plays, scope, tmp_path):
    users = vagrant_boxes.user_home()
    (users / "gems").mkdir(parents=True)
    (users / "plugins.json").write_text('{"installed": {"vagrant-acme": {}}}')
    vagrant_boxes.prepare_home()
    assert not (vagrant_boxes.home() / "plugins.json").exists()
    _ = provider(scope, "acme").facts
    assert (vagrant_boxes.home() / "plugins.json").resolve() == users / "plugins.json"


def test_the_doctor_names_the_others_that_can_be_used(plays):
    assert vagrant_summary()["others"] == ["virtualbox (VirtualBox 7.0.14r161095)"]


def pair(folder: Path, **table: object) -> own.OwnPair:
    return own.parse("x", table, source="here", folder=folder)


def test_a_pair_with_a_provider_is_offered_by_it(plays, scope, tmp_path):
    one = pair(tmp_path, box=BOX, **{"vagrant-provider": "virtualbox"})
    own_offers.check(one)

    def tier() -> object:
        pytest.fail("nobody need boot a guest for it")

    offers = own_offers.offers(one, scope, tier=tier, progress=lambda *_: None)  # type: ignore[arg-type]
    machine = offers["vm"]()
    assert isinstance(machine, OtherVagrantProvider)
    assert (machine.spec.provider, machine.spec.tier) == ("virtualbox", "other")


def test_a_box_of_another_provider_is_refused(plays, tmp_path):
    with pytest.raises(UsageError, match="Vagrant has no box acme/web for vmware_desktop"):
        own_offers.check(pair(tmp_path, box=BOX, **{"vagrant-provider": "vmware_desktop"}))
