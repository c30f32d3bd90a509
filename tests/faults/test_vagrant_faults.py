"""Vagrant, its boxes and libvirt, each broken: by a program in Vagrant's place, by a daemon that is
stopped, by files that are damaged."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from pytest_vmvc import process
from pytest_vmvc.backends import libvirt, vagrant, vagrant_boxes, vagrant_diagnosis
from pytest_vmvc.backends.base import Stopwatch
from pytest_vmvc.backends.vagrant import VagrantProvider, VagrantReaper, VagrantSpec
from pytest_vmvc.backends.vagrant_machine import VagrantMachine
from pytest_vmvc.backends.vagrant_offer import HomeReaper
from pytest_vmvc.errors import (
    BuildFailed,
    CommandFailed,
    CommandTimedOut,
    LaunchFailed,
    LaunchTimedOut,
    TeardownFailed,
    Unavailable,
    UsageError,
)
from pytest_vmvc.resources import RunScope
from tests.faults.guests import one_clear_line
from tests.faults.private_libvirt import PrivateLibvirt, private_libvirt

SHORT_S = 0.5
LONG_S = 60.0
GROWTH_BYTES = 100 << 20
BOX = "vmvc/none"
Play = Callable[[Mapping[str, str]], None]

WELL = {
    "plugin list": "echo '1,,plugin-name,vagrant-libvirt'; "
    "echo '1,vagrant-libvirt,plugin-version,0.11.2%!(VAGRANT_COMMA) system'",
    "--version": "echo Vagrant 2.3.4",
    "up": "exit 0",
    "ssh-config": "exit 1",
    "box add": "exit 0",
}
"""What a program in Vagrant's place does, but for the fault."""
NOISE = "head -c 100000 /dev/urandom"


@pytest.fixture
def scope(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunScope]:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    with RunScope() as scope:
        yield scope


HANGS = "exec sleep 1000"
PATIENCE = {
    "plugin list": (vagrant_diagnosis, "VERSION_TIMEOUT_S"),
    "ssh-config": (vagrant, "SSH_CONFIG_TIMEOUT_S"),
    "box add": (vagrant_boxes, "BOX_ADD_TIMEOUT_S"),
}
"""What bounds a command; made short only for one that hangs, as this host may be slow."""


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Put a program in Vagrant's place: what its commands do is given, the rest goes well."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(process, "KILL_GRACE_S", SHORT_S)
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1 << 20)

    def play(faults: Mapping[str, str]) -> None:
        for command in PATIENCE.keys() & faults.keys():
            if faults[command] == HANGS:
                monkeypatch.setattr(*PATIENCE[command], SHORT_S)
        wanted = {**WELL, **faults}
        cases = "".join(f'  "{name}"*)\n{text}\n;;\n' for name, text in wanted.items())
        program = folder / "vagrant"
        program.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/said\ncase "$*" in\n{cases}esac\n')
        program.chmod(0o755)

    play({})
    return play


@pytest.fixture
def no_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libvirt that has nothing; the real one is in the tests that need one."""
    monkeypatch.setattr(libvirt, "domains", list)
    monkeypatch.setattr(libvirt, "volumes", list)
    monkeypatch.setattr(libvirt, "versions", lambda: "libvirt 0, QEMU 0")
    monkeypatch.setattr(libvirt, "network", lambda: ("default", "192.168.122.0/24"))


def provider(scope: RunScope, tmp_path: Path, *, ssh: bool = False) -> VagrantProvider:
    box = tmp_path / "a.box"
    box.touch()
    spec = VagrantSpec(
        box=BOX, userland="", tier="tcg", box_file=str(box), answers="ssh" if ssh else "port"
    )
    return VagrantProvider(spec, scope)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


# --- `vagrant up` --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_domains")
class TestUp:
    @pytest.mark.parametrize(
        ("script", "error", "text"),
        [
            ("exec sleep 1000", LaunchTimedOut, "no return of `vagrant up`"),
            ("yes | tr -d '\\n'", LaunchTimedOut, "no return of `vagrant up`"),
            ("yes flood >&2", LaunchTimedOut, "no return of `vagrant up`"),
            ("trap '' TERM; yes; yes", LaunchTimedOut, "no return of `vagrant up`"),
            (f"{NOISE}; exit 0", LaunchFailed, "ended with 0 and started no machine"),
            ("exit 0", LaunchFailed, "ended with 0 and started no machine"),
            (f"{NOISE} >&2; exit 3", LaunchFailed, "ended with 3"),
            ("echo The box is bad >&2; exit 1", LaunchFailed, "ended with 1: The box is bad"),
            ("kill -9 $$", LaunchFailed, "ended with -9"),
            ("exec sleep 1000 >&- 2>&-", LaunchFailed, "closed its output and did not end"),
        ],
    )
    def test_whatever_it_does_the_start_ends(self, plays, scope, tmp_path, script, error, text):
        plays({"up": script})
        before, memory_bytes = children(), psutil.Process().memory_info().rss
        one = provider(scope, tmp_path)
        deadline_s = 2 * SHORT_S if error is LaunchTimedOut else LONG_S
        with pytest.raises(error) as caught, one.launch(deadline_s=deadline_s):
            pytest.fail("it came up")
        assert type(caught.value) is error
        assert text in one_clear_line(caught.value)
        assert children() <= before
        assert psutil.Process().memory_info().rss - memory_bytes < GROWTH_BYTES
        assert not scope.held
        assert list(scope.workdir.iterdir()) == []

    def test_another_that_calls_is_not_the_machine(self, plays, scope, tmp_path):
        # The nonce is for whoever dials; without it back on the same wire there is no answer.
        plays(
            {
                "up": "port=$(sed -n 's/.*port=\\([0-9]*\\).*/\\1/p' Vagrantfile | head -n 1)\n"
                'exec bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; '
                f'echo vmvc:nonce {"0" * 32} >&3; exec sleep 1000"'
            }
        )
        one = provider(scope, tmp_path)
        with (
            pytest.raises(LaunchTimedOut, match="no answer of the payload") as caught,
            one.launch(deadline_s=3 * SHORT_S),
        ):
            pytest.fail("it came up")
        one_clear_line(caught.value)

    @pytest.mark.parametrize(
        ("script", "error", "text"),
        [
            (NOISE, LaunchFailed, "no login in the ssh configuration"),
            ("exit 0", LaunchFailed, "no login"),
            ("echo Host x; echo HostName -oProxyCommand=id", LaunchFailed, "odd line"),
            ("echo Host x; echo HostName a; echo User b", LaunchFailed, "IdentityFile missing"),
            ("exit 1", LaunchFailed, "`vagrant ssh-config` failed"),
            ("exec sleep 1000", LaunchTimedOut, "`vagrant ssh-config` did not answer"),
            ("yes Host", LaunchFailed, "printed more than 1 MiB"),
        ],
    )
    def test_a_login_that_makes_no_sense_is_a_failed_start(
        self, plays, scope, tmp_path, script, error, text
    ):
        plays({"ssh-config": script})
        with (
            pytest.raises(error, match=text) as caught,
            provider(scope, tmp_path, ssh=True).launch(deadline_s=LONG_S),
        ):
            pytest.fail("it came up")
        one_clear_line(caught.value)
        assert not scope.held


# --- what it prints of itself --------------------------------------------------------------------


@pytest.mark.usefixtures("no_domains")
@pytest.mark.parametrize(
    ("command", "script", "error"),
    [
        ("plugin list", "echo broken >&2; exit 1", CommandFailed),
        ("plugin list", "exec sleep 1000", CommandTimedOut),
        ("plugin list", "exec yes", CommandFailed),
        ("--version", "echo 2.3.4", Unavailable),
        ("--version", NOISE, Unavailable),
    ],
)  # fmt: skip
def test_what_is_no_vagrant_is_told_before_anything_starts(
    plays, scope, tmp_path, command, script, error
):
    plays({command: script})
    with pytest.raises(error) as caught:
        _ = provider(scope, tmp_path).facts
    assert "vagrant" in one_clear_line(caught.value)
    assert vagrant.vagrant_summary()["problem"]


@pytest.mark.usefixtures("no_domains")
@pytest.mark.parametrize(
    "script",
    [
        "echo hello",
        "echo 1,2",
        "echo 1,,plugin-name",
        "echo 1,,plugin-name,other",
        "echo '1,x,plugin-version,1%!(VAGRANT_COMMA)2%!(VAGRANT_COMMA)3'",
        NOISE,
    ],
)
def test_plugins_of_which_it_tells_nothing_are_not_known(plays, scope, tmp_path, script):
    plays({"plugin list": script})
    assert "vagrant-libvirt ?" in provider(scope, tmp_path).facts.version


# --- boxes ---------------------------------------------------------------------------------------


def box(folder: Path, *, provider: str = "libvirt", metadata: str = "") -> Path:
    """A box of so many random bytes."""
    image = folder / "image"
    image.write_bytes(os.urandom(1 << 20))
    text = metadata or json.dumps({"provider": provider, "format": "qcow2", "virtual_size": 1})
    (folder / "metadata.json").write_text(text)
    path = folder / "some.box"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "metadata.json", "./metadata.json")
        tar.add(image, "box.img")
    return path


def add(source: Path, **options: object) -> None:
    vagrant_boxes.ensure_box("vmvc/x", source=source, progress=lambda *_: None, **options)  # type: ignore[arg-type]


class TestBox:
    @pytest.fixture(autouse=True)
    def _plays(self, plays, scope, monkeypatch, tmp_path) -> None:
        (tmp_path / "vagrant-libvirt.json").touch()
        monkeypatch.setattr(vagrant_boxes, "SYSTEM_PLUGINS", (tmp_path,))

    def nobody_was_asked(self, tmp_path: Path) -> bool:
        return not (tmp_path / "said").exists()

    def test_of_another_provider(self, tmp_path):
        with pytest.raises(UsageError, match="is a box for virtualbox") as caught:
            add(box(tmp_path, provider="virtualbox"))
        assert "libvirt" in one_clear_line(caught.value)
        assert self.nobody_was_asked(tmp_path)

    @pytest.mark.parametrize("part", [0.3, 0.9, 0.9999])
    def test_truncated(self, tmp_path, part):
        path = box(tmp_path)
        os.truncate(path, int(path.stat().st_size * part))
        with pytest.raises(BuildFailed, match="is damaged") as caught:
            add(path)
        assert "fetch or build it again" in one_clear_line(caught.value)
        assert self.nobody_was_asked(tmp_path)

    def test_with_other_bytes(self, tmp_path):
        path = box(tmp_path)
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(bytes(1000))
        with pytest.raises(BuildFailed, match="is damaged") as caught:
            add(path)
        one_clear_line(caught.value)

    @pytest.mark.parametrize("metadata", ["{}", "[]", "no json", '{"provider": ["x"]}'])
    def test_with_other_metadata(self, tmp_path, metadata):
        with pytest.raises(BuildFailed, match="names no provider") as caught:
            add(box(tmp_path, metadata=metadata))
        one_clear_line(caught.value)

    def test_that_is_none(self, tmp_path):
        for number, content in enumerate((b"", b"no box", os.urandom(100_000))):
            path = tmp_path / f"{number}.box"
            path.write_bytes(content)
            with pytest.raises(BuildFailed, match="is damaged, or no box") as caught:
                add(path)
            one_clear_line(caught.value)
        with tarfile.open(tmp_path / "plain.tar", "w") as tar:
            tar.add(path, "file")
        with pytest.raises(BuildFailed, match="has no metadata"):
            add(tmp_path / "plain.tar")

    def test_a_vagrant_that_adds_nothing_or_hangs(self, plays, tmp_path):
        with pytest.raises(BuildFailed, match="is no box for libvirt") as caught:
            add(box(tmp_path))
        one_clear_line(caught.value)
        plays({"box add": "exec sleep 1000"})
        with pytest.raises(BuildFailed, match="did not take the box") as caught:
            add(box(tmp_path))
        one_clear_line(caught.value)


def test_homes_are_swept_where_libvirt_is_not_asked(scope, tmp_path):
    home = tmp_path / "cache" / scope.new_name()
    home.mkdir(parents=True)
    [found] = HomeReaper().inventory()
    assert (found.name, found.run_id) == (str(home), scope.run_id)
    HomeReaper().destroy(found)
    assert HomeReaper().inventory() == []


# --- libvirt -------------------------------------------------------------------------------------


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateLibvirt]:
    with private_libvirt(monkeypatch) as found:
        yield found


@pytest.mark.vagrant
class TestNobodyListens:
    @pytest.fixture(autouse=True)
    def _nobody(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setattr(libvirt, "URI", f"qemu+unix:///system?socket={tmp_path}/none")

    def test_it_is_told_with_the_remedy(self):
        found = libvirt.problem()
        assert found is not None
        assert "libvirtd is not running" in one_clear_line(found)

    def test_what_is_left_there_is_not_called_nothing(self):
        with pytest.raises(Unavailable, match="libvirtd is not running"):
            VagrantReaper().inventory()

    def test_a_machine_is_not_called_gone(self, plays, scope, tmp_path, monkeypatch):
        monkeypatch.setattr(libvirt, "versions", lambda: "")
        monkeypatch.setattr(libvirt, "network", lambda: ("default", "192.168.122.0/24"))
        with (
            pytest.raises(LaunchFailed, match="started no machine") as caught,
            provider(scope, tmp_path).launch(deadline_s=LONG_S),
        ):
            pytest.fail("it came up")
        [note] = caught.value.__notes__
        assert "start libvirtd, then run `vmvc clean`" in note
        assert [held.kind for held in scope.held] == ["domain"]
        scope.release(scope.held[0])


@pytest.mark.vagrant
def test_a_daemon_that_stops_under_a_machine(daemon, scope, monkeypatch):
    """One domain through all of it: a daemon that hangs, that is killed, that comes back."""
    resource = scope.hold("domain", f"{scope.new_name()}-default")
    daemon.run_domain(resource.name)
    machine = VagrantMachine(
        name="m",
        domain=resource.name,
        facts=None,  # type: ignore[arg-type] # not asked for
        stopwatch=Stopwatch(),
        connection=None,
    )
    try:
        assert machine.alive()
        with monkeypatch.context() as patch:
            patch.setattr(libvirt, "QUERY_TIMEOUT_S", SHORT_S)
            patch.setattr(libvirt, "PROBE_TIMEOUT_S", SHORT_S)
            daemon.send(signal.SIGSTOP)
            found = libvirt.problem()
            assert "does not answer within" in one_clear_line(found)
            assert machine.alive(), "by its process"
            with pytest.raises(Unavailable, match="did not end within"):
                VagrantReaper().inventory()
        daemon.send(signal.SIGKILL)
        assert machine.alive()
        assert machine.usage().memory_bytes > 0
        with pytest.raises(TeardownFailed, match="libvirt refused while destroying") as caught:
            libvirt.destroy(resource.name)
        assert "start libvirtd, then run `vmvc clean`" in one_clear_line(caught.value)
        daemon.start()
        assert [one.name for one in VagrantReaper().inventory()] == [resource.name]
        libvirt.destroy(resource.name)
        assert VagrantReaper().inventory() == []
        assert not machine.alive()
        scope.release(resource)
    finally:
        machine.close()
