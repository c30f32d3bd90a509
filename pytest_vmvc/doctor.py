"""What this host can measure, in one table: each row OK, missing or a problem with its remedy."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pytest_vmvc import conditions, host, validity
from pytest_vmvc.diagnosis import Diagnosis, Row, State
from pytest_vmvc.errors import Unavailable, VmvcError
from pytest_vmvc.model import Check, Tier
from pytest_vmvc.paths import cache_dir

GIB = 1 << 30
DISK_NEEDED_BYTES = 4 * GIB
MEMORY_NEEDED_BYTES = 2 * GIB

Probe = Callable[[], Row]


def inspect(probes: Sequence[Probe] | None = None) -> Diagnosis:
    """Ask every part of the host; nothing is changed but the remembered accelerator tier."""
    rows = tuple(probe() for probe in (probes if probes is not None else PROBES))
    return Diagnosis(
        version=importlib.metadata.version("pytest-vmvc"),
        host=host.manifest(known_tier()),
        rows=rows,
    )


def known_tier() -> Tier:
    """The accelerator tier found since this boot; ``none`` before it was looked for."""
    from pytest_vmvc.backends import accelerator as backend

    found = backend.cached()
    return found.tier if found else "none"


def engine() -> Row:
    """The container engine by its API: version, storage driver, cgroup version, runtimes."""
    from pytest_vmvc.backends.docker import engine_summary

    return guarded("engine", lambda: engine_words(engine_summary()), main=True)


def qemu() -> Row:
    """The hypervisor."""
    from pytest_vmvc.backends.qemu import qemu_version

    return guarded("qemu", lambda: str(qemu_version()), main=True)


def vagrant() -> Row:
    """Vagrant with its providers and plugins."""
    from pytest_vmvc.backends.vagrant import vagrant_summary

    return vagrant_row(vagrant_summary())


def libvirt() -> Row:
    """The libvirt daemon and its network ``default``."""
    from pytest_vmvc.backends import libvirt as backend

    def tell() -> str:
        if (reason := backend.problem()) is not None:
            raise reason
        return f"{backend.versions()}, network `{backend.NETWORK}` is up"

    return guarded("libvirt", tell)


def minimal_pair() -> Row:
    """Artefacts of the pair that the main job runs on."""
    from pytest_vmvc.subjects import minimal

    return pair_row("minimal", minimal.load, main=True)


def debian_pair() -> Row:
    """Artefacts of the pair with Vagrant."""
    from pytest_vmvc.subjects import debian

    return pair_row("debian", debian.load)


def accelerator() -> Row:
    """The tier, from memory of this boot or by booting a tiny guest with a deadline."""
    from pytest_vmvc.backends import accelerator as backend
    from pytest_vmvc.subjects import minimal

    remedy = ""

    def tell() -> str:
        nonlocal remedy
        artefacts = minimal.load()
        found = backend.cached() if artefacts is None else None
        if artefacts is not None:
            found = backend.detect(artefacts.kernel, artefacts.initrd)
        if found is None:
            raise Unavailable("not known: the minimal pair is not built", hint="vmvc setup")
        remedy = found.hint
        return f"{found.tier}: {found.reason}"

    row = guarded("accelerator", tell)
    return msgspec.structs.replace(row, remedy=row.remedy or remedy)


def disk() -> Row:
    """Free space where the artefacts are kept."""
    folder = cache_dir().absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return room(
        "disk",
        shutil.disk_usage(existing).free,
        needed_bytes=DISK_NEEDED_BYTES,
        where=f" at {folder}",
        remedy="free some, or point VMVC_CACHE_DIR at a bigger disk",
    )


def memory() -> Row:
    """Memory that is available now."""
    return room(
        "memory",
        int(host.load_snapshot()["mem_available_bytes"]),
        needed_bytes=MEMORY_NEEDED_BYTES,
        where="",
        remedy="end something big: two machines and the engine must fit",
    )


def quiet() -> Row:
    """Whether the host is quiet enough to time anything, by the gates that a run looks at."""
    return gates_row(conditions.now())


PROBES: tuple[Probe, ...] = (
    engine, qemu, vagrant, libvirt, minimal_pair, debian_pair, accelerator, disk, memory, quiet,
)  # fmt: skip


def guarded(name: str, tell: Callable[[], str], *, main: bool = False) -> Row:
    """A row from a function that says what is there, or raises what is wrong with it."""
    try:
        return Row(name=name, state="OK", detail=_one_line(tell()), main=main)
    except VmvcError as error:
        state: State = "missing" if "not installed" in error.message else "problem"
        return Row(
            name=name,
            state=state,
            detail=_one_line(error.message),
            remedy=_one_line(error.hint) or "vmvc setup",
            main=main,
        )


def pair_row(name: str, load: Callable[[], object | None], *, main: bool = False) -> Row:
    """Whether a pair is built."""

    def tell() -> str:
        if load() is None:
            raise Unavailable("not built", hint="vmvc setup")
        return "built"

    row = guarded(f"{name} pair", tell, main=main)
    return row if row.detail != "not built" else msgspec.structs.replace(row, state="missing")


def room(name: str, free_bytes: int, *, needed_bytes: int, where: str, remedy: str) -> Row:
    """Whether enough of something is free."""
    detail = f"{free_bytes / GIB:.1f} GiB free{where}"
    if free_bytes >= needed_bytes:
        return Row(name=name, state="OK", detail=detail)
    return Row(
        name=name,
        state="problem",
        detail=f"{detail}, {needed_bytes / GIB:.0f} GiB wanted",
        remedy=remedy,
    )


def gates_row(checks: Sequence[Check]) -> Row:
    """How many validity gates there are here, which are not, and which would fail now."""
    failed = "; ".join(validity.words(check) for check in checks if check.passed is False)
    absent = ", ".join(check.name for check in checks if check.passed is None)
    there = sum(check.passed is not None for check in checks)
    detail = f"{there} of {len(checks)} gates" + (f", not available: {absent}" if absent else "")
    if not failed:
        return Row(name="quiet", state="OK", detail=f"{detail}; all would pass now")
    return Row(
        name="quiet",
        state="problem",
        detail=f"{detail}; would fail now: {failed}",
        remedy="end what else runs: what a noisy host may have caused is INCONCLUSIVE",
    )


def vagrant_row(summary: Mapping[str, Any]) -> Row:
    """Vagrant and its provider; what is wrong with libvirt stands in its own row."""

    def tell() -> str:
        if summary["vagrant"] is None:
            cause, _, remedy = str(summary["problem"]).partition(" — ")
            raise Unavailable(cause, hint=remedy)
        if not summary["providers"]:
            raise Unavailable(
                "Vagrant's plugin vagrant-libvirt is not installed",
                hint="vmvc setup, or `vagrant plugin install vagrant-libvirt`",
            )
        hidden = "; KVM is hidden from libvirt's machines"
        providers = ", ".join(summary["providers"])
        note = hidden if summary["kvm_hidden_from_machines"] else ""
        if summary["others"]:
            note += f"; with tier other: {', '.join(summary['others'])}"
        return f"{summary['vagrant']}, provider {providers}{note}"

    return guarded("vagrant", tell)


ROOTLESS = "; rootless: what needs its containers to have control groups may be NOT TESTABLE"


def engine_words(summary: Mapping[str, Any]) -> str:
    """What of an engine changes a figure."""
    # containerd's own names of the same runtime tell nothing
    runtimes = [name for name in summary["runtimes"] if not name.startswith("io.containerd.")]
    return (
        f"{summary['name']} {summary['version']} (API {summary['api_version']}), storage "
        f"{summary['storage_driver']}, cgroup v{summary['cgroup_version']} by "
        f"{summary['cgroup_driver']}, runtimes {' '.join(runtimes)} "
        f"(default {summary['default_runtime']}), {summary['url']}"
        f"{ROOTLESS if summary['rootless'] else ''}"
    )


def _one_line(text: str) -> str:
    """Other programs' messages come with line breaks."""
    return " ".join(text.split())
