"""Pairs of a user's own: what is read, what is refused, and where it says so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_vmvc.backends.base import PAYLOAD
from pytest_vmvc.backends.ready import Http, Line, Port
from pytest_vmvc.errors import UsageError
from pytest_vmvc.subjects import own


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("disk.qcow2", "vmlinuz", "initrd.img", "mine.box"):
        (tmp_path / name).touch()
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "Vagrantfile").write_text('config.vm.box = "a/b"\n')
    return tmp_path


def read(project: Path, text: str, *taken: str) -> dict[str, own.OwnPair]:
    file = project / "pyproject.toml"
    file.write_text(text)
    return own.read(file, taken=taken)


def test_a_project_without_pairs_has_none(project):
    assert read(project, "[project]\nname = 'x'\n") == {}


def test_every_key_is_read(project):
    pairs = read(
        project,
        """
[tool.vmvc.pairs.web]
image = "my/web:1"
command = ["httpd", "-f"]
ready = "http:80/health"
cpus = 2
memory = "512 MiB"

[tool.vmvc.pairs."db-1"]
image = "db"
ready = "port:5432"
box = "mine.box"

[tool.vmvc.pairs.vf]
vagrantfile = "machine"
vagrant-provider = "vmware_desktop"

[tool.vmvc.pairs.disk]
ready = "line:login:"
disk = "disk.qcow2"
kernel = "vmlinuz"
initrd = "initrd.img"
kernel-parameters = "root=/dev/vda1 ro"
""",
    )
    web, db, vf, disk = pairs.values()
    assert web == own.OwnPair(
        name="web",
        source="pyproject.toml:2",
        image="my/web:1",
        command=("httpd", "-f"),
        ready=Http(80, "/health"),
        cpus=2,
        memory_bytes=512 << 20,
    )
    assert [one.source for one in (db, vf, disk)] == [
        "pyproject.toml:9", "pyproject.toml:14", "pyproject.toml:18",
    ]  # fmt: skip
    assert [one.machine for one in pairs.values()] == ["image", "box", "vagrantfile", "disk"]
    assert db.box == str(project / "mine.box")
    assert db.ready == Port(5432)
    assert vf.named_box() == "a/b"
    assert (db.vagrant_provider, vf.vagrant_provider) == ("libvirt", "vmware_desktop")
    assert disk.ready == Line("login:")
    assert (disk.disk, disk.kernel, disk.initrd) == (
        project / "disk.qcow2", project / "vmlinuz", project / "initrd.img",
    )  # fmt: skip


def test_what_is_run_is_ours_where_nobody_says_when_it_is_ready():
    def argv(**table: object) -> tuple[str, ...]:
        return own.parse("x", {"image": "i", **table}, source="s", folder=Path("/")).argv

    assert argv() == PAYLOAD
    assert argv(ready="port:1") == ()
    assert argv(ready="port:1", command="sh -c 'a b'") == ("sh", "-c", "a b")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "neither an image nor a machine"),
        ("imagee = 'a'", "unknown key 'imagee' — one of image, command"),
        ("image = 1", "image: 1 is no text"),
        ("image = ' '", "image: ' ' is no text"),
        ("image = 'a'\nready = 'soon'", "ready: 'soon' is no ready probe — line:TEXT"),
        ("image = 'a'\ncommand = 'b'", "when its command has started — give it ready"),
        ("image = 'a'\nready = 'port:1'\ncommand = []", "command: [] is no command"),
        ("image = 'a'\nready = 'port:1'\ncommand = \"it's\"", "close the quotes"),
        ("command = 'a'\nready = 'port:1'\nbox = 'b'", "no image to run it in"),
        ("image = 'a'\nbox = 'gone.box'", "box: there is no file"),
        ("image = 'a'\nbox = 'b'\ndisk = 'disk.qcow2'", "it has box and disk"),
        ("image = 'a'\ndisk = 'disk.qcow2'", "when its disk has booted"),
        ("image = 'a'\ndisk = 'gone'\nready = 'port:1'", "disk: there is no file"),
        ("image = 'a'\nkernel = 'vmlinuz'", "a kernel and no disk"),
        ("disk = 'disk.qcow2'\nready = 'port:1'\ninitrd = 'initrd.img'", "initrd and no kernel"),
        ("image = 'a'\nvagrantfile = '.'", "there is no Vagrantfile in"),
        (
            "box = 'b'\nvagrant-provider = 'docker'",
            "docker starts containers, not virtual machines",
        ),
        ("box = 'b'\nvagrant-provider = '../x'", "vagrant-provider: '../x' is no provider"),
        (
            "image = 'a'\nvagrant-provider = 'qemu'",
            "provider qemu and nothing for Vagrant to start",
        ),
        ("box = 'b'\nready = 'line:x'\nvagrant-provider = 'qemu'", "nobody sees the console"),
        ("image = 'a'\ncpus = 0", "cpus: 0 is no number of CPUs"),
        ("image = 'a'\ncpus = true", "cpus: True is no number of CPUs"),
        ("image = 'a'\nmemory = 512", "memory: 512 is no size of memory"),
        ("image = 'a'\nmemory = '1 TB'", "memory: '1 TB' is no size of memory"),
        ("image = 'a'\nmemory = '1 MB'", "boots nothing — 32 MiB at the very least"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_the_remedy(project, table, words):
    with pytest.raises(UsageError) as error:
        read(project, f"\n\n[tool.vmvc.pairs.web]\n{table}\n")
    assert str(error.value).startswith("pyproject.toml:3: pair web: ")
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["Web", "a_b", "-a", "a" * 41, "a/../b"])
def test_a_name_is_one_of_a_folder(name):
    with pytest.raises(UsageError, match="its name is malformed"):
        own.parse(name, {"image": "i"}, source="s", folder=Path("/"))


def test_a_name_that_is_taken_is_refused(project):
    with pytest.raises(UsageError, match=r"pyproject\.toml:1: pair minimal: there is such a pair"):
        read(project, "[tool.vmvc.pairs.minimal]\nimage = 'a'\n", "minimal", "debian")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.vmvc]\npairs = 1\n", "tool.vmvc.pairs is no table"),
        ("[tool.vmvc.pairs]\nweb = 1\n", "pair web is no table"),
        ("[tool.vmvc.pairs.web\n", "cannot be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(project, text, words):
    with pytest.raises(UsageError, match=words):
        read(project, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('# config.vm.box = "a"\n', "names no box"),
        ("config.vm.box = ENV['BOX']\n", "names no box"),
        ('config.vm.box = "a-#{1}"\n', "names no box"),
        ('config.vm.box = "a"\nconfig.vm.define "db" do |db|\nend\n', "gives its machines names"),
    ],
)
def test_a_vagrantfile_is_of_one_machine_with_a_box(project, text, words):
    (project / "machine" / "Vagrantfile").write_text(text)
    pair = own.parse("x", {"vagrantfile": "machine"}, source="here", folder=project)
    with pytest.raises(UsageError, match=f"here: pair x: .*{words}"):
        pair.named_box()


def test_a_table_is_written_as_it_is_read():
    table = {"image": 'a"b\\', "command": ["x", "ü"], "cpus": 2}
    text = own.lines("web", table)
    assert tomllib.loads(text)["tool"]["vmvc"]["pairs"]["web"] == table
