"""Vagrant with any provider: the real one by libvirt, through the way that knows nothing of it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import process
from pytest_vmvc.backends import libvirt, vagrant_folder
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.optional import (
    Accountable,
    Acquirable,
    Confined,
    Creatable,
    HasArtefact,
    HasDisk,
    Portable,
    Stoppable,
)
from pytest_vmvc.backends.vagrant_offer import HomeReaper
from pytest_vmvc.backends.vagrant_other import OtherMachine, OtherVagrantProvider
from pytest_vmvc.backends.vagrantfile import VagrantSpec
from pytest_vmvc.clean import sweep
from pytest_vmvc.resources import NAME, ChildReaper, FolderReaper, Resource, RunScope
from pytest_vmvc.subjects import debian
from pytest_vmvc.testing import ProviderContract

# A network that stays, and no KVM, which opens here and runs nothing.
MACHINE = """Vagrant.configure("2") do |config|
  config.vm.box = "{box}"
  config.vm.box_version = "{version}"
  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = "qemu"
    libvirt.cpu_mode = "custom"
    libvirt.cpu_model = "qemu64"
    libvirt.graphics_type = "none"
    libvirt.management_network_name = "default"
    libvirt.management_network_address = "{network}"
    libvirt.management_network_keep = true
  end
end
"""


@pytest.fixture(scope="module", autouse=True)
def _nobody_else_reaps() -> Iterator[None]:
    """As of a provider without a backend of its own; of libvirt, its logs would stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vagrant_folder, "LIBVIRT", "")
        yield
    for log in libvirt.LOGS.glob("vmvc-r*_default.log"):  # libvirt's own backend has another name
        libvirt.remove_log(log.stem)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> VagrantSpec:
    found = debian.load()
    if found is None:
        pytest.skip("the debian pair is not built — run `vmvc setup`")
    if reason := libvirt.problem():
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("machine")
    text = MACHINE.format(
        box=found.box_name, version=found.box_version, network=libvirt.network()[1]
    )
    (folder / "Vagrantfile").write_text(text)
    return VagrantSpec(
        box=found.box_name,
        box_version=found.box_version,
        userland=found.userland,
        tier="tcg",
        box_file=str(found.box_path),
        vagrantfile=folder,
    )


@pytest.fixture(scope="module")
def provider(run_scope: RunScope, spec: VagrantSpec) -> OtherVagrantProvider:
    found = OtherVagrantProvider(spec, run_scope)
    if reason := found.probe():
        pytest.skip(str(reason))
    found.prepare()
    return found


@pytest.fixture(scope="module")
def broken_provider(
    provider: OtherVagrantProvider, run_scope: RunScope, tmp_path_factory: pytest.TempPathFactory
) -> OtherVagrantProvider:
    """Its disk is to be in a pool that libvirt does not have."""
    folder = tmp_path_factory.mktemp("broken")
    theirs = provider.spec.vagrantfile
    assert theirs is not None
    text = (theirs / "Vagrantfile").read_text()
    broken = text.replace(
        "libvirt.driver", 'libvirt.storage_pool_name = "none"\n    libvirt.driver'
    )
    (folder / "Vagrantfile").write_text(broken)
    return OtherVagrantProvider(
        msgspec.structs.replace(provider.spec, vagrantfile=folder), run_scope
    )


def of_libvirt(run_id: str) -> set[str]:
    """What libvirt itself has of a run."""
    return {one for one in (*libvirt.domains(), *libvirt.volumes()) if run_id in one}


@pytest.mark.vagrant
class TestContract(ProviderContract):
    launch_s = 240.0
    bound_s = 60.0
    # Two of libvirt's at once are tried by its own backend; a start takes half a minute.
    test_two_at_once_are_two_and_a_stop_is_verified = None  # type: ignore[assignment]

    def kill(self, env: Environment) -> None:
        assert isinstance(env, OtherMachine)
        assert env._hypervisor is not None
        env._hypervisor.kill()

    def leftovers(self) -> Sequence[Resource]:
        return HomeReaper().inventory()

    def ours(self, scope: RunScope) -> set[tuple[str, str]]:
        """By libvirt, too, of which the backend knows nothing."""
        return super().ours(scope) | {("libvirt", name) for name in of_libvirt(scope.run_id)}

    def test_it_is_there_for_the_reaper_and_for_libvirt(self, shared_env, run_scope) -> None:
        found = {(kind, Path(name).name) for kind, name in self.ours(run_scope)}
        assert ("vagrant-machine", shared_env.name) in found
        assert ("libvirt", f"{shared_env.name}_default") in found

    def test_nobody_tells_whether_it_is_emulated(self, shared_env: Environment) -> None:
        facts = shared_env.facts
        assert facts.accelerator == "other"
        assert re.fullmatch(
            r"Vagrant \S+, libvirt \(vagrant-libvirt [^)]+\), QEMU \d[\d.]+", facts.version
        )

    def test_it_has_the_size_that_it_was_asked_for(self, shared_env: Environment) -> None:
        assert shared_env.run(["nproc"]).stdout.strip() == b"1"
        total = shared_env.run(["grep", "MemTotal", "/proc/meminfo"]).stdout.split()[1]
        assert 0.75 * (512 << 10) < int(total) <= 512 << 10

    def test_what_needs_libvirt_is_not_offered(self, provider, shared_env) -> None:
        for protocol in (HasArtefact, Acquirable, Portable, Creatable):
            assert not isinstance(provider, protocol)
        for protocol in (Confined, Accountable, Stoppable, HasDisk):
            assert not isinstance(shared_env, protocol)


KILLED = """
import sys
import msgspec
from pytest_vmvc.backends.vagrant_other import OtherVagrantProvider
from pytest_vmvc.backends.vagrantfile import VagrantSpec
from pytest_vmvc.resources import RunScope

spec = msgspec.json.decode(sys.argv[1], type=VagrantSpec, dec_hook=lambda kind, text: kind(text))
with RunScope() as scope:
    with OtherVagrantProvider(spec, scope).launch(deadline_s=240) as machine:
        print(machine.name, flush=True)
        sys.stdin.read()
"""


@pytest.mark.vagrant
def test_what_a_killed_run_has_left_is_destroyed_by_vagrant_before_its_folder_goes(
    provider, monkeypatch, tmp_path
):
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    spec = msgspec.json.encode(provider.spec, enc_hook=str).decode()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, spec], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    name = child.stdout.readline().decode().strip()
    child.kill()
    child.wait(60)
    process.close_pipes(child)
    found = NAME.fullmatch(name)
    assert found is not None
    run_id = found[1]
    assert f"{name}_default" in of_libvirt(run_id)

    report = sweep(use=[ChildReaper(), HomeReaper(), FolderReaper()])

    assert not report.left
    kinds = [one.kind for one in report.destroyed if one.run_id == run_id]
    assert kinds.index("vagrant-machine") < kinds.index("folder")
    assert report.forgotten == (run_id,)
    assert of_libvirt(run_id) == set()
    assert not list(Path(tempfile.gettempdir()).glob(f"vmvc-{run_id}-*"))
