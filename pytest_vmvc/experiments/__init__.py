"""One experiment a file: what is provisioned, and which series come out.

To add one: write the file, and name it here. Its name is the fixture that a claim asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_vmvc.errors import UsageError

if TYPE_CHECKING:
    from pytest_vmvc.experiments.base import Experiment


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where an experiment is, and what a scheduler must know without importing it."""

    place: str
    """``module:Class``, below this package."""
    summary: str
    """What it sees, in a line: the fixture's help."""
    timed: bool = False
    """Times something, so it runs alone; the others run first, side by side."""
    carrier: str = ""
    """The experiment whose fresh environments it rides in; empty where it has its own."""


BATTERY = "battery"
"""What is made before anything else is timed in emulated machines."""

CATALOGUE: Mapping[str, Entry] = {
    "kernel_facts": Entry(
        place="kernel_facts:KernelFacts",
        summary="whose kernel runs inside: release, boot id, boot time, visibility",
    ),
    "guest_cost": Entry(
        place="guest_cost:GuestCost",
        summary="what the guest's own kernel and init cost: bytes on disk, host memory",
        carrier="cold_start",
    ),
    "other_kernel": Entry(
        place="other_kernel:OtherKernel",
        summary="another kernel and another architecture, asked of both sides",
    ),
    "many_apps": Entry(
        place="many_apps:ManyApps",
        summary="applications of several userlands serving at once: how many kernels",
    ),
    "guest_crash": Entry(
        place="guest_crash:GuestCrash",
        summary="a guest's kernel panics: who goes on, and how soon its end is told",
    ),
    "attack_surface": Entry(
        place="attack_surface:AttackSurface",
        summary="what of the host's kernel is within reach: a vector of proxies",
    ),
    "host_view": Entry(
        place="host_view:HostView",
        summary="the host's pseudo-files and a change made on the host, seen from inside",
    ),
    "namespaces": Entry(
        place="namespaces:Namespaces",
        summary="the eight namespaces, the kernel and the clock: private or shared",
    ),
    "breach": Entry(
        place="breach:Breach",
        summary="what root in one container or machine reaches of its sibling and of the host",
    ),
    "limits": Entry(
        place="limits:OverLimits",
        summary="more memory, CPUs and processes are asked for than granted: what stops",
    ),
    "fidelity": Entry(
        place="fidelity:Fidelity",
        summary="arbitrary file trees on the way: names, modes, links, times, content",
    ),
    "porting": Entry(
        place="porting:Porting",
        summary="package, carry, import, first start elsewhere; and what bytes cost on the way",
        timed=True,
    ),
    "sizes": Entry(place="sizes:Sizes", summary="bytes to fetch and to keep"),
    "cold_start": Entry(
        place="cold_start:ColdStart",
        summary="fresh starts, paired and interleaved, on one stopwatch",
        timed=True,
    ),
    "acquisition": Entry(
        place="acquisition:Acquisition",
        summary="from nothing local to ready: a registry of images, a catalogue of boxes",
        timed=True,
    ),
    "move": Entry(
        place="move:Move",
        summary="live migration against destroying and re-creating: does a counter go on",
        timed=True,
    ),
    "creation": Entry(
        place="creation:Creation",
        summary="how long creating takes, without starting",
        carrier="cold_start",
    ),
    "building": Entry(
        place="building:Building",
        summary="from packages or a description to the first answer: seconds, steps",
        timed=True,
    ),
    "workload": Entry(
        place="workload:Workload",
        summary="one small web workload in each kind and as bare processes: CPU, memory, disk",
        carrier="cold_start",
    ),
    "platforms": Entry(
        place="platforms:Platforms",
        summary="a small test suite on several userlands: time, memory and bytes for each",
        timed=True,
    ),
    "fleet": Entry(
        place="fleet:Fleet",
        summary="idle instances of each kind, alive at once: memory, disk, CPU, control plane",
        timed=True,
    ),
    "scaling": Entry(
        place="scaling:Scaling",
        summary="time and bytes to 1, 2, 4, 8 ready replicas",
        timed=True,
    ),
    "elasticity": Entry(
        place="elasticity:Elasticity",
        summary="memory taken and given up again: what the host still holds of it",
        timed=True,
    ),
    "load": Entry(
        place="web_load:Load",
        summary="open-loop load from idle to high and back: memory and CPU in each phase",
        timed=True,
    ),
    BATTERY: Entry(
        place="battery:Battery",
        summary="small works in an emulated guest and on the host: by how much it is slowed down",
        timed=True,
    ),
}
"""All experiments, by the name of their fixture."""


def is_survey(name: str) -> bool:
    """Whether it times nothing and provisions for itself, so that it may run beside others."""
    entry = CATALOGUE[name]
    return not entry.timed and not entry.carrier


def carrier_of(name: str) -> str:
    """The experiment that it rides in; empty where it has environments of its own."""
    return CATALOGUE[name].carrier


def load(name: str) -> Experiment:
    """Make an experiment by name; raises `UsageError` on a name that is not known."""
    if name not in CATALOGUE:
        raise UsageError(f"there is no experiment {name}", hint=f"one of {', '.join(CATALOGUE)}")
    module, _, kind = CATALOGUE[name].place.partition(":")
    found: Any = getattr(import_module(f"{__name__}.{module}"), kind)
    experiment: Experiment = found()
    return experiment
