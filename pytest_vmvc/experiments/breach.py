"""What root in one container or machine reaches of its sibling and of the host."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.optional import Serves, Shape
from pytest_vmvc.errors import LaunchFailed, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.breach_probes import (
    OF_HOST,
    OF_KERNEL,
    ONLY_SEEN,
    PORT,
    SIBLING,
    Target,
    at_home,
    planted,
    probe,
    reached,
)
from pytest_vmvc.experiments.host_target import host_target
from pytest_vmvc.experiments.vantage import VOID, inside, isolation, on_host, reshaped
from pytest_vmvc.subjects import Pair

SHARED = "/shared"
NETWORK = "sibling tcp"
MUST_FIRE = frozenset({"sibling file", "sibling process", "sibling signal", "host file"})
"""What a container that shares a volume and the process table must reach, or the probe is void."""

Aim = tuple[str, Target, tuple[str, ...]]
"""Whose target it is, the target, and the probes whose controls came out right at its home."""


class Breach:
    """A matrix: every probe of every attacker on a sibling and on the host."""

    name = "breach"
    metrics = (
        isolation(
            "contained",
            "did not reach it",
            "the probe reached its target at the target's home, and not from this environment",
        ),
        isolation(
            "network_contained",
            "did not reach a sibling's port",
            "one TCP connection to the sibling's port was not answered by the sibling",
        ),
        isolation(
            "others_contained",
            "has no control over the others",
            "no file, signal, memory, disk, engine, module or control group of sibling or host "
            "was within reach; to see a process, or to connect to a port or socket, is no control",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record containers in three configurations, then machines."""
        with (
            tempfile.TemporaryDirectory(prefix="vmvc-", dir=pair.workdir) as folder,
            ExitStack() as stack,
        ):
            Path(folder).chmod(0o777)  # the container's root may be another user here
            host = stack.enter_context(host_target(Path(folder)))
            valid = stack.enter_context(planted(on_host, host, listens=False))
            aim = _aim("host", host, valid, (*OF_HOST, *OF_KERNEL), record)
            for done, subject in enumerate(("container", "vm")):
                record.progress(done, 2, "part")
                if gap := pair.missing.get(subject):
                    record.missing(subject, str(gap))
                elif subject in pair.subjects:
                    part = _containers if subject == "container" else _machines
                    part(pair, Path(folder), aim, record, settings)
        record.progress(2, 2, "part")


def _containers(pair: Pair, folder: Path, host: Aim, record: Recorder, settings: Settings) -> None:
    open_to_all = Shape(shared_folder=folder)
    try:
        victims = reshaped(pair, "container", open_to_all)
    except Unavailable as gap:
        record.missing("container", str(gap))
        return
    victims.prepare()

    def attack_from(subject: str, shape: Shape, aims: tuple[Aim, ...]) -> frozenset[str]:
        try:
            with reshaped(pair, "container", shape).launch(
                deadline_s=settings.deadline_s
            ) as attacker:
                return _attack(subject, attacker, aims, record)
        except (Unavailable, LaunchFailed) as gap:  # an engine may refuse such a configuration
            record.missing(subject, str(gap))
            return frozenset()

    with (
        victims.launch(deadline_s=settings.deadline_s) as victim,
        _sibling(victim, SHARED, record) as sibling,
    ):
        aims: tuple[Aim, ...] = (sibling, host)
        misconfigured = msgspec.structs.replace(open_to_all, shares_pids_with=victim.name)
        kept = attack_from("container-misconfigured", misconfigured, aims)
        aims = _without(MUST_FIRE & kept, aims, record)
        (attacker,) = pair.standing("container", 1, deadline_s=settings.deadline_s)
        _attack("container", attacker, aims, record)
        attack_from("container-hardened", Shape(configuration="hardened"), aims)


def _without(void: frozenset[str], aims: tuple[Aim, ...], record: Recorder) -> tuple[Aim, ...]:
    for name in sorted(void):
        record.missing(name.replace(" ", "-"), f"{VOID}: a container open to all does not reach it")
    return tuple(
        (whose, target, tuple(name for name in names if f"{whose} {name}" not in void))
        for whose, target, names in aims
    )


def _machines(pair: Pair, folder: Path, host: Aim, record: Recorder, settings: Settings) -> None:  # noqa: ARG001 - like the containers
    try:
        machines = reshaped(pair, "vm", Shape(ports=(PORT,)))
    except Unavailable as gap:
        record.missing("vm", str(gap))
        return
    machines.prepare()
    with (
        machines.launch(deadline_s=settings.deadline_s) as attacker,
        machines.launch(deadline_s=settings.deadline_s) as victim,
    ):
        for machine in (attacker, victim):
            if isinstance(machine, Serves):
                machine.address(PORT)  # brings its network up
        with _sibling(victim, "/tmp", record) as sibling:  # noqa: S108 - the machine's own
            _attack("vm", attacker, (sibling, host), record)


@contextmanager
def _sibling(victim: Environment, folder: str, record: Recorder) -> Iterator[Aim]:
    shell = inside(victim)
    addresses = re.findall(r"inet ([0-9.]+)", shell("ip -4 -o addr show"))
    target = Target(
        folder=folder,
        address=next((found for found in addresses if found != "127.0.0.1"), "127.0.0.1"),
    )
    target = at_home(target, shell)
    with planted(shell, target, listens=True) as valid:
        yield _aim("sibling", target, valid, SIBLING, record)


def _aim(
    whose: str,
    target: Target,
    valid: frozenset[str],
    probes: tuple[str, ...],
    record: Recorder,
) -> Aim:
    for name in probes:
        if name not in valid:
            record.missing(f"{whose}-{name}", f"{VOID} at its home")
    return whose, target, tuple(name for name in probes if name in valid)


def _attack(
    subject: str, attacker: Environment, aims: tuple[Aim, ...], record: Recorder
) -> frozenset[str]:
    """Record the matrix of one attacker; gives what it was kept from."""
    facts, shell = attacker.facts, inside(attacker)
    contained: dict[str, bool] = {}
    for whose, target, names in aims:
        hits = reached(shell, probe(target))
        contained |= {f"{whose} {name}": name not in hits for name in names}
    for name, held in contained.items():
        record.observe(subject, "contained", held, facts=facts, instance=name)
    if NETWORK in contained:
        held = contained[NETWORK]
        record.observe(subject, "network_contained", held, facts=facts, instance=NETWORK)
    under_control = [
        name
        for name, held in contained.items()
        if not held and name.partition(" ")[2] not in ONLY_SEEN
    ]
    record.observe(
        subject, "others_contained", not under_control, facts=facts, instance=attacker.name
    )
    return frozenset(name for name, held in contained.items() if held)
