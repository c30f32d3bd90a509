"""An image on a registry of our own, and what it takes to have it from there."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from pytest_vmvc.backends.base import new_nonce
from pytest_vmvc.backends.docker_engine import Deadline, Engine, api_errors, cause, one_line
from pytest_vmvc.backends.docker_images import import_image, inspect_image, instructions
from pytest_vmvc.backends.docker_port import exported
from pytest_vmvc.backends.docker_reaper import passing_image
from pytest_vmvc.backends.docker_start import ContainerSpec
from pytest_vmvc.backends.optional import Acquire, Acquired
from pytest_vmvc.backends.registry import Registry, registry
from pytest_vmvc.errors import CommandTimedOut, InfrastructureError, Unavailable
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.docker import DockerProvider

TAG = "1"
TRANSFER_TIMEOUT_S = 600.0


@contextmanager
def offered(
    engine: Engine, spec: ContainerSpec, scope: RunScope, provider: type[DockerProvider]
) -> Iterator[Acquire]:
    """Push a copy of the image to a registry, under a throw-away name.

    The copy has its files in one layer that no other image shares: once its name is removed,
    nothing of it is left in the engine. Raises `Unavailable` where there is no registry or the
    engine will not push to it, and `InfrastructureError`.
    """
    with registry(scope, program=spec.registry) as shelf:
        repository = f"{shelf.address}/{scope.new_name()}"
        with passing_image(scope, f"{repository}:{TAG}", engine):
            _import_copy(engine, spec.image, repository, scope)
            _push(engine, repository)

        @contextmanager
        def acquire(deadline_s: float) -> Iterator[Acquired]:
            with passing_image(scope, f"{repository}:{TAG}", engine) as ref:
                present_s = _pull(engine, repository, deadline_s)
                yield Acquired(
                    present_s=present_s,
                    fetched_bytes=_fetched(shelf, repository),
                    steps=(f"docker pull {ref}",),
                    provider=provider(replace(spec, image=ref), scope),
                )

        yield acquire


def _import_copy(engine: Engine, image: str, repository: str, scope: RunScope) -> None:
    tree = scope.workdir / f"{scope.new_name()}.tar"
    try:
        with (
            _refusals("export the image"),
            exported(engine, image, scope) as pieces,
            tree.open("wb") as file,
        ):
            # Archives may follow each other: the mark's comes first and has no end of its own.
            file.write(_mark())
            file.writelines(pieces)
        import_image(
            tree,
            repository,
            TAG,
            changes=instructions(inspect_image(engine, image) or {}),
            timeout_s=TRANSFER_TIMEOUT_S,
            engine=engine,
        )
    finally:
        tree.unlink(missing_ok=True)


def _mark() -> bytes:
    """A small file with random content as the start of a tar: it makes the layer another one."""
    content = new_nonce().encode()
    member = tarfile.TarInfo("var/.vmvc-copy")
    member.size = len(content)
    return member.tobuf(tarfile.USTAR_FORMAT) + content.ljust(tarfile.BLOCKSIZE, b"\0")


def _push(engine: Engine, repository: str) -> None:
    with engine.client(TRANSFER_TIMEOUT_S) as client, _refusals("push to a registry"):
        _follow(client.push(repository, tag=TAG, stream=True, decode=True), TRANSFER_TIMEOUT_S)


def _pull(engine: Engine, repository: str, deadline_s: float) -> float:
    """Pull it; returns the seconds. Raises `InfrastructureError` where it was there already."""
    ref = f"{repository}:{TAG}"
    if inspect_image(engine, ref) is not None:
        raise InfrastructureError(f"the image {ref} is there before it is pulled")
    with engine.client(deadline_s) as client, _refusals("pull from a registry"):
        started = time.monotonic()
        said = _follow(client.pull(repository, tag=TAG, stream=True, decode=True), deadline_s)
        present_s = time.monotonic() - started
    if "Already exists" in said:
        raise InfrastructureError(f"the engine had a layer of {ref} before it pulled it")
    if inspect_image(engine, ref) is None:
        raise InfrastructureError(f"the engine pulled {ref} and has it not")
    return present_s


def _follow(stream: Iterator[Mapping[str, Any]], timeout_s: float) -> set[str]:
    """Read a transfer to its end; returns what it said of the layers. Raises `Unavailable`."""
    deadline, said = Deadline(timeout_s), set()
    for line in stream:
        if problem := line.get("error"):
            raise Unavailable(
                f"the engine refuses the transfer: {one_line(str(problem))}",
                hint="it must take 127.0.0.1 for an insecure registry, and be on this host",
            )
        said.add(str(line.get("status", "")))
        if deadline.left_s <= 0:
            raise CommandTimedOut(f"the transfer is not done within {timeout_s:g} s")
    return said


def _fetched(shelf: Registry, repository: str) -> int:
    try:
        return shelf.image_bytes(repository.partition("/")[2], TAG)
    except (OSError, ValueError, HTTPException) as error:
        raise InfrastructureError(
            f"the registry does not tell the image's size: {error}"
        ) from error


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except api_errors() as error:
        raise InfrastructureError(f"the engine did not {what}: {cause(error)}") from error
