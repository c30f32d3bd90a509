"""A registry of images: the real one where it was fetched, planted ones, and what is had of it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest

from pytest_vmvc.backends import docker, registry
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.backends.file_server import serving
from pytest_vmvc.backends.optional import Acquirable
from pytest_vmvc.backends.registry import CONFIGURATION, Registry, RegistryReaper
from pytest_vmvc.errors import InfrastructureError, LaunchFailed, LaunchTimedOut, Unavailable
from pytest_vmvc.process import end_group
from pytest_vmvc.subjects import registry as package


@pytest.fixture(scope="session")
def program() -> str:
    found = package.load()
    if found is None:
        pytest.skip("no registry was fetched — run `vmvc setup`")
    return str(found)


def planted(folder: Path, script: str) -> str:
    path = folder / "docker-registry"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def registries() -> set[str]:
    return {resource.name for resource in RegistryReaper().inventory()}


def test_it_answers_on_the_loopback_and_nothing_of_it_is_left(run_scope, program):
    with registry.registry(run_scope, program=program) as shelf:
        assert shelf.address.startswith("127.0.0.1:")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{shelf.address}/v2/", timeout=5) as answer:
            assert answer.status == 200
        assert shelf.name in registries()
        assert ("registry", shelf.name) in {(held.kind, held.name) for held in run_scope.held}
    assert shelf.name not in registries()
    assert not (run_scope.workdir / shelf.name).exists()
    assert run_scope.held == ()


def test_one_that_was_left_behind_is_found_and_ended(tmp_path, program):
    name = "vmvc-r0123456789-7"
    configuration = tmp_path / f"{name}.yml"
    configuration.write_text(CONFIGURATION.format(root=json.dumps(str(tmp_path))))
    child = subprocess.Popen(
        [program, "serve", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        (left,) = [one for one in RegistryReaper().inventory() if one.name == name]
        assert left.run_id == "r0123456789"
        RegistryReaper().destroy(left)
        assert name not in registries()
    finally:
        end_group(child)


def test_without_the_program_it_is_unavailable(run_scope):
    with (
        pytest.raises(Unavailable, match="no registry of images"),
        registry.registry(run_scope, program="no-such-registry"),
    ):
        pass


def test_one_that_ends_at_once_says_why(run_scope, tmp_path):
    program = planted(tmp_path, "echo no room on the disk >&2; exit 3")
    with (
        pytest.raises(LaunchFailed, match=r"ended with 3[\s\S]*no room"),
        registry.registry(run_scope, program=program),
    ):
        pass
    assert run_scope.held == ()


def test_one_that_never_listens_is_ended(run_scope, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "START_TIMEOUT_S", 0.05)
    program = planted(tmp_path, "exec sleep 60")
    with (
        pytest.raises(LaunchTimedOut, match="does not listen"),
        registry.registry(run_scope, program=program),
    ):
        pass
    assert run_scope.held == ()


def test_an_image_is_its_manifest_its_configuration_and_its_layers():
    parts = {"config": {"size": 5}, "layers": [{"size": 700}, {"size": 30_000}]}
    manifest = json.dumps(parts).encode()
    with serving({"v2/a/manifests/1": manifest}) as server:
        shelf = Registry("planted", server.url("").removeprefix("http://").rstrip("/"))
        assert shelf.image_bytes("a", "1") == 30_705 + len(manifest)
        with pytest.raises(OSError, match="404"):
            shelf.image_bytes("b", "1")


@pytest.fixture
def offered(run_scope, busybox_image, program):
    spec = ContainerSpec(image=busybox_image, userland="busybox", registry=program)
    provider = DockerProvider(spec, run_scope)
    assert isinstance(provider, Acquirable)
    with provider.offered() as acquire:
        yield acquire
    assert run_scope.held == ()


@pytest.mark.engine
def test_an_image_is_had_from_nothing_and_gone_again(offered):
    for _ in range(2):
        with offered(60.0) as acquired:
            (step,) = acquired.steps
            ref = step.removeprefix("docker pull ")
            assert docker.image_id(ref) is not None
            assert acquired.fetched_bytes > 100_000
            assert acquired.present_s > 0
            with acquired.provider.launch(deadline_s=60) as container:
                assert container.run(["cat", "/var/.vmvc-copy"]).exit_status == 0
        assert docker.image_id(ref) is None


@pytest.mark.engine
def test_an_image_that_is_there_already_is_not_pulled(offered, engine, busybox_image):
    with offered(60.0) as acquired:
        ref = acquired.steps[0].removeprefix("docker pull ")
    with engine.client() as client:
        client.tag(busybox_image, *ref.rsplit(":", 1))
    with pytest.raises(InfrastructureError, match="is there before"), offered(60.0):
        pass
    assert docker.image_id(ref) is None
