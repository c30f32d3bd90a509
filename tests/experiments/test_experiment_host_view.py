"""What of the host is seen inside: a file that shows through, a canary, controls that fail."""

import os
from pathlib import Path

import pytest
from bench import Bench, verdict
from places import answering, pseudo

from pytest_vmvc import process
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.declaration import at_least, at_most, holds
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments import host_view, pseudo_files, vantage
from pytest_vmvc.subjects import Pair, catalog

BOOT_ID = "/proc/sys/kernel/random/boot_id"
HIDDEN = holds("vm", "hidden")
NO_FILES = at_most("vm", "host_files", 0, "files", min_n=1)


def guest(*, terminals=lambda: 0, **values):
    """A machine's inside: these pseudo-files and no others, and so many pseudo-terminals."""

    def answer(script):
        if host_view.COUNTER in script:
            return f"{terminals()}\n"
        return pseudo(script, **values)

    return answering(answer)


def measured(scope, *, container=None, vm=None):
    subjects = {}
    if container is not None:
        subjects["container"] = FakeProvider(scope, script=container)
    if vm is not None:
        subjects["vm"] = FakeProvider(scope, kind="vm", script=vm)
    planted = Pair(name="planted", subjects=subjects)
    try:
        return Bench(planted).measure("host_view")
    finally:
        planted.close()


def test_a_place_on_the_hosts_kernel_shows_the_host(scope):
    found = measured(scope, container=answering(lambda _: None))  # for real: on the host itself
    assert verdict(at_least("container", "host_files", 1, "files", min_n=1), found) == "SUPPORTED"
    assert verdict(holds("container", "canary_hidden", value=False), found) == "SUPPORTED"
    assert {o.instance: o.value for o in found.row("container", "hidden")}[BOOT_ID] is False


def test_a_machine_with_files_of_its_own_shows_nothing(scope):
    own = {row.name: "1" for row in pseudo_files.ROWS}
    found = measured(scope, vm=guest(**own))
    assert verdict(HIDDEN, found) == "SUPPORTED"
    assert verdict(NO_FILES, found) == "SUPPORTED"
    assert verdict(holds("vm", "canary_hidden"), found) == "SUPPORTED"
    nothing = measured(scope, vm=guest())
    assert verdict(HIDDEN, nothing) == "SUPPORTED"


def test_one_host_file_in_a_machine_is_found_out(scope):
    found = measured(scope, vm=guest(**{BOOT_ID: vantage.kernel(vantage.on_host)}))
    assert verdict(HIDDEN, found) == "REFUTED"
    assert verdict(NO_FILES, found) == "REFUTED"
    assert [o.instance for o in found.row("vm", "hidden") if not o.value] == [BOOT_ID]


def test_a_running_count_of_the_host_is_found_out(scope):
    uptime = "/proc/uptime"

    def answer(script):
        if script != pseudo_files.script():
            return None
        return pseudo(script, **{uptime: Path(uptime).read_text().split()[0]})

    found = measured(scope, vm=answering(answer))
    assert [o.instance for o in found.row("vm", "hidden") if not o.value] == [uptime]


def test_a_guest_that_talks_nonsense_shows_nothing(scope):
    words = {row.name: "nan" if row.counts_up else "\x00" for row in pseudo_files.ROWS}
    found = measured(scope, vm=guest(terminals=lambda: "no number", **words))
    assert verdict(HIDDEN, found) == "SUPPORTED"
    assert verdict(holds("vm", "canary_hidden"), found) == "SUPPORTED"


def test_a_guest_whose_own_terminals_come_and_go_is_told_from_the_host(scope):
    counts = iter(range(100))
    found = measured(scope, vm=guest(terminals=lambda: 3 + next(counts) % 2))
    assert verdict(holds("vm", "canary_hidden"), found) == "SUPPORTED"


def test_a_file_that_does_not_equal_itself_is_void_and_no_evidence(scope, monkeypatch):
    restless = pseudo_files.Row(name="restless", look="cat /proc/sys/kernel/random/uuid")
    calm = pseudo_files.ROWS[0]
    monkeypatch.setattr(pseudo_files, "ROWS", (calm, restless))
    found = measured(scope, container=answering(lambda _: None))
    assert [o.instance for o in found.row("container", "hidden")] == [calm.name]
    assert found.reason_missing("restless").startswith(vantage.VOID)


def test_a_canary_that_the_host_does_not_see_is_void(scope, monkeypatch):
    monkeypatch.setattr(host_view, "COUNTER", "/proc/sys/kernel/pty/max")
    with pytest.raises(InfrastructureError, match="void"):
        measured(scope, container=answering(lambda _: None))


def test_the_canary_leaves_no_terminal_open(scope):
    before = _terminals()
    measured(scope, container=answering(lambda _: None))
    assert _terminals() == before


def _terminals():
    found = process.run(["ls", "-l", f"/proc/{os.getpid()}/fd"], timeout_s=10).stdout
    return found.count(b"/dev/pts/") + found.count(b"/ptmx")


@pytest.mark.engine
def test_a_real_container_shows_the_host(scope):
    real = catalog.load("minimal", scope)
    found = _real(real, "container")
    assert verdict(at_least("container", "host_files", 1, "files", min_n=1), found) == "SUPPORTED"
    assert verdict(holds("container", "canary_hidden", value=False), found) == "SUPPORTED"


@pytest.mark.machine
def test_a_real_machine_does_not(scope):
    real = catalog.load("minimal", scope)
    found = _real(real, "vm")
    values = {o.metric: o.value for o in found.observations}
    assert values["host_files"] == 0
    assert values["canary_hidden"] is True


def _real(real, subject):
    pair = Pair(name="real", subjects={subject: real.subjects[subject]})
    try:
        return Bench(pair).measure("host_view")
    finally:
        pair.close()
