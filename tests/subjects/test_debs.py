"""Packages that are unpacked and not installed."""

import subprocess

import pytest

from pytest_vmvc.errors import BuildFailed
from pytest_vmvc.subjects import debs, registry


def test_a_package_that_apt_does_not_know_is_named_with_the_remedy(tmp_path):
    with pytest.raises(BuildFailed, match=r"vmvc-no-such-package could not be fetched.*update"):
        debs.unpack(["vmvc-no-such-package"], tmp_path, lambda *_: None)


@pytest.mark.engine
def test_the_registry_is_a_program_and_no_service(monkeypatch, tmp_path):
    program = registry.build(lambda *_: None)
    assert registry.load() == program
    said = subprocess.run([program, "--version"], capture_output=True, check=True, timeout=20)
    assert b"distribution" in said.stdout
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    assert registry.load() is None
