"""The pairs that ship with the project, made of what this host offers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pytest_vmvc.backends.base import Progress, Provider
from pytest_vmvc.errors import Unavailable, UsageError
from pytest_vmvc.model import Tier
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import (
    Offer,
    Pair,
    apps,
    debian,
    foreign,
    klibc,
    minimal,
    own_offers,
    pair,
    platforms,
    registry,
)
from pytest_vmvc.subjects.builders import Builder, ImageBuilder, MachineBuilder
from pytest_vmvc.subjects.offered import Offered
from pytest_vmvc.subjects.own import OwnPair

if TYPE_CHECKING:
    from pytest_vmvc.backends.qemu import QemuProvider

_T = TypeVar("_T")
MACHINE_CPUS = 2
"""Most CPUs of the Vagrant machine; a distribution's boot is work for more than one."""


def load(
    name: str,
    scope: RunScope,
    *,
    own: Mapping[str, OwnPair] = MappingProxyType({}),
    offered: Mapping[str, Offered] = MappingProxyType({}),
    runtime: str = "",
    machine: str = "",
    progress: Progress = lambda *_: None,
) -> Pair:
    """Make a pair by name: shipped, of the user's ``own``, or ``offered`` by somebody else.

    ``runtime``: the engine's runtime for its containers; ``machine``: QEMU's machine type for the
    pair's bare machine; empty: the default. Raises `UsageError` on a name that is not known and on
    what is wrong in a pair that is not shipped.
    """

    def bound(offers: Mapping[str, Offer]) -> dict[str, Callable[[], Provider]]:
        return {key: partial(offer, scope) for key, offer in offers.items()}

    def chosen(
        offers: Mapping[str, Callable[[], Provider]], machine: str = ""
    ) -> dict[str, Callable[[], Provider]]:
        return {key: partial(_chosen, offer, runtime, machine) for key, offer in offers.items()}

    offers: Mapping[str, Callable[[], Provider]]
    if name in offered:
        if runtime:
            raise offered[name].wrong("its containers have no runtime", "leave out --vmvc-runtime")
        offers = offered[name].bound(scope)
    elif name in own:
        offers = own_offers.offers(own[name], scope, tier=tier, progress=progress)
    elif name in PAIRS:
        offers = bound(PAIRS[name])
    else:
        known = (*PAIRS, *own, *offered)
        raise UsageError(f"there is no pair {name}", hint=f"one of {', '.join(known)}")
    return pair(
        name,
        chosen(offers, machine),
        source=next((known[name].source for known in (own, offered) if name in known), ""),
        userlands=chosen(bound(USERLANDS)),
        others=chosen(bound(OTHERS)),
        builders=_builders(name, scope, runtime),
        workdir=scope.workdir,
    )


def _chosen(offer: Callable[[], Provider], runtime: str, machine: str) -> Provider:
    """The same under another runtime of the engine, or as another type of machine."""
    from pytest_vmvc.backends.docker import DockerProvider
    from pytest_vmvc.backends.qemu import QemuProvider
    from pytest_vmvc.backends.snapshot import RestoredProvider

    made = offer()
    if runtime and isinstance(made, DockerProvider):
        return made.bound(replace(made.spec, runtime=runtime))
    if machine and isinstance(made, QemuProvider | RestoredProvider):
        return made.typed(machine)
    return made


def _builders(name: str, scope: RunScope, runtime: str) -> dict[str, Builder]:
    """What makes the subjects of the minimal pair anew; the debian pair takes minutes."""
    if name != minimal.NAME:
        return {}
    try:
        like = _bare_machine(scope)
    except Unavailable:
        return {}
    return {"container": ImageBuilder(scope, runtime), "vm": MachineBuilder(scope, like=like)}


def requirement(kind: str, scope: RunScope) -> Unavailable | None:
    """Why ``container``, ``vm`` or ``vagrant`` cannot be had on this host, or None."""
    try:
        return REQUIREMENTS[kind](scope).probe()
    except Unavailable as gap:
        return gap


def check(own: Iterable[OwnPair], runtime: str) -> None:
    """Raise `UsageError` for what a user named and this host's engine or Vagrant does not have."""
    from pytest_vmvc.backends.docker import engine_summary, runtime_gap

    for one in own:
        own_offers.check(one)
    if runtime:
        with suppress(Unavailable):
            if gap := runtime_gap(engine_summary(), runtime):
                raise UsageError(gap.message, hint=gap.hint)


@cache
def tier() -> Tier:
    """The host's accelerator tier; ``none`` where no machine can be started at all."""
    from pytest_vmvc.backends.accelerator import detect

    artefacts = minimal.load()
    if artefacts is None:
        return "none"
    try:
        return detect(artefacts.kernel, artefacts.initrd).tier
    except Unavailable:
        return "none"


def _minimal() -> minimal.MinimalArtefacts:
    return _built(minimal.load(), minimal.NAME)


def _debian() -> debian.DebianArtefacts:
    return _built(debian.load(), debian.NAME)


def _built(artefacts: _T | None, name: str) -> _T:
    if artefacts is None:
        raise Unavailable(f"the {name} artefacts are not built", hint="run `vmvc setup`")
    return artefacts


def _container(image: str, userland: str, scope: RunScope) -> Provider:
    from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider

    spec = ContainerSpec(
        image=image, userland=userland, registry=str(registry.load() or registry.PACKAGE)
    )
    return DockerProvider(spec, scope)


def _busybox_container(scope: RunScope) -> Provider:
    return _container(_minimal().image_ref, _minimal().userland, scope)


def _debian_container(scope: RunScope) -> Provider:
    return _container(_debian().image_ref, _debian().userland, scope)


def _klibc_container(scope: RunScope) -> Provider:
    found = _built(klibc.load(), klibc.NAME)
    return _container(found.image_ref, found.userland, scope)


def _apps_container(scope: RunScope) -> Provider:
    found = _built(apps.load(), apps.NAME)
    return _container(found.image_ref, found.userland, scope)


def _bare_processes(scope: RunScope) -> Provider:
    from pytest_vmvc.backends.bare import BareProvider

    return BareProvider(minimal.program(), _minimal().userland, scope)


def _platform_machine(platform: str, scope: RunScope) -> Provider:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider

    found = platforms.machine(platform)
    spec = MachineSpec(
        kernel=found.kernel,
        initrd=found.initrd,
        accelerator=tier(),
        userland=f"{found.userland}, Linux {found.kernel_release}",
        fetch_bytes=found.fetch_bytes,
    )
    return QemuProvider(spec, scope)


def _bare_machine(scope: RunScope) -> QemuProvider:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider, artefact_digest

    found = _minimal()
    spec = MachineSpec(
        kernel=found.kernel,
        initrd=found.initrd,
        accelerator=tier(),
        digest=artefact_digest(kernel=found.kernel_digest, initrd=found.initrd_digest),
        userland=f"{found.userland}, Linux {found.kernel_release}",
        fetch_bytes=found.fetch_bytes,
    )
    return QemuProvider(spec, scope)


def _restored_machine(scope: RunScope) -> Provider:
    return _bare_machine(scope).restored()


def _linked_machine(scope: RunScope) -> QemuProvider:
    """The bare machine with a disk of its own, above the pair's userland."""
    return _bare_machine(scope).linked(_minimal().rootfs)


def _vagrant_machine(scope: RunScope) -> Provider:
    from pytest_vmvc.backends.vagrant import VagrantProvider, VagrantSpec

    found = _debian()
    spec = VagrantSpec(
        box=found.box_name,
        box_version=found.box_version,
        box_file=str(found.box_path),
        userland=found.userland,
        tier=tier(),
        # The container may use all of them.
        vcpus=min(MACHINE_CPUS, len(os.sched_getaffinity(0))),
    )
    return VagrantProvider(spec, scope)


def _foreign_machine(scope: RunScope) -> Provider:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider

    program = foreign.emulator()
    found = _built(foreign.load(), foreign.NAME)
    spec = MachineSpec(
        kernel=found.kernel,
        initrd=found.initrd,
        userland=f"{found.userland}, Linux {found.kernel_release}",
        machine="virt",
        cpu="cortex-a57",
        console="ttyAMA0",
        binary=program,
    )
    return QemuProvider(spec, scope)


def _runtime_host(scope: RunScope) -> Provider:
    from pytest_vmvc.subjects import runtime_host

    machine = _bare_machine(scope)
    found = runtime_host.build(_minimal())
    userland = f"{machine.spec.userland}, {found.runtime}"
    return machine.bound(
        msgspec.structs.replace(machine.spec, initrd=found.initrd, digest="", userland=userland)
    )


PAIRS: Mapping[str, Mapping[str, Offer]] = {
    "minimal": {
        "container": _busybox_container,
        "vm": _bare_machine,
        "vm-restored": _restored_machine,
    },
    "debian": {"container": _debian_container, "vm": _vagrant_machine},
}
"""Subjects of each pair. A bare machine and a Vagrant machine never share one."""

USERLANDS: Mapping[str, Offer] = {
    "busybox": _busybox_container,
    "klibc": _klibc_container,
    "debian": _debian_container,
}
"""Containers that have nothing in common but the kernel."""

OTHERS: Mapping[str, Offer] = {
    "foreign": _foreign_machine,
    "vm-linked": _linked_machine,
    "bare": _bare_processes,
    "web-server": _busybox_container,
    "key-value-store": _apps_container,
    "interpreter": _debian_container,
    "busybox-container": _busybox_container,
    "busybox-machine": _bare_machine,
    "klibc-container": _klibc_container,
    "klibc-machine": partial(_platform_machine, "klibc"),
    "debian-container": _apps_container,
    "debian-machine": partial(_platform_machine, "debian"),
    "runtime-host": _runtime_host,
}
"""What only single experiments start; see `Pair.other`."""

REQUIREMENTS: Mapping[str, Offer] = {
    "container": _busybox_container,
    "vm": _bare_machine,
    "vagrant": _vagrant_machine,
}
"""What ``--vmvc-require`` may name."""
