"""The vector of proxies: each can come out either way, and what cannot be told is told so."""

import json

import pytest
from bench import Bench, verdict
from places import Shapes, answering, pseudo, resources

from pytest_vmvc.backends import confinement
from pytest_vmvc.backends.docker_confinement import seccomp_profile
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.backends.fake_environment import FakeEnvironment
from pytest_vmvc.declaration import holds
from pytest_vmvc.errors import EnvironmentDied, Unavailable
from pytest_vmvc.experiments import attack_surface, pseudo_files, vantage
from pytest_vmvc.subjects import Pair, catalog

PROXIES = ("vm-host-files", "vm-host-namespaces", "vm-host-devices", "vm-capabilities")
ALL = (*PROXIES, "vm-system-calls")
AGREE = holds("vm-proxies", "proxies_agree")


@pytest.fixture
def confined(monkeypatch):
    """Make fakes tell what is said here, by a word in their provider's facts."""
    known = {}
    monkeypatch.setattr(pseudo_files, "ROWS", pseudo_files.ROWS[:2])  # for speed

    def told(environment, name):
        value = known[environment.facts.extra["who"]][name]
        if isinstance(value, Unavailable):
            raise value
        return value

    for name in ("capabilities", "system_calls"):
        monkeypatch.setattr(
            FakeEnvironment, name, lambda self, name=name: told(self, name), raising=False
        )
    return known


def apart(script):
    """A machine's inside: nothing of the host."""
    if script == attack_surface.DEVICES:
        return "another\ncharacter special file 1:3\n"
    return pseudo(script) or resources(script, kernel="another")


def pair(scope, confined, *, container=(14, 300), hardened=(0, 300), vm=(0, 0), inside=apart):
    for who, (capabilities, calls) in (
        ("container", container),
        ("hardened", hardened),
        ("vm", vm),
    ):
        confined[who] = {"capabilities": capabilities, "system_calls": calls}

    def shaped(shape):
        assert shape.configuration == "hardened"
        return FakeProvider(scope, extra={"who": "hardened"})

    return Pair(
        name="planted",
        subjects={
            "container": Shapes(scope, shapes=shaped, extra={"who": "container"}),
            "vm": FakeProvider(scope, kind="vm", script=answering(inside), extra={"who": "vm"}),
        },
    )


def measured(planted):
    try:
        return Bench(planted).measure("attack_surface")
    finally:
        planted.close()


def test_a_machine_that_is_ahead_everywhere_agrees(scope, confined):
    found = measured(pair(scope, confined))
    assert [verdict(holds(proxy, "ahead"), found) for proxy in ALL] == ["SUPPORTED"] * 5
    assert verdict(AGREE, found) == "SUPPORTED"


def test_an_emulator_without_a_filter_is_one_that_does_not_agree(scope, confined):
    found = measured(pair(scope, confined, vm=(0, 379)))
    assert verdict(holds("vm-system-calls", "ahead"), found) == "REFUTED"
    assert verdict(holds("vm-capabilities", "ahead"), found) == "SUPPORTED"
    assert verdict(AGREE, found) == "REFUTED"


def test_an_emulator_of_roots_is_one_that_does_not_agree(scope, confined):
    found = measured(pair(scope, confined, vm=(40, 0)))
    assert verdict(holds("vm-capabilities", "ahead"), found) == "REFUTED"
    assert verdict(AGREE, found) == "REFUTED"


def test_a_machine_on_the_hosts_kernel_is_found_out(scope, confined):
    found = measured(pair(scope, confined, inside=lambda _: None))  # for real: on the host itself
    for proxy in ("vm-host-files", "vm-host-namespaces", "vm-host-devices"):
        assert verdict(holds(proxy, "ahead"), found) == "REFUTED"
    assert found.row("vm", "host_namespaces")[0].value == len(vantage.namespaces(vantage.on_host))


def test_a_filter_that_cannot_be_read_leaves_its_proxy_open_and_so_the_whole(scope, confined):
    own = Unavailable("a filter of its own")
    found = measured(pair(scope, confined, vm=(0, own)))
    assert verdict(holds("vm-system-calls", "ahead"), found) == "NOT TESTABLE"
    assert found.reason_missing("vm-system-calls") == "a filter of its own"
    assert verdict(AGREE, found) == "NOT TESTABLE"
    behind = measured(pair(scope, confined, vm=(40, own)))
    assert verdict(AGREE, behind) == "REFUTED"  # one that does not agree is enough


def test_capabilities_that_a_hardened_container_seems_to_have_are_void(scope, confined):
    found = measured(pair(scope, confined, hardened=(14, 300)))
    assert verdict(holds("vm-capabilities", "ahead"), found) == "NOT TESTABLE"
    assert vantage.VOID in found.reason_missing("vm-capabilities")
    assert not found.row("container", "capabilities")


def test_without_a_container_there_is_nothing_to_compare_with(scope, confined):
    both = pair(scope, confined)
    found = measured(
        Pair(
            name="planted",
            subjects={"vm": both.subjects["vm"]},
            missing={"container": Unavailable("no engine")},
        )
    )
    assert verdict(AGREE, found) == "NOT TESTABLE"
    assert verdict(holds("vm-capabilities", "ahead"), found) == "NOT TESTABLE"


# --- how a process is confined -------------------------------------------------------------------

CALLS = frozenset({"read", "mount", "stat", "clone3"})


def test_a_profile_is_evaluated_offline():
    allow = {"action": "SCMP_ACT_ALLOW", "names": ["read", "newfstatat", "stat64", "chown32"]}
    listed = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow]}
    assert confinement.admitted(listed, CALLS) == {"read", "stat"}
    deny = {"action": "SCMP_ACT_ERRNO", "names": ["mount", "read"]}
    certain = {"action": "SCMP_ACT_ERRNO", "names": ["clone3"], "args": [{"index": 0}]}
    open_ = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny, certain, allow]}
    assert confinement.admitted(open_, CALLS) == {"read", "stat", "clone3"}
    assert confinement.admitted({"defaultAction": "SCMP_ACT_ERRNO"}, CALLS) == set()


@pytest.fixture
def proc(monkeypatch, tmp_path):
    """A /proc of one's own, with this process's user namespace."""
    monkeypatch.setattr(confinement, "PROC", tmp_path)
    confinement.kernel_calls.cache_clear()
    symbols = "ffffffff T __x64_sys_read\nffffffff t __x64_sys_newstat\nffffffff T other\n"
    (tmp_path / "kallsyms").write_text(symbols)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/uid_map").write_text("0 0 4294967295\n")
    yield tmp_path
    confinement.kernel_calls.cache_clear()


def planted_process(proc, *, seccomp="0", capabilities="a80425fb", uid_map="0 0 4294967295"):
    (proc / "7").mkdir(exist_ok=True)
    (proc / "7/status").write_text(f"CapEff:\t00000000{capabilities}\nSeccomp:\t{seccomp}\n")
    (proc / "7/uid_map").write_text(f"         {uid_map}\n")


def test_a_process_is_seen_as_confined_as_it_is(proc):
    def profile():
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["read"]}],
        }

    planted_process(proc, seccomp="2")
    assert confinement.capabilities(7) == 14
    assert confinement.system_calls(7, profile) == 1
    planted_process(proc, seccomp="0")
    assert confinement.system_calls(7, profile) == 2
    planted_process(proc, uid_map="0 100000 65536")
    assert confinement.capabilities(7) == 0
    planted_process(proc, seccomp="2")
    with pytest.raises(Unavailable, match="of its own"):
        confinement.system_calls(7, confinement.emulators_own)
    planted_process(proc, seccomp="1")
    with pytest.raises(Unavailable, match="mode is 1"):
        confinement.system_calls(7, profile)
    with pytest.raises(EnvironmentDied):
        confinement.capabilities(8)


def test_a_kernel_that_does_not_list_its_calls_cannot_be_counted(proc):
    planted_process(proc)
    (proc / "kallsyms").write_text("ffffffff T something\n")
    with pytest.raises(Unavailable, match="does not list"):
        confinement.system_calls(7, confinement.emulators_own)


@pytest.mark.parametrize("conmon", [False, True])
def test_a_runtimes_configuration_is_found_by_the_containers_keeper(tmp_path, conmon):
    class Keeper:
        def cmdline(self):
            return ["conmon", "-b", str(tmp_path)] if conmon else ["containerd-shim", "-id", "1"]

        def cwd(self):
            return "/nonexistent" if conmon else str(tmp_path)

    file = tmp_path / "config.json"
    with pytest.raises(Unavailable, match="cannot be read"):
        seccomp_profile(Keeper())
    file.write_text("no json")
    with pytest.raises(Unavailable, match="not that of"):
        seccomp_profile(Keeper())
    file.write_text(json.dumps({"linux": {}}))
    with pytest.raises(Unavailable, match="not asked for"):
        seccomp_profile(Keeper())
    profile = {"defaultAction": "SCMP_ACT_ERRNO"}
    file.write_text(json.dumps({"linux": {"seccomp": profile}}))
    assert seccomp_profile(Keeper()) == profile


@pytest.mark.engine
def test_a_real_container_is_confined_and_a_hardened_one_more_so(scope):
    real = catalog.load("minimal", scope)
    found = measured(Pair(name="real", subjects={"container": real.subjects["container"]}))
    value = {(o.subject, o.metric): o.value for o in found.observations}
    assert value["container-hardened", "capabilities"] == 0 < value["container", "capabilities"]
    if "system_calls" in {o.metric for o in found.observations}:  # only root may read the filter
        assert 0 < value["container", "system_calls"] < len(confinement.kernel_calls())
    assert value["container", "host_devices"] < value["host", "host_devices"]


@pytest.mark.machine
def test_a_real_machine_has_the_calls_of_an_emulator_without_a_filter(scope):
    real = catalog.load("minimal", scope)
    found = measured(Pair(name="real", subjects={"vm": real.subjects["vm"]}))
    value = {o.metric: o.value for o in found.observations if o.subject == "vm"}
    assert value["host_files"] == value["host_namespaces"] == value["host_devices"] == 0
    assert value["system_calls"] == len(confinement.kernel_calls())
