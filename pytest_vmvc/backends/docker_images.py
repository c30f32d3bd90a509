"""Images: their ids, their coming and going, their sizes."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_vmvc.backends.docker_engine import (
    CHUNK_BYTES,
    PROBE_S,
    Deadline,
    Engine,
    api_errors,
    cause,
    one_line,
    status_of,
    unavailable,
    until,
)
from pytest_vmvc.errors import (
    BuildFailed,
    InfrastructureError,
    TeardownFailed,
    Unavailable,
    VmvcError,
)
from pytest_vmvc.paths import cache_dir

SAVE_S = 1800.0
SAVE_CHUNK_BYTES = 1 << 20
LATE_S = 2.0
"""How long an image whose import was cut off may take to appear."""


def image_id(ref: str) -> str | None:
    """Digest of an image that the engine has, else None; raises `Unavailable` without an engine."""
    found = inspect_image(Engine(), ref)
    return None if found is None else str(found["Id"])


def save_image(engine: Engine, ref: str, target: Path) -> None:
    """Write an image to an archive, as ``docker save``; raises `BuildFailed` and `Unavailable`."""
    deadline = Deadline(SAVE_S)
    try:
        with engine.client() as client, target.open("wb") as file:
            for piece in client.get_image(ref, chunk_size=SAVE_CHUNK_BYTES):
                file.write(piece)
                deadline.check()
    except api_errors() as error:
        raise BuildFailed(
            f"the image {ref} was not saved: {cause(error)}", hint="see that the disk has room"
        ) from error


def load_image(engine: Engine, archive: Path, *, timeout_s: float) -> None:
    """Read an archive into an engine, as ``docker load``; raises `BuildFailed`, `Unavailable`."""
    refused: object = None
    try:
        with engine.client(timeout_s) as client, archive.open("rb") as file:
            for line in client.load_image(file):  # type: ignore[no-untyped-call] # SDK
                refused = refused or line.get("error")
    except api_errors() as error:
        refused = cause(error)
    if refused:
        raise BuildFailed(
            f"the engine did not take the image in {archive.name}: {one_line(str(refused))}",
            hint="the archive may be damaged",
        )


def import_image(
    tar_path: Path,
    repository: str,
    tag: str,
    *,
    changes: Sequence[str] = (),
    timeout_s: float,
    engine: Engine | None = None,
) -> str:
    """Make an image of a root file system in a tar; returns its id.

    ``changes`` are Dockerfile instructions; ``engine``: another than the caller's own. Raises
    `BuildFailed` and `Unavailable`.
    """
    deadline = Deadline(timeout_s)

    def pieces() -> Iterator[bytes]:
        with tar_path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                if deadline.left_s <= 0:
                    raise TimeoutError(f"not done within {timeout_s:g} s")
                yield piece

    engine, ref = engine or Engine(), f"{repository}:{tag}"
    # Podman makes an image also of a stream that breaks off, and sees a tag only with its name.
    part = f"{ref}-part"
    try:
        with engine.client(timeout_s) as client:
            # A generator: the SDK would send a file with two contradicting headers.
            answer = client.import_image_from_stream(
                pieces(), repository=part, changes=list(changes)
            )
            made = inspect_image(engine, part)
            if made is None:
                raise BuildFailed(
                    f"the image {ref} was not imported: {one_line(str(answer))}",
                    hint="see that the engine's disk has room, and its log",
                )
            client.tag(part, repository, tag)
            return str(made["Id"])
    except api_errors() as error:
        with suppress(Unavailable):  # it may still be at work on what came before the end
            until(lambda: inspect_image(engine, part) is not None, Deadline(LATE_S))
        raise BuildFailed(
            f"the image {ref} was not imported: {cause(error)}",
            hint="see that the engine's disk has room",
        ) from error
    finally:
        with suppress(VmvcError):
            remove_image(part, engine)


def instructions(image: Mapping[str, Any]) -> tuple[str, ...]:
    """The configuration of an inspected image as Dockerfile instructions, for a copy of its files.

    A variable with a line break is left out: an instruction is one line.
    """
    config: Mapping[str, Any] = image.get("Config") or {}
    found = [
        f"{word} {json.dumps(config[key])}"
        for word, key in (("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd"))
        if config.get(key)
    ]
    for text in config.get("Env") or ():
        name, _, value = text.partition("=")
        if value.isprintable():
            found.append(f"ENV {name}={_quoted(value)}")
    for word, key in (("WORKDIR", "WorkingDir"), ("USER", "User")):
        if config.get(key):
            found.append(f"{word} {config[key]}")
    return tuple(found)


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def remove_image(ref: str, engine: Engine | None = None) -> None:
    """Remove an image, or only this name of it; no error where there is none.

    ``engine``: another than the caller's own.

    Raises `Unavailable`, and `TeardownFailed` where a container still uses it.
    """
    with (engine or Engine()).client() as client:
        try:
            client.remove_image(ref)
        except api_errors() as error:
            if status_of(error) != 404:
                raise TeardownFailed(
                    f"the image {ref} was not removed: {cause(error)}",
                    hint="remove its containers first",
                ) from error


def tags_of(repository: str, engine: Engine | None = None) -> list[str]:
    """Every name that the engine has of a repository's images; raises `Unavailable`."""
    with (engine or Engine()).client(PROBE_S) as client, unavailable():
        images = client.images(name=repository)
    # Podman writes out where Docker would look for it.
    names = {
        name.removeprefix("docker.io/").removeprefix("library/")
        for image in images
        for name in image["RepoTags"] or ()
    }
    return sorted(name for name in names if name.startswith(f"{repository}:"))


def inspect_image(engine: Engine, ref: str) -> dict[str, Any] | None:
    """What the engine tells of an image; None where it has none. Raises `Unavailable`."""
    from docker.errors import NotFound

    with engine.client(PROBE_S) as client, unavailable():
        try:
            return dict(client.inspect_image(ref))  # type: ignore[no-untyped-call] # SDK
        except NotFound:
            return None


def compressed_bytes(engine: Engine, image: str) -> int:
    """Size of the saved image, compressed on the way and kept nowhere; found once per image."""
    cached = cache_dir() / "sizes" / image.removeprefix("sha256:")
    with suppress(OSError, ValueError):
        return int(cached.read_text())
    deadline, packer, total = Deadline(SAVE_S), zlib.compressobj(6, zlib.DEFLATED, 31), 0
    with engine.client() as client, unavailable():
        for piece in client.get_image(image, chunk_size=CHUNK_BYTES):
            total += len(packer.compress(piece))
            if deadline.left_s <= 0:
                raise InfrastructureError(
                    f"saving image {image} takes more than {SAVE_S:g} s", hint="is the disk busy?"
                )
    total += len(packer.flush())
    cached.parent.mkdir(parents=True, exist_ok=True)
    fresh = cached.with_suffix(f".{os.getpid()}")
    fresh.write_text(str(total))
    fresh.replace(cached)
    return total
