"""Virtual machines by Vagrant and libvirt: what a user types, and what that costs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

from pytest_vmvc.backends import (
    libvirt,
    vagrant_boxes,
    vagrant_index,
    vagrant_login,
    vagrant_port,
)
from pytest_vmvc.backends.base import ended_by
from pytest_vmvc.backends.optional import Acquire, Arrival, Destination, Shape
from pytest_vmvc.backends.ready import Line, words
from pytest_vmvc.backends.vagrant_boxes import ensure_box, remove_boxes
from pytest_vmvc.backends.vagrant_diagnosis import INSTALL_HINT, vagrant_summary, versions
from pytest_vmvc.backends.vagrant_login import login
from pytest_vmvc.backends.vagrant_machine import VagrantMachine, usage_definition
from pytest_vmvc.backends.vagrantfile import ACCELERATED, VagrantSpec, vagrantfile
from pytest_vmvc.errors import (
    CommandFailed,
    CommandTimedOut,
    Unavailable,
)
from pytest_vmvc.model import Artefact, Facts, Kind
from pytest_vmvc.resources import Resource, RunScope

__all__ = [
    "VagrantMachine",
    "VagrantProvider",
    "VagrantReaper",
    "VagrantSpec",
    "ensure_box",
    "remove_boxes",
    "vagrant_summary",
]

SSH_CONFIG_TIMEOUT_S = 60.0
"""Seconds that Vagrant may take to say how to log in."""

READINESS = {
    "port": "nonce by a virtio-serial port, there and back over one socket on the loopback; "
    "pushed, no poll",
    "ssh": vagrant_login.READINESS,
}
ARTEFACT_DEFINITION = (
    "the .box file; its unpacked disk image as allocated on disk (libvirt's pool keeps a second "
    "copy); the size of the disk that the machine sees"
)


class VagrantProvider:
    """Starts fresh machines of one box by ``vagrant up``, each in a folder of its own."""

    def __init__(self, spec: VagrantSpec, scope: RunScope) -> None:
        self.spec = spec
        self._scope = scope

    @property
    def name(self) -> str:
        """``vagrant``, whichever hypervisor is under it."""
        return "vagrant"

    @property
    def kind(self) -> Kind:
        """``vm``."""
        return "vm"

    def probe(self) -> Unavailable | None:
        """Why it cannot be used on this host, or None; quick, changes nothing, starts no Ruby."""
        if shutil.which("vagrant") is None:
            return Unavailable("vagrant is not installed", hint=INSTALL_HINT)
        if vagrant_boxes.plugin_file() is None:
            return Unavailable("Vagrant's libvirt provider is not installed", hint=INSTALL_HINT)
        if shutil.which("ssh") is None:
            return Unavailable("the OpenSSH client is not installed", hint="run `vmvc setup`")
        if trouble := libvirt.problem():
            return trouble
        return None if self._box() is not None else self._no_box()

    def prepare(self) -> None:
        """Do what a first start would be charged for: the box's disk in the pool, probing QEMU.

        Raises `BuildFailed` and `Unavailable`.
        """
        if reason := self.probe():
            raise reason
        vagrant_boxes.prepare_home()
        box = self._box()
        images = vagrant_boxes.images(box) if box is not None else ()
        if box is not None and len(images) == 1:
            name = vagrant_boxes.volume_name(self.spec.box, vagrant_boxes.version(box), images[0])
            libvirt.ensure_volume(name, images[0])
        libvirt.warm_capabilities(accelerated=self.spec.tier in ACCELERATED)
        _ = self.facts, self._network

    @cached_property
    def facts(self) -> Facts:
        """Provenance of what it would start; asks Vagrant and libvirt once."""
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=versions(),
            accelerator=self.spec.tier,
            artefact=self._digest(),
            userland=self.spec.userland,
            vcpus=float(self.spec.vcpus),
            memory_bytes=self.spec.memory_bytes,
            readiness=self._readiness,
            usage_definition=usage_definition(),
            extra={
                "box": self.spec.box,
                "box_version": self.spec.box_version,
                "libvirt_probes_qemu_at_each_step": libvirt.kvm_hidden_from_machines(),
            },
        )

    @property
    def _readiness(self) -> str:
        ready = self.spec.ready
        if ready is None:
            return READINESS[self.spec.answers]
        known = "" if isinstance(ready, Line) else ", once Vagrant tells its address"
        return f"{words(ready)}{known}"

    @cached_property
    def _network(self) -> tuple[str, str]:
        return libvirt.network()

    def _box(self) -> Path | None:
        return vagrant_boxes.box_folder(self.spec.box, self.spec.box_version)

    def _no_box(self) -> Unavailable:
        version = f" {self.spec.box_version}" if self.spec.box_version else ""
        return Unavailable(
            f"Vagrant has no box {self.spec.box}{version} for {self.spec.provider}",
            hint="run `vmvc setup`",
        )

    def _digest(self) -> str:
        if self.spec.box_file:
            return vagrant_boxes.digest([Path(self.spec.box_file)])
        box = self._box()
        if box is None:
            raise self._no_box()
        return vagrant_boxes.digest(vagrant_boxes.images(box))

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[VagrantMachine]:
        """Run ``vagrant up`` for a fresh machine and wait for its return and its first answer.

        A specification that wants no more than the answer does not wait for the return.

        The stopwatch starts just before ``vagrant up``. Entering raises `LaunchFailed` or
        `LaunchTimedOut`; leaving destroys the machine and verifies that (`TeardownFailed`).
        """
        from pytest_vmvc.backends.vagrant_command import VagrantCommand
        from pytest_vmvc.backends.vagrant_start import VagrantStart

        facts, network, home = self.facts, self._network, vagrant_boxes.prepare_home()
        name = self._scope.new_name()
        domain = f"{name}-default"
        folder = self._scope.workdir / name
        folder.mkdir()
        command = VagrantCommand(folder, home=home, timeout_s=SSH_CONFIG_TIMEOUT_S)
        resource = self._scope.hold("domain", domain)

        with ended_by(lambda _: self._clear(resource, folder)):
            listens = self.spec.answers == "port" or isinstance(self.spec.ready, Line)
            with VagrantStart(command, listen=listens, ready=self.spec.ready) as start:
                text = vagrantfile(
                    self.spec,
                    name=name,
                    boot_timeout_s=deadline_s,
                    network=network,
                    answer_address=start.address,
                )
                (folder / "Vagrantfile").write_text(text, encoding="utf-8")
                by_ssh = self.spec.answers == "ssh" and self.spec.ready is None
                logs_in = self.spec.until == "login" or by_ssh
                start.run(provider=self.spec.provider, deadline_s=deadline_s, returns=logs_in)
                logging_in = login(command, folder, start.stopwatch) if logs_in else nullcontext()
                with logging_in as connection:
                    machine = VagrantMachine(
                        name=name,
                        domain=domain,
                        facts=facts,
                        stopwatch=start.stopwatch,
                        connection=connection,
                    )
                    try:
                        yield machine
                    finally:
                        machine.close()

    def _clear(self, resource: Resource, folder: Path) -> None:
        # Not by `vagrant destroy`, which takes Ruby's start for the same and is not to be believed.
        libvirt.destroy(resource.name)
        vagrant_index.forget(folder)
        self._scope.release(resource)
        shutil.rmtree(folder, ignore_errors=True)

    def shaped(self, shape: Shape) -> VagrantProvider:
        """The same box in another shape; any port can be reached. Raises `Unavailable`."""
        return VagrantProvider(self.spec.shaped(shape), self._scope)

    def bound(self, spec: VagrantSpec) -> VagrantProvider:
        """A provider of another specification in the same run."""
        return VagrantProvider(spec, self._scope)

    def destinations(self) -> Mapping[str, Callable[[], AbstractContextManager[Destination]]]:
        """This host's Vagrant, under a name that it does not know."""
        return {"": lambda: nullcontext(Destination())}

    def ported(self, destination: Destination) -> AbstractContextManager[Arrival]:  # noqa: ARG002 - the protocol's signature
        """Make a box of the machine's disk, carry it and add it under another name.

        Raises `BuildFailed`, `CommandFailed` and `CommandTimedOut`.
        """
        return vagrant_port.ported_box(self, self._scope)

    def offered(self) -> AbstractContextManager[Acquire]:
        """Put the box into a catalogue of our own; raises `Unavailable` without its file."""
        from pytest_vmvc.backends.vagrant_offer import offered

        if not self.spec.box_file:
            raise Unavailable(
                f"the file of the box {self.spec.box} is not known",
                hint="name the .box file instead of a box that Vagrant already has",
            )
        return offered(Path(self.spec.box_file), self._scope)

    def artefact(self) -> Artefact:
        """Bytes of the box; raises `Unavailable` where its file is not known."""
        box = self._box()
        if box is None:
            raise self._no_box()
        file = Path(self.spec.box_file)
        if not self.spec.box_file or not file.is_file():
            raise Unavailable(
                f"the file of the box {self.spec.box} is not known",
                hint="name the .box file instead of a box that Vagrant already has",
            )
        images = vagrant_boxes.images(box)
        return Artefact(
            name=self.spec.box,
            fetch_bytes=file.stat().st_size,
            kept_bytes=sum(image.stat().st_blocks * 512 for image in images),
            virtual_bytes=sum(vagrant_boxes.virtual_bytes(image) for image in images),
            definition=ARTEFACT_DEFINITION,
        )


class VagrantReaper:
    """Finds and destroys the domains, volumes and logs that runs have left behind."""

    name = "vagrant"

    def inventory(self) -> Sequence[Resource]:
        """Domains and disks with a run's name; none where libvirt is not installed.

        Raises `Unavailable` where it does not answer: there may be some.
        """
        if shutil.which("virsh") is None:
            return []
        try:
            return libvirt.leftovers()
        except CommandFailed as error:
            raise libvirt.explain_refusal(error.hint) from error
        except CommandTimedOut as error:
            raise Unavailable(error.message, hint="restart libvirtd") from error

    def destroy(self, resource: Resource) -> None:
        """Destroy it and verify that; raises `TeardownFailed`."""
        if resource.kind == "volume":
            libvirt.delete_volume(resource.name)
        elif resource.kind == "log":
            libvirt.remove_log(resource.name)
        else:
            libvirt.destroy(resource.name)
