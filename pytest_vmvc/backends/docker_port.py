"""An image on its way: saved by one engine, carried, loaded by another."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vmvc.backends.docker_engine import Engine, unavailable
from pytest_vmvc.backends.docker_images import (
    import_image,
    inspect_image,
    instructions,
    load_image,
    remove_image,
    save_image,
)
from pytest_vmvc.backends.docker_reaper import passing_image, remove_container
from pytest_vmvc.backends.optional import Arrival, Destination, Laden
from pytest_vmvc.backends.porting import journey
from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from docker import APIClient

    from pytest_vmvc.backends.docker import DockerProvider

LOAD_TIMEOUT_S = 600.0
SHELL = "/bin/sh"
TREE = "tree"
"""Where a file tree is inside, below the root."""


@contextmanager
def ported_image(
    source: DockerProvider, destination: Destination, scope: RunScope
) -> Iterator[Arrival]:
    """See `DockerProvider.ported`."""
    here, there = Engine(source.spec.base_url), Engine(destination.address)
    image = source.spec.image
    with journey(scope) as way:
        archive = way.folder / "image.tar"
        with way.phase("packaged"):
            way.note("docker", "save", "-o", archive, image)
            save_image(here, image, archive)
        archive = way.carry(archive)
        try:
            with way.phase("imported"):
                way.note("docker", "load", "-i", archive)
                load_image(there, archive, timeout_s=LOAD_TIMEOUT_S)
            way.note("docker", "run", image)
            options = {**source.spec.host_options, "cgroup_parent": destination.cgroup_parent}
            spec = replace(
                source.spec,
                base_url=destination.address,
                host_options=options,
                network=destination.network,
                runtime=None,  # the runtimes of one engine say nothing of another's
            )
            yield Arrival(
                provider=source.bound(spec),
                marks=dict(way.marks),
                commands=tuple(way.commands),
                needs=destination.needs,
                archive=archive,
                intact=_id(here, image) == _id(there, image),
            )
        finally:
            remove_image(image, there)


@contextmanager
def laden_image(
    source: DockerProvider, fill: Callable[[Path], None], scope: RunScope
) -> Iterator[Laden]:
    """See `DockerProvider.laden`: the image's own files and the tree, as one new image."""
    engine, name = Engine(source.spec.base_url), scope.new_name()
    with (
        scope.roomy_folder() as folder,
        passing_image(scope, f"{name}:tree", engine) as ref,
    ):
        rootfs, tree = folder / "rootfs.tar", folder / TREE
        tree.mkdir()
        fill(tree)
        with (
            unavailable(),
            exported(engine, source.spec.image, scope) as pieces,
            rootfs.open("wb") as file,
        ):
            file.writelines(pieces)
        try:
            # Of PAX, for names of any length and times before 1970.
            with tarfile.open(rootfs, "a", format=tarfile.PAX_FORMAT) as tar:
                tar.add(tree, TREE)
        except (OSError, tarfile.TarError, ValueError) as error:
            raise BuildFailed(f"the file tree cannot be packed: {error}") from error
        changes = instructions(inspect_image(engine, source.spec.image) or {})
        import_image(rootfs, name, "tree", changes=changes, timeout_s=LOAD_TIMEOUT_S, engine=engine)
        yield Laden(provider=source.bound(replace(source.spec, image=ref)))


@contextmanager
def exported(engine: Engine, image: str, scope: RunScope) -> Iterator[Iterable[bytes]]:
    """The files of an image as a tar, piece by piece, by a container that is never started.

    Raises the SDK's errors, and `TeardownFailed`.
    """
    with _unstarted(engine, image, scope) as (client, name):
        yield client.export(name)


def has_shell(engine: Engine, image: str, scope: RunScope) -> bool:
    """Whether commands can be run in an image as all of ours are; raises `Unavailable`."""
    from docker.errors import NotFound

    with unavailable(), _unstarted(engine, image, scope) as (client, name):
        try:
            pieces, _ = client.get_archive(name, SHELL)
        except NotFound:
            return False
        return any(pieces)


@contextmanager
def _unstarted(engine: Engine, image: str, scope: RunScope) -> Iterator[tuple[APIClient, str]]:
    name = scope.new_name()
    resource = scope.hold("container", name)
    try:
        with engine.client(LOAD_TIMEOUT_S) as client:
            client.create_container(image, ["true"], name=name, labels=dict(scope.labels))
            yield client, name
    finally:
        with engine.client() as client:
            remove_container(client, name)
        scope.release(resource)


def _id(engine: Engine, image: str) -> str:
    """The digest of the image's configuration, which names the digest of each layer."""
    found = inspect_image(engine, image)
    return str(found["Id"]) if found else ""
