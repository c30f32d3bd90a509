"""Checkpoint and restore of a container, where engine, runtime and kernel can do it (CRIU)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_vmvc.backends.docker_engine import Deadline, Engine, api_errors, cause, until
from pytest_vmvc.errors import CommandTimedOut, Unavailable

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

CHECKPOINT = "vmvc"
"""Name of the one checkpoint that a container has; the engine removes it with the container."""


def save(engine: Engine, container: str, *, timeout_s: float) -> None:
    """Write the container's processes to the engine's disk and end them.

    Raises `Unavailable` with the words of whoever refuses, and `CommandTimedOut`.
    """
    with _request(engine, container, "checkpoint", timeout_s) as client:
        answer = client.post(
            _url(client, container, "checkpoints"),
            json={"CheckpointID": CHECKPOINT, "Exit": True},
            timeout=timeout_s,
        )
        _refused(answer)  # the SDK has no call for checkpoints
        # The engine answers when all is written, and hears of the end a moment later.
        ended = until(
            lambda: not client.inspect_container(container)["State"]["Running"],
            Deadline(timeout_s),
        )
    if not ended:
        raise CommandTimedOut(f"{container} runs on after its checkpoint")


def restore(engine: Engine, container: str, *, timeout_s: float) -> None:
    """Start the container from what `save` wrote; raises as that does."""
    with _request(engine, container, "restore", timeout_s) as client:
        answer = client.post(
            _url(client, container, "start"),
            params={"checkpoint": CHECKPOINT},
            timeout=timeout_s,
        )
        _refused(answer)


def _refused(answer: Response) -> None:
    """Raise the SDK's error, which carries the engine's own words, unless the answer is a yes."""
    from docker.errors import create_api_error_from_http_exception
    from requests import HTTPError

    try:
        answer.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)


def _url(client: APIClient, container: str, action: str) -> str:
    return f"{client.base_url}/v{client.api_version}/containers/{container}/{action}"


@contextmanager
def _request(engine: Engine, container: str, what: str, timeout_s: float) -> Iterator[APIClient]:
    from requests import Timeout

    try:
        with engine.client(timeout_s) as client:
            yield client
    except Timeout as error:
        raise CommandTimedOut(
            f"the engine did not {what} {container} within {timeout_s:g} s"
        ) from error
    except api_errors() as error:
        raise Unavailable(
            f"the engine refuses to {what} a container: {cause(error)}",
            hint="it needs an engine in experimental mode, and CRIU (`criu check`)",
        ) from error
