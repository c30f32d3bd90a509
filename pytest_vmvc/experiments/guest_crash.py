"""A guest's kernel is made to panic: who else notices, and how soon its end is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Mortal
from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied, InfrastructureError
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

TRIGGER = Path("/proc/sysrq-trigger")
SETTING = Path("/proc/sys/kernel/panic")
BESIDE_TRIGGER = "container-with-sysrq"
"""A container on a host whose kernel has the trigger."""
CRASH = ["sh", "-c", f"echo c >{TRIGGER}"]
OPEN = ["sh", "-c", ': >>"$0"']
"""Opens a file for appending and writes nothing."""
COUNTER = """n=0
while :; do n=$((n + 1)); echo $n >"$0"; sleep 0.05; done >/dev/null 2>&1 &
echo $!"""
COUNT_FILE = "/tmp/vmvc-count"  # noqa: S108 - inside
REPORT_TIMEOUT_S = 20.0
SERVE_TIMEOUT_S = 10.0


def _survives(who: str, label: str) -> Metric:
    return Metric(
        name=who,
        label=label,
        unit="",
        definition="what it counted in its memory before the crash goes on counting after it",
        emulation="flatters",
    )


class GuestCrash:
    """A fresh machine panics beside a standing machine, a standing container and the host.

    The container is not asked to panic anything: it only tries to open the same trigger.
    """

    name = "guest_crash"
    metrics = (
        Metric(
            name="host_survived",
            label="the host outlives the crash",
            unit="",
            definition="the host's boot id is the same before and after",
            emulation="flatters",
        ),
        _survives("vm_survived", "another machine goes on"),
        _survives("container_survived", "a container beside it goes on"),
        Metric(
            name="end_reported",
            label="its end is reported",
            unit="",
            definition="the hypervisor tells the host of the end; nobody has to wait in vain",
        ),
        Metric(name="end", label="how it ended", unit="", definition="in the harness's words"),
        Metric(
            name="report_s",
            label="time to the report",
            unit="s",
            definition="from just before the command that panics to the report of the end",
            emulation="inflates",
        ),
        Metric(
            name="trigger_refused",
            label="the panic trigger is closed",
            unit="",
            definition=f"opening {TRIGGER} for writing fails inside, as root; nothing is written",
        ),
        Metric(
            name="setting_refused",
            label="the kernel's settings are closed",
            unit="",
            definition=f"opening {SETTING} for writing fails inside, as root; nothing is written",
        ),
        Metric(
            name="refusal",
            label="what the refusal says",
            unit="",
            definition="error text of the attempts that failed",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record who survives, how the end is told, and what the trigger says inside."""
        for subject in ("container", "vm"):
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
        standing = {
            subject: pair.standing(subject, deadline_s=settings.deadline_s)[0]
            for subject in ("container", "vm")
            if subject in pair.subjects
        }
        record.progress(0, 2, "part")
        _knock_at_all(standing, record)
        record.progress(1, 2, "part")
        if "vm" in standing:
            _crash(pair.subjects["vm"], standing, record, settings)
        record.progress(2, 2, "part")


def _knock_at_all(environments: dict[str, Environment], record: Recorder) -> None:
    for subject, environment in environments.items():
        _knock(environment, SETTING, record, subject, "setting_refused")
        if subject == "vm":
            _knock(environment, TRIGGER, record, subject, "trigger_refused")
        elif TRIGGER.exists():
            _knock(environment, TRIGGER, record, BESIDE_TRIGGER, "trigger_refused")
        else:
            record.missing(BESIDE_TRIGGER, f"the host's kernel has no {TRIGGER} to be kept from")


def _knock(
    environment: Environment, door: Path, record: Recorder, subject: str, metric: str
) -> None:
    """Open a file of the kernel's for writing and write nothing."""
    done = environment.run([*OPEN, str(door)])
    values: dict[str, Scalar] = {metric: done.exit_status != 0}
    if values[metric]:
        values["refusal"] = done.stderr.decode(errors="replace").strip()
    for name, value in values.items():
        record.observe(subject, name, value, facts=environment.facts, instance=environment.name)


def _crash(
    provider: Provider, siblings: dict[str, Environment], record: Recorder, settings: Settings
) -> None:
    provider.prepare()
    with (
        provider.launch(deadline_s=settings.deadline_s) as victim,
        _counting(siblings.get("vm")) as vm_goes_on,
        _counting(siblings.get("container")) as container_goes_on,
    ):
        if not isinstance(victim, Mortal):
            record.missing("vm", f"{provider.name} does not tell how a machine ended")
            return
        if victim.run(["true"]).exit_status != 0:
            raise InfrastructureError(f"{victim.name} did not answer before its crash")
        facts, boot_id = victim.facts, host_facts()["boot_id"]
        values = _end(victim)
        values["host_survived"] = host_facts()["boot_id"] == boot_id
        for metric, goes_on in (
            ("vm_survived", vm_goes_on),
            ("container_survived", container_goes_on),
        ):
            if goes_on is not None:
                values[metric] = goes_on()
        for metric, value in values.items():
            record.observe("vm", metric, value, facts=facts, instance=victim.name)


def _end(victim: Mortal) -> dict[str, Scalar]:
    """Panic the guest's kernel and wait until somebody says so."""
    start = time.monotonic()
    try:
        # The command's own end, or its time-out, is no report yet: it need not know the cause.
        with suppress(EnvironmentDied, CommandTimedOut):
            victim.run(CRASH, timeout_s=REPORT_TIMEOUT_S)
        end = victim.await_death(timeout_s=REPORT_TIMEOUT_S)
    except CommandTimedOut:
        return {"end_reported": False, "end": "it was not reported"}
    return {"end_reported": True, "end": end, "report_s": time.monotonic() - start}


@contextmanager
def _counting(environment: Environment | None) -> Iterator[Callable[[], bool] | None]:
    """Count in the memory of a process inside; gives a function that sees it go on, or not."""
    if environment is None:
        yield None
        return
    pid = environment.run(["sh", "-c", COUNTER, COUNT_FILE]).stdout.decode().strip()

    def count() -> int:
        return int(environment.run(["cat", COUNT_FILE]).stdout.strip() or 0)

    def goes_on() -> bool:
        """Whether it counts further than it has, within the time."""
        until = time.monotonic() + SERVE_TIMEOUT_S
        with suppress(EnvironmentDied, CommandTimedOut):
            seen = count()
            while time.monotonic() < until:
                if count() > seen:
                    return True
        return False

    try:
        yield goes_on
    finally:
        with suppress(EnvironmentDied, CommandTimedOut):
            environment.run(["sh", "-c", 'kill "$1"; rm -f "$0"', COUNT_FILE, pid])
