"""What a sweep may touch, what it must not, and what it says of things that will not go."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from docker.errors import NotFound

from pytest_vmvc import clean
from pytest_vmvc.backends.docker import DockerReaper, Engine
from pytest_vmvc.clean import clean_all, destroy_run, sweep
from pytest_vmvc.errors import TeardownFailed, Unavailable, UsageError
from pytest_vmvc.resources import LABEL, FolderReaper, Owner, Resource, RunScope, boot_id
from tests.scratch import minimal_pair_or_skip

DEAD, OTHER = "r00000000d1", "r00000000d2"


class Shelf:
    """A reaper over a list; things in ``stubborn`` do not go."""

    name = "shelf"

    def __init__(self, *resources: Resource, stubborn: str = "", lies: str = "") -> None:
        self.things = list(resources)
        self.stubborn = stubborn
        self.lies = lies

    def inventory(self) -> list[Resource]:
        return list(self.things)

    def destroy(self, resource: Resource) -> None:
        if resource.name == self.stubborn:
            raise TeardownFailed("it holds on", hint="unplug it")
        if resource.name != self.lies:
            self.things.remove(resource)


def thing(name: str, run_id: str) -> Resource:
    return Resource(kind="thing", name=name, run_id=run_id)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def dead(state: Path) -> Path:
    """A run whose process ended, and of whose pid somebody else may have become the owner."""
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait(60)
    folder = state / "runs" / DEAD
    folder.mkdir(parents=True)
    owner = Owner(pid=ended.pid, started=1.0, boot_id=boot_id())
    (folder / "owner.json").write_bytes(msgspec.json.encode(owner))
    return folder


@pytest.fixture
def live() -> Iterator[RunScope]:
    with RunScope() as scope:
        yield scope


def test_things_of_a_dead_run_are_destroyed_and_the_run_forgotten(dead: Path) -> None:
    shelf = Shelf(thing("a", DEAD), thing("b", DEAD))

    report = sweep(use=[shelf])

    assert [item.name for item in report.destroyed] == ["a", "b"]
    assert shelf.things == []
    assert report.forgotten == (DEAD,)
    assert not dead.exists()


def test_a_live_run_is_never_touched(dead: Path, live: RunScope) -> None:
    shelf = Shelf(thing("a", DEAD), thing("mine", live.run_id))

    report = sweep(use=[shelf], strangers=True)

    assert [item.name for item in shelf.things] == ["mine"]
    assert [item.name for item in report.untouched] == ["mine"]
    assert live.folder.exists()


def test_a_run_of_an_earlier_boot_is_dead_though_its_pid_lives(state: Path) -> None:
    folder = state / "runs" / DEAD
    folder.mkdir(parents=True)
    owner = msgspec.structs.replace(Owner.current(), boot_id="another boot")
    (folder / "owner.json").write_bytes(msgspec.json.encode(owner))
    shelf = Shelf(thing("a", DEAD))

    assert sweep(use=[shelf]).forgotten == (DEAD,)
    assert shelf.things == []


def test_a_run_that_this_state_does_not_know_goes_only_on_request() -> None:
    shelf = Shelf(thing("a", OTHER))

    assert sweep(use=[shelf]).untouched == (thing("a", OTHER),)
    assert sweep(use=[shelf], strangers=True).destroyed == (thing("a", OTHER),)


def test_a_live_run_with_its_state_elsewhere_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunScope() as elsewhere:
        monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "mine"))
        shelf = Shelf(thing("theirs", elsewhere.run_id))

        assert sweep(use=[shelf], strangers=True).destroyed == ()

    assert sweep(use=[shelf], strangers=True).destroyed == (thing("theirs", elsewhere.run_id),)


def test_a_dry_run_destroys_and_forgets_nothing(dead: Path) -> None:
    shelf = Shelf(thing("a", DEAD))

    report = sweep(use=[shelf], dry_run=True)

    assert [item.name for item in report.destroyed] == ["a"]
    assert [item.name for item in shelf.things] == ["a"]
    assert dead.exists()


def test_what_will_not_go_is_named_with_its_reason_and_its_run_kept(dead: Path) -> None:
    shelf = Shelf(thing("a", DEAD), thing("b", DEAD), stubborn="b")

    report = sweep(use=[shelf])

    assert [item.name for item in report.destroyed] == ["a"]
    assert [(left.resource.name, left.reason) for left in report.left] == [
        ("b", "it holds on — unplug it")
    ]
    assert report.forgotten == ()
    assert dead.exists()


def test_a_reaper_that_claims_success_is_not_believed(dead: Path) -> None:
    report = sweep(use=[Shelf(thing("a", DEAD), lies="a")])

    assert [left.reason for left in report.left] == ["it was destroyed and is still listed"]


class Absent(Shelf):
    """A reaper whose backend does not answer."""

    name = "absent"

    def inventory(self) -> list[Resource]:
        raise Unavailable("nobody there", hint="start it")


def test_a_dead_run_that_made_nothing_is_not_kept_for_an_absent_backend(dead: Path) -> None:
    assert sweep(use=[Absent()]).forgotten == (DEAD,)


def test_an_absent_backend_is_skipped_and_dead_runs_are_kept_for_it(dead: Path) -> None:
    (dead / "resources.jsonl").write_bytes(msgspec.json.encode(thing("b", DEAD)) + b"\n{")
    shelf = Shelf(thing("a", DEAD))

    report = sweep(use=[Absent(), shelf])

    assert report.skipped == ("absent: nobody there — start it",)
    assert shelf.things == []
    assert report.forgotten == ()
    assert dead.exists()


def test_folders_of_dead_runs_go_too(dead: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"vmvc-{DEAD}-abc"
    (folder / "deep").mkdir(parents=True)

    report = sweep(use=[FolderReaper()])

    assert [item.kind for item in report.destroyed] == ["folder"]
    assert not folder.exists()


def test_a_run_destroys_its_own_things_only(live: RunScope) -> None:
    held = live.hold("thing", "mine")
    shelf = Shelf(held, thing("other", OTHER))

    report = destroy_run(live, use=[shelf])

    assert report.destroyed == (held,)
    assert [item.name for item in shelf.things] == ["other"]
    assert live.held == ()


def test_a_run_goes_on_holding_what_will_not_go(live: RunScope) -> None:
    held = live.hold("thing", "mine")

    report = destroy_run(live, use=[Shelf(held, stubborn="mine")])

    assert [left.resource for left in report.left] == [held]
    assert live.held == (held,)


def test_nothing_built_is_removed_while_a_run_lives(live: RunScope) -> None:
    with pytest.raises(UsageError, match="a run is going on"):
        clean_all()


def test_images_of_earlier_recipes_are_removed_with_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"vmvc/minimal": ["vmvc/minimal:0ld", "vmvc/minimal:new"], "vmvc/debian": []}
    gone: list[str] = []
    monkeypatch.setattr("pytest_vmvc.backends.docker.tags_of", lambda of: names.get(of, []))
    monkeypatch.setattr("pytest_vmvc.backends.docker.remove_image", gone.append)

    assert clean._remove_images() == [f"removed image {name}" for name in names["vmvc/minimal"]]
    assert gone == names["vmvc/minimal"]


def test_without_an_engine_no_image_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_of: str) -> list[str]:
        raise Unavailable("no engine")

    monkeypatch.setattr("pytest_vmvc.backends.docker.tags_of", absent)
    assert clean._remove_images() == []


class Only:
    """A real reaper, held to the runs of this test: others may be at work on this host."""

    def __init__(self, reaper: DockerReaper, *run_ids: str) -> None:
        self.name = reaper.name
        self.destroy = reaper.destroy
        self._reaper = reaper
        self._run_ids = run_ids

    def inventory(self) -> list[Resource]:
        return [item for item in self._reaper.inventory() if item.run_id in self._run_ids]


@pytest.mark.engine
def test_a_container_of_a_dead_run_goes_and_that_of_a_live_one_stays(live: RunScope) -> None:
    artefacts = minimal_pair_or_skip()
    engine = Engine()
    dead_id = "r" + secrets.token_hex(5)
    names = {run_id: f"vmvc-{run_id}-1" for run_id in (dead_id, live.run_id)}
    with engine.client() as client:
        for run_id, name in names.items():
            client.create_container(
                artefacts.image_ref, ["sleep", "60"], name=name, labels={LABEL: run_id}
            )
            client.start(name)
        try:
            report = sweep(use=[Only(DockerReaper(), *names)], strangers=True)
            left = client.containers(all=True, filters={"name": "vmvc-", "label": LABEL})
        finally:
            for name in names.values():
                with contextlib.suppress(NotFound):
                    client.remove_container(name, force=True)

    here = {one["Names"][0].lstrip("/") for one in left}
    assert [item.name for item in report.destroyed] == [names[dead_id]]
    assert names[dead_id] not in here
    assert names[live.run_id] in here
