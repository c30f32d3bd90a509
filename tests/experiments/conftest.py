import pytest

from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog


@pytest.fixture
def scope(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    with RunScope() as scope:
        yield scope


@pytest.fixture
def whole_minimal_pair(scope):
    """The shipped pair, where this host has all of it."""
    pair = catalog.load("minimal", scope)
    if pair.missing:
        pytest.skip(f"not on this host: {pair.missing}")
    return pair
