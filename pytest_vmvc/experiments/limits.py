"""More memory, CPUs and processes are asked for than were granted: what stops, what goes on."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Shape, Shapeable
from pytest_vmvc.errors import EnvironmentDied, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.granted import MIB, draw, read
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

HOST = "host"
MACHINE = Shape(memory_bytes=192 * MIB, vcpus=2)
KILLED = 137
COMMAND_TIMEOUT_S = 60.0

FORK = """trap 'set -- /proc/[0-9]*; echo "alive $#"' EXIT
i=0
while [ $i -lt "$0" ]; do sleep 60 >/dev/null 2>&1 & i=$((i + 1)); done
trap - EXIT"""
"""Forks until that fails, which ends the shell; then it counts the processes without a fork."""


class OverLimits:
    """A machine, a container without limits, and containers with limits drawn at random."""

    name = "limits"
    metrics = (
        Metric(
            name="memory_seen",
            label="memory that it is shown",
            unit="bytes",
            definition="MemTotal of /proc/meminfo inside; on the host its own",
        ),
        Metric(
            name="cpus_seen",
            label="CPUs that it is shown",
            unit="",
            definition="`nproc` inside; on the host the CPUs that are online",
        ),
        Metric(
            name="memory_limited",
            label="its memory is limited",
            unit="",
            definition="the kernel has a memory limit for its cgroup",
        ),
        Metric(
            name="cpus_limited",
            label="its CPU time is limited",
            unit="",
            definition="the kernel has a CPU quota for its cgroup",
        ),
        Metric(
            name="processes_limited",
            label="its processes are limited",
            unit="",
            definition="the kernel has a limit of processes for its cgroup",
        ),
        Metric(
            name="memory_as_granted",
            label="its memory is what was granted",
            unit="",
            definition="container: the kernel's limit is what was asked for, rounded down to a "
            "page; machine: MemTotal inside is at most what was granted",
            emulation="flatters",
        ),
        Metric(
            name="cpus_as_granted",
            label="its CPUs are what was granted",
            unit="",
            definition="container: quota over period is what was asked for; machine: `nproc` "
            "inside is the number of CPUs granted",
            emulation="flatters",
        ),
        Metric(
            name="processes_as_granted",
            label="its processes are what was granted",
            unit="",
            definition="the kernel's limit is what was asked for",
        ),
        Metric(
            name="within_lives",
            label="an allocation below its memory lives",
            unit="",
            definition="a process that fills less than the granted memory ends well",
        ),
        Metric(
            name="beyond_dies",
            label="an allocation above its memory dies",
            unit="",
            definition="a process that fills more than the granted memory is killed (137); in a "
            "machine the guest's kernel kills or refuses it",
            emulation="flatters",
        ),
        Metric(
            name="survives",
            label="it survives an allocation above its memory",
            unit="",
            definition="after that it still answers a command",
            emulation="flatters",
        ),
        Metric(
            name="forks_held",
            label="forks stop at the granted number of processes",
            unit="",
            definition="when a fork fails, just as many processes live as were granted",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record the host, a default container, limited containers and a machine."""
        seen: dict[str, Scalar] = {
            "memory_seen": psutil.virtual_memory().total,
            "cpus_seen": psutil.cpu_count(),
        }
        for metric, value in seen.items():
            record.observe(HOST, metric, value, facts=None, instance=HOST)
        if gap := pair.missing.get("container"):
            record.missing("container", str(gap))
        elif "container" in pair.subjects:
            _unlimited(pair.standing("container", deadline_s=settings.deadline_s)[0], record)
            _limited_containers(pair.subjects["container"], record, settings)
        if gap := pair.missing.get("vm"):
            record.missing("vm", str(gap))
        elif "vm" in pair.subjects:
            _machine(pair.subjects["vm"], record, settings)


def _unlimited(environment: Environment, record: Recorder) -> None:
    shown = read(environment)
    values: dict[str, Scalar] = {
        "memory_seen": shown.memory_bytes,
        "cpus_seen": shown.cpus,
        "memory_limited": shown.memory_limit is not None,
        "cpus_limited": shown.cpu_limit is not None,
        "processes_limited": shown.process_limit is not None,
    }
    _observe(environment, "container", values, record)


def _limited_containers(provider: Provider, record: Recorder, settings: Settings) -> None:
    subject = "container-limited"
    examples = draw(settings.blocks, seed=settings.seed, cpus=psutil.cpu_count() or 1)
    for done, limits in enumerate(examples):
        record.progress(done, len(examples), "limits")
        shape = Shape(
            memory_bytes=limits.memory_bytes, vcpus=limits.vcpus, processes=limits.processes
        )
        if (shaped := _shaped(provider, shape, subject, record)) is None:
            return
        with shaped.launch(deadline_s=settings.deadline_s) as environment:
            shown = read(environment)
            values: dict[str, Scalar] = {
                "memory_as_granted": shown.memory_is(limits.memory_bytes),
                "cpus_as_granted": shown.cpus_are(limits.vcpus),
                "processes_as_granted": shown.process_limit == limits.processes,
                "within_lives": _fill(environment, limits.within_bytes) == 0,
                **_overrun(environment, limits.beyond_bytes, deaths={KILLED}),
            }
            # Last, as nothing can be started in it any more.
            if values["survives"]:
                values["forks_held"] = _fork(environment, limits.processes)
            _observe(environment, subject, values, record, instance=str(limits))
    record.progress(len(examples), len(examples), "limits")


def _machine(provider: Provider, record: Recorder, settings: Settings) -> None:
    if (shaped := _shaped(provider, MACHINE, "vm", record)) is None:
        return
    with shaped.launch(deadline_s=settings.deadline_s) as environment:
        granted = MACHINE.memory_bytes or 0
        shown = read(environment)
        values: dict[str, Scalar] = {
            "memory_seen": shown.memory_bytes,
            "cpus_seen": shown.cpus,
            "memory_as_granted": 0 < shown.memory_bytes <= granted,
            "cpus_as_granted": shown.cpus == MACHINE.vcpus,
            "within_lives": _fill(environment, granted // 4) == 0,
            **_overrun(environment, granted, deaths=None),
        }
        _observe(environment, "vm", values, record)


def _shaped(provider: Provider, shape: Shape, subject: str, record: Recorder) -> Provider | None:
    if not isinstance(provider, Shapeable):
        record.missing(subject, f"{provider.name} can grant nothing but its default")
        return None
    try:
        shaped = provider.shaped(shape)
        shaped.prepare()
    except Unavailable as gap:
        record.missing(subject, str(gap))
        return None
    return shaped


def _observe(
    environment: Environment,
    subject: str,
    values: Mapping[str, Scalar],
    record: Recorder,
    instance: str = "",
) -> None:
    for metric, value in values.items():
        record.observe(
            subject, metric, value, facts=environment.facts, instance=instance or environment.name
        )


def _fill(environment: Environment, size_bytes: int) -> int:
    """Exit status of a process that fills so much memory: one block, read from /dev/zero."""
    argv = ["dd", "if=/dev/zero", "of=/dev/null", f"bs={size_bytes}", "count=1"]
    return environment.run(argv, timeout_s=COMMAND_TIMEOUT_S).exit_status


def _overrun(
    environment: Environment, size_bytes: int, *, deaths: set[int] | None
) -> dict[str, Scalar]:
    """Fill more than there is; ``deaths``: statuses that count as its death, None for any."""
    try:
        status = _fill(environment, size_bytes)
        dies = status != 0 if deaths is None else status in deaths
        return {"beyond_dies": dies, "survives": environment.run(["true"]).exit_status == 0}
    except EnvironmentDied:
        return {"beyond_dies": True, "survives": False}


def _fork(environment: Environment, granted: int) -> bool:
    argv = ["sh", "-c", FORK, str(granted + 1)]
    said = environment.run(argv, timeout_s=COMMAND_TIMEOUT_S).stdout.decode(errors="replace")
    return said.split() == ["alive", str(granted)]
