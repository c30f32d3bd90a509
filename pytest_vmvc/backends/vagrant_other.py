"""Virtual machines by Vagrant and any provider: nothing but `vagrant` and ssh is used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc.backends import (
    vagrant_boxes,
    vagrant_diagnosis,
    vagrant_folder,
    vagrant_index,
    vagrant_providers,
)
from pytest_vmvc.backends.base import Stopwatch, ended_by
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.backends.ready import Line, words
from pytest_vmvc.backends.ssh import SshConnection
from pytest_vmvc.backends.vagrant_login import READINESS, login
from pytest_vmvc.backends.vagrant_machine import SshMachine, usage_definition
from pytest_vmvc.backends.vagrantfile import VagrantSpec, plain_vagrantfile
from pytest_vmvc.errors import (
    CommandFailed,
    CommandTimedOut,
    NoUsage,
    Unavailable,
    UsageError,
)
from pytest_vmvc.model import Facts, Kind, Tier, Usage
from pytest_vmvc.resources import Resource, RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

COMMAND_TIMEOUT_S = 60.0
TIER: Tier = "other"
"""Whether the CPU is emulated is the provider's secret."""
NO_USAGE = "not told: the host does not know which of its processes the machine is"
NOT_SURE = "asked for; whether this provider grants it is not known"


class OtherVagrantProvider:
    """Starts fresh machines of one box by ``vagrant up``, each in a folder of its own."""

    def __init__(self, spec: VagrantSpec, scope: RunScope) -> None:
        self.spec = msgspec.structs.replace(spec, tier=TIER, answers="ssh")
        self._scope = scope

    @property
    def name(self) -> str:
        """``vagrant``, whichever hypervisor is under it."""
        return "vagrant"

    @property
    def kind(self) -> Kind:
        """``vm``."""
        return "vm"

    @property
    def _known(self) -> vagrant_providers.Known | None:
        return vagrant_providers.KNOWN.get(self.spec.provider)

    def probe(self) -> Unavailable | None:
        """Why it cannot be used on this host, or None; quick, changes nothing, starts no Ruby.

        Of a provider that is not known, the first start says so.
        """
        provider, known = self.spec.provider, self._known
        try:
            vagrant_providers.check_name(provider)
        except UsageError as error:
            return Unavailable(error.message, hint=error.hint)
        if isinstance(self.spec.ready, Line):
            return Unavailable(
                f"the console of a machine of Vagrant's provider {provider} is out of sight",
                hint="give it another ready probe: port:NUMBER, http:NUMBER/PATH, or none",
            )
        if shutil.which("vagrant") is None:
            return Unavailable("vagrant is not installed", hint=vagrant_diagnosis.INSTALL_HINT)
        if known and known.plugin and vagrant_boxes.plugin_file(known.plugin) is None:
            return Unavailable(
                f"Vagrant's provider {provider} is not installed",
                hint=f"`vagrant plugin install {known.plugin}`",
            )
        if known and known.needs and shutil.which(known.needs) is None:
            return Unavailable(
                f"{known.hypervisor} is not installed: there is no program {known.needs}",
                hint="install it as its vendor says, or name another provider",
            )
        if shutil.which("ssh") is None:
            return Unavailable("the OpenSSH client is not installed", hint="run `vmvc setup`")
        return None if self._box() is not None else self._no_box()

    def prepare(self) -> None:
        """Ask Vagrant what there is; raises `Unavailable`, `CommandFailed`, `CommandTimedOut`."""
        if reason := self.probe():
            raise reason
        _ = self.facts

    @cached_property
    def facts(self) -> Facts:
        """Provenance of what it would start; asks Vagrant once."""
        spec, known = self.spec, self._known
        weighed = bool(known and known.is_qemu)
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=vagrant_diagnosis.provider_versions(spec.provider),
            accelerator=TIER,
            artefact=self._digest(),
            userland=spec.userland,
            vcpus=float(spec.vcpus),
            memory_bytes=spec.memory_bytes,
            readiness=self._readiness,
            usage_definition=usage_definition() if weighed else NO_USAGE,
            extra={
                "box": spec.box,
                "box_version": spec.box_version,
                "vagrant_provider": spec.provider,
                **({} if known else {"size": NOT_SURE}),
                **({} if weighed else {"usage": False}),
            },
        )

    @property
    def _readiness(self) -> str:
        ready = self.spec.ready
        return f"{words(ready)}, once Vagrant tells its address" if ready else READINESS

    @property
    def _formats(self) -> tuple[str, ...]:
        return vagrant_providers.box_formats(self.spec.provider)

    def _box(self) -> Path | None:
        return vagrant_boxes.box_folder(self.spec.box, self.spec.box_version, self._formats)

    def _no_box(self) -> Unavailable:
        version = f" {self.spec.box_version}" if self.spec.box_version else ""
        return Unavailable(
            f"Vagrant has no box {self.spec.box}{version} for {self.spec.provider}",
            hint=f"`vagrant box add {self.spec.box} --provider={self.spec.provider}`",
        )

    def _digest(self) -> str:
        if self.spec.box_file:
            return vagrant_boxes.digest([Path(self.spec.box_file)])
        box = self._box()
        if box is None:
            raise self._no_box()
        return vagrant_boxes.digest(sorted(path for path in box.rglob("*") if path.is_file()))

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[OtherMachine]:
        """Run ``vagrant up`` for a fresh machine and wait for its return and its first answer.

        The stopwatch starts just before ``vagrant up``. Entering raises `LaunchFailed` or
        `LaunchTimedOut`; leaving destroys the machine and verifies that (`TeardownFailed`).
        """
        from pytest_vmvc.backends.vagrant_command import VagrantCommand
        from pytest_vmvc.backends.vagrant_start import VagrantStart

        facts, spec = self.facts, self.spec
        home = vagrant_boxes.prepare_home(any_plugin=True)
        name = self._scope.new_name()
        folder = self._scope.workdir / name
        command = VagrantCommand(
            folder, home=home, timeout_s=COMMAND_TIMEOUT_S, provider=spec.provider
        )
        resource = self._scope.hold(vagrant_index.KIND, str(folder))
        with ended_by(lambda _: self._clear(resource, folder)):
            folder.mkdir()
            text = plain_vagrantfile(spec, boot_timeout_s=deadline_s)
            (folder / "Vagrantfile").write_text(text, encoding="utf-8")
            with VagrantStart(command, listen=False, ready=spec.ready, gently=True) as start:
                start.run(provider=spec.provider, deadline_s=deadline_s)
                with login(command, folder, start.stopwatch) as connection:
                    machine = OtherMachine(
                        folder=folder,
                        command=command,
                        facts=facts,
                        stopwatch=start.stopwatch,
                        connection=connection,
                    )
                    try:
                        yield machine
                    finally:
                        machine.close()

    def _clear(self, resource: Resource, folder: Path) -> None:
        vagrant_folder.destroy(folder)
        vagrant_index.forget(folder)
        self._scope.release(resource)
        shutil.rmtree(folder, ignore_errors=True)

    def shaped(self, shape: Shape) -> OtherVagrantProvider:
        """The same box in another shape; any port can be reached. Raises `Unavailable`."""
        spec = self.spec.shaped(shape)
        if self._known is None and (shape.memory_bytes or shape.vcpus):
            raise Unavailable(
                f"whether Vagrant's provider {spec.provider} grants a size is not known"
            )
        return OtherVagrantProvider(spec, self._scope)


class OtherMachine(SshMachine):
    """A machine that has given its first answer; its process may be known by the machine's id."""

    def __init__(
        self,
        *,
        folder: Path,
        command: VagrantCommand,
        facts: Facts,
        stopwatch: Stopwatch,
        connection: SshConnection,
    ) -> None:
        super().__init__(
            name=folder.name,
            facts=facts,
            stopwatch=stopwatch,
            connection=connection,
            hypervisor=vagrant_folder.process_of(vagrant_folder.machine_id(folder)),
        )
        self._command = command

    def alive(self) -> bool:
        """Whether its process runs; where that is not known, whether Vagrant says that it does."""
        if self._hypervisor is not None:
            return super().alive()
        try:
            return self._command.state() == "running"
        except (CommandFailed, CommandTimedOut, Unavailable):
            return False  # nobody can tell, so nobody can rely on it

    def usage(self) -> Usage:
        """What its process holds now; raises `EnvironmentDied`, and `NoUsage`.

        A process that is not QEMU's need not hold the guest's memory itself, and what the guest
        sees of it inside is less than the host gives: neither is a figure of the host's.
        """
        if self._hypervisor is None or self._facts.extra.get("usage") is False:
            raise NoUsage(
                "the host cannot tell what a machine of this provider holds",
                hint="measure it with Vagrant's provider libvirt, or as a bare machine",
            )
        return super().usage()
