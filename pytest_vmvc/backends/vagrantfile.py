"""The Vagrantfile of one machine, written so that no value can become Ruby code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pytest_vmvc.backends import libvirt
from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.backends.vagrant_providers import LIBVIRT
from pytest_vmvc.errors import Unavailable, UsageError
from pytest_vmvc.model import Tier
from pytest_vmvc.resources import MARK

ACCELERATED: frozenset[Tier] = frozenset({"kvm-hw", "kvm-nested"})
ANSWER_PORT = "org.vmvc.answer"
"""Name of the virtio-serial port by which a box's payload answers."""

_MIB = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9 ._/:,=@+-]")


class VagrantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which box, as a machine of which size."""

    box: str
    box_version: str | None = None
    provider: str = LIBVIRT
    memory_bytes: int = 512 * _MIB
    vcpus: int = 1
    userland: str
    tier: Tier
    answers: Literal["port", "ssh"] = "port"
    """``port``: the box's payload answers on a virtio-serial port; ``ssh``: any other box."""
    ready: readiness.Ready | None = None
    """When it has answered, of a box that answers by ssh: a line on its first serial port, a port
    or a page at its address; None: at the first command by ssh."""
    until: Literal["login", "answer"] = "login"
    """``answer``: a start ends there, and `vagrant up` with it; nothing can be run inside."""
    box_file: str = ""
    """Path of the ``.box`` the box was added from: what a user would fetch."""
    vagrantfile: Path | None = None
    """Folder with a Vagrantfile that is read before ours, which then names no box."""

    def shaped(self, shape: Shape) -> VagrantSpec:
        """The same box in another shape; any port can be reached. Raises `Unavailable`."""
        shape.check_for_machine()
        if shape.balloon:
            raise Unavailable("the balloon of a Vagrant machine is its provider's affair")
        return msgspec.structs.replace(
            self,
            memory_bytes=shape.memory_bytes or self.memory_bytes,
            vcpus=int(shape.vcpus or self.vcpus),
        )


def ruby_string(text: str) -> str:
    """Quote any text as a Ruby literal that is nothing but that text.

    Raises `UsageError` for text that no encoding can hold.
    """
    parts = []
    for sign in text:
        if 0xD800 <= ord(sign) < 0xE000:
            raise UsageError(f"{text!r} is not valid text", hint="use a name without such signs")
        parts.append(sign if _PLAIN.match(sign) else f"\\u{{{ord(sign):x}}}")
    return f'"{"".join(parts)}"'


def vagrantfile(
    spec: VagrantSpec,
    *,
    name: str,
    boot_timeout_s: float,
    network: tuple[str, str],
    answer_address: tuple[str, int] | None,
) -> str:
    """Describe the machine ``<name>-default`` on an existing network (its name and address).

    QEMU dials out to ``answer_address``, if given.
    """
    return _text(spec, boot_timeout_s, _libvirt_lines(spec, name, network, answer_address))


def plain_vagrantfile(spec: VagrantSpec, *, boot_timeout_s: float) -> str:
    """Describe a machine of any provider, by what most of them call memory and CPUs.

    What a provider starts, such as a server for all machines of its user, must not count as ours.
    """
    sizes = {"memory": max(1, spec.memory_bytes // _MIB), "cpus": spec.vcpus, "smp": spec.vcpus}
    lines = [f"{key} = {size} if machine.respond_to?(:{key}=)" for key, size in sizes.items()]
    return f"ENV.delete({ruby_string(MARK)})\n{_text(spec, boot_timeout_s, lines)}"


def _text(spec: VagrantSpec, boot_timeout_s: float, settings: Sequence[str]) -> str:
    lines = [] if spec.vagrantfile else [f"config.vm.box = {ruby_string(spec.box)}"]
    if spec.box_version is not None:
        lines.append(f"config.vm.box_version = {ruby_string(spec.box_version)}")
    lines += [
        "config.vm.box_check_update = false",
        f"config.vm.boot_timeout = {max(1, int(boot_timeout_s))}",
        'config.vm.synced_folder ".", "/vagrant", disabled: true',
        f"config.vm.provider {ruby_string(spec.provider)} do |machine|",
        *(f"  machine.{line}" for line in settings),
        "end",
    ]
    body = "".join(f"  {line}\n" for line in lines)
    theirs = spec.vagrantfile and f"load {ruby_string(str(spec.vagrantfile / 'Vagrantfile'))}\n"
    return f'{theirs or ""}Vagrant.configure("2") do |config|\n{body}end\n'


def _libvirt_lines(
    spec: VagrantSpec,
    name: str,
    network: tuple[str, str],
    answer_address: tuple[str, int] | None,
) -> list[str]:
    lines = [
        f"uri = {ruby_string(libvirt.URI)}",
        f"default_prefix = {ruby_string(f'{name}-')}",
        f"memory = {max(1, spec.memory_bytes // _MIB)}",
        f"cpus = {spec.vcpus}",
        'graphics_type = "none"',
        f"management_network_name = {ruby_string(network[0])}",
        f"management_network_address = {ruby_string(network[1])}",
        # Else the last machine to go would take the network with it.
        "management_network_keep = true",
    ]
    if spec.tier in ACCELERATED:
        lines += ['driver = "kvm"', 'cpu_mode = "host-model"']
    else:
        lines += ['driver = "qemu"', 'cpu_mode = "custom"', 'cpu_model = "qemu64"']
    if answer_address is not None:
        host, port = answer_address
        devices: tuple[str, ...] = (
            # A high slot, out of the way of those that libvirt hands out itself.
            "-device", "virtio-serial-pci,id=vmvcserial,addr=0x1d",
            "-device", f"virtserialport,bus=vmvcserial.0,chardev=vmvcanswer,name={ANSWER_PORT}",
        )  # fmt: skip
        if isinstance(spec.ready, readiness.Line):
            lines.append("serials = []")  # ours is the first one
            devices = ("-device", "isa-serial,chardev=vmvcanswer")
        arguments = ("-chardev", f"socket,id=vmvcanswer,host={host},port={port}", *devices)
        lines += [f"qemuargs :value => {ruby_string(word)}" for word in arguments]
    return lines
