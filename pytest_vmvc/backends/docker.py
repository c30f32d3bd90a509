"""Containers of any engine that speaks the Docker API: Docker, Podman."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pytest_vmvc.backends.base import Stopwatch, ended_by
from pytest_vmvc.backends.docker_container import USAGE_DEFINITION, Container
from pytest_vmvc.backends.docker_engine import Engine, engine_summary, runtime_gap
from pytest_vmvc.backends.docker_images import (
    compressed_bytes,
    image_id,
    import_image,
    inspect_image,
    remove_image,
    tags_of,
)
from pytest_vmvc.backends.docker_port import laden_image, ported_image
from pytest_vmvc.backends.docker_reaper import DockerReaper, passing_image, remove_container
from pytest_vmvc.backends.docker_start import READINESS, ContainerSpec, limits_gap, no_image, start
from pytest_vmvc.backends.optional import Acquire, Arrival, Configuration, Destination, Laden, Shape
from pytest_vmvc.backends.ready import words
from pytest_vmvc.backends.second_engine import second_engine
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, NoUsage, Unavailable
from pytest_vmvc.model import Artefact, Facts, Kind
from pytest_vmvc.resources import Resource, RunScope

__all__ = [
    "OWNER_LABEL",
    "ContainerSpec",
    "DockerProvider",
    "DockerReaper",
    "Engine",
    "engine_summary",
    "image_id",
    "import_image",
    "passing_image",
    "remove_image",
    "runtime_gap",
    "tags_of",
]

OWNER_LABEL = "org.pytest-vmvc.owner"
"""Label key with the process that a container belongs to: pid, start time, boot id."""

ARTEFACT_DEFINITION = (
    "fetch: the saved image, gzip level 6; keep: its unpacked layers; virtual: the same with every "
    "layer it shares"
)

NOT_HARDENED: Mapping[Configuration, str] = {
    "default": "the claims are about the container that `docker run` gives to anybody",
    "host-pid": "a fault planted on purpose: a container that sees the host's processes",
}
"""Configurations that keep the engine's capabilities and may gain privileges, each with the reason.

None of them is privileged, has a device, the host's network or the engine's socket.
"""

CONFIGURATIONS: Mapping[Configuration, Mapping[str, Any]] = {
    "default": {},
    "hardened": {
        "cap_drop": ["ALL"],
        "read_only": True,
        "tmpfs": {"/tmp": "size=16m"},  # noqa: S108 - the container's own
        "security_opt": ["no-new-privileges"],
        "network_mode": "none",
    },
    "host-pid": {"pid_mode": "host"},
}

APPEAR_S = 2.0
"""How long a container whose creation was cut off may take to appear."""


class DockerProvider:
    """Starts containers in the engine's default security configuration, with nothing published."""

    def __init__(self, spec: ContainerSpec, scope: RunScope) -> None:
        self.spec = spec
        self._scope = scope
        self._engine = Engine(spec.base_url)

    @property
    def name(self) -> str:
        """``docker``, whichever engine it is."""
        return "docker"

    @property
    def kind(self) -> Kind:
        """``container``."""
        return "container"

    @cached_property
    def facts(self) -> Facts:
        """Provenance of what it would start; asks the engine once.

        Raises `Unavailable`, also for what the engine would take and then ignore.
        """
        summary = engine_summary(self.spec.base_url)
        if gap := runtime_gap(summary, self.spec.runtime) or limits_gap(summary, self.spec):
            raise gap
        image = self._image(self._engine)
        runtime = self.spec.runtime or summary["default_runtime"]
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=f"{summary['name']} {summary['version']} ({summary['storage_driver']}, "
            f"{runtime}, cgroup v{summary['cgroup_version']}"
            f"{', rootless' if summary['rootless'] else ''})",
            accelerator="none",
            artefact=image["Id"],
            userland=self.spec.userland,
            vcpus=self.spec.vcpus,
            memory_bytes=self.spec.memory_bytes,
            readiness=words(self.spec.ready) if self.spec.ready else READINESS,
            usage_definition=USAGE_DEFINITION,
            extra={
                "image": self.spec.image,
                "runtime": runtime,
                **({"rootless": True} if summary["rootless"] else {}),
                **({} if summary["cgroups"] else {NoUsage.fact: False}),
                **({} if self.spec.has_shell else {"commands": False}),
                "security_options": ", ".join(summary["security_options"]) or "none",
            },
        )

    def probe(self) -> Unavailable | None:
        """Why it cannot be used on this host, or None; quick, and changes nothing."""
        try:
            # By a fresh engine: an answer of long ago proves nothing.
            self._image(Engine(self.spec.base_url))
        except Unavailable as reason:
            return reason
        return None

    def prepare(self) -> None:
        """Check the engine and the image; raises `Unavailable`."""
        if reason := self.probe():
            raise reason
        _ = self.facts

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[Container]:
        """Start a fresh container and wait for its first answer.

        The stopwatch starts just before the create request. Entering raises `LaunchFailed` or
        `LaunchTimedOut`; leaving destroys it and verifies that (`TeardownFailed`). Either raises
        `Unavailable` where the engine has gone; the scope then still holds the container.
        """
        facts, name, owner = self.facts, self._scope.new_name(), self._scope.owner
        mine = {OWNER_LABEL: f"{owner.pid} {owner.started} {owner.boot_id}"}
        labels = {**self._scope.labels, **mine}
        resource = self._scope.hold("container", name)
        watch: Stopwatch | None = None

        def end(error: BaseException | None) -> None:
            failed = isinstance(error, LaunchFailed) and not isinstance(error, LaunchTimedOut)
            sure = watch is not None or failed
            self._destroy(resource, appear_s=0.0 if sure else APPEAR_S)

        with ended_by(end):
            with self._engine.client() as client:
                watch = start(client, self.spec, name=name, labels=labels, deadline_s=deadline_s)
            yield Container(self._engine, name, facts, watch)

    def _destroy(self, resource: Resource, *, appear_s: float) -> None:
        try:
            self._engine.check()  # one that hangs is found sooner than by waiting for the removal
        except Unavailable as gone:
            raise Unavailable(
                f"container {resource.name} may be left behind: {gone.message}", hint=gone.hint
            ) from None
        with self._engine.client() as client:
            remove_container(client, resource.name, appear_s=appear_s)
        self._scope.release(resource)

    def _image(self, engine: Engine) -> dict[str, Any]:
        found = inspect_image(engine, self.spec.image)
        if found is None:
            raise no_image(self.spec.image)
        return found

    def shaped(self, shape: Shape) -> DockerProvider:
        """The same image in another shape; raises `Unavailable`."""
        if shape.balloon:
            raise Unavailable("a container has no memory of its own that a balloon could fill")
        options: dict[str, Any] = {**self.spec.host_options, **CONFIGURATIONS[shape.configuration]}
        if shape.shared_folder is not None:
            options["binds"] = {str(shape.shared_folder): {"bind": "/shared", "mode": "rw"}}
        if shape.shares_pids_with:
            options["pid_mode"] = f"container:{shape.shares_pids_with}"
        spec = replace(
            self.spec,
            memory_bytes=shape.memory_bytes or self.spec.memory_bytes,
            vcpus=shape.vcpus or self.spec.vcpus,
            processes=shape.processes or self.spec.processes,
            ports=shape.ports or self.spec.ports,
            host_options=options,
        )
        return DockerProvider(spec, self._scope)

    def bound(self, spec: ContainerSpec) -> DockerProvider:
        """A provider of another specification in the same run."""
        return DockerProvider(spec, self._scope)

    def destinations(self) -> Mapping[str, Callable[[], AbstractContextManager[Destination]]]:
        """Two further engines on this host: Docker, and Podman."""
        return {
            "": partial(second_engine, "docker", self._scope),
            "-podman": partial(second_engine, "podman", self._scope),
        }

    def ported(self, destination: Destination) -> AbstractContextManager[Arrival]:
        """Save the image, carry it and load it into another engine.

        Raises `BuildFailed` where an engine refuses, `CommandFailed` and `CommandTimedOut`.
        """
        return ported_image(self, destination, self._scope)

    def laden(self, fill: Callable[[Path], None]) -> AbstractContextManager[Laden]:
        """An image with that tree at ``/tree`` as well; raises `BuildFailed`."""
        return laden_image(self, fill, self._scope)

    def offered(self) -> AbstractContextManager[Acquire]:
        """Put a copy of the image on a registry of our own; `Unavailable` without one."""
        from pytest_vmvc.backends.docker_offer import offered

        return offered(self._engine, self.spec, self._scope, DockerProvider)

    def artefact(self) -> Artefact:
        """Bytes of the image; the compressed size is found once per image and then cached."""
        image = self._image(self._engine)
        kept = int(image["Size"])
        return Artefact(
            name=self.spec.image,
            fetch_bytes=compressed_bytes(self._engine, image["Id"]),
            kept_bytes=kept,
            virtual_bytes=int(image.get("VirtualSize") or kept),
            definition=ARTEFACT_DEFINITION,
        )
