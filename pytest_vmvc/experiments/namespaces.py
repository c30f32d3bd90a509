"""What the kernel keeps apart for a container, namespace by namespace, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.errors import LaunchFailed, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.vantage import (
    HOST,
    NAMESPACES,
    VOID,
    Shell,
    inside,
    isolation,
    named,
    namespaces,
    on_host,
    reshaped,
    shared,
)
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

WITHOUT_NAMESPACE = """echo "kernel=$(cat /proc/sys/kernel/random/boot_id)"
echo "clock=$(grep '^btime ' /proc/stat)"
"""
"""The kernel itself, and its clock by the moment from which that counts."""

UNSHARED = """unshare --uts readlink /proc/self/ns/uts 2>/dev/null
unshare --user readlink /proc/self/ns/user 2>/dev/null
"""
"""A process of the host with a namespace of its own, as far as it may have one."""

Resources = Mapping[str, str]
"""An identity for each namespace, the kernel and the clock, by name."""


class Namespaces:
    """The eight namespaces, the kernel and the clock: whose they are inside."""

    name = "namespaces"
    metrics = (
        Metric(
            name="identity",
            label="identity",
            unit="",
            definition="boot id and inode of /proc/self/ns/<name>; boot id; btime of /proc/stat",
        ),
        isolation(
            "private",
            "own namespace, kernel or clock",
            "its identity is not that of the host (container-sibling: of another container)",
        ),
        isolation("all_private", "shares none of them", "every one of these is private"),
        Metric(
            name="shared",
            label="what is shared",
            unit="",
            definition="names of those that are not private",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record the resources of the host, of a container beside another one, of a machine."""
        host = _resources(on_host)
        own = {name: Path(f"/proc/self/ns/{name}") for name in NAMESPACES if name in host}
        if any(not host[name].endswith(str(link.readlink())) for name, link in own.items()):
            # The negative control: a child of this process shares everything with it.
            record.missing("container", f"{VOID}: a process of the host looked private")
            record.missing("vm", f"{VOID}: a process of the host looked private")
            return
        for name, identity in host.items():
            record.observe(HOST, "identity", identity, facts=None, instance=name)
        for done, subject in enumerate(("container", "vm")):
            record.progress(done, 2, "part")
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
            elif subject in pair.subjects:
                look = _containers if subject == "container" else _machine
                look(pair, host, record, settings)
        record.progress(2, 2, "part")


def _machine(pair: Pair, host: Resources, record: Recorder, settings: Settings) -> None:
    (machine,) = pair.standing("vm", 1, deadline_s=settings.deadline_s)
    _compare("vm", machine, _resources(inside(machine)), host, record)


def _containers(pair: Pair, host: Resources, record: Recorder, settings: Settings) -> None:
    one, other = pair.standing("container", 2, deadline_s=settings.deadline_s)
    found = _resources(inside(one))
    try:
        flipped = _with_pids_of_host(pair, host, record, settings)
    except (Unavailable, LaunchFailed) as gap:
        record.missing("container-host-pid", str(gap))
        record.missing("container", f"void: its control could not be started: {gap}")
        return
    if not flipped:
        record.missing("container", f"{VOID}: --pid=host did not give the host's pid namespace")
        return
    if found.get("pid") == host["pid"] and not _sees_private(host):
        record.missing("container", f"{VOID}: nothing was seen to have a namespace of its own")
        return
    _compare("container", one, found, host, record)
    _compare("container-sibling", one, found, _resources(inside(other)), record)


def _sees_private(host: Resources) -> bool:
    """The positive control where a container shares its pids even so: a process that unshares."""
    found = {line.partition(":")[0]: line for line in on_host(UNSHARED).splitlines()}
    return any(not host[name].endswith(identity) for name, identity in found.items())


def _with_pids_of_host(pair: Pair, host: Resources, record: Recorder, settings: Settings) -> bool:
    """The control that must be seen to share: a container in the host's pid namespace."""
    exposed = reshaped(pair, "container", Shape(configuration="host-pid"))
    with exposed.launch(deadline_s=settings.deadline_s) as container:
        found = _resources(inside(container))
        _compare("container-host-pid", container, found, host, record)
    return found.get("pid") == host["pid"]


def _compare(
    subject: str, of: Environment, found: Resources, others: Resources, record: Recorder
) -> None:
    same = shared(found, others)
    facts = of.facts
    for name, identity in found.items():
        record.observe(subject, "identity", identity, facts=facts, instance=name)
        record.observe(subject, "private", name not in same, facts=facts, instance=name)
    record.observe(subject, "all_private", not same, facts=facts, instance=of.name)
    record.observe(subject, "shared", ", ".join(same) or "none", facts=facts, instance=of.name)


def _resources(shell: Shell) -> Resources:
    return {**namespaces(shell), **named(shell(WITHOUT_NAMESPACE).splitlines())}
