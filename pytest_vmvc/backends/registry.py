"""A registry of images on the loopback: Distribution, as a child for as long as it is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec
import psutil

from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, TeardownFailed, Unavailable
from pytest_vmvc.process import end_group
from pytest_vmvc.resources import NAME, Resource, RunScope, marked

PROGRAM = "docker-registry"
START_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 10.0
POLL_S = 0.02
MANIFEST_LIMIT_BYTES = 4 << 20

LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
CONFIGURATION = """version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:0"}}
"""


class _Part(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, lt=1 << 50)]


class _Manifest(msgspec.Struct):
    config: _Part
    layers: list[_Part]


class Registry:
    """A running registry; made by `registry`."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        """``127.0.0.1:<port>``: the first part of the references of its images."""

    def image_bytes(self, repository: str, tag: str) -> int:
        """Bytes of manifest, configuration and layers: what somebody with nothing must fetch.

        Raises OSError, HTTPException and ValueError where the registry does not tell.
        """
        request = urllib.request.Request(
            f"http://{self.address}/v2/{repository}/manifests/{tag}",
            headers={"Accept": ", ".join(MANIFESTS)},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            text = answer.read(MANIFEST_LIMIT_BYTES)
        try:
            manifest = msgspec.json.decode(text, type=_Manifest)
        except RecursionError as error:
            raise ValueError("its manifest is nested too deeply") from error
        return len(text) + sum(part.size for part in (manifest.config, *manifest.layers))


@contextmanager
def registry(scope: RunScope, *, program: str = PROGRAM) -> Iterator[Registry]:
    """Run a registry on a free port of the loopback; leaving ends it and removes its images.

    Raises `Unavailable` where the program is not installed, and `LaunchFailed`.
    """
    path = shutil.which(program)
    if path is None:
        raise Unavailable(
            f"no registry of images ({program}) is installed", hint="run `vmvc setup`"
        )
    name = scope.new_name()
    folder = scope.workdir / name
    folder.mkdir()
    configuration, log = folder / f"{name}.yml", folder / "log"
    configuration.write_text(CONFIGURATION.format(root=json.dumps(str(folder / "images"))))
    resource = scope.hold("registry", name)
    child: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as output:
            child = subprocess.Popen(
                [path, "serve", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=marked(),
                start_new_session=True,
            )
        yield Registry(name, _address(child, log))
    finally:
        if child is not None:
            end_group(child)
        if child is None or child.poll() is not None:
            scope.release(resource)
        shutil.rmtree(folder, ignore_errors=True)


def _address(child: subprocess.Popen[bytes], log: Path) -> str:
    """Where it listens: it picks the port itself, and says so."""
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        ended = child.poll() is not None
        said = log.read_text(errors="replace")
        if found := LISTENING.search(said):
            return found[1]
        if ended:
            raise LaunchFailed(
                f"the registry ended with {child.returncode}", hint=said.strip()[-300:]
            )
        if time.monotonic() > until:
            raise LaunchTimedOut(f"the registry does not listen after {START_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


class RegistryReaper:
    """Finds our registries by the name of their configuration file."""

    name = "registry"

    def inventory(self) -> list[Resource]:
        """Every registry of any run."""
        return [
            Resource(kind=self.name, name=name, run_id=run_id) for _, name, run_id in _registries()
        ]

    def destroy(self, resource: Resource) -> None:
        """Kill it and see that it is gone; raises `TeardownFailed`."""
        found = [process for process, name, _ in _registries() if name == resource.name]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # checks pid and start time first
        _, left = psutil.wait_procs(found, timeout=KILL_TIMEOUT_S)
        if any(name == resource.name for _, name, _ in _registries()):
            raise TeardownFailed(
                f"{resource.name} (pid {left[0].pid if left else '?'}) is still there after it was "
                "killed",
                hint="you may lack the permission",
            )


def _registries() -> Iterator[tuple[psutil.Process, str, str]]:
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if len(words) < 3 or words[1] != "serve" or PROGRAM not in Path(words[0]).name:
            continue
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if match := NAME.fullmatch(Path(words[2]).stem):
            yield process, match[0], match[1]
