"""A real image of somebody else's, and the machine that is made from its own files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import host
from pytest_vmvc.__main__ import main
from pytest_vmvc.backends.docker import (
    ContainerSpec,
    DockerProvider,
    Engine,
    import_image,
    passing_image,
)
from pytest_vmvc.backends.docker_images import inspect_image, instructions
from pytest_vmvc.backends.docker_port import has_shell
from pytest_vmvc.backends.qemu import QemuProvider
from pytest_vmvc.backends.ready import Http, Line, Port
from pytest_vmvc.errors import (
    BuildFailed,
    LaunchFailed,
    LaunchTimedOut,
    NoCommands,
    Unavailable,
    UsageError,
)
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Pair, catalog, image_machine, minimal, own
from pytest_vmvc.testing import scratch_run
from tests.scratch import minimal_pair_or_skip

pytestmark = [pytest.mark.engine, pytest.mark.machine]

SAYS = 'echo "$(id -u):$(id -g) $PWD $GREETING" >/tmp/said; exec httpd -f -p 8080 -h /tmp'
CONFIG = (
    f"ENTRYPOINT {json.dumps(['sh', '-c'])}",
    f"CMD {json.dumps([SAYS])}",
    'ENV GREETING="it\'s \\"here\\" for \\$5"',
    "WORKDIR /var/log",
    "USER nobody",
)
SAID = '65534:65534 /var/log it\'s "here" for $5\n'
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunScope]:
    minimal_pair_or_skip()
    with scratch_run(tmp_path_factory) as scope:
        yield scope


@pytest.fixture(scope="module")
def image(scope: RunScope) -> Iterator[str]:
    """An image with a command, an environment, a folder and a user of its own."""
    built = minimal.load()
    assert built is not None
    name = scope.new_name()
    with passing_image(scope, f"{name}:1", Engine()) as ref:
        import_image(built.rootfs, name, "1", changes=CONFIG, timeout_s=60)
        yield ref


def pair_of(image: str, scope: RunScope, **table: object) -> Pair:
    made = own.parse("x", {"image": image, **table}, source="here", folder=Path("/"))
    return catalog.load("x", scope, own={"x": made})


def said(pair: Pair, subject: str, *argv: str) -> tuple[str, set[str]]:
    """What a fresh one says to a command, and its marks."""
    provider = pair.subjects[subject]
    provider.prepare()
    with provider.launch(deadline_s=DEADLINE_S) as environment:
        return environment.run(argv).stdout.decode(), set(environment.marks)


@pytest.mark.parametrize("subject", ["container", "vm"])
def test_both_run_the_images_own_command_as_the_image_says(image, scope, subject):
    """The page is there once its user has written it, from its folder, with its environment."""
    pair = pair_of(image, scope, ready="http:8080/said")
    assert pair.missing == {}
    text, marks = said(pair, subject, "cat", "/tmp/said")
    assert text == SAID
    assert "answer" in marks
    facts = pair.subjects[subject].facts
    assert facts.readiness.startswith("HTTP status 200 to 399 at port 8080/said")
    assert image in facts.userland


@pytest.mark.parametrize("subject", ["container", "vm"])
@pytest.mark.parametrize(
    "table",
    [
        {"ready": "port:8080"},
        {"ready": "line:ready to go", "command": ["sh", "-c", "echo ready to go; exec sleep 99"]},
        {},
    ],
    ids=["port", "line", "payload"],
)
def test_both_have_the_same_probes(image, scope, subject, table):
    text, marks = said(pair_of(image, scope, **table), subject, "id", "-u")
    assert text == "0\n"  # whoever the payload is: commands are root's
    assert "answer" in marks


def test_the_machine_has_the_images_files_and_no_others(image, scope):
    pair = pair_of(image, scope, memory="128MiB", cpus=2)
    listing = "cd /; find bin etc var usr root -xdev ! -path etc/hosts | sort"
    inside = {key: said(pair, key, "sh", "-c", listing)[0] for key in pair.subjects}
    # What an engine itself puts there.
    mine = set(inside["vm"].split())
    theirs = set(inside["container"].split())
    assert mine ^ theirs <= {"etc/hostname", "etc/resolv.conf", "etc/mtab"}
    facts = pair.subjects["vm"].facts
    assert (facts.vcpus, facts.memory_bytes) == (2.0, 128 << 20)
    assert pair.subjects["container"].facts.memory_bytes == 128 << 20
    sizes = pair.subjects["vm"].artefact()
    assert sizes.definition == "kernel and initrd and disk"
    assert sizes.fetch_bytes < sizes.kept_bytes < sizes.virtual_bytes


def test_what_one_machine_writes_no_other_sees(image, scope):
    pair = pair_of(image, scope)
    assert said(pair, "vm", "sh", "-c", "echo mine >/new; cat /new")[0] == "mine\n"
    assert said(pair, "vm", "ls", "/new")[0] == ""


@pytest.mark.parametrize("subject", ["container", "vm"])
def test_one_that_is_never_ready_says_what_was_seen(image, scope, subject):
    provider = pair_of(image, scope, ready="http:8080/gone").subjects[subject]
    provider.prepare()
    with (
        pytest.raises(LaunchTimedOut, match="http:8080/gone: it answers with HTTP status 404"),
        provider.launch(deadline_s=6),
    ):
        pytest.fail("it is ready")


def test_a_command_that_ends_is_told_at_once(image, scope):
    pair = pair_of(image, scope, ready="port:1", command=["sh", "-c", "echo oh no; exit 3"])
    with (
        pytest.raises(LaunchFailed, match=r"exit status 3.*oh no — its payload must go on running"),
        pair.subjects["container"].launch(deadline_s=DEADLINE_S),
    ):
        pytest.fail("it is ready")


def test_a_copy_of_an_image_keeps_its_configuration(image, scope):
    found = inspect_image(Engine(), image)
    assert found is not None
    assert set(instructions(found)) >= set(CONFIG)
    spec = ContainerSpec(image=image, userland="", argv=(), ready=Http(8080, "/said"))
    with DockerProvider(spec, scope).laden(lambda tree: (tree / "file").touch()) as laden:
        provider = laden.provider
        provider.prepare()
        with provider.launch(deadline_s=DEADLINE_S) as container:
            assert container.run(["cat", "/tmp/said"]).stdout.decode() == SAID


def test_an_image_without_a_shell_is_started_and_not_looked_into(scope, tmp_path):
    busybox = (minimal.program()).read_bytes()
    from pytest_vmvc.subjects.archive import file, write_tar

    with (tmp_path / "one.tar").open("wb") as tar:
        write_tar([file("httpd", busybox, 0o755)], tar)
    name = scope.new_name()
    with passing_image(scope, f"{name}:1", Engine()) as ref:
        import_image(
            tmp_path / "one.tar", name, "1", timeout_s=60,
            changes=('ENTRYPOINT ["/httpd", "-f", "-p", "8080"]',),
        )  # fmt: skip
        assert not has_shell(Engine(), ref, scope)
        pair = pair_of(ref, scope, ready="http:8080/etc/hosts")
        for subject in ("container", "vm"):
            provider = pair.subjects[subject]
            provider.prepare()
            with (
                provider.launch(deadline_s=DEADLINE_S) as environment,
                pytest.raises(NoCommands) as closed,
            ):
                environment.run(["true"])
        left = pair.open(closed.value)
        assert left.subjects == {}
        assert set(left.missing) == {"container", "vm"}


def test_a_disk_that_boots_by_itself_is_waited_for_by_what_it_serves(image, scope):
    """Here with the kernel named: our own disk has no boot loader."""
    made = image_machine.build(image, (), scope, lambda *_: None)
    spec = own_disk(made, ready=Port(8080))
    provider = QemuProvider(spec, scope)
    provider.prepare()
    with provider.launch(deadline_s=DEADLINE_S) as machine:
        assert machine.marks["answer"] > machine.marks["init"]
        with pytest.raises(NoCommands):
            machine.run(["true"])
    late = QemuProvider(own_disk(made, ready=Line("never said")), scope)
    with pytest.raises(LaunchTimedOut), late.launch(deadline_s=3):
        pytest.fail("it is ready")


def own_disk(made: image_machine.ImageMachine, **more: object):
    from pytest_vmvc.backends.qemu import MachineSpec

    return msgspec.structs.replace(
        MachineSpec(kernel=made.kernel, initrd=made.initrd, disk=made.disk, agent=False), **more
    )


def test_what_an_image_lacks_is_told(scope, image):
    with pytest.raises(Unavailable, match="has no image vmvc/gone:1"):
        image_machine.build("vmvc/gone:1", (), scope, lambda *_: None)
    built = minimal.load()
    assert built is not None
    name = scope.new_name()
    with passing_image(scope, f"{name}:1", Engine()) as ref:
        import_image(built.rootfs, name, "1", timeout_s=60)
        with pytest.raises(UsageError, match="names no command"):
            image_machine.build(ref, (), scope, lambda *_: None)
    with passing_image(scope, f"{name}:2", Engine()) as ref:
        import_image(built.rootfs, name, "2", changes=("USER carol",), timeout_s=60)
        with pytest.raises(BuildFailed, match="'carol' is not in its own user database"):
            image_machine.build(ref, ("true",), scope, lambda *_: None)


def test_a_pair_is_made_by_a_command_and_written_down(image, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["pair", "web", "--from", f"image:{image}", "--ready", "http:8080/said"]
    assert main(words) == 0
    assert "Put this into pyproject.toml" in capsys.readouterr().out
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert main(words) == 0
    assert own.read(tmp_path / "pyproject.toml")["web"].ready == Http(8080, "/said")
    assert "pytest --vmvc --vmvc-pair=web" in capsys.readouterr().out
    assert main(words) == 64
    assert "there is such a pair already" in capsys.readouterr().err
    assert main(["pair", "y", "--from", "image:vmvc/gone:1"]) == 64
    assert "has no image vmvc/gone:1" in capsys.readouterr().err
    assert main(["pair", "y", "--from", image]) == 64


def test_the_containers_run_under_the_runtime_that_is_named(image, scope):
    """`runc` by its name is the same program, and a fact of the run."""
    pair = catalog.load("minimal", scope, runtime="runc")
    assert ", runc, " in pair.subjects["container"].facts.version
    assert said(pair, "container", "echo", "here")[0] == "here\n"
    unknown = catalog.load("minimal", scope, runtime="vmvc-none").subjects["container"]
    with (
        pytest.raises(Unavailable, match="no runtime vmvc-none — one of"),
        unknown.launch(deadline_s=DEADLINE_S),
    ):
        pytest.fail("it runs")


@pytest.mark.parametrize("machine", ["pc", "microvm"])
def test_bare_machines_are_of_the_type_that_is_named(scope, machine):
    pair = catalog.load("minimal", scope, machine=machine)
    for subject in ("vm", "vm-restored"):
        assert said(pair, subject, "echo", "here")[0] == "here\n"
        facts = pair.subjects[subject].facts
        assert facts.extra["machine"] == machine
        told = "tsc_early_khz=" in str(facts.extra["kernel_parameters"])
        assert told == (machine == "microvm" and host.tsc_khz() is not None)
    assert said(pair, "container", "echo", "here")[0] == "here\n"
