"""A second Docker Engine beside the host's own, and why there may be none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vmvc.backends import second_engine
from pytest_vmvc.errors import LaunchFailed, TeardownFailed, Unavailable
from pytest_vmvc.resources import RunScope
from tests.backends.engines import EngineContract


@pytest.mark.engine
class TestDocker(EngineContract):
    brand = "docker"
    name = "Docker"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program is installed, and we are root."""
    monkeypatch.setattr(second_engine, "found", lambda programs, **_: tuple(programs))
    monkeypatch.setattr(second_engine.os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("found")
def test_the_gap_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert second_engine.second_engine_gap("docker") is None
    monkeypatch.setattr(second_engine.os, "geteuid", lambda: 1000)
    assert "needs root" in str(second_engine.second_engine_gap("docker"))
    monkeypatch.setattr(second_engine, "found", lambda programs, **_: ())
    assert "podman or unshare is not installed" in str(second_engine.second_engine_gap("podman"))


def test_without_it_nothing_is_made(monkeypatch: pytest.MonkeyPatch, run_scope: RunScope) -> None:
    gap = Unavailable("none here")
    monkeypatch.setattr(second_engine, "second_engine_gap", lambda _brand: gap)
    with (
        pytest.raises(Unavailable, match="none here"),
        second_engine.second_engine("docker", run_scope),
    ):
        pytest.fail("it started")
    assert not run_scope.held


def test_one_that_ends_at_once_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, run_scope: RunScope
) -> None:
    monkeypatch.setattr(second_engine, "second_engine_gap", lambda _brand: None)
    monkeypatch.setattr(second_engine, "NAMESPACES", ("sh", "-c", "echo no such luck; exit 3"))
    with (
        pytest.raises(LaunchFailed, match="no such luck"),
        second_engine.second_engine("docker", run_scope, deadline_s=5),
    ):
        pytest.fail("it started")
    assert not run_scope.held


def test_one_that_never_answers_is_ended_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, run_scope: RunScope
) -> None:
    monkeypatch.setattr(second_engine, "second_engine_gap", lambda _brand: None)
    monkeypatch.setattr(second_engine, "NAMESPACES", ("sh", "-c", "sleep 60"))
    with (
        pytest.raises(LaunchFailed, match="did not answer within"),
        second_engine.second_engine("docker", run_scope, deadline_s=0.2),
    ):
        pytest.fail("it answered")
    assert not run_scope.held


def test_what_cannot_be_ended_is_told_and_stays_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "vmvc-r0123456789-1"
    (tmp_path / f"{name}.engine" / "inner").mkdir(parents=True)
    (tmp_path / "memory" / f"{name}.engine").mkdir(parents=True)
    monkeypatch.setattr(second_engine, "CGROUPS", tmp_path)
    assert [one.name for one in second_engine.EngineReaper().inventory()
            if one.run_id == "r0123456789"] == [name]  # fmt: skip
    (tmp_path / f"{name}.engine" / "inner" / "tasks").touch()  # a group that is still in use
    monkeypatch.setattr(second_engine, "END_S", 0.1)
    (resource,) = [
        one for one in second_engine.EngineReaper().inventory() if one.run_id == "r0123456789"
    ]
    with pytest.raises(TeardownFailed, match="still there"):
        second_engine.EngineReaper().destroy(resource)
    (tmp_path / f"{name}.engine" / "inner" / "tasks").unlink()
    second_engine.EngineReaper().destroy(resource)
    assert not (tmp_path / f"{name}.engine").exists()
