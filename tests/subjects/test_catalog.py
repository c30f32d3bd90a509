"""The shipped pairs on a host that lacks something: missing with cause and remedy, no crash."""

import pytest

from pytest_vmvc.errors import UsageError
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog


@pytest.fixture
def scope(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    with RunScope() as scope:
        yield scope


@pytest.fixture
def nothing_built(monkeypatch, tmp_path):
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    catalog.tier.cache_clear()
    yield
    catalog.tier.cache_clear()


def test_an_unknown_pair_is_refused(scope):
    with pytest.raises(UsageError, match="one of minimal, debian"):
        catalog.load("alpine", scope)


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize("name", ["minimal", "debian"])
def test_a_pair_that_is_not_built_is_missing_with_the_remedy(scope, name):
    found = catalog.load(name, scope)
    assert not found.subjects
    assert {str(gap) for gap in found.missing.values()} == {
        f"the {name} artefacts are not built — run `vmvc setup`"
    }
    assert str(found.missing_userland).endswith("run `vmvc setup`")


@pytest.mark.usefixtures("nothing_built")
def test_without_artefacts_no_tier_is_known():
    assert catalog.tier() == "none"


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize("kind", ["container", "vm", "vagrant"])
def test_a_requirement_that_is_not_met_says_why(scope, kind):
    assert "vmvc setup" in str(catalog.requirement(kind, scope))


@pytest.mark.machine
def test_without_qemu_the_machine_is_missing_and_the_container_is_not(scope, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = catalog.load("minimal", scope)
    assert set(found.subjects) <= {"container"}
    assert "QEMU" in str(found.missing["vm"])
