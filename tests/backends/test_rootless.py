"""Containers of a rootless engine: Podman's service as a user that may do nothing on this host."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pytest_vmvc.backends import second_engine
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.docker import (
    ContainerSpec,
    DockerProvider,
    Engine,
    engine_summary,
    import_image,
    tags_of,
)
from pytest_vmvc.backends.docker_engine import Deadline, until
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope
from pytest_vmvc.testing import scratch_run
from tests.backends.conftest import IMAGE
from tests.backends.containers import ContainerContract

pytestmark = pytest.mark.engine

USER = "nobody"
WAIT_S = 30.0
NO_CGROUP = "no control group of its own"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it answers; afterwards it has gone, with what keeps its namespaces."""
    if os.geteuid() != 0:
        pytest.skip("a service as another user needs root")
    if not shutil.which("podman") or not shutil.which("setpriv"):
        pytest.skip("podman or setpriv is not installed — run `vmvc setup`")
    user = pwd.getpwnam(USER)
    with scratch_run(tmp_path_factory) as scope, scope.roomy_folder() as folder:
        words = second_engine.COMMANDS["podman"](folder)
        (folder / "xdg").mkdir(mode=0o700)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        resource = scope.hold(second_engine.KIND, folder.name)
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [
                    *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"),
                    *("--clear-groups", *words),
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    "PATH": os.defpath + ":/usr/sbin:/sbin",
                    "HOME": str(folder),
                    "TMPDIR": str(folder),  # Podman 4.3 leaves what it has imported
                    "XDG_RUNTIME_DIR": str(folder / "xdg"),
                    "CONTAINERS_CONF": str(folder / "containers.conf"),
                },
            )
        try:
            found = f"unix://{folder / 's'}"
            if not until(lambda: answers(found) or child.poll() is not None, Deadline(WAIT_S)):
                pytest.fail((folder / "log").read_text())
            if child.poll() is not None:
                pytest.skip(f"no rootless engine here: {(folder / 'log').read_text()[-400:]}")
            yield found
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(WAIT_S)
            for pid in kept(folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            second_engine._end(folder.name)
            scope.release(resource)


def kept(folder: Path) -> list[int]:
    """What keeps its namespaces, and for five minutes each command's end."""
    named = [p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info)]
    return [*named, *(int(file.read_text()) for file in folder.rglob("pause.pid"))]


def answers(address: str) -> bool:
    with suppress(Unavailable):
        return bool(Engine(address).api_version)
    return False


@pytest.fixture(scope="module")
def spec(address: str, busybox_tar: Path) -> Iterator[ContainerSpec]:
    """Without a network: that would need a device which not every host lets everybody open."""
    import_image(busybox_tar, *IMAGE, timeout_s=60, engine=Engine(address))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", address)
        yield ContainerSpec(
            image=":".join(IMAGE), userland="busybox", host_options={"network_mode": "none"}
        )


@pytest.fixture(scope="module")
def provider(run_scope: RunScope, spec: ContainerSpec) -> DockerProvider:
    made = DockerProvider(spec, run_scope)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def broken_provider(provider: DockerProvider) -> DockerProvider:
    return provider.bound(changed(provider.spec, argv=("false",)))


@pytest.mark.parametrize(
    ("info", "rootless", "cgroups"),
    [
        ({"CgroupVersion": "1", "CgroupDriver": "cgroupfs"}, False, True),
        ({"CgroupDriver": "none", "SecurityOptions": ["name=rootless"]}, True, False),
        ({"CgroupVersion": "2", "Rootless": True, "CgroupDriver": "cgroupfs"}, True, True),
        ({"CgroupVersion": "2", "Rootless": True, "CgroupDriver": "none"}, True, False),
    ],
)
def test_what_engines_say_of_it(
    monkeypatch: pytest.MonkeyPatch, info: dict[str, object], rootless: bool, cgroups: bool
) -> None:
    client = SimpleNamespace(info=lambda: info, version=lambda: {"Version": "1"})
    monkeypatch.setattr(Engine, "client", lambda *_: nullcontext(client))
    monkeypatch.setattr(Engine, "api_version", "1.41")
    found = engine_summary("unix:///nowhere")
    assert (found["rootless"], found["cgroups"]) == (rootless, cgroups)


def changed(spec: ContainerSpec, **changes: object) -> ContainerSpec:
    return ContainerSpec(**{**vars(spec), **changes})  # type: ignore[arg-type]


@pytest.fixture
def limits(provider: DockerProvider) -> bool:
    """Whether this host lets such an engine make control groups: not with those of version 1."""
    return bool(engine_summary()["cgroups"])


class TestContract(ContainerContract):
    def test_unread_standard_input_is_no_error(self, shared_env: Environment) -> None:
        # Without a look at what it prints: Podman 4.3 may lose that, its copies race.
        done = shared_env.run(["true"], stdin=b"x" * 500_000, timeout_s=self.command_s)
        assert done.exit_status == 0


def test_it_is_a_fact_that_it_is_rootless(shared_env: Environment) -> None:
    assert engine_summary()["rootless"]
    assert shared_env.facts.extra["rootless"] is True
    assert shared_env.facts.version.endswith(", rootless)")


def test_what_its_processes_are_is_seen_from_the_host(shared_env: Environment) -> None:
    assert shared_env.account().payload_bytes > 0
    assert shared_env.capabilities() == 0  # none of them holds outside of its namespace of users


def test_without_control_groups_usage_is_not_told_and_no_limit_is_claimed(
    shared_env: Environment, provider: DockerProvider, limits: bool
) -> None:
    if limits:
        pytest.skip("this host gives a rootless engine control groups")
    for ask in (shared_env.usage, shared_env.memory):
        with pytest.raises(Unavailable, match=NO_CGROUP):
            ask()
    assert shared_env.alive()
    for shape in (Shape(memory_bytes=64 << 20), Shape(vcpus=1), Shape(processes=50)):
        with (
            pytest.raises(Unavailable, match="rootless Podman holds no container to a limit"),
            provider.shaped(shape).launch(deadline_s=60),
        ):
            pytest.fail("it runs")


def test_a_runtime_that_podman_would_ignore_is_refused(provider: DockerProvider) -> None:
    other = provider.bound(changed(provider.spec, runtime="runsc"))
    with (
        pytest.raises(Unavailable, match=r"no runtime runsc — one of runc; .* containers\.conf"),
        other.launch(deadline_s=60),
    ):
        pytest.fail("it runs")


def test_its_images_are_found_by_the_names_that_they_were_given(spec: ContainerSpec) -> None:
    assert tags_of(IMAGE[0]) == [":".join(IMAGE)]
