"""One experiment a file: what is provisioned, and which series come out.

Imported by every pytest, for the fixtures' names: nothing heavy is imported here.

To add one: write the file, and name it here; one of another distribution is an entry point in the
group ``vmvc.experiments`` (docs/extending.md). Its name is the fixture that a claim asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import cleandoc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_vmvc import extensions
    from pytest_vmvc.experiments.base import Experiment


class Entry(NamedTuple):
    """Where an experiment is, and what a scheduler must know without importing it."""

    place: str
    """``module:Class``, below this package; of another's, from the top."""
    summary: str
    """What it sees, in a line: the fixture's help."""
    timed: bool = False
    """Times something, so it runs alone; the others run first, side by side."""
    carrier: str = ""
    """The experiment whose fresh environments it rides in; empty where it has its own."""
    adds: tuple[str, ...] = ()
    """Subjects that it takes down beside those of the pair, such as ``container-hardened``."""


BATTERY = "battery"
"""What is made before anything else is timed in emulated machines."""

CATALOGUE: Mapping[str, Entry] = {
    "kernel_facts": Entry(
        place="kernel_facts:KernelFacts",
        summary="whose kernel runs inside: release, boot id, boot time, visibility",
        adds=("host", "userlands"),
    ),
    "guest_cost": Entry(
        place="guest_cost:GuestCost",
        summary="what the guest's own kernel and init cost: bytes on disk, host memory",
        carrier="cold_start",
    ),
    "other_kernel": Entry(
        place="other_kernel:OtherKernel",
        summary="another kernel and another architecture, asked of both sides",
        adds=("host", "userlands", "container-without-emulator", "vm-foreign"),
    ),
    "many_apps": Entry(
        place="many_apps:ManyApps",
        summary="applications of several userlands serving at once: how many kernels",
        adds=("host",),
    ),
    "guest_crash": Entry(
        place="guest_crash:GuestCrash",
        summary="a guest's kernel panics: who goes on, and how soon its end is told",
        adds=("container-with-sysrq",),
    ),
    "attack_surface": Entry(
        place="attack_surface:AttackSurface",
        summary="what of the host's kernel is within reach: a vector of proxies",
        adds=(
            "host",
            "container-hardened",
            "vm-capabilities",
            "vm-host-devices",
            "vm-host-files",
            "vm-host-namespaces",
            "vm-proxies",
            "vm-system-calls",
        ),
    ),
    "host_view": Entry(
        place="host_view:HostView",
        summary="the host's pseudo-files and a change made on the host, seen from inside",
    ),
    "namespaces": Entry(
        place="namespaces:Namespaces",
        summary="the eight namespaces, the kernel and the clock: private or shared",
        adds=("host", "container-host-pid", "container-sibling"),
    ),
    "breach": Entry(
        place="breach:Breach",
        summary="what root in one container or machine reaches of its sibling and of the host",
        adds=("container-hardened", "container-misconfigured"),
    ),
    "limits": Entry(
        place="limits:OverLimits",
        summary="more memory, CPUs and processes are asked for than granted: what stops",
        adds=("host", "container-limited"),
    ),
    "fidelity": Entry(
        place="fidelity:Fidelity",
        summary="arbitrary file trees on the way: names, modes, links, times, content",
        adds=("container-podman",),
    ),
    "porting": Entry(
        place="porting:Porting",
        summary="package, carry, import, first start elsewhere; and what bytes cost on the way",
        timed=True,
        adds=("host", "container-guest", "container-podman", "vm-padded"),
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
        adds=("public-images", "public-boxes"),
    ),
    "move": Entry(
        place="move:Move",
        summary="live migration against destroying and re-creating: does a counter go on",
        timed=True,
        adds=("container-checkpoint",),
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
        adds=("vm-clone",),
    ),
    "workload": Entry(
        place="workload:Workload",
        summary="one small web workload in each kind and as bare processes: CPU, memory, disk",
        carrier="cold_start",
        adds=("bare",),
    ),
    "platforms": Entry(
        place="platforms:Platforms",
        summary="a small test suite on several userlands: time, memory and bytes for each",
        timed=True,
        adds=("host",),
    ),
    "fleet": Entry(
        place="fleet:Fleet",
        summary="idle instances of each kind, alive at once: memory, disk, CPU, control plane",
        timed=True,
        adds=("host",),
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
        adds=("vm-reporting", "vm-untouched"),
    ),
    "load": Entry(
        place="web_load:Load",
        summary="open-loop load from idle to high and back: memory and CPU in each phase",
        timed=True,
        adds=("container-idle", "container-low", "container-high", "container-after"),
    ),
    BATTERY: Entry(
        place="battery:Battery",
        summary="small works in an emulated guest and on the host: by how much it is slowed down",
        timed=True,
        adds=("bare",),
    ),
}
"""The shipped experiments, by the name of their fixture."""


def others() -> Mapping[str, extensions.Extension]:
    """The experiments of other distributions, by the name of their fixture; none is imported.

    Raises `UsageError` where one has a name that is taken, or that no fixture can have.
    """
    from pytest_vmvc import extensions

    found = extensions.by_name(extensions.EXPERIMENTS, CATALOGUE)
    for one in found.values():
        if not one.name.isidentifier() or one.name.startswith("_"):
            raise one.wrong("no fixture can be called so", "its name is to be like host_view")
    return found


def names() -> tuple[str, ...]:
    """Every experiment that there is; raises `UsageError` as `others` does."""
    return (*CATALOGUE, *others())


def entry(name: str) -> Entry:
    """What a scheduler must know of an experiment; one of another distribution is imported for it.

    Raises `UsageError` on a name that is not known, and as `load` does.
    """
    return CATALOGUE[name] if name in CATALOGUE else _described(name, load(name))


def is_survey(name: str) -> bool:
    """Whether it times nothing and provisions for itself, so that it may run beside others."""
    found = entry(name)
    return not found.timed and not found.carrier


def carrier_of(name: str) -> str:
    """The experiment that it rides in; empty where it has environments of its own."""
    return entry(name).carrier


def load(name: str) -> Experiment:
    """Make an experiment by name.

    Raises `UsageError` on a name that is not known, and on an entry point that cannot be imported
    or is no experiment.
    """
    if name in CATALOGUE:
        module, _, kind = CATALOGUE[name].place.partition(":")
        shipped: Experiment = getattr(import_module(f"{__name__}.{module}"), kind)()
        return shipped
    if (one := others().get(name)) is None:
        from pytest_vmvc.errors import UsageError

        raise UsageError(f"there is no experiment {name}", hint=f"one of {', '.join(names())}")
    kind = one.load()
    try:
        made: Experiment = kind() if isinstance(kind, type) else kind
    except Exception as error:  # a stranger's class may do anything
        raise one.wrong(f"it cannot be made: {type(error).__name__}: {error}") from error
    if lacking := _lacking(made, name):
        raise one.wrong(f"it is no experiment: {lacking}", "see docs/extending.md")
    return made


def _described(name: str, made: Experiment) -> Entry:
    """What an experiment of another distribution says of itself; it is timed unless it denies it.

    What runs alone spoils nobody's figures.
    """
    text = cleandoc(type(made).__doc__ or "").partition("\n")[0].rstrip(".")
    carrier = getattr(made, "carrier", "")
    return Entry(
        place=others()[name].point.value,
        summary=text[:1].lower() + text[1:] or f"of {others()[name].distribution}",
        timed=not carrier and getattr(made, "timed", True),
        carrier=carrier,
        adds=tuple(getattr(made, "adds", ())),
    )


def _lacking(made: object, name: str) -> str:
    """What keeps an object from being the experiment of that name; nothing where it is one."""
    from pytest_vmvc.model import Metric

    carrier = getattr(made, "carrier", "")
    metrics = getattr(made, "metrics", None)
    works = "ride" if carrier else "run"
    if getattr(made, "name", None) != name:
        return f"its `name` is {getattr(made, 'name', None)!r}, not {name!r}"
    if not metrics or not all(isinstance(metric, Metric) for metric in metrics):
        return "its `metrics` are no tuple of Metric"
    if len({metric.name for metric in metrics}) < len(metrics):
        return "two of its `metrics` have one name"
    if not callable(getattr(made, works, None)):
        return f"it has no method `{works}`"
    if carrier and (carrier not in names() or _rides(carrier)):
        return f"its `carrier` is {carrier!r}, which is no experiment with environments of its own"
    return ""


def _rides(name: str) -> bool:
    if name in CATALOGUE:
        return bool(CATALOGUE[name].carrier)
    return bool(getattr(others()[name].load(), "carrier", ""))
