"""Containers under another runtime than the engine's own: crun, at an engine of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.docker import (
    ContainerSpec,
    DockerProvider,
    engine_summary,
    import_image,
)
from pytest_vmvc.backends.second_engine import second_engine, second_engine_gap
from pytest_vmvc.digest import Digester
from pytest_vmvc.errors import LaunchFailed
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog
from pytest_vmvc.testing import scratch_run
from tests.backends.containers import ContainerContract
from tests.faults.own_engine import OwnEngine, own_engine
from tests.scratch import minimal_pair_or_skip

pytestmark = pytest.mark.engine

RUN_S = 300.0
BROKEN = "false"
"""A program that is a runtime by its name alone."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """It has crun beside its default, and the minimal pair's image."""
    if not shutil.which("crun"):
        pytest.skip("no crun — `apt-get install crun`")
    if gap := second_engine_gap("docker"):
        pytest.skip(str(gap))
    found = minimal_pair_or_skip()
    with (
        scratch_run(tmp_path_factory) as scope,
        own_engine(scope, runtimes=("crun", BROKEN)) as engine,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_HOST", engine.address)
        repository, _, tag = found.image_ref.partition(":")
        import_image(found.rootfs, repository, tag, timeout_s=60)
        yield engine


def under(runtime: str, scope: RunScope, **changes: object) -> DockerProvider:
    image = minimal_pair_or_skip().image_ref
    spec = ContainerSpec(image=image, userland="busybox", runtime=runtime, **changes)  # type: ignore[arg-type]
    return DockerProvider(spec, scope)


@pytest.fixture(scope="module")
def provider(engine: OwnEngine, run_scope: RunScope) -> DockerProvider:
    made = under("crun", run_scope)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def broken_provider(engine: OwnEngine, run_scope: RunScope) -> DockerProvider:
    return under("crun", run_scope, argv=("false",))


class TestContract(ContainerContract):
    pass


def test_the_runtime_is_a_fact_and_what_the_engine_says(
    shared_env: Environment, engine: OwnEngine
) -> None:
    assert {"crun", "runc"} <= set(engine_summary()["runtimes"])
    assert shared_env.facts.extra["runtime"] == "crun"
    assert ", crun, " in shared_env.facts.version
    said = engine.docker("inspect", "--format={{.HostConfig.Runtime}}", shared_env.name)
    assert said == "crun"


def test_every_container_of_the_engine_runs_under_it(engine: OwnEngine, scope: RunScope) -> None:
    pair = catalog.load("minimal", scope, runtime="crun")
    found = [pair.subjects["container"], *pair.userlands, pair.other("web-server")]
    assert {one.facts.extra["runtime"] for one in found} == {"crun"}
    with pair.builders["container"].built(from_packages=False) as built:
        assert built.provider.facts.extra["runtime"] == "crun"
    machine = pair.other("vm-linked")
    assert "runtime" not in machine.facts.extra


def test_another_engine_runs_the_image_under_a_runtime_of_its_own(
    engine: OwnEngine, scope: RunScope
) -> None:
    source = under("crun", scope)
    with (
        second_engine("docker", scope) as place,
        source.ported(place) as arrival,
        arrival.provider.launch(deadline_s=60) as container,
    ):
        assert container.facts.extra["runtime"] == "runc"


def test_a_runtime_that_starts_nothing_is_named(engine: OwnEngine, scope: RunScope) -> None:
    with (
        pytest.raises(LaunchFailed, match="does its runtime false work on this host"),
        under(BROKEN, scope).launch(deadline_s=60),
    ):
        pytest.fail("it runs")


@pytest.mark.machine
def test_a_run_under_it_says_so_and_is_told_from_one_without(
    engine: OwnEngine, tmp_path: Path
) -> None:
    logs = {name: measured(tmp_path / name, *words) for name, words in RUNS.items()}
    engines = {name: Digester().digest(log, source=name).engines[0] for name, log in logs.items()}
    assert engines["other"] == f"{engines['usual']}, crun"
    done = vmvc("compare", *(str(tmp_path / name / "latest" / "results.jsonl") for name in RUNS))
    assert ", runc, cgroup v" in done
    (told,) = (line for line in done.splitlines() if line.startswith("container of minimal: "))
    before, _, now = told.partition(", now ")
    assert ", runc, " in before
    assert ", crun, " in now
    page = (tmp_path / "other" / "latest" / "report.html").read_text()
    assert ", crun, " in page


RUNS = {"usual": (), "other": ("--vmvc-runtime=crun",)}


def measured(folder: Path, *words: str) -> ledger.RunLog:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--vmvc", "--vmvc-pair=minimal"),
            *("-p", "no:cacheprovider", "-k=test_shared_kernel and boot-id-same"),
            *(f"--vmvc-output={folder}", *words),
        ],
        cwd=folder.parent,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        capture_output=True,
        check=False,
        timeout=RUN_S,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ledger.read(folder / "latest" / "results.jsonl")


def vmvc(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_vmvc", *words],
        capture_output=True,
        check=True,
        timeout=RUN_S,
        text=True,
    )
    return done.stdout


@pytest.fixture
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunScope]:
    with scratch_run(tmp_path_factory) as scope:
        yield scope
