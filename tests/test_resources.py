from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from pytest_vmvc import resources
from pytest_vmvc.resources import (
    LABEL,
    NAME,
    FolderReaper,
    Owner,
    Resource,
    RunScope,
    beacons,
    dead_runs,
    forget,
    live_runs,
)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(resources.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path / "state"
    resources.tempfile.tempdir = None


def leave_behind(text: str) -> subprocess.CompletedProcess[bytes]:
    """Run lines in a process of its own that ends without any tidying up."""
    code = f"import os\nfrom pytest_vmvc.resources import *\n{text}\nos._exit(0)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


# --- the owner -----------------------------------------------------------------------------------


def test_this_process_is_alive():
    assert Owner.current().alive()


@pytest.mark.parametrize(
    "change",
    [{"started": 1.0}, {"boot_id": "another boot"}, {"pid": 2**22 + 1}],
    ids=["pid reused", "host rebooted", "no such pid"],
)
def test_any_other_process_is_not_the_owner(change):
    assert not msgspec.structs.replace(Owner.current(), **change).alive()


def test_an_owner_that_ended_is_dead():
    answer = leave_behind(
        "import msgspec; print(msgspec.json.encode(Owner.current()).decode(), flush=True)"
    )
    assert not msgspec.json.decode(answer.stdout, type=Owner).alive()


# --- a run ---------------------------------------------------------------------------------------


def test_names_are_unique_and_tell_their_run():
    with RunScope() as scope:
        names = [scope.new_name() for _ in range(3)]
        assert len(set(names)) == 3
        assert {NAME.fullmatch(name)[1] for name in names} == {scope.run_id}
        assert scope.labels == {LABEL: scope.run_id}


def test_a_hold_is_on_disk_before_it_returns(state):
    with RunScope() as scope:
        resource = scope.hold("container", "one")
        lines = (scope.folder / "resources.jsonl").read_bytes().splitlines()
        assert [msgspec.json.decode(line, type=Resource) for line in lines] == [resource]
        assert scope.held == (resource,)
        scope.release(resource)


def test_a_hold_is_synced_to_the_disk(monkeypatch):
    synced = []
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), original(fd)))
    with RunScope() as scope:
        resource = scope.hold("container", "one")
        assert synced == [(scope.folder / "resources.jsonl").stat().st_ino]
        scope.release(resource)


def test_release_forgets_that_one_only():
    with RunScope() as scope:
        first, second = scope.hold("container", "same"), scope.hold("network", "same")
        scope.release(first)
        scope.release(first)
        assert scope.held == (second,)
        scope.release(second)


def test_a_tidy_run_leaves_no_folder(state):
    with RunScope() as scope:
        scope.release(scope.hold("container", "one"))
        folder, workdir = scope.folder, scope.workdir
        assert workdir.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert not workdir.exists()


def test_what_is_still_held_keeps_the_folder(state):
    with RunScope() as scope:
        scope.hold("container", "one")
    assert (scope.folder / "resources.jsonl").exists()


def test_a_forked_child_does_not_tidy_up_for_its_parent():
    with RunScope() as scope:
        scope.owner = msgspec.structs.replace(scope.owner, pid=scope.owner.pid + 1)
        workdir = scope.workdir
        scope.close()
        assert workdir.exists()
        assert scope.folder.exists()
        scope.owner = Owner.current()


def test_work_folders_are_short_enough_for_sockets(monkeypatch):
    monkeypatch.delenv("TMPDIR")
    with RunScope() as scope:
        # A unix socket's path has 107 bytes; this leaves room for names inside.
        assert len(str(scope.workdir)) < 60


# --- live and dead runs --------------------------------------------------------------------------


def test_no_state_is_no_dead_run():
    assert dead_runs() == frozenset()


def test_a_live_run_is_seen_by_those_who_keep_their_state_elsewhere(tmp_path, monkeypatch):
    with RunScope() as scope:
        monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "elsewhere"))
        assert scope.run_id in beacons()
    assert scope.run_id not in beacons()


def test_a_live_run_is_live_and_one_that_was_killed_is_dead():
    leave_behind("scope = RunScope('r00000000aa').__enter__(); scope.hold('container', 'one')")
    with RunScope() as scope:
        assert scope.run_id in live_runs()
        assert "r00000000aa" not in live_runs()
        assert dead_runs() == {"r00000000aa"}
        forget("r00000000aa")
        assert dead_runs() == frozenset()


@pytest.mark.parametrize("text", [None, b"", b"{", b'{"pid": "x"}'])
def test_a_run_with_a_broken_owner_file_is_dead(state, text):
    folder = state / "runs" / "r00000000bb"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "owner.json").write_bytes(text)
    assert dead_runs() == {"r00000000bb"}
    assert "r00000000bb" not in live_runs()


def test_the_folder_of_a_killed_run_is_found_and_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "ROOMY", tmp_path / "empty")
    leave_behind("scope = RunScope('r00000000cc').__enter__(); (scope.workdir / 'f').touch()")
    reaper = FolderReaper()
    (found,) = reaper.inventory()
    assert (found.kind, found.run_id) == ("folder", "r00000000cc")
    reaper.destroy(found)
    reaper.destroy(found)
    assert reaper.inventory() == []


def test_the_folder_of_a_killed_run_is_found_where_the_run_wrote_it_down(
    monkeypatch, tmp_path, state
):
    elsewhere, mine = tmp_path / "elsewhere", tmp_path / "mine"
    for folder in (elsewhere, mine):
        folder.mkdir()
    monkeypatch.setattr(resources, "ROOMY", tmp_path / "empty")
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    leave_behind("scope = RunScope('r00000000cd').__enter__(); (scope.workdir / 'f').touch()")
    monkeypatch.setattr(resources.tempfile, "tempdir", str(mine))
    foreign = Resource(kind="folder", name=str(tmp_path), run_id="r00000000cd")
    with (state / "runs" / "r00000000cd" / "resources.jsonl").open("ab") as ledger:
        ledger.write(msgspec.json.encode(foreign) + b"\n")  # has no name of ours: not believed

    (found,) = FolderReaper().inventory()

    assert found.name.startswith(str(elsewhere))
    FolderReaper().destroy(found)
    assert list(elsewhere.iterdir()) == []


def test_a_zombie_is_no_owner():
    child = subprocess.Popen(["sleep", "600"])
    _, started = resources._state(child.pid)
    owner = Owner(pid=child.pid, started=started, boot_id=resources.boot_id())
    assert owner.alive()
    child.kill()
    owner.await_end()
    assert resources._state(child.pid)[0] == "Z"
    assert not owner.alive()
    child.wait(10)
    owner.await_end()


def test_a_roomy_folder_is_held_found_and_removed():
    with RunScope() as scope:
        with scope.roomy_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            assert [held.name for held in scope.held] == [str(folder)]
            mine = [one for one in FolderReaper().inventory() if one.run_id == scope.run_id]
            assert [one.name for one in mine] == [str(folder)]
            (folder / "f").touch()
        assert not folder.exists()
        assert scope.held == ()
        with pytest.raises(KeyError), scope.roomy_folder() as folder:
            raise KeyError
        assert not folder.exists()
