"""Podman's service as a destination that speaks the Docker API."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vmvc.backends import second_engine
from tests.backends.engines import EngineContract


@pytest.mark.engine
class TestPodman(EngineContract):
    brand = "podman"
    name = "Podman"


@pytest.mark.parametrize(("present", "line"), [(("runc",), 'runtime = "runc"'), ((), "")])
def test_it_takes_runc_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, present: tuple[str, ...], line: str
) -> None:
    monkeypatch.setattr(second_engine, "found", lambda _programs: present)
    words = second_engine.COMMANDS["podman"](tmp_path)
    text = (tmp_path / "containers.conf").read_text()
    assert ("runtime" in text) is bool(line)
    assert line in text
    assert words[-1] == f"unix://{tmp_path / 's'}"
    assert len(words[-1]) - len(str(tmp_path)) < 12  # a socket's path has 107 bytes
