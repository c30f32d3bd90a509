"""Bare processes in a control group of their own: the contract, and what the group counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_vmvc.backends import cgroup, control_group
from pytest_vmvc.backends.bare import BareProcesses, BareProvider
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import Resource, RunScope
from pytest_vmvc.testing import ProviderContract

PROGRAM = Path("/bin/sh")
pytestmark = pytest.mark.skipif(
    control_group.obstacle() is not None, reason=f"{control_group.obstacle()}"
)


class Mute(BareProvider):
    """Cannot enter its group: so it gives no answer."""

    @contextmanager
    def launch(self, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pytest_vmvc.backends.control_group.ENTER", "echo refused >&2; exit 1")
            with super().launch(**options) as env:
                yield env


@pytest.fixture(scope="module")
def provider(run_scope: RunScope) -> BareProvider:
    provider = BareProvider(PROGRAM, "the host's", run_scope)
    provider.prepare()
    return provider


@pytest.fixture(scope="module")
def broken_provider(run_scope: RunScope) -> BareProvider:
    return Mute(PROGRAM, "the host's", run_scope)


class TestContract(ProviderContract):
    def kill(self, env: Environment) -> None:
        assert isinstance(env, BareProcesses)
        env._group.remove()

    def leftovers(self) -> Sequence[Resource]:
        return control_group.CgroupReaper().inventory()


def test_what_has_ended_is_counted_too(shared_env):
    """As a server does that lets the kernel reap its children: nobody waits for them."""
    work = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"
    before = shared_env.usage().cpu_s
    shared_env.run(["sh", "-c", f"trap '' CHLD; ({work}) & ({work}) & wait"])
    forked = shared_env.usage().cpu_s - before
    shared_env.run(["sh", "-c", work])
    assert forked > shared_env.usage().cpu_s - before - forked


def test_the_reaper_ends_what_runs_in_a_group_that_was_left(run_scope, provider):
    with provider.launch() as env:
        env.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"])
        reaper = control_group.CgroupReaper()
        mine = next(found for found in reaper.inventory() if found.name == env.name)
        (pid,) = env._group.pids()
        assert cgroup.cgroup_usage(pid, env.name).memory_bytes > 0
        assert cgroup.cgroup_usage(pid, "another") is None
        reaper.destroy(mine)
        assert not env.alive()
        assert not Path(f"/proc/{pid}/cgroup").exists() or not control_group.of_process(
            pid, env.name
        )


def unified(root, *, controllers="cpu memory"):
    """A version 2 tree with one group in it."""
    group = root / "some.slice"
    group.mkdir()
    (root / "cgroup.subtree_control").write_text(controllers)
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (group / "memory.current").write_text("9000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 4000000\n")
    return group


def test_version_two_is_read_as_well(monkeypatch, tmp_path):
    unified(tmp_path)
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text("0::/some.slice\n")
    monkeypatch.setattr(control_group, "MOUNT", tmp_path)
    monkeypatch.setattr(control_group, "PROC", tmp_path / "proc")
    held = control_group.of_process(7, "some").held()
    assert (held.cpu_s, held.memory_bytes) == (2.5, 5_000_000)
    assert cgroup.cgroup_usage(7, "other") is None
    assert cgroup.cgroup_usage(8, "some") is None


def test_a_host_that_does_not_count_memory_by_group_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(control_group, "MOUNT", tmp_path)
    assert control_group.obstacle() is not None
    unified(tmp_path)
    assert control_group.obstacle() is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu")
    assert "memory is not counted" in str(control_group.obstacle())


def test_without_permission_there_is_no_group(monkeypatch, run_scope):
    monkeypatch.setattr(control_group.os, "access", lambda *_: False)
    with pytest.raises(Unavailable, match="run as root"), control_group.made(run_scope, "x"):
        pass
