import pytest

from pytest_vmvc.resources import RunScope


@pytest.fixture
def scope(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    with RunScope() as scope:
        yield scope
