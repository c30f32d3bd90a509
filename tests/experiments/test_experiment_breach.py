"""The matrix of what root inside reaches: planted breaches, and controls that do not fire."""

from pathlib import Path

import pytest
from bench import Bench, verdict
from places import Shapes

from pytest_vmvc import process
from pytest_vmvc.backends.fake import FakeLaunch, FakeProvider
from pytest_vmvc.declaration import holds
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import breach, breach_probes, vantage
from pytest_vmvc.experiments.breach_probes import Target, planted, probe, reached
from pytest_vmvc.experiments.host_target import _disk, host_target
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

GIVES = {
    subject: holds(subject, "others_contained", value=False)
    for subject in ("container", "container-hardened", "container-misconfigured", "vm")
}
SIBLING = {f"sibling {name}" for name in breach_probes.SIBLING}


def said(argv, text):
    return Completed(argv=argv, exit_status=0, stdout=text.encode(), stderr=b"", duration_s=0.0)


def walled(_name, argv, _stdin):
    """The inside of a place that reaches nothing."""
    return said(argv, "")


@pytest.fixture
def here(tmp_path):
    """The inside of a place on the host itself, with a folder for its own and a port."""

    def script(_name, argv, stdin):
        port = "nc() { if [ $1 = -ll ]; then echo $6 >PORT; else cat PORT; fi; }\n"
        text = port.replace("PORT", str(tmp_path / "port")) + stdin.decode()
        text = text.replace("'/shared", f"'{tmp_path}")
        return process.run(["sh"], timeout_s=30, stdin=text.encode(), check=False)

    return script


def pair(scope, here, *, container=walled, hardened=walled, misconfigured=None, vm=None, **launch):
    """A pair whose victims are at home, and whose attackers are these."""

    def shaped(shape):
        if shape.configuration == "hardened":
            return FakeProvider(scope, script=hardened)
        if shape.shares_pids_with:
            return FakeProvider(scope, script=misconfigured or here, **launch)
        return FakeProvider(scope, script=here)

    subjects = {"container": Shapes(scope, shapes=shaped, script=container)}
    if vm is not None:

        def machine(name, argv, stdin):
            attacker = next(iter(machines.running))  # it is started first
            return (vm if name == attacker else here)(name, argv, stdin)

        machines = FakeProvider(scope, kind="vm", script=machine)
        subjects["vm"] = Shapes(scope, shapes=lambda _: machines, kind="vm")
    return Pair(name="planted", subjects=subjects)


def measured(of):
    try:
        return Bench(of).measure("breach")
    finally:
        of.close()


def reach(found, subject):
    return {o.instance for o in found.row(subject, "contained") if o.value is False}


def test_walled_containers_give_nothing_and_open_ones_give_the_others(scope, here):
    found = measured(pair(scope, here))
    assert verdict(GIVES["container"], found) == "REFUTED"
    assert verdict(GIVES["container-hardened"], found) == "REFUTED"
    assert verdict(GIVES["container-misconfigured"], found) == "SUPPORTED"
    assert reach(found, "container-misconfigured") >= SIBLING | {"host file", "host segment"}
    assert scope.held == ()


@pytest.mark.parametrize("hit", ["file", "signal", "memory", "ipc"])
def test_control_over_a_sibling_is_a_breach(scope, here, hit):
    def leaking(_name, argv, stdin):
        return said(argv, f"{hit}=reached\n" if b"vmvc-canary" in stdin else "")

    found = measured(pair(scope, here, container=leaking, hardened=leaking))
    assert verdict(GIVES["container"], found) == "SUPPORTED"
    assert verdict(GIVES["container-hardened"], found) == "SUPPORTED"


def test_a_port_that_answers_is_reach_and_no_control(scope, here):
    def connected(_name, argv, stdin):
        return said(argv, "tcp=reached\nprocess=reached\n" if b"vmvc-canary" in stdin else "")

    found = measured(pair(scope, here, container=connected))
    assert verdict(GIVES["container"], found) == "REFUTED"
    assert verdict(holds("container", "network_contained", value=False), found) == "SUPPORTED"
    walled_off = holds("container-hardened", "network_contained", value=False)
    assert verdict(walled_off, found) == "REFUTED"


def test_a_container_open_to_all_that_reaches_nothing_voids_what_it_must_reach(scope, here):
    found = measured(pair(scope, here, misconfigured=walled))
    assert found.reason_missing("sibling-file").startswith(vantage.VOID)
    assert "sibling file" not in {o.instance for o in found.row("container", "contained")}
    assert "host segment" in {o.instance for o in found.row("container", "contained")}


def test_a_target_that_is_not_reached_at_its_home_is_void(scope):
    found = measured(pair(scope, walled))
    assert found.reason_missing("sibling-process").startswith(vantage.VOID)
    assert not {o.instance for o in found.row("container", "contained")} & SIBLING
    assert "host segment" in {o.instance for o in found.row("container", "contained")}


def test_a_probe_that_finds_what_is_not_there_is_void():
    def says_yes(_script):
        return "file=reached\npids=\n"

    with planted(says_yes, Target(), listens=False) as valid:
        assert valid == frozenset()


def test_a_target_that_may_have_ended_before_the_last_probe_proves_nothing(monkeypatch):
    monkeypatch.setattr(breach_probes, "LIVES_S", 0)

    def says_nothing(_script):
        return ""

    with (
        pytest.raises(InfrastructureError, match="that their target lives"),
        planted(says_nothing, Target(), listens=False),
    ):
        pass


def test_an_engine_that_refuses_the_misconfigured_one_leaves_the_others(scope, here):
    refused = pair(scope, here, launches=[FakeLaunch(failure="launch")])
    found = measured(refused)
    assert verdict(GIVES["container-misconfigured"], found) == "NOT TESTABLE"
    assert verdict(GIVES["container"], found) == "REFUTED"


def test_a_machine_is_held_and_one_that_shares_memory_is_found_out(scope, here):
    found = measured(pair(scope, here, vm=walled))
    assert verdict(GIVES["vm"], found) == "REFUTED"
    assert verdict(holds("vm", "network_contained"), found) == "SUPPORTED"

    def shares(_name, argv, stdin):
        return said(argv, "segment=reached\n" if b"vmvc-canary" in stdin else "")

    found = measured(pair(scope, here, vm=shares))
    assert verdict(GIVES["vm"], found) == "SUPPORTED"
    assert reach(found, "vm") == {"host segment"}


def test_what_cannot_be_shaped_is_missing(scope):
    def refuses(_shape):
        raise Unavailable("one shape only")

    subjects = {
        "container": Shapes(scope, shapes=refuses),
        "vm": Shapes(scope, shapes=refuses, kind="vm"),
    }
    found = measured(Pair(name="planted", subjects=subjects))
    assert {verdict(asked, found) for asked in GIVES.values()} == {"NOT TESTABLE"}


# --- the probes themselves, for real on the host -------------------------------------------------


def test_a_target_is_reached_at_its_home_and_leaves_nothing(tmp_path):
    with host_target(tmp_path) as target, planted(vantage.on_host, target, listens=False) as valid:
        assert valid >= {"file", "process", "signal", "memory", "ipc", "segment", "socket"}
        assert (tmp_path / target.name).exists()
        other = Target(folder=str(tmp_path))
        assert reached(vantage.on_host, probe(other)) == frozenset()
    gone = reached(vantage.on_host, probe(target))
    assert not gone & {"file", "process", "signal", "memory", "segment", "socket"}
    assert list(tmp_path.iterdir()) == []
    assert not list(Path("/tmp").glob("vmvc-canary-*"))


def test_a_target_of_another_kernel_is_not_looked_for_on_this_one(tmp_path):
    with host_target(tmp_path) as target:
        elsewhere = Target(disk=target.disk, kernel="another", ipc="another ipc:[1]")
        found = reached(vantage.on_host, probe(elsewhere))
    assert not found & {"disk", "modules", "cgroup", "ipc"}


def test_the_first_disk_is_no_loop_device():
    table = "major minor  #blocks  name\n\n   7        0     100 loop0\n 254        0    9 vda\n"
    assert _disk(table) == "vda 254 0"
    assert _disk("major minor  #blocks  name\n") == "none 0 0"


@pytest.mark.engine
def test_real_containers_are_held_unless_they_are_open_to_all(scope):
    real = catalog.load("minimal", scope)
    containers = {"container": real.subjects["container"]}
    found = measured(Pair(name="real", subjects=containers, workdir=scope.workdir))
    assert reach(found, "container-misconfigured") >= breach.MUST_FIRE
    assert reach(found, "container-hardened") == set()
    assert verdict(GIVES["container"], found) == "REFUTED"
    assert verdict(GIVES["container-misconfigured"], found) == "SUPPORTED"
    assert scope.held == ()


@pytest.mark.machine
def test_real_machines_are_held(scope):
    real = catalog.load("minimal", scope)
    found = measured(Pair(name="real", subjects={"vm": real.subjects["vm"]}))
    assert {o.instance for o in found.row("vm", "contained")} >= SIBLING
    assert reach(found, "vm") == set()
