"""The end of containers, networks and volumes: of one by name, of all by label."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_vmvc.backends.docker_engine import (
    PROBE_S,
    Deadline,
    Engine,
    api_errors,
    cause,
    status_of,
    unavailable,
    until,
)
from pytest_vmvc.backends.docker_images import remove_image
from pytest_vmvc.errors import TeardownFailed, Unavailable
from pytest_vmvc.resources import LABEL, NAME, Resource, RunScope

if TYPE_CHECKING:
    from docker import APIClient

NETWORK, VOLUME, IMAGE = "docker-network", "docker-volume", "docker-image"
TEARDOWN_S = 60.0
ENGINES = ("docker", "dockerd", "podman")
"""Programs of which a host with an engine has one."""


def remove_container(client: APIClient, name: str, *, appear_s: float = 0.0) -> None:
    """Remove it and see it gone; ``appear_s``: the engine may still be about to make it."""

    def exists() -> bool:
        try:
            client.inspect_container(name)
        except api_errors() as error:
            if status_of(error) == 404:
                return False
            raise
        return True

    try:
        if appear_s:
            until(exists, Deadline(appear_s))
        try:
            client.remove_container(name, force=True, v=True)
        except api_errors() as error:
            # 404: it is gone; 409: somebody is removing it already.
            if status_of(error) not in (404, 409):
                raise
        gone = until(lambda: not exists(), Deadline(TEARDOWN_S))
    except api_errors() as error:
        raise TeardownFailed(
            f"container {name} was not removed: {cause(error)}", hint="run `vmvc clean`"
        ) from error
    if not gone:
        raise TeardownFailed(
            f"container {name} is still there {TEARDOWN_S:g} s after its removal",
            hint="run `vmvc clean`; the engine may be stuck",
        )


def _own_images(images: Sequence[Mapping[str, Any]]) -> list[Resource]:
    """Throw-away images carry a run's name as the last part of their repository."""
    return [
        Resource(kind=IMAGE, name=ref, run_id=match[1])
        for image in images
        for ref in image.get("RepoTags") or ()
        if (match := NAME.fullmatch(ref.rpartition(":")[0].rpartition("/")[2]))
    ]


@contextmanager
def passing_image(scope: RunScope, ref: str, engine: Engine | None = None) -> Iterator[str]:
    """Remove an image that comes into being inside of it, whatever happens.

    ``engine``: another than the caller's own.
    """
    resource = scope.hold(IMAGE, ref)
    try:
        yield ref
    finally:
        remove_image(ref, engine)
        scope.release(resource)


class DockerReaper:
    """Containers, networks and volumes that carry our label."""

    name = "docker"

    def __init__(self, base_url: str | None = None) -> None:
        self._engine = Engine(base_url)

    def inventory(self) -> list[Resource]:
        """All of them, of every run; none where no engine is installed.

        Raises `Unavailable` where one does not answer: there may be some.
        """
        chosen = {"label": LABEL}
        try:
            with self._engine.client(PROBE_S) as client, unavailable():
                containers = client.containers(all=True, filters=chosen)
                networks = client.networks(filters=chosen)
                volumes = client.volumes(filters=chosen).get("Volumes") or []
                images = client.images()
        except Unavailable:
            if not any(map(shutil.which, ENGINES)):
                return []
            raise
        found = [("container", one["Names"][0].lstrip("/"), one) for one in containers]
        found += [(NETWORK, one["Name"], one) for one in networks]
        found += [(VOLUME, one["Name"], one) for one in volumes]
        return [
            Resource(kind=kind, name=name, run_id=one["Labels"][LABEL]) for kind, name, one in found
        ] + _own_images(images)

    def destroy(self, resource: Resource) -> None:
        """Destroy it and verify that it is gone; raises `TeardownFailed` and `Unavailable`."""
        with self._engine.client() as client:
            if resource.kind == "container":
                remove_container(client, resource.name)
                return
            if resource.kind == IMAGE:
                remove_image(resource.name, self._engine)
                return
            remove, inspect = (
                (client.remove_network, client.inspect_network)
                if resource.kind == NETWORK
                else (client.remove_volume, client.inspect_volume)
            )
            for step in (remove, inspect):
                try:
                    step(resource.name)
                except api_errors() as error:
                    if status_of(error) == 404:
                        return
                    raise TeardownFailed(
                        f"{resource.kind} {resource.name} was not removed: {cause(error)}",
                        hint="see which container uses it",
                    ) from error
        raise TeardownFailed(
            f"{resource.kind} {resource.name} is still there after its removal",
            hint="run `vmvc clean`",
        )
