"""A container's start, from the request to its first byte: our fixture against everybody else.

    python benchmarks/container_start.py -o benchmarks/container_start.json

The same image and the same payload, which prints a line and sleeps. The rungs below the engine tell
where the time goes: `runc run` on an unpacked root, `ctr run` (containerd and its shim), the engine
without a network for the container. Rivals that are not installed are left out, and named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import contest
from contest import Aim, entering

from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal

SAYS = "first byte"
PAYLOAD = ("sh", "-c", f"echo {SAYS}; exec sleep 2147483647")
NAMESPACE = "vmvc-benchmark"
CONTAINERD = ("/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock")
"""Its own service, or the one that the engine has started for itself."""
LIMIT_S = 60.0


@contextmanager
def by_command(words: Sequence[str], remove: Sequence[str]) -> Iterator[None]:
    """A command line whose output begins with the first byte."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.read(1), words
            yield
        finally:
            subprocess.run(remove, capture_output=True, check=False, timeout=LIMIT_S)
            try:
                child.wait(LIMIT_S)
            finally:
                child.kill()


@contextmanager
def by_sdk(client: Any, image: str, name: str) -> Iterator[None]:
    """What our fixture asks for, by the SDK's own methods."""
    client.create_container(image, list(PAYLOAD[1:]), entrypoint=list(PAYLOAD[:1]), name=name)
    stream = client.attach_socket(name, {"stdout": 1, "stderr": 1, "stream": 1})
    client.start(name)
    heard = b""
    while SAYS.encode() not in heard:
        heard += stream.read(1 << 12)
    try:
        yield
    finally:
        stream.close()
        client.remove_container(name, force=True, v=True)


def by_testcontainers(image: str) -> Callable[[], Any] | None:
    """Its ``start()``, without the container of its own that it would start beside the first."""
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    try:
        from testcontainers.core.container import DockerContainer
    except ImportError:
        return None

    @contextmanager
    def started() -> Iterator[None]:
        made = DockerContainer(image).with_command(list(PAYLOAD))
        made.start()
        try:
            yield
        finally:
            made.stop()

    return started


def bundle(folder: Path, root: Path) -> Path:
    """What ``runc spec`` says of a container, with our root and payload."""
    (folder / "rootfs").mkdir(parents=True)
    with tarfile.open(root) as archive:
        archive.extractall(folder / "rootfs", filter="tar")
    subprocess.run(["runc", "spec"], cwd=folder, check=True, timeout=LIMIT_S)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": list(PAYLOAD)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def measured(rounds: int) -> dict[str, Any]:
    import docker

    found = minimal.load()
    assert found is not None, "run `vmvc setup`"
    image = found.image_ref
    with RunScope() as scope:
        spec = ContainerSpec(image=image, userland="busybox")
        ours = DockerProvider(spec, scope)
        ours.prepare()
        alone = DockerProvider(replace(spec, host_options={"network_mode": "none"}), scope)
        client = docker.APIClient(version="auto")
        rivals = {
            "fixture": entering(ours.launch),
            "bare SDK": entering(lambda: by_sdk(client, image, scope.new_name())),
            "fixture, no network": entering(alone.launch),
        }
        missing = []
        if shutil.which("docker"):

            def cli():
                name = scope.new_name()
                words = ["docker", "run", "--name", name, image, *PAYLOAD]
                return by_command(words, ["docker", "rm", "-f", "-v", name])

            rivals["docker run"] = entering(cli)
        else:
            missing.append("docker run")
        if started := by_testcontainers(image):
            rivals["testcontainers start()"] = entering(started)
        else:
            missing.append("testcontainers start()")
        if shutil.which("ctr") and (at := next(filter(os.path.exists, CONTAINERD), "")):
            archive = scope.workdir / "image.tar"
            with archive.open("wb") as file:
                for chunk in client.get_image(image):
                    file.write(chunk)
            ctr = ["ctr", "--address", at, "--namespace", NAMESPACE]
            subprocess.run([*ctr, "images", "import", archive], check=True, capture_output=True)

            def containerd():
                name = scope.new_name()
                words = [*ctr, "run", "--rm", f"docker.io/{image}", name, *PAYLOAD]
                return by_command(words, [*ctr, "task", "kill", "-s", "KILL", name])

            rivals["ctr run"] = entering(containerd)
        else:
            missing.append("ctr run")
        if shutil.which("runc"):
            place = bundle(scope.workdir / "bundle", found.rootfs)

            def runc():
                name = scope.new_name()
                words = ["runc", "run", "--bundle", str(place), name]
                return by_command(words, ["runc", "delete", "--force", name])

            rivals["runc run"] = entering(runc)
        else:
            missing.append("runc run")
        aims = [
            Aim(subject="fixture", over="bare SDK", below=1.02),
            Aim(subject="fixture", over="docker run", below=0.95),
            Aim(subject="fixture", over="testcontainers start()", below=0.90),
            Aim(subject="fixture", over="docker run", metric="end", below=1.0),
            Aim(subject="fixture", over="runc run"),
            Aim(subject="fixture", over="fixture, no network"),
            Aim(subject="fixture, no network", over="ctr run"),
            Aim(subject="ctr run", over="runc run"),
        ]
        try:
            return {
                "missing": missing,
                **contest.run(
                    "container_start",
                    rivals,
                    [aim for aim in aims if not {aim.subject, aim.over} & set(missing)],
                    rounds=rounds,
                ),
            }
        finally:
            client.close()
            if "ctr run" in rivals:
                subprocess.run(
                    [*ctr, "images", "rm", f"docker.io/{image}"],
                    check=False,
                    capture_output=True,
                    timeout=LIMIT_S,
                )
                subprocess.run(
                    [*ctr, "namespaces", "rm", NAMESPACE],
                    check=False,
                    capture_output=True,
                    timeout=LIMIT_S,
                )


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=240)
