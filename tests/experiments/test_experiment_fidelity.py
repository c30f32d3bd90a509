"""File trees on their way: what a difference looks like, and real journeys."""

import os
import stat
import subprocess
from contextlib import contextmanager, nullcontext

import msgspec
import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.backends.optional import Arrival, Destination, Laden
from pytest_vmvc.declaration import holds
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments import fidelity, file_trees
from pytest_vmvc.experiments.fidelity import differences, every_feature
from pytest_vmvc.experiments.file_trees import READ, parse, random_trees, short, written
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

ASPECTS = ("names", "content", "modes", "links", "times", "early_times")


def change_nothing(tree):
    """The journey as it should be."""


def rename(tree):
    (tree / "empty").rename(tree / "Empty")


def edit(tree):
    times = (tree / "early").stat().st_mtime_ns
    (tree / "early").write_bytes(b"1970")
    os.utime(tree / "early", ns=(times, times))


def drop_setuid(tree):
    (tree / "setuid").chmod(0o755)


def point_elsewhere(tree):
    (tree / "dangling").unlink()
    (tree / "dangling").symlink_to("elsewhere")


def copy_a_hard_link(tree):
    whole, found = (tree / "twin").read_bytes(), (tree / "twin").stat()
    (tree / "twin").unlink()
    (tree / "twin").write_bytes(whole)
    (tree / "twin").chmod(stat.S_IMODE(found.st_mode))
    os.utime(tree / "twin", ns=(found.st_mtime_ns, found.st_mtime_ns))


def touch(tree):
    os.utime(tree / "sparse", (5, 5))


def come_of_age(tree):
    os.utime(tree / "early", (0, 0))


class Packer(FakeProvider):
    """Carries a tree by doing something to it, and has the real script read what is there then."""

    def __init__(self, scope, damage, *, breaks_off=False):
        super().__init__(scope, script=self._list)
        self.scope, self.damage, self.breaks_off = scope, damage, breaks_off

    def destinations(self):
        return {"": lambda: nullcontext(Destination())}

    @contextmanager
    def laden(self, fill):
        self.folder = self.scope.workdir / self.scope.new_name()
        self.folder.mkdir()
        fill(self.folder)
        yield Laden(provider=self)

    @contextmanager
    def ported(self, destination):
        top = self.folder / "0"
        times = top.stat().st_mtime_ns
        self.damage(top)
        os.utime(top, ns=(times, times))
        yield Arrival(provider=self, marks={}, commands=(), needs=(), archive=top, intact=True)

    def _list(self, _name, argv, _stdin):
        script = READ.replace("/tree", str(self.folder))
        words = [*argv[:2], script, *argv[3:]]
        done = subprocess.run(words, capture_output=True, check=True, timeout=60)
        out = done.stdout[:-9] if self.breaks_off else done.stdout
        return Completed(argv=argv, exit_status=0, stdout=out, stderr=b"", duration_s=0.0)


def carried(scope, damage, **options):
    pair = Pair(name="planted", subjects={"container": Packer(scope, damage, **options)})
    return Bench(pair).measure("fidelity")


@pytest.fixture(autouse=True)
def _as_root():
    if os.geteuid() != 0:
        pytest.skip("modes that shut their owner out can be read by root only")


@pytest.mark.parametrize(
    ("damage", "spoilt"),
    [
        (change_nothing, ""),
        (rename, "names"),
        (edit, "content"),
        (drop_setuid, "modes"),
        (point_elsewhere, "links"),
        (copy_a_hard_link, "links"),
        (touch, "times"),
        (come_of_age, "early_times"),
    ],
)
def test_each_damage_spoils_one_aspect(scope, damage, spoilt):
    found = carried(scope, damage)
    for aspect in ASPECTS:
        wanted = "REFUTED" if aspect == spoilt else "SUPPORTED"
        assert verdict(holds("container", f"{aspect}_kept"), found) == wanted, aspect
    assert len(found.row("container", "names_kept")) == fidelity.EXAMPLES


def test_a_counter_example_is_described_for_people(scope):
    found = carried(scope, touch)
    bad = [o for o in found.row("container", "times_kept") if o.value is False]
    assert [o.instance for o in bad] == ["tree 0: 0/sparse: 2 became 5"]
    assert short("line\nbreak/é".encode()) == r"line\nbreak/\xe9"


def test_a_list_that_breaks_off_is_a_fault_of_the_harness(scope):
    with pytest.raises(InfrastructureError, match="does not list"):
        carried(scope, change_nothing, breaks_off=True)
    with pytest.raises(ValueError, match="breaks off"):
        parse(b"name\0", 1)


def test_a_tree_without_early_times_says_nothing_of_them(tmp_path):
    late = msgspec.structs.replace(every_feature(), children={})
    (manifest,) = written(tmp_path, [late])
    assert "early_times_kept" not in differences(manifest, manifest)


def test_the_same_seed_gives_the_same_trees(tmp_path):
    trees = random_trees(3, 5)
    assert trees == random_trees(3, 5)
    assert trees != random_trees(4, 5)
    assert len(written(tmp_path, trees)) == 5


@pytest.mark.engine
@pytest.mark.machine
def test_real_journeys_keep_all_but_times_before_1970(scope, monkeypatch):
    monkeypatch.setattr(fidelity, "EXAMPLES", 3)
    pair = catalog.load("minimal", scope)
    if gaps := [str(gap) for name, gap in pair.missing.items() if name in ("container", "vm")]:
        pytest.skip("; ".join(gaps))
    found = Bench(pair).measure("fidelity")
    for subject in ("container", "container-podman", "vm"):
        if found.reason_missing(subject) is not None:
            continue
        for aspect in ASPECTS[:-1]:
            asked = holds(subject, f"{aspect}_kept", min_n=3)
            assert verdict(asked, found) == "SUPPORTED", (subject, aspect)
    assert verdict(holds("vm", "early_times_kept"), found) == "SUPPORTED"
    assert scope.held == ()


def test_the_target_of_a_link_is_taken_as_it_was_written(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "link").symlink_to("gone/")
    assert b"gone/".hex() in repr(file_trees._on_host(tmp_path, "1"))
