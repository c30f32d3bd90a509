"""Namespaces: what is private, what is shared, and a control that does not flip."""

import pytest
from bench import Bench, verdict
from places import Shapes, answering, resources

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.declaration import holds
from pytest_vmvc.experiments import namespaces, vantage
from pytest_vmvc.subjects import Pair, catalog

PRIVATE = {"ipc": 2, "mnt": 2, "net": 2, "pid": 2, "uts": 2}


def host_inodes():
    found = vantage.namespaces(vantage.on_host)
    return {name: identity.partition("[")[2].rstrip("]") for name, identity in found.items()}


def place(**inodes):
    """A place on the host's kernel, in the host's namespaces but for these."""
    kernel, known = vantage.kernel(vantage.on_host), {**host_inodes(), **inodes}
    return answering(lambda script: resources(script, kernel=kernel, **known))


def guest(kernel):
    return answering(lambda script: resources(script, kernel=kernel, **host_inodes()))


def pair(scope, *, script, host_pid, vm=None):
    def exposed(shape):
        assert shape.configuration == "host-pid"
        return FakeProvider(scope, script=host_pid)

    subjects = {"container": Shapes(scope, shapes=exposed, script=script)}
    if vm is not None:
        subjects["vm"] = FakeProvider(scope, kind="vm", script=vm)
    return Pair(name="planted", subjects=subjects)


def measured(planted):
    try:
        return Bench(planted).measure("namespaces")
    finally:
        planted.close()


def rows(found, subject):
    return {o.instance: o.value for o in found.row(subject, "private")}


NONE_PRIVATE = holds("container", "private", value=False)
SOME_SHARED = holds("container", "all_private", value=False)


def test_a_usual_container_has_some_namespaces_of_its_own(scope):
    found = measured(pair(scope, script=place(**PRIVATE), host_pid=place(**{**PRIVATE, "pid": 3})))
    assert found.reason_missing("container").startswith(vantage.VOID)
    exposed = {name: inode for name, inode in PRIVATE.items() if name != "pid"}
    found = measured(pair(scope, script=place(**PRIVATE), host_pid=place(**exposed)))
    private = {name for name, value in rows(found, "container").items() if value}
    assert private - {"clock"} == set(PRIVATE)
    assert verdict(NONE_PRIVATE, found) == "REFUTED"
    assert verdict(SOME_SHARED, found) == "SUPPORTED"
    assert rows(found, "container-host-pid")["pid"] is False


def test_a_container_in_all_of_the_hosts_namespaces_is_found_out(scope, monkeypatch):
    monkeypatch.setattr(namespaces, "_sees_private", lambda _: True)
    found = measured(pair(scope, script=None, host_pid=None))  # for real: on the host itself
    assert verdict(NONE_PRIVATE, found) == "SUPPORTED"
    assert verdict(holds("container-sibling", "private", value=False), found) == "SUPPORTED"
    assert rows(found, "container").keys() >= {"pid", "user", "kernel", "clock"}


def test_where_nothing_is_seen_to_be_private_the_probe_is_void(scope, monkeypatch):
    monkeypatch.setattr(namespaces, "UNSHARED", "readlink /proc/self/ns/uts")
    found = measured(pair(scope, script=None, host_pid=None))
    assert verdict(NONE_PRIVATE, found) == "NOT TESTABLE"
    assert found.reason_missing("container").startswith(vantage.VOID)


def test_without_its_control_a_container_is_no_evidence(scope):
    class OneShape:
        """A provider that cannot be shaped."""

        def __init__(self, of):
            self.prepare, self.launch = of.prepare, of.launch

    only = OneShape(FakeProvider(scope))
    found = measured(Pair(name="planted", subjects={"container": only}))
    assert verdict(NONE_PRIVATE, found) == "NOT TESTABLE"
    assert "one shape" in found.reason_missing("container")


def test_a_container_with_everything_of_its_own_shares_nothing(scope):
    own = answering(
        lambda script: resources(script, kernel="another", **dict.fromkeys(vantage.NAMESPACES, 7))
    )
    found = measured(pair(scope, script=own, host_pid=None))
    assert verdict(SOME_SHARED, found) == "REFUTED"


def test_a_machine_is_apart_though_kernels_number_alike_and_not_on_the_hosts_kernel(scope):
    apart = measured(pair(scope, script=place(**PRIVATE), host_pid=None, vm=guest("another")))
    assert verdict(holds("vm", "private"), apart) == "SUPPORTED"
    shares = measured(pair(scope, script=place(**PRIVATE), host_pid=None, vm=place(**PRIVATE)))
    assert verdict(holds("vm", "private"), shares) == "REFUTED"


@pytest.mark.engine
def test_a_real_container_is_apart_from_its_sibling_and_shares_the_kernel(scope):
    real = catalog.load("minimal", scope)
    found = measured(Pair(name="real", subjects={"container": real.subjects["container"]}))
    own, sibling = rows(found, "container"), rows(found, "container-sibling")
    assert own["mnt"] is own["pid"] is own["net"] is sibling["mnt"] is sibling["pid"] is True
    assert own["kernel"] is own["clock"] is rows(found, "container-host-pid")["pid"] is False
    assert verdict(NONE_PRIVATE, found) == "REFUTED"
    assert verdict(SOME_SHARED, found) == "SUPPORTED"
    assert scope.held == ()


@pytest.mark.machine
def test_a_real_machine_shares_none(scope):
    real = catalog.load("minimal", scope)
    found = measured(Pair(name="real", subjects={"vm": real.subjects["vm"]}))
    assert len(rows(found, "vm")) >= 9
    assert all(rows(found, "vm").values())
