"""Setup: from what is seen on a host to steps; and the pieces that carry them out."""

from __future__ import annotations

import errno
import io
import os
import select
import subprocess
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc.errors import CommandFailed, CommandTimedOut, LaunchFailed, Unavailable
from pytest_vmvc.setup import daemons, observe, packages, superuser
from pytest_vmvc.setup.carry_out import agreed, show
from pytest_vmvc.setup.plan import (
    REQUIREMENTS,
    Build,
    Detect,
    Install,
    JoinGroups,
    Observed,
    Options,
    Plan,
    StartDaemon,
    StartNetwork,
    describe,
    make_plan,
)
from pytest_vmvc.voice import Voice

ALL = frozenset(need.package for need in REQUIREMENTS)
ENGINE = {"docker.io", "iptables"}
VAGRANT = {need.package for need in REQUIREMENTS if need.area == "vagrant"}
EXTRA = {need.package for need in REQUIREMENTS if need.area == "extra"}
DISK = {need.package for need in REQUIREMENTS if need.area == "disk"}

READY = Observed(
    os_name="Debian GNU/Linux 12",
    apt=True,
    root=True,
    user="root",
    systemd=False,
    present=ALL,
    engine="answers",
    libvirt="answers",
    network_active=True,
    groups=frozenset({"root"}),
    built=frozenset({"minimal", "debian"}),
    tier="tcg",
)
BARE = Observed(
    os_name="Debian GNU/Linux 12",
    apt=True,
    root=True,
    user="root",
    systemd=False,
    present=frozenset({"e2fsprogs"}),
    engine="absent",
    libvirt="absent",
)


def seen(base: Observed = READY, **changes: object) -> Observed:
    return msgspec.structs.replace(base, **changes)


def plan(base: Observed = READY, options: Options | None = None, **changes: object) -> Plan:
    return make_plan(seen(base, **changes), options or Options())


# --- the plan ------------------------------------------------------------------------------------


def test_a_ready_host_only_gets_looked_at() -> None:
    found = plan()

    assert found.steps == (Build("minimal", "check"), Build("debian", "check"))
    assert not found.changes
    assert not found.privileged


def test_a_bare_host_gets_everything_in_order() -> None:
    found = plan(BARE)

    assert isinstance(found.steps[0], Install)
    assert set(found.steps[0].packages) == ALL - {"e2fsprogs"}
    assert found.steps[1:] == (
        StartDaemon("docker"),
        StartDaemon("libvirt"),
        StartNetwork(),
        Build("minimal"),
        Build("debian"),
        Detect(),
    )
    assert found.privileged


def test_an_engine_that_answers_in_another_form_is_respected() -> None:
    found = plan(BARE, engine="answers")

    assert isinstance(found.steps[0], Install)
    assert not ENGINE & set(found.steps[0].packages)
    assert StartDaemon("docker") not in found.steps


def test_a_stopped_engine_is_started_and_not_installed_again() -> None:
    found = plan(engine="stopped")

    assert found.steps[0] == StartDaemon("docker")


def test_an_archive_without_vagrant_leaves_the_bare_machine() -> None:
    found = plan(BARE, unknown_to_apt=frozenset({"vagrant"}))

    assert isinstance(found.steps[0], Install)
    assert not (VAGRANT | DISK) & set(found.steps[0].packages)
    assert Build("minimal") in found.steps
    assert Build("debian") not in found.steps
    assert StartDaemon("libvirt") not in found.steps
    assert "vendor" in found.notes[0]


def test_what_only_single_experiments_need_comes_along_where_it_can() -> None:
    lacking = plan(present=ALL - EXTRA)
    one_unknown = plan(present=ALL - EXTRA, unknown_to_apt=frozenset({"podman"}))
    after = plan(READY, Options(extras=False), present=ALL - EXTRA)
    elsewhere = plan(present=ALL - EXTRA, apt=False)

    assert lacking.steps[0] == Install(tuple(n.package for n in REQUIREMENTS if n.area == "extra"))
    assert isinstance(one_unknown.steps[0], Install)
    assert set(one_unknown.steps[0].packages) == EXTRA - {"podman"}
    for found in (after, elsewhere):
        assert not any(isinstance(step, Install) for step in found.steps)
        assert "NOT TESTABLE" in found.notes[0]
        assert not found.blocked


def test_asking_for_the_debian_pair_alone_where_vagrant_cannot_be_had_is_blocked() -> None:
    options = Options(only="debian")

    found = plan(BARE, options, unknown_to_apt=frozenset({"vagrant"}))

    assert found.steps == ()
    assert "vagrant plugin install" in found.blocked


def test_the_minimal_pair_alone_needs_no_libvirt() -> None:
    found = plan(BARE, Options(only="minimal"))

    assert isinstance(found.steps[0], Install)
    assert not (VAGRANT | DISK) & set(found.steps[0].packages)
    assert found.steps[1:] == (StartDaemon("docker"), Build("minimal"), Detect())
    assert found.notes == ()


def test_rebuild_builds_what_is_built() -> None:
    assert plan(options=Options(rebuild=True)).steps == (
        Build("minimal", "build again"),
        Build("debian", "build again"),
    )


def test_without_installing_the_pair_that_lacks_something_is_left_out() -> None:
    found = plan(options=Options(install=False), present=ALL - {"vagrant-libvirt"})

    assert found.steps == (Build("minimal", "check"),)
    assert "vagrant-libvirt" in found.notes[0]


def test_without_installing_a_bare_host_is_blocked() -> None:
    found = plan(BARE, Options(install=False))

    assert "docker.io" in found.blocked
    assert "--no-install" in found.blocked


def test_a_host_of_another_family_is_told_what_to_install() -> None:
    found = plan(BARE, apt=False, os_name="Some Linux 3")

    assert found.steps == ()
    assert "Some Linux 3" in found.blocked
    assert "qemu-system-x86_64" in found.blocked
    assert "docker.io" not in found.blocked


def test_a_host_of_another_family_that_has_everything_goes_on() -> None:
    assert plan(apt=False).blocked == ""
    assert plan(apt=False, engine="stopped").steps[0] == StartDaemon("docker")


def test_an_engine_elsewhere_is_not_ours_to_start() -> None:
    found = plan(engine="stopped", engine_host="tcp://127.0.0.1:1", engine_reason="refused")

    assert found.steps == ()
    assert "tcp://127.0.0.1:1" in found.blocked
    assert "unset DOCKER_HOST" in found.blocked


def test_a_user_without_permission_joins_the_groups_and_logs_in_again() -> None:
    found = plan(root=False, user="ann", engine="forbidden", libvirt="forbidden")

    assert found.steps == (JoinGroups("ann", ("docker", "libvirt")),)
    assert found.log_in_again


def test_groups_that_only_wait_for_a_log_in_are_not_joined_again() -> None:
    found = plan(root=False, user="ann", kvm_forbidden=True, listed_groups=frozenset({"kvm"}))

    assert found.steps == ()
    assert found.log_in_again


def test_a_permitted_user_needs_no_group() -> None:
    assert not plan(root=False, user="ann").privileged


def test_every_step_has_words() -> None:
    steps = (*plan(BARE).steps, JoinGroups("ann", ("kvm",)), Build("minimal", "check"))

    assert len({describe(step) for step in steps}) == len(steps)


# --- saying and asking ---------------------------------------------------------------------------


def spoken(found: Plan) -> str:
    file = io.StringIO()
    show(found, Voice("setup", file=file))
    return file.getvalue()


def test_the_exact_apt_command_is_shown_on_one_line() -> None:
    lines = spoken(plan(BARE)).splitlines()

    [command] = [line for line in lines if "apt-get" in line and " install " in line]
    assert "--no-install-recommends" in command
    assert command.endswith(" ".join(need.package for need in REQUIREMENTS[-4:]))


def test_a_blocked_plan_says_why_and_nothing_else() -> None:
    assert spoken(Plan(blocked="the reason")) == "setup: the reason\n"


def test_nobody_to_ask_means_no_for_the_system_and_yes_for_own_folders() -> None:
    file = io.StringIO()
    voice = Voice("setup", file=file)

    assert not agreed(plan(BARE), voice)
    assert "--yes" in file.getvalue()
    assert agreed(plan(built=frozenset()), voice)
    assert agreed(plan(BARE), Voice("setup", file=file, yes=True))


def test_progress_into_a_pipe_is_a_line_a_step() -> None:
    file = io.StringIO()

    with Voice("setup", file=file).long("building") as progress:
        progress("kernel", None)
        progress("kernel", 0.5)
        progress("disk", 0.9)

    assert file.getvalue() == "setup: building\nsetup:   kernel\nsetup:   disk\n"


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()

    with Voice("setup", file=file).long("building") as progress:
        progress("kernel", 0.5)

    assert "building: kernel" in file.getvalue()
    assert "\x1b[2K" in file.getvalue()  # erased


# --- packages ------------------------------------------------------------------------------------

POLICY = """vagrant:
  Installed: (none)
  Candidate: (none)
  Version table:
kmod:
  Installed: (none)
  Candidate: 30+20221128-1
  Version table:
     30+20221128-1 500
"""


def test_a_package_without_candidate_is_told_from_one_with() -> None:
    assert packages._with_candidate(POLICY) == {"kmod"}


@pytest.mark.skipif(not packages.is_debian_like(), reason="asks dpkg and apt")
def test_what_is_installed_is_seen_and_what_is_unknown_is_not() -> None:
    needs = [
        msgspec.structs.replace(REQUIREMENTS[0], package="dpkg", program=""),
        msgspec.structs.replace(REQUIREMENTS[0], package="no-such-package", program=""),
        msgspec.structs.replace(REQUIREMENTS[0], package="no-such-package-2", program="sh"),
    ]

    met = packages.present(needs) & {need.package for need in needs}

    assert met == {"dpkg", "no-such-package-2"}


@pytest.fixture
def host_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Scripts that stand before the host's programs on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def plant(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    plant("sudo", '[ "$1" = -n ] && shift; exec "$@"')
    return plant


def install(
    tmp_path: Path,
    *names: str,
    optional: frozenset[str] = frozenset(),
    extra: frozenset[str] = frozenset(),
) -> list[str]:
    said: list[str] = []
    packages.install(names, log=tmp_path / "log", say=said.append, optional=optional, extra=extra)
    return said


def test_a_broken_package_source_is_a_warning(host_programs, tmp_path: Path) -> None:
    done = tmp_path / "done"
    host_programs(
        "apt-get",
        f'case "$*" in *update*) echo "E: third party is gone"; exit 100;; esac; echo "$@" >{done}',
    )
    host_programs("apt-cache", 'shift; for p in "$@"; do printf "$p:\\n  Candidate: 1\\n"; done')

    [warning] = install(tmp_path, "kmod")

    assert "third party is gone" in warning
    assert done.read_text().endswith("install -y --no-install-recommends kmod\n")


def test_optional_packages_without_candidate_are_left_out_together(
    host_programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tmp_path / "done"
    host_programs("apt-get", f'echo "$@" >>{done}')
    monkeypatch.setattr(packages, "candidates_missing", lambda _: frozenset({"vagrant"}))

    install(tmp_path, "kmod", "vagrant", "virsh", optional=frozenset({"vagrant", "virsh"}))

    assert done.read_text().splitlines()[-1].endswith("--no-install-recommends kmod")


def test_an_extra_package_without_candidate_is_left_out_alone(
    host_programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tmp_path / "done"
    host_programs("apt-get", f'echo "$@" >>{done}')
    monkeypatch.setattr(packages, "candidates_missing", lambda _: frozenset({"podman"}))

    install(
        tmp_path, "kmod", "podman", "virsh",
        optional=frozenset({"virsh"}), extra=frozenset({"podman"}),
    )  # fmt: skip

    assert done.read_text().splitlines()[-1].endswith("--no-install-recommends kmod virsh")


def test_a_required_package_that_apt_does_not_know_is_named(
    host_programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_programs("apt-get", "exit 0")
    monkeypatch.setattr(packages, "candidates_missing", lambda _: frozenset({"kmod"}))

    with pytest.raises(Unavailable, match="apt knows no package kmod"):
        install(tmp_path, "kmod")


def test_a_failed_installation_shows_the_last_lines(host_programs, tmp_path: Path) -> None:
    host_programs(
        "apt-get", 'case "$*" in *install*) echo "No space left on device"; exit 1;; esac'
    )
    host_programs("apt-cache", 'shift; for p in "$@"; do printf "$p:\\n  Candidate: 1\\n"; done')

    with pytest.raises(CommandFailed, match="No space left on device"):
        install(tmp_path, "kmod")


# --- privileged commands and daemons -------------------------------------------------------------


def test_a_privileged_command_that_hangs_is_ended(host_programs, tmp_path: Path) -> None:
    host_programs("hangs", "exec sleep 60")

    with pytest.raises(CommandTimedOut, match="hangs"):
        superuser.run(["hangs"], log=tmp_path / "log", timeout_s=0.2)


def test_a_privileged_command_that_cannot_be_ended_is_left(tmp_path, monkeypatch) -> None:
    """As root's processes are for anybody else."""
    children = []

    def refuse(child: subprocess.Popen) -> None:
        children.append(child)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "terminate", refuse)
        patch.setattr(subprocess.Popen, "kill", refuse)
        with pytest.raises(CommandTimedOut, match="sleep 60"):
            superuser.run(["sleep", "60"], log=tmp_path / "log", timeout_s=0.1)
    children[0].kill()
    children[0].wait(10)


def test_a_daemon_started_by_hand_holds_only_its_log(host_programs, tmp_path: Path) -> None:
    fifo, log = tmp_path / "fifo", tmp_path / "daemons" / "some.log"
    os.mkfifo(fifo)
    look = "held=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)"
    host_programs("some-daemon", f'{look}; echo "$held" >{fifo}')
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        daemons._start_detached(("some-daemon",), log)
        assert select.select([reader], [], [], 15)[0]
        held = os.read(reader, 4096).decode().splitlines()
    finally:
        os.close(reader)

    assert held == ["/dev/null", str(log), str(log)]


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A host without systemd whose engine is the planted ``some-engine``."""
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(observe, "has_systemd", lambda: False)
    monkeypatch.setattr(daemons, "POLL_S", 0.01)
    engine = daemons.Daemon(name="docker", units=(), programs=(("some-engine",),))
    monkeypatch.setitem(daemons.DAEMONS, "docker", engine)
    answers: list[str] = []
    monkeypatch.setattr(observe, "engine_state", lambda: (answers.pop(0), ""))
    return answers


def test_a_daemon_that_answers_is_left_alone(by_hand, host_programs, tmp_path: Path) -> None:
    host_programs("some-engine", f"touch {tmp_path}/started")
    by_hand.append("answers")

    daemons.start("docker")

    assert not daemons.log_file("docker").exists()


def test_a_started_daemon_is_waited_for(by_hand, host_programs) -> None:
    host_programs("some-engine", "exit 0")
    by_hand += ["stopped", "stopped", "stopped", "answers", "answers"]

    daemons.start("docker")

    assert by_hand == []


def test_a_daemon_that_ends_at_once_shows_the_end_of_its_log(
    by_hand, host_programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemons, "GONE_LOOKS", 80)  # time to write it, on a busy host too
    host_programs("some-engine", "echo cannot bind the socket")
    by_hand += ["stopped"] * 500

    with pytest.raises(LaunchFailed, match="cannot bind the socket"):
        daemons.start("docker")

    assert len(by_hand) > 300  # it did not wait for the whole deadline


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no-such-daemon is not installed"):
        daemons._start_detached(("no-such-daemon",), tmp_path / "log")
