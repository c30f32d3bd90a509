from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vmvc.backends import accelerator, qemu
from pytest_vmvc.backends.accelerator import Accelerator, is_nested, without_boot
from pytest_vmvc.errors import VmvcError
from pytest_vmvc.subjects import minimal

FOUND = Accelerator(tier="kvm-hw", reason="a guest answered", figures={"answer_s": 0.5})


class Boots:
    """Stands in for the guest: counts how often it is booted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, kernel: Path, initrd: Path, *, deadline_s: float) -> Accelerator:
        self.count += 1
        return FOUND


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Boots:
    """A host with a device that opens, a QEMU and an empty cache."""
    counted = Boots()
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "without_boot", lambda: None)
    monkeypatch.setattr(accelerator, "qemu_version", lambda: "9.0")
    monkeypatch.setattr(accelerator, "_boot", counted)
    return counted


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(b"one")
    return path


def test_an_absent_device_is_tcg(tmp_path: Path) -> None:
    found = without_boot(tmp_path / "kvm")
    assert found is not None
    assert found.tier == "tcg"
    assert "No such file" in found.reason


def test_a_device_that_may_not_be_opened_is_tcg_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    found = without_boot(tmp_path / "kvm")
    assert found is not None
    assert found.tier == "tcg"
    assert "group kvm" in found.hint


def test_a_device_that_opens_proves_nothing(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    assert without_boot(device) is None


@pytest.mark.parametrize(
    ("cpuinfo", "nested"),
    [
        ("processor\t: 0\nflags\t\t: fpu vmx hypervisor lahf_lm\n", True),
        ("processor\t: 0\nflags\t\t: fpu vmx lahf_lm\n", False),
        ("", False),
    ],
)
def test_a_host_that_is_a_guest_is_told_by_its_cpu_flags(cpuinfo: str, *, nested: bool) -> None:
    assert is_nested(cpuinfo) is nested


def test_a_guest_is_booted_once(boots: Boots, kernel: Path) -> None:
    assert accelerator.cached() is None
    assert accelerator.detect(kernel, kernel) == FOUND
    assert accelerator.detect(kernel, kernel) == FOUND
    assert accelerator.cached() == FOUND
    assert boots.count == 1


@pytest.mark.parametrize("what", ["boot", "qemu", "kernel", "file"])
def test_it_is_booted_again_when_anything_changed(
    boots: Boots, kernel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    accelerator.detect(kernel, kernel)
    match what:
        case "boot":
            monkeypatch.setattr(accelerator, "boot_id", lambda: "another")
        case "qemu":
            monkeypatch.setattr(accelerator, "qemu_version", lambda: "9.1")
        case "kernel":
            kernel.write_bytes(b"two")
        case "file":
            (tmp_path / "cache" / "accelerator.json").write_text("{")
    assert accelerator.detect(kernel, kernel) == FOUND
    assert boots.count == 2


@pytest.mark.machine
class TestReal:
    @pytest.fixture
    def artefacts(self) -> minimal.MinimalArtefacts:
        try:
            qemu.binary()
            return minimal.load() or minimal.build(lambda *_: None)
        except VmvcError as reason:
            pytest.skip(str(reason))

    @pytest.fixture(autouse=True)
    def own_state(
        self,
        artefacts: minimal.MinimalArtefacts,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> Iterator[None]:
        monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
        before = {one.name for one in qemu.QemuReaper().inventory()}
        yield
        assert {one.name for one in qemu.QemuReaper().inventory()} <= before

    def test_this_host_has_a_tier(self, artefacts: minimal.MinimalArtefacts) -> None:
        found = accelerator.detect(artefacts.kernel, artefacts.initrd)
        assert found.tier in ("kvm-hw", "kvm-nested", "kvm-unusable", "tcg")
        assert found.reason
        assert accelerator.cached() == found

    def test_a_guest_that_does_not_answer_is_ended(
        self, artefacts: minimal.MinimalArtefacts
    ) -> None:
        found = accelerator.detect(artefacts.kernel, artefacts.initrd, deadline_s=0.001)
        assert found.tier in ("kvm-unusable", "tcg")
