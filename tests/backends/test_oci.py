"""Saved images, and one that runs in a guest without any engine."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from pytest_vmvc.backends.docker_engine import Engine
from pytest_vmvc.backends.docker_images import save_image
from pytest_vmvc.backends.oci import guested, saved_layers
from pytest_vmvc.errors import BuildFailed, InfrastructureError, VmvcError
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def saved(path: Path, *files: str) -> Path:
    """An archive of one layer with these files."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as inner:
        for name in files:
            add(inner, name, b"x")
    with tarfile.open(path, "w") as tar:
        add(tar, "manifest.json", json.dumps([{"Config": "c.json", "Layers": ["l.tar"]}]).encode())
        add(tar, "c.json", json.dumps({"rootfs": {"diff_ids": ["sha256:1"]}}).encode())
        add(tar, "l.tar", layer.getvalue())
    return path


def test_the_layers_of_a_saved_image_are_found(tmp_path: Path) -> None:
    assert saved_layers(saved(tmp_path / "i.tar", "bin/sh")) == (["l.tar"], ["sha256:1"])


def test_a_layer_that_takes_files_away_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="removes files of another"):
        saved_layers(saved(tmp_path / "i.tar", "etc/.wh.passwd"))


def test_what_is_no_saved_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "i.tar").write_bytes(b"nothing")
    with pytest.raises(BuildFailed, match="no saved image"):
        saved_layers(tmp_path / "i.tar")
    with tarfile.open(tmp_path / "j.tar", "w") as tar:
        add(tar, "manifest.json", b"[]")
    with pytest.raises(BuildFailed, match="no saved image"):
        saved_layers(tmp_path / "j.tar")


@pytest.mark.engine
@pytest.mark.machine
def test_it_runs_under_the_kernel_of_a_guest(
    run_scope: RunScope, engine: Engine, busybox_image: str, tmp_path: Path
) -> None:
    try:
        host = catalog.load("minimal", run_scope).other("runtime-host")
    except VmvcError as gap:
        pytest.skip(str(gap))
    host.prepare()
    save_image(engine, busybox_image, tmp_path / "image.tar")
    with host.launch(deadline_s=120) as machine:
        with guested(machine, tmp_path / "image.tar") as seen:
            assert seen.answered
            assert seen.intact
            inside = machine.run(["cat", "/proc/sys/kernel/osrelease"]).stdout.decode().strip()
            assert seen.kernel_release == inside
        # A layer that is not what the image names is seen, whether or not it runs.
        with guested(machine, saved(tmp_path / "other.tar", "bin/sh")) as seen:
            assert not seen.intact
            assert not seen.answered
        machine.run(["touch", "/run/image"])  # where a folder must be
        with (
            pytest.raises(InfrastructureError, match="does not take"),
            guested(machine, tmp_path / "image.tar"),
        ):
            pytest.fail("it was taken")
