"""Another kernel, module and CPU: refused to a container, had by a machine; and the other way."""

import platform

import pytest
from bench import Bench, verdict

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.declaration import differs, holds, same
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments import other_kernel
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Completed
from pytest_vmvc.subjects import Pair, catalog

HOSTS = host_facts()["kernel_release"].encode()
PROGRAM = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xb7\0" + bytes(40)
EPERM = b"insmod: can't insert: Operation not permitted"
ENOEXEC = b"exec /tmp/vmvc-foreign: exec format error"


def guest(*, release=HOSTS, machine=None, module=b"", load=EPERM, run=ENOEXEC):
    """A script of an inside; ``load`` and ``run`` are what those attempts end with, if anything."""

    def answer(argv, stdin):
        match argv:
            case ("cat", "/proc/sys/kernel/osrelease"):
                return release, b""
            case ("uname", "-m"):
                return (machine or platform.machine()).encode(), b""
            case ("sh", "-c", other_kernel.TAKE_MODULE):
                return module, b""
            case ("sh", "-c", other_kernel.LOAD_MODULE, _):
                assert stdin == b"module"
                return b"", load
            case ("sh", "-c", other_kernel.KEEP_PROGRAM, _):
                assert stdin == PROGRAM
                return b"", b""
            case (other_kernel.PROGRAM_FILE, *_):
                return (b"", run) if run else (b"aarch64\n", b"")
            case (other_kernel.FOREIGN_PROGRAM, *_):
                return b"aarch64\n", b""
            case ("cat", other_kernel.FOREIGN_PROGRAM):
                return PROGRAM, b""
        return b"", b""

    def script(_name, argv, stdin):
        out, err = answer(argv, stdin)
        return Completed(
            argv=argv, exit_status=1 if err else 0, stdout=out, stderr=err, duration_s=0.0
        )

    return script


@pytest.fixture
def binfmt(monkeypatch, tmp_path):
    """The kernel's list of emulators, empty."""
    folder = tmp_path / "binfmt"
    folder.mkdir()
    monkeypatch.setattr(other_kernel, "BINFMT", folder)
    return folder


@pytest.fixture
def measure(scope, binfmt):
    """Measures a pair of planted insides, on a host that has no emulator for foreign programs."""

    def measured(*, container=None, vm=None, foreign=None, without=()):
        def provider(script, kind):
            return FakeProvider(scope, kind=kind, script=script)

        def machine():
            if "foreign" in without:
                raise Unavailable("no emulator")
            return provider(foreign or guest(release=b"6.1-arm64", machine="aarch64"), "vm")

        subjects = {
            "container": provider(container or guest(), "container"),
            "vm": provider(vm or guest(release=b"6.1-cloud", module=b"module"), "vm"),
        }
        pair = Pair(
            name="planted",
            subjects={name: one for name, one in subjects.items() if name not in without},
            missing={name: Unavailable("none") for name in subjects if name in without},
            userlands=(provider(container or guest(), "container"),) * 3,
            others={"foreign": machine},
        )
        return Bench(pair).measure("other_kernel")

    return measured


ASKED = {
    "kernel": same("container", "kernel_release", other="host"),
    "images": same("userlands", "kernel_release", other="host", min_n=3),
    "vm": differs("vm", "kernel_release", other="host"),
    "architecture": differs("vm-foreign", "architecture", other="host"),
    "module": holds("container", "module_refused"),
    "program": holds("container-without-emulator", "program_refused"),
}


def test_what_the_article_says(measure):
    found = measure()
    assert {verdict(asked, found) for asked in ASKED.values()} == {"SUPPORTED"}
    assert found.row("vm", "module_loaded")[0].value is True
    assert found.row("vm-foreign", "program_ran")[0].value is True
    assert found.row("container", "refusal")[0].value == EPERM.decode()


@pytest.mark.parametrize(
    ("planted", "falls"),
    [
        ({"container": guest(release=b"another")}, {"kernel", "images"}),
        ({"vm": guest(module=b"module")}, {"vm"}),
        ({"foreign": guest(release=b"6.1-arm64")}, {"architecture"}),
        ({"container": guest(load=b"")}, {"module"}),
        ({"container": guest(load=b"insmod: killed")}, {"module"}),  # no clear error
        ({"container": guest(run=b"")}, {"program"}),
        ({"container": guest(run=b"Segmentation fault")}, {"program"}),
    ],
)
def test_each_reading_can_fall(measure, planted, falls):
    found = measure(**planted)
    assert {name for name, asked in ASKED.items() if verdict(asked, found) == "REFUTED"} == falls


def test_a_machine_that_takes_no_module_proves_nothing_about_the_container(measure):
    with pytest.raises(InfrastructureError, match="no module"):
        measure(vm=guest(release=b"6.1-cloud"))


def test_without_the_other_architecture_the_rest_goes_on(measure):
    found = measure(without={"foreign"})
    untested = {name for name, asked in ASKED.items() if verdict(asked, found) == "NOT TESTABLE"}
    assert untested == {"architecture", "program"}


def test_without_a_machine_the_container_still_shows_its_kernel(measure):
    found = measure(without={"vm"})
    assert verdict(ASKED["kernel"], found) == "SUPPORTED"
    assert verdict(ASKED["vm"], found) == "NOT TESTABLE"


def entry(folder, name, *, state="enabled", magic="7f454c460201010000000000000000000200b700"):
    mask = "ffffffffffffff00fffffffffffffffffeffffff"
    (folder / name).write_text(
        f"{state}\ninterpreter /usr/bin/{name}\nflags: OCF\noffset 0\nmagic {magic}\nmask {mask}\n"
    )


def test_a_host_with_an_emulator_is_a_case_of_its_own(measure, binfmt):
    (binfmt / "status").write_text("enabled\n")
    entry(binfmt, "qemu-aarch64")
    found = measure(container=guest(run=b""))
    assert found.row("container-with-emulator", "program_ran")[0].value is True
    assert verdict(ASKED["program"], found) == "NOT TESTABLE"
    assert "qemu-aarch64" in found.reason_missing("container-without-emulator")


@pytest.mark.parametrize(
    "planted", [{"state": "disabled"}, {"magic": "7f454c460201010000000000000000000200f300"}]
)
def test_an_emulator_that_is_off_or_for_another_cpu_does_not_count(binfmt, planted):
    entry(binfmt, "qemu-other", **planted)
    assert other_kernel.handler(PROGRAM) == ""


@pytest.mark.machine
@pytest.mark.engine
def test_real_refusals_and_a_real_foreign_machine(scope):
    pair = catalog.load("minimal", scope)
    try:
        found = Bench(pair).measure("other_kernel")
    finally:
        pair.close()
    assert found.row("container", "module_refused")[0].value is True
    assert found.row("vm", "module_loaded")[0].value is True
    assert verdict(ASKED["kernel"], found) == "SUPPORTED"
    if gap := found.reason_missing("vm-foreign"):
        pytest.skip(gap)
    assert found.row("vm-foreign", "architecture")[0].value == "aarch64"
    assert "arm64" in found.row("vm-foreign", "kernel_release")[0].value
    if not found.reason_missing("container-without-emulator"):
        assert found.row("container-without-emulator", "program_refused")[0].value is True
