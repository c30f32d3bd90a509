"""What a pair of a user's own is made of on this host."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from pytest_vmvc.backends import vagrant_providers
from pytest_vmvc.backends.base import Progress, Provider
from pytest_vmvc.errors import BuildFailed, Unavailable, UsageError
from pytest_vmvc.model import Tier
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import image_machine, registry
from pytest_vmvc.subjects.own import OwnPair

MEMORY_BYTES = 512 * 2**20
"""Of a machine whose pair does not say."""


def offers(
    own: OwnPair, scope: RunScope, *, tier: Callable[[], Tier], progress: Progress
) -> Mapping[str, Callable[[], Provider]]:
    """Container and machine of the pair, each made when it is asked for."""

    @cache
    def has_shell() -> bool:
        from pytest_vmvc.backends import docker_port
        from pytest_vmvc.backends.docker import Engine

        return docker_port.has_shell(Engine(), own.image, scope)

    machines: Mapping[str, Callable[[], Provider]] = {
        "image": lambda: _image_machine(own, scope, tier(), has_shell, progress),
        "box": lambda: _box(own, scope, tier, progress),
        "vagrantfile": lambda: _vagrantfile(own, scope, tier),
        "disk": lambda: _disk(own, scope, tier()),
    }
    return {
        "container": lambda: _container(own, scope, has_shell),
        "vm": machines[own.machine],
    }


def check(own: OwnPair) -> None:
    """Raise `UsageError` for what the user has to correct; an absent technology is no such thing.

    That is an image that the engine does not have, a box that Vagrant does not have or that is of
    another provider, a box file that is damaged.
    """
    if own.image:
        _check_image(own)
    if own.box.startswith("/"):
        _check_box_file(own)
    elif own.box or own.vagrantfile:
        _check_box(own, own.box or own.named_box())


def _check_image(own: OwnPair) -> None:
    from pytest_vmvc.backends.docker import Engine
    from pytest_vmvc.backends.docker_images import inspect_image

    with suppress(Unavailable):
        if inspect_image(Engine(), own.image) is None:
            raise own.wrong(
                f"the container engine has no image {own.image}",
                f"`docker pull {own.image}`, or build it",
            )


def _check_box_file(own: OwnPair) -> None:
    from pytest_vmvc.backends import vagrant_boxes

    try:
        formats = vagrant_providers.box_formats(own.vagrant_provider)
        vagrant_boxes.check_box(Path(own.box), formats)
    except (BuildFailed, UsageError) as error:
        raise own.wrong(error.message, error.hint) from error


def _check_box(own: OwnPair, box: str) -> None:
    from pytest_vmvc.backends import vagrant_boxes

    provider = own.vagrant_provider
    if vagrant_boxes.known(box, vagrant_providers.box_formats(provider)) is None:
        raise own.wrong(
            f"Vagrant has no box {box} for {provider}",
            f"`vagrant box add {box} --provider={provider}`, or name a .box file",
        )


def _container(own: OwnPair, scope: RunScope, has_shell: Callable[[], bool]) -> Provider:
    from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider

    if not own.image:
        raise Unavailable(f"the pair {own.name} names no image", hint=f"see {own.source}")
    spec = ContainerSpec(
        image=own.image,
        userland=f"image {own.image}",
        argv=own.argv,
        ready=own.ready,
        has_shell=has_shell(),
        vcpus=own.cpus,
        memory_bytes=own.memory_bytes,
        registry=str(registry.load() or registry.PACKAGE),
    )
    return DockerProvider(spec, scope)


def _image_machine(
    own: OwnPair, scope: RunScope, tier: Tier, has_shell: Callable[[], bool], progress: Progress
) -> Provider:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider

    found = image_machine.build(own.image, own.argv, scope, progress)
    spec = MachineSpec(
        kernel=found.kernel,
        initrd=found.initrd,
        disk=found.disk,
        holds_root=True,
        agent=has_shell(),
        ready=own.ready,
        accelerator=tier,
        userland=f"image {own.image}, Linux {found.kernel_release}",
        memory_bytes=own.memory_bytes or MEMORY_BYTES,
        vcpus=own.cpus or 1,
        fetch_bytes=found.fetch_bytes,
    )
    return QemuProvider(spec, scope)


def _disk(own: OwnPair, scope: RunScope, tier: Tier) -> Provider:
    from pytest_vmvc.backends.qemu import MachineSpec, QemuProvider

    assert own.disk
    spec = MachineSpec(
        kernel=own.kernel,
        initrd=own.initrd,
        cmdline=own.kernel_parameters,
        disk=own.disk,
        holds_root=True,
        agent=False,
        ready=own.ready,
        accelerator=tier,
        userland=f"disk {own.disk.name}",
        memory_bytes=own.memory_bytes or MEMORY_BYTES,
        vcpus=own.cpus or 1,
    )
    return QemuProvider(spec, scope)


def _box(own: OwnPair, scope: RunScope, tier: Callable[[], Tier], progress: Progress) -> Provider:
    from pytest_vmvc.backends import vagrant_boxes

    if not own.box.startswith("/"):
        return _vagrant(own, scope, tier, box=own.box, userland=f"box {own.box}")
    file = Path(own.box)
    name = f"vmvc/own-{vagrant_boxes.digest([file]).partition(':')[2][:12]}"
    formats = vagrant_providers.box_formats(own.vagrant_provider)
    vagrant_boxes.ensure_box(name, source=file, formats=formats, progress=progress)
    return _vagrant(own, scope, tier, box=name, userland=f"box {file.name}")


def _vagrantfile(own: OwnPair, scope: RunScope, tier: Callable[[], Tier]) -> Provider:
    assert own.vagrantfile
    box = own.named_box()
    return _vagrant(own, scope, tier, box=box, userland=f"box {box}, {own.vagrantfile.name}")


def _vagrant(
    own: OwnPair, scope: RunScope, tier: Callable[[], Tier], *, box: str, userland: str
) -> Provider:
    from pytest_vmvc.backends import vagrant_boxes
    from pytest_vmvc.backends.vagrant import VagrantProvider, VagrantSpec
    from pytest_vmvc.backends.vagrant_other import OtherVagrantProvider

    provider = own.vagrant_provider
    is_libvirt = provider == vagrant_providers.LIBVIRT
    vagrant_boxes.borrow(box, vagrant_providers.box_formats(provider))
    spec = VagrantSpec(
        box=box,
        provider=provider,
        box_file=own.box if own.box.startswith("/") else "",
        vagrantfile=own.vagrantfile,
        userland=userland,
        tier=tier() if is_libvirt else "other",
        answers="ssh",
        ready=own.ready,
        memory_bytes=own.memory_bytes or MEMORY_BYTES,
        vcpus=own.cpus or min(2, len(os.sched_getaffinity(0))),
    )
    return VagrantProvider(spec, scope) if is_libvirt else OtherVagrantProvider(spec, scope)
