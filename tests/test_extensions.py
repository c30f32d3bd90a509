"""Entry points of other distributions, and the reapers among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vmvc import clean, extensions
from pytest_vmvc.errors import UsageError
from pytest_vmvc.resources import Resource, RunScope
from tests.distributions import install

DEAD = "r00000000d1"
SHELF = """
from pathlib import Path
from pytest_vmvc.errors import TeardownFailed
from pytest_vmvc.resources import Resource

SHELF = Path("{shelf}")

class Shelf:
    name = "shelf"

    def inventory(self):
        return [
            Resource(kind="thing", name=path.name, run_id=path.name.split("-")[1])
            for path in sorted(SHELF.iterdir())
        ]

    def destroy(self, resource):
        {destroy}
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state" / "runs" / DEAD).mkdir(parents=True)
    return tmp_path / "state"


@pytest.fixture
def shelf(tmp_path):
    """A folder in which each file is a thing that a run has made."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / f"vmvc-{DEAD}-1").touch()
    return tmp_path / "shelf"


class Good:
    name = "good"

    def __init__(self):
        self.things = [Resource(kind="thing", name="a", run_id=DEAD)]

    def inventory(self):
        return list(self.things)

    def destroy(self, resource):
        self.things.remove(resource)


def others():
    return [one for one in clean.reapers() if isinstance(one, clean._OtherReaper)]


def plant(monkeypatch, tmp_path, text, place="Shelf"):
    install(monkeypatch, tmp_path, "vmvc-shelf", text, reapers={"shelf": place})


def test_the_reaper_of_another_distribution_takes_part(monkeypatch, tmp_path, shelf, state):
    plant(
        monkeypatch,
        tmp_path,
        SHELF.format(shelf=shelf, destroy="(SHELF / resource.name).unlink()"),
    )
    with RunScope() as alive:
        (shelf / f"vmvc-{alive.run_id}-1").touch()
        report = clean.sweep(use=others())
        assert [one.name for one in report.destroyed] == [f"vmvc-{DEAD}-1"]
        assert [one.name for one in report.untouched] == [f"vmvc-{alive.run_id}-1"]
        assert [path.name for path in shelf.iterdir()] == [f"vmvc-{alive.run_id}-1"]
    assert report.forgotten == (DEAD,)
    assert not (state / "runs" / DEAD).exists()


def test_it_goes_before_what_its_things_stand_in(monkeypatch, tmp_path, shelf):
    plant(monkeypatch, tmp_path, SHELF.format(shelf=shelf, destroy="pass"))
    names = [one.name for one in clean.reapers()]
    assert names.index("process") < names.index("shelf") < names.index("cgroup")
    assert names[-1] == "folder"


def test_a_run_destroys_with_it_what_it_still_holds(monkeypatch, tmp_path, shelf):
    plant(
        monkeypatch,
        tmp_path,
        SHELF.format(shelf=shelf, destroy="(SHELF / resource.name).unlink()"),
    )
    with RunScope() as scope:
        name = scope.new_name()
        scope.hold("thing", name)
        (shelf / name).touch()
        clean.destroy_run(scope, use=others())
        assert not (shelf / name).exists()
        assert not scope.held


@pytest.mark.parametrize(
    ("destroy", "says"),
    [
        ("raise TeardownFailed('it holds on', hint='unplug it')", "it holds on — unplug it"),
        (
            "raise KeyError('k')",
            "entry point shelf in vmvc.reapers of vmvc-shelf 1.0: KeyError: 'k'",
        ),
        ("pass", "it was destroyed and is still listed"),
    ],
)
def test_what_it_does_not_destroy_is_told(monkeypatch, tmp_path, shelf, destroy, says):
    plant(monkeypatch, tmp_path, SHELF.format(shelf=shelf, destroy=destroy))
    (left,) = clean.sweep(use=others()).left
    assert left.reason == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise ImportError('no such library')", "cannot be imported: ImportError: no such *"),
        ("class Shelf:\n    def __init__(self, x): pass", "TypeError: "),
        ("class Shelf:\n    pass", "AttributeError: "),
        ("class Shelf:\n    def inventory(self): return ['x']", "TypeError: its inventory holds"),
    ],
)
def test_one_that_is_none_is_told_and_keeps_nobody_from_work(monkeypatch, tmp_path, text, says):
    plant(monkeypatch, tmp_path, text)
    (broken,) = others()

    report = clean.sweep(use=[broken, Good()])
    assert [one.name for one in report.destroyed] == ["a"]
    (skipped,) = report.skipped
    assert "shelf: " in skipped
    assert says.rstrip("*") in skipped
    assert "vmvc-shelf 1.0" in skipped


def test_the_command_says_what_it_could_not_ask(monkeypatch, tmp_path, capsys):
    from pytest_vmvc.__main__ import main

    plant(monkeypatch, tmp_path, "raise ImportError('no such library')")
    found = others()
    monkeypatch.setattr(clean, "reapers", lambda: found)
    assert main(["clean"]) == 0
    assert "not looked at: shelf: entry point shelf in vmvc.reapers" in capsys.readouterr().out


def test_an_entry_point_of_nobody_is_none():
    assert extensions.all_of("vmvc.no-such-group") == ()
    assert extensions.by_name("vmvc.no-such-group", ()) == {}


def test_a_name_is_had_once(monkeypatch, tmp_path):
    plant(monkeypatch, tmp_path, "")
    with pytest.raises(UsageError, match=r"shelf in vmvc\.reapers of vmvc-shelf 1\.0: .*taken"):
        extensions.by_name(extensions.REAPERS, ("shelf",))
