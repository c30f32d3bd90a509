"""What setup would do, as data: from what was seen on the host to a list of steps. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_vmvc.setup.requirements import REQUIREMENTS, Requirement

Pair = Literal["minimal", "debian"]
PAIRS: tuple[Pair, ...] = ("minimal", "debian")
State = Literal["answers", "stopped", "forbidden", "absent"]
"""Of a daemon: ``forbidden`` means that its socket is there and not for this user."""


VENDOR_VAGRANT = (
    "this distribution has no vagrant package: install Vagrant from its vendor's package "
    "repository (HashiCorp's instructions for Linux), then `vagrant plugin install "
    "vagrant-libvirt` (it needs libvirt-dev, ruby-dev and a compiler), and run setup again. "
    "Until then the bare QEMU machine stands for the virtual machine"
)


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The host as setup found it."""

    os_name: str
    apt: bool
    root: bool
    user: str
    systemd: bool
    present: frozenset[str]
    """Packages of `REQUIREMENTS` that are met, by the package or by its program."""
    unknown_to_apt: frozenset[str] = frozenset()
    """Packages with no candidate; empty where apt has never been updated."""
    engine: State
    engine_reason: str = ""
    engine_host: str = ""
    """DOCKER_HOST, where it names an engine that is not this host's own."""
    libvirt: State
    network_active: bool = False
    kvm_forbidden: bool = False
    kvm_hidden: bool = False
    """/dev/kvm is there and not for libvirt's machines, as on a host without udev."""
    groups: frozenset[str] = frozenset()
    """Groups of this process."""
    listed_groups: frozenset[str] = frozenset()
    """Groups of the user in the database; they count from the next log-in on."""
    built: frozenset[Pair] = frozenset()
    tier: str = ""
    """Accelerator tier known for this boot, or empty."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    only: Pair | None = None
    rebuild: bool = False
    install: bool = True
    extras: bool = True
    """Whether packages that only single experiments need are installed too."""


class Install(msgspec.Struct, frozen=True):
    """Install system packages with apt."""

    packages: tuple[str, ...]


class StartDaemon(msgspec.Struct, frozen=True):
    """Start a daemon and wait until it answers."""

    name: Literal["docker", "libvirt"]


class PermitKvm(msgspec.Struct, frozen=True):
    """Give /dev/kvm to the group kvm; libvirt examines QEMU again and again where it may not."""


class StartNetwork(msgspec.Struct, frozen=True):
    """Define, if need be, and start libvirt's network ``default``."""


class JoinGroups(msgspec.Struct, frozen=True):
    """Let the user talk to the daemons; it counts from the next log-in on."""

    user: str
    groups: tuple[str, ...]


class Build(msgspec.Struct, frozen=True):
    """Build image and machine of a pair; ``check`` only hands what is built to those who run it."""

    pair: Pair
    how: Literal["build", "build again", "check"] = "build"


class Detect(msgspec.Struct, frozen=True):
    """Find the accelerator tier by booting a tiny guest."""


Step = Install | PermitKvm | StartDaemon | StartNetwork | JoinGroups | Build | Detect
PRIVILEGED = (Install, PermitKvm, StartDaemon, JoinGroups)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Steps in order; nothing is done where ``blocked`` says why it cannot be."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    blocked: str = ""
    log_in_again: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is made or changed; looking costs a person no decision."""
        looks = {Detect(), *(Build(pair, "check") for pair in PAIRS)}
        return not looks.issuperset(self.steps)

    @property
    def privileged(self) -> bool:
        """Whether a step changes the system outside the user's own folders."""
        return any(isinstance(step, PRIVILEGED) for step in self.steps)


def make_plan(seen: Observed, options: Options) -> Plan:
    """The steps from the host as it is to a host that can run what was asked for."""
    if seen.engine != "answers" and seen.engine_host:
        return Plan(
            blocked=f"the engine at DOCKER_HOST={seen.engine_host} does not answer "
            f"({seen.engine_reason}): start it, or unset DOCKER_HOST"
        )
    notes: list[str] = []
    pairs = _pairs(seen, options)
    if "debian" not in pairs and options.only != "minimal":
        notes.append(f"debian pair: {VENDOR_VAGRANT}")
        if options.only == "debian":
            return Plan(blocked=notes[0])
    missing = _missing(seen, pairs)
    if missing and not seen.apt:
        return Plan(blocked=_by_hand(seen, missing))
    if missing and not options.install:
        names = ", ".join(need.package for need in missing)
        notes.append(f"missing and not installed (--no-install): {names}")
        pairs = tuple(pair for pair in pairs if not _missing(seen, (pair,)))
        if not pairs:
            return Plan(blocked=notes[-1])
        missing = []
    extras, without = _extras(seen, options)
    notes += without
    wanted = tuple(need.package for need in (*missing, *extras))
    steps: list[Step] = [Install(wanted)] if wanted else []
    steps += _daemons(seen, pairs)
    needed = _needed_groups(seen, pairs)
    if joining := tuple(sorted(needed - seen.listed_groups)):
        steps.append(JoinGroups(seen.user, joining))
    if needed - seen.groups:
        return Plan(steps=tuple(steps), notes=tuple(notes), log_in_again=True)
    if "debian" in pairs and not seen.network_active:
        steps.append(StartNetwork())
    steps += [_build(pair, seen, options) for pair in pairs]
    if not seen.tier:
        steps.append(Detect())
    return Plan(steps=tuple(steps), notes=tuple(notes))


def describe(step: Step) -> str:
    """The step in words, as shown before anything is done."""
    match step:
        case Install(packages):
            return f"install system packages: {' '.join(packages)}"
        case StartDaemon(name):
            return f"start {name} and wait until it answers"
        case PermitKvm():
            return "give /dev/kvm to the group kvm, as udev would (libvirt is slow without)"
        case StartNetwork():
            return "start libvirt's network `default`"
        case JoinGroups(user, groups):
            return f"add {user} to the groups {', '.join(groups)} (then log in again)"
        case Build(pair, how):
            return f"{how} the {pair} pair (image and machine)"
        case Detect():
            return "find the accelerator by booting a tiny guest"


def _daemons(seen: Observed, pairs: tuple[Pair, ...]) -> list[Step]:
    found: list[Step] = []
    if "debian" in pairs and seen.kvm_hidden:
        found.append(PermitKvm())
    if seen.engine in ("stopped", "absent"):
        found.append(StartDaemon("docker"))
    if "debian" in pairs and seen.libvirt in ("stopped", "absent"):
        found.append(StartDaemon("libvirt"))
    return found


def _build(pair: Pair, seen: Observed, options: Options) -> Build:
    if options.rebuild:
        return Build(pair, "build again")
    return Build(pair, "check" if pair in seen.built else "build")


def _pairs(seen: Observed, options: Options) -> tuple[Pair, ...]:
    wanted = (options.only,) if options.only else PAIRS
    no_vagrant = any(
        need.package in seen.unknown_to_apt
        for need in _missing(seen, ("debian",))
        if need.area == "vagrant"
    )
    return tuple(pair for pair in wanted if pair == "minimal" or not no_vagrant)


def _missing(seen: Observed, pairs: tuple[Pair, ...]) -> list[Requirement]:
    areas = {"machine"}
    if seen.engine == "absent" or (seen.engine == "stopped" and seen.apt):
        areas.add("engine")
    if "debian" in pairs:
        areas |= {"disk", "vagrant"}
    return [
        need for need in REQUIREMENTS if need.area in areas and need.package not in seen.present
    ]


def _extras(seen: Observed, options: Options) -> tuple[list[Requirement], list[str]]:
    """What single experiments lack and this host could have: to be installed, or to be told."""
    lacking = seen.present | seen.unknown_to_apt
    extras = [need for need in REQUIREMENTS if need.area == "extra" and need.package not in lacking]
    if not extras or (seen.apt and options.install and options.extras):
        return extras, []
    words = ", ".join(need.words for need in extras)
    return [], [f"not found: {words}; the claims that need them are NOT TESTABLE"]


def _needed_groups(seen: Observed, pairs: tuple[Pair, ...]) -> set[str]:
    """Groups without which this user cannot talk to the daemons."""
    if seen.root:
        return set()
    needed = set()
    if seen.engine != "answers":
        needed.add("docker")
    if "debian" in pairs and seen.libvirt != "answers":
        needed.add("libvirt")
    if seen.kvm_forbidden:
        needed.add("kvm")
    return needed


def _by_hand(seen: Observed, missing: list[Requirement]) -> str:
    words = "; ".join(
        need.words + (f" (program {need.program})" if need.program else "") for need in missing
    )
    return (
        f"{seen.os_name} is not a Debian or Ubuntu system: install with its own tools: {words}; "
        "then run setup again (`--only minimal` needs neither Vagrant nor libvirt)"
    )
