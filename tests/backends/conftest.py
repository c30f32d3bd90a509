from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vmvc.backends import docker
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.testing import run_scope, shared_env  # noqa: F401 - fixtures of the contract

BUSYBOX = Path("/bin/busybox")
IMAGE = ("vmvc-test-busybox", "1")


@pytest.fixture(scope="session")
def engine() -> docker.Engine:
    """The host's engine; the tests that ask for it are skipped where there is none."""
    found = docker.Engine()
    try:
        _ = found.api_version
    except Unavailable as reason:
        pytest.skip(str(reason))
    return found


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's static busybox as a root file system."""
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed — run `vmvc setup`")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, timeout=10)
    path = tmp_path_factory.mktemp("busybox") / "root.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(BUSYBOX.resolve(), "bin/busybox")
        for applet in listed.stdout.decode().split():
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return path


@pytest.fixture(scope="session")
def busybox_image(engine: docker.Engine, busybox_tar: Path) -> Iterator[str]:
    """Reference of an image with nothing but busybox; removed unless it was there before."""
    ref = ":".join(IMAGE)
    existed = docker.image_id(ref) is not None
    if not existed:
        docker.import_image(busybox_tar, *IMAGE, changes=['CMD ["sh"]'], timeout_s=60)
    yield ref
    if not existed:
        docker.remove_image(ref)
