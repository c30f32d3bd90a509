"""What second engines of any brand must do; each test file names its brand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_vmvc.backends import second_engine
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.backends.docker_engine import Engine, engine_summary
from pytest_vmvc.backends.docker_images import inspect_image, load_image, save_image
from pytest_vmvc.backends.second_engine import EngineReaper, second_engine_gap
from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.resources import FolderReaper, RunScope

ORPHAN_MAKER = """
import os, sys
from pytest_vmvc.backends.second_engine import second_engine
from pytest_vmvc.resources import RunScope

with RunScope() as scope, second_engine(sys.argv[1], scope) as place:
    print(place.address, flush=True)
    os._exit(9)
"""


def bridges() -> dict[str, str]:
    """The bridges of the host's own engine, each with the number that a new one would not have."""
    places = (Path("/sys/class/net", name, "ifindex") for name in ("docker0", "cni-podman0"))
    return {place.parent.name: place.read_text() for place in places if place.exists()}


def namespaces(pid: int | str) -> set[str]:
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid", "ipc")}


def engines_of(run_id: str) -> list[str]:
    return [found.name for found in EngineReaper().inventory() if found.run_id == run_id]


class EngineContract:
    """The whole life of an engine beside the host's own."""

    brand: second_engine.Brand
    name: str

    @pytest.fixture(autouse=True)
    def _available(self) -> None:
        if gap := second_engine_gap(self.brand):
            pytest.skip(str(gap))

    def test_it_takes_an_image_of_another_engine_and_runs_it(
        self, run_scope: RunScope, engine: Engine, busybox_image: str, tmp_path: Path
    ) -> None:
        before = bridges()
        archive = tmp_path / "image.tar"
        save_image(engine, busybox_image, archive)
        with second_engine.second_engine(self.brand, run_scope) as place:
            there = Engine(place.address)
            assert engine_summary(place.address)["name"] == self.name
            assert inspect_image(there, busybox_image) is None
            load_image(there, archive, timeout_s=60)
            here, found = inspect_image(engine, busybox_image), inspect_image(there, busybox_image)
            assert here is not None
            assert found is not None
            assert found["Id"] == here["Id"]
            spec = ContainerSpec(
                image=busybox_image,
                userland="busybox",
                base_url=place.address,
                host_options={"cgroup_parent": place.cgroup_parent},
            )
            with DockerProvider(spec, run_scope).launch(deadline_s=60) as container:
                assert container.run(["echo", "here"]).stdout == b"here\n"
            assert engines_of(run_scope.run_id) == [Path(place.cgroup_parent).stem]
            # Whatever it mounts and connects is of namespaces that the host does not share.
            folder = Path(place.address.removeprefix("unix://")).parent
            (daemon,) = (
                process.pid
                for process, name in second_engine._processes()
                if name == folder.name and process.name() == second_engine.PROGRAMS[self.brand]
            )
            assert not namespaces(daemon) & namespaces("self")
            assert bridges() == before
            assert set(place.needs) <= set(second_engine.NEEDS[self.brand])
        assert not folder.exists()
        assert engines_of(run_scope.run_id) == []
        assert not run_scope.held

    def test_a_damaged_archive_is_refused(self, run_scope: RunScope, tmp_path: Path) -> None:
        archive = tmp_path / "image.tar"
        archive.write_bytes(b"no tar at all" * 100)
        with (
            second_engine.second_engine(self.brand, run_scope) as place,
            pytest.raises(BuildFailed, match="did not take"),
        ):
            load_image(Engine(place.address), archive, timeout_s=60)

    def test_one_whose_run_was_killed_is_found_and_ended(self, tmp_path: Path) -> None:
        owner = subprocess.run(
            [sys.executable, "-c", ORPHAN_MAKER, self.brand],
            env={**os.environ, "VMVC_STATE_DIR": str(tmp_path)},
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert owner.returncode == 9, owner.stderr
        folder = Path(owner.stdout.decode().strip().removeprefix("unix://")).parent
        reaper = EngineReaper()
        (found,) = [one for one in reaper.inventory() if one.name == folder.name]
        reaper.destroy(found)
        assert found not in reaper.inventory()
        assert not [p for p in psutil.process_iter(["cmdline"])
                    if str(folder) in " ".join(p.info["cmdline"] or [])]  # fmt: skip
        reaper.destroy(found)
        folders = FolderReaper()
        (left,) = [one for one in folders.inventory() if one.name == str(folder)]
        folders.destroy(left)
        assert not folder.exists()
