"""A running machine on its way to another QEMU, for real; and what QEMU may say of it, planted."""

from __future__ import annotations

import time

import pytest

from pytest_vmvc.backends.base import new_nonce
from pytest_vmvc.backends.migration import STEPS, _completed, _moment, migrated
from pytest_vmvc.backends.optional import Migratable
from pytest_vmvc.errors import CommandTimedOut, InfrastructureError
from pytest_vmvc.subjects import catalog

BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]
MACHINE_S = 60.0


@pytest.fixture(scope="module")
def provider(run_scope):
    pair = catalog.load("minimal", run_scope)
    if gap := pair.missing.get("vm-restored"):
        pytest.skip(str(gap))
    found = pair.subjects["vm-restored"]
    found.prepare()
    return found


@pytest.fixture
def source(provider):
    with provider.launch(deadline_s=MACHINE_S) as machine:
        yield machine


@pytest.mark.machine
def test_the_machine_is_the_same_one_elsewhere(provider, source, run_scope):
    assert isinstance(provider, Migratable)
    before = source.run(BOOT_ID).stdout
    with provider.migrated(source, deadline_s=MACHINE_S) as (destination, moved):
        assert destination.name != source.name
        assert destination.pid != source.pid
        assert destination.run(BOOT_ID).stdout == before
        assert source.monitor.execute("query-status")["status"] == "postmigrate"
        assert 0 <= moved.downtime_s < moved.move_s
        assert moved.reported_downtime_s >= 0
        assert moved.steps == STEPS
    assert not destination.alive()
    assert [held.name for held in run_scope.held if held.kind == "qemu"] == [source.name]


@pytest.mark.machine
def test_a_destination_of_another_size_takes_nothing(source, run_scope, provider):
    argv = provider._source.command(new_nonce())
    argv[argv.index("-m") + 1] = "64M"
    arriving = migrated(run_scope, source, argv, facts=lambda: source.facts, deadline_s=MACHINE_S)
    with pytest.raises(InfrastructureError, match="was not moved"), arriving:
        pass


@pytest.mark.machine
def test_a_move_that_takes_too_long_is_given_up(source, provider):
    source.monitor.execute("migrate-set-parameters", {"max-bandwidth": 100_000})
    with (
        pytest.raises(CommandTimedOut, match=r"within 0\.5 s"),
        provider.migrated(source, deadline_s=0.5),
    ):
        pass


class Says:
    """A monitor that answers one after the other, and has seen these events."""

    def __init__(self, *answers, **moments):
        self.answers = iter(answers)
        self.moment = moments.get

    def execute(self, _command):
        return next(self.answers)


def test_the_report_is_waited_for():
    monitor = Says({}, {"status": "active"}, {"status": "completed", "downtime": 7})
    assert _completed(monitor, time.monotonic() + 60)["downtime"] == 7


@pytest.mark.parametrize(
    ("answer", "left_s"),
    [({"status": "failed"}, 60), ({"status": "cancelled"}, 60), ({"status": "active"}, -1)],
)
def test_a_move_that_is_not_completed_is_an_error(answer, left_s):
    with pytest.raises(InfrastructureError, match="did not complete"):
        _completed(Says(answer), time.monotonic() + left_s)


def test_without_its_event_there_is_no_downtime():
    assert _moment(Says(STOP=3.0), "STOP") == 3.0
    with pytest.raises(InfrastructureError, match="without the event RESUME"):
        _moment(Says(STOP=3.0), "RESUME")
