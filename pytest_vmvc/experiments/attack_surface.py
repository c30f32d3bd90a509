"""How much of the host's kernel is within reach: a vector of proxies, never one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.optional import Confined, Shape
from pytest_vmvc.errors import InfrastructureError, LaunchFailed, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.pseudo_files import differential
from pytest_vmvc.experiments.vantage import (
    HOST,
    VOID,
    Shell,
    inside,
    isolation,
    namespaces,
    on_host,
    reshaped,
    shared,
)
from pytest_vmvc.subjects import Pair

DEVICES = r"""echo "$(cat /proc/sys/kernel/random/boot_id)"
find /dev \( -type c -o -type b \) 2>/dev/null | xargs stat -c '%F %t:%T' 2>/dev/null
"""

PROXIES: Mapping[str, tuple[str, str, str]] = {
    "host_files": (
        "files",
        "pseudo-files that show the host's value",
        "of the fixed list: readable inside, and equal to the host's",
    ),
    "host_namespaces": (
        "namespaces",
        "namespaces shared with the host",
        "of the eight: those of the host's kernel that a process inside shares with the host",
    ),
    "host_devices": (
        "devices",
        "device nodes of the host's kernel",
        "kinds of device nodes in /dev inside that the host's kernel serves and the host has too",
    ),
    "capabilities": (
        "capabilities",
        "effective capabilities towards the host",
        "of the process of the host that inside acts through: the payload; the emulator",
    ),
    "system_calls": (
        "calls",
        "system calls of the host's kernel",
        "that this process may make: its seccomp profile against the kernel's own list, offline",
    ),
}
"""Unit, label and definition of each; fixed before any data."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the host has, to be found again inside."""

    namespaces: Mapping[str, str]
    devices: set[tuple[str, str]]


Reach = Mapping[str, int | Unavailable]
"""Each proxy's count, or why it cannot be told."""


class AttackSurface:
    """A standing container and a standing machine, proxy by proxy."""

    name = "attack_surface"
    metrics = (
        *(
            isolation(name, label, definition, unit=unit)
            for name, (unit, label, definition) in PROXIES.items()
        ),
        isolation(
            "ahead",
            "less within reach than the container has",
            "this proxy's count for the machine is below the container's",
        ),
        isolation(
            "proxies_agree",
            "less within reach by every proxy",
            "the machine's count is below the container's in every proxy",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record every proxy of both sides, then whether the machine is ahead in it."""
        host = _control(record)
        standing: dict[str, tuple[Environment, Reach]] = {}
        for done, subject in enumerate(("container", "vm")):
            record.progress(done, 3, "part")
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
            elif subject in pair.subjects:
                (environment,) = pair.standing(subject, 1, deadline_s=settings.deadline_s)
                standing[subject] = environment, _reach(environment, host)
        record.progress(2, 3, "part")
        if "container" in standing:
            container, reach = standing["container"]
            checked = _checked(reach, pair, host, record, settings)
            standing["container"] = container, checked
        for subject, (environment, reach) in standing.items():
            _record(subject, environment, reach, record)
        if len(standing) == 2:
            _compare(standing["container"][1], *standing["vm"], record)
        elif "vm" in standing:
            for proxy in (*PROXIES, "proxies"):
                record.missing(f"vm-{_word(proxy)}", "there is no container to compare it with")
        record.progress(3, 3, "part")


def _reach(environment: Environment, host: Host) -> Reach:
    shell = inside(environment)

    def of_its_process(name: str) -> int | Unavailable:
        if not isinstance(environment, Confined):
            return Unavailable("its provider does not tell its process on the host")
        ask: Callable[[], int] = getattr(environment, name)
        try:
            return ask()
        except Unavailable as gap:
            return gap

    return {
        "host_files": len(differential(shell).equal),
        "host_namespaces": len(shared(namespaces(shell), host.namespaces)),
        "host_devices": len(_devices(shell) & host.devices),
        "capabilities": of_its_process("capabilities"),
        "system_calls": of_its_process("system_calls"),
    }


def _devices(shell: Shell) -> set[tuple[str, str]]:
    """Device nodes there, each with the kernel that serves it."""
    boot_id, _, nodes = shell(DEVICES).partition("\n")
    return {(boot_id, node) for node in nodes.splitlines()}


def _control(record: Recorder) -> Host:
    """The positive control: everything of the host is within the host's own reach."""
    host = Host(namespaces=namespaces(on_host), devices=_devices(on_host))
    found: dict[str, int] = {
        "host_files": len(differential(on_host).equal),
        "host_namespaces": len(shared(namespaces(on_host), host.namespaces)),
        "host_devices": len(_devices(on_host) & host.devices),
    }
    for proxy, count in found.items():
        if not count:
            raise InfrastructureError(f"{VOID}: {proxy} of the host itself is nothing")
        record.observe(HOST, proxy, count, facts=None, instance=HOST)
    return host


def _checked(reach: Reach, pair: Pair, host: Host, record: Recorder, settings: Settings) -> Reach:
    """The negative control: a container without capabilities must be seen to have none."""
    try:
        hardened = reshaped(pair, "container", Shape(configuration="hardened"))
        with hardened.launch(deadline_s=settings.deadline_s) as container:
            bare = _reach(container, host)
            _record("container-hardened", container, bare, record)
    except (Unavailable, LaunchFailed) as gap:
        return {**reach, "capabilities": Unavailable(f"void: no control of it: {gap}")}
    if bare["capabilities"] == 0 or isinstance(reach["capabilities"], Unavailable):
        return reach
    return {**reach, "capabilities": Unavailable(VOID)}


def _record(subject: str, environment: Environment, reach: Reach, record: Recorder) -> None:
    for proxy, count in reach.items():
        if isinstance(count, Unavailable):
            record.missing(f"{subject}-{_word(proxy)}", str(count))
        else:
            record.observe(
                subject, proxy, count, facts=environment.facts, instance=environment.name
            )


def _compare(container: Reach, machine: Environment, reach: Reach, record: Recorder) -> None:
    ahead: dict[str, bool] = {}
    for proxy, own in reach.items():
        other, subject = container[proxy], f"vm-{_word(proxy)}"
        if isinstance(other, Unavailable):
            record.missing(subject, f"of the container: {other}")
        elif not isinstance(own, Unavailable):
            ahead[proxy] = own < other
            record.observe(
                subject, "ahead", ahead[proxy], facts=machine.facts, instance=machine.name
            )
    if all(ahead.values()) and len(ahead) < len(reach):
        lacking = ", ".join(_word(proxy) for proxy in reach if proxy not in ahead)
        record.missing("vm-proxies", f"not every proxy could be told: {lacking}")
    else:
        agree = all(ahead.values())
        record.observe(
            "vm-proxies", "proxies_agree", agree, facts=machine.facts, instance=machine.name
        )


def _word(proxy: str) -> str:
    return proxy.replace("_", "-")
