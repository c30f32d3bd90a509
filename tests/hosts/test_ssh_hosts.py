"""A claim of the article on two hosts over ssh, each with a container engine of its own.

The hosts are networks of this one with a real sshd in each; their keys are made for the test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("xdist")

from pytest_vmvc import ledger
from pytest_vmvc.backends.docker import import_image
from pytest_vmvc.backends.docker_engine import Engine
from pytest_vmvc.backends.second_engine import second_engine_gap
from pytest_vmvc.clean import sweep
from pytest_vmvc.plugin import hosts
from pytest_vmvc.resources import FolderReaper, RunScope
from pytest_vmvc.subjects import minimal
from tests.faults.own_engine import OwnEngine, own_engine
from tests.faults.sshd import Server, make_key, serving
from tests.hosts.networks import names, network
from tests.plugin.conftest import CLAIMS, PAIR
from tests.plugin.test_many_hosts import CONFTEST

pytestmark = [pytest.mark.engine, pytest.mark.machine]

ROOT = Path(__file__).parents[2]
HOSTS = ("north", "south")
RUN_S = 150.0
GONE_S = 15.0
SSH_CONFIG = """Host {name}
    HostName {address}
    Port {port}
    User root
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known}
    StrictHostKeyChecking yes
    ForwardAgent no
"""


PROJECT = """
[tool.vmvc.pairs.mine]
image = "{found.image_ref}"
command = ["sh", "-c", "echo Linux version; exec sleep 1000"]
ready = "line:Linux version"
disk = "own.img"
kernel = "{found.kernel}"
initrd = "{found.initrd}"
kernel-parameters = "ignore_loglevel"
"""


class Place:
    """A host: its server and its engine."""

    def __init__(self, name: str, server: Server, engine: OwnEngine, folder: Path) -> None:
        self.name, self.server, self.engine, self.folder = name, server, engine, folder

    def tx(self, config: Path) -> str:
        variables = {
            "DOCKER_HOST": self.engine.address,
            "VMVC_STATE_DIR": self.folder / "state",
        }
        return spec(self.name, config, self.folder, variables)


def spec(
    name: str, config: Path, folder: Path, variables: Mapping[str, object], *, path: Path = ROOT
) -> str:
    """A host as a user writes it; ``path`` is where its Python finds claims."""
    return "//".join(
        [
            f"ssh={name}",
            f"id={name}",
            f"ssh_config={config}",
            f"python=env PYTHONPATH={ROOT}:{path} {sys.executable}",
            f"chdir={folder / 'cwd'}",
            *(f"env:{key}={value}" for key, value in variables.items()),
        ]
    )


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Place]]:
    """Two of them, taken down and looked for afterwards."""
    if gap := second_engine_gap("docker"):
        pytest.skip(str(gap))
    if not shutil.which("ssh"):
        pytest.skip("no OpenSSH client — run `vmvc setup`")
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    before = names()
    with ExitStack() as stack:
        scope = stack.enter_context(RunScope())
        made = []
        for number, name in enumerate(HOSTS):
            (folder := tmp_path / name).mkdir()
            net = stack.enter_context(network(name, number))
            server = stack.enter_context(
                serving(folder, net.address, name=f"vmvc-{name}", inside=net.inside)
            )
            made.append(Place(name, server, stack.enter_context(own_engine(scope)), folder))
        yield made
    assert names() == before
    until = time.monotonic() + GONE_S
    while left := theirs(tmp_path):
        assert time.monotonic() < until, left
        time.sleep(0.05)
    assert not [one for place in made for one in cgroups(place.engine.folder.name)]


def theirs(folder: Path) -> list[list[str]]:
    """Processes whose command or environment names the test's folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid == os.getpid() or not (words := process.info["cmdline"]):
            continue
        try:
            values = process.environ().values()
        except (psutil.Error, OSError):
            continue
        if any(str(folder) in text for text in (*words, *values)):
            found.append(words)
    return found


def cgroups(name: str) -> list[Path]:
    return [*Path("/sys/fs/cgroup").glob(f"**/{name}*")]


def configure(servers: Mapping[str, Server], folder: Path) -> Path:
    """What a user's ssh_config and known_hosts say; ``shut`` is a host that refuses."""
    config, known = folder / "ssh_config", folder / "known_hosts"
    first = next(iter(servers.values()))
    parts = [
        SSH_CONFIG.format(
            name="shut", address=first.address, port=9, key=first.folder / "login", known=known
        ),
        SSH_CONFIG.format(
            name="locked",
            address=first.address,
            port=first.port,
            key=folder / "stranger",
            known=known,
        ),
    ]
    make_key(folder / "stranger")
    for name, server in servers.items():
        key = (server.folder / "host.pub").read_text().split()[:2]
        with known.open("a") as file:
            file.write(f"{server.address} {' '.join(key)}\n")
        parts.append(
            SSH_CONFIG.format(
                name=name,
                address=server.address,
                port=server.port,
                key=server.folder / "login",
                known=known,
            )
        )
    config.write_text("".join(parts))
    return config


def test_a_claim_on_two_hosts_over_ssh(places: list[Place], tmp_path: Path) -> None:
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    for place in places:
        at = Engine(place.engine.address)
        repository, _, tag = found.image_ref.partition(":")
        import_image(found.rootfs, repository, tag, timeout_s=60, engine=at)
    config = configure({place.name: place.server for place in places}, tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(found=found))
    for place in places:  # on the hosts alone, in the folder that each works in
        (place.folder / "cwd").mkdir()
        (place.folder / "cwd" / "own.img").write_bytes(bytes(1 << 20))
    refusing = [f"ssh={name}//ssh_config={config}//id={name}" for name in ("shut", "locked")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--vmvc", "--vmvc-pair=minimal", "--vmvc-pair=mine", "-v"]
        + ["-k=test_shared_kernel and boot-id-same", "--vmvc-require=container,vm"]
        + [f"--vmvc-output={tmp_path / 'results'}", "-p", "no:cacheprovider", "--dist=each"]
        + [f"--tx={tx}" for tx in (*(place.tx(config) for place in places), *refusing)],
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}},
        capture_output=True,
        check=False,
        timeout=RUN_S,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, said  # all passed, two were left out
    folder = tmp_path / "results" / "latest"
    for place in places:
        assert (folder / place.name / "results.jsonl").exists(), said
        log = ledger.read(folder / place.name / "results.jsonl")
        verdicts = {one.pair: one.judgement.verdict for one in log.results}
        assert verdicts == {"minimal": "SUPPORTED", "mine": "SUPPORTED"}, said
        assert "vm: QEMU" in line(said, f"vmvc: {place.name}: pair mine: container: Docker")
        assert log.run is not None
        assert log.run.host.name == f"vmvc-{place.name}"
        assert log.end is not None
        assert log.end.exit_status == 0
        assert (folder / place.name / "report.html").exists()
        assert f"[{place.name}] " in said
        assert place.engine.docker("ps", "--all", "--quiet") == ""
        created = place.engine.docker("events", "--since=1h", "--until=0s", "--filter=event=create")
        assert "container create" in created  # by this very engine
    assert "Connection refused" in line(said, "shut (ssh=shut)")
    assert "Permission denied" in line(said, "locked (ssh=locked)")
    page = (folder / "report.html").read_text()
    assert "vmvc-north" in page
    assert "vmvc-south" in page


def test_a_wire_that_is_cut_costs_one_host(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On planted subjects: what is real is the way to the hosts."""
    before = folders()
    package = pytester.path / "lib" / "claims_of_ours"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    pair = PAIR.format(vm_s=[4.0] * 50, lacking=[], load=1.0, failing=0)
    (package / "conftest.py").write_text(pair + CONFTEST)
    (package / "test_own.py").write_text(CLAIMS)
    hear = hosts.HostsSession._hear

    def listen(session: hosts.HostsSession, host: hosts.HostRun, message: Any) -> None:
        hear(session, host, message)
        if host.spec.id == "north" and len(host.results) == 1:
            nets["north"].cut()

    monkeypatch.setattr(hosts.HostsSession, "_hear", listen)
    monkeypatch.setattr(hosts, "PULSE_S", 0.2)
    monkeypatch.setattr(hosts, "SILENT_S", 10.0)
    with ExitStack() as stack:
        nets = {
            name: stack.enter_context(network(name, number)) for number, name in enumerate(HOSTS)
        }
        servers = {}
        for name, net in nets.items():
            (folder := pytester.path / name).mkdir()
            servers[name] = stack.enter_context(
                serving(folder, net.address, name=f"vmvc-{name}", inside=net.inside)
            )
        config = configure(servers, pytester.path)
        words = ["--vmvc", "--vmvc-pair=minimal", "--pyargs", "claims_of_ours", "--dist=each"]
        for name, server in servers.items():
            variables = {"VMVC_STATE_DIR": server.folder / "state"}
            if name == "north":  # or all that it says may be on the way before the wire is cut
                variables["WAITS"] = "vm-late"
            tx = spec(name, config, server.folder, variables, path=package.parent)
            words.append(f"--tx={tx}")
        result = pytester.runpytest(*words, "-p", "no:cacheprovider")
    said = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED, said
    folder = pytester.path / "vmvc-results" / "latest"
    south, north = (ledger.read(folder / name / "results.jsonl") for name in ("south", "north"))
    assert len(south.results) == 3
    assert south.end is not None
    assert len(north.results) == 1
    assert north.end is None
    assert "LOST: it has not been heard of for 10 s" in line(said, "north (ssh=north, host ")
    # The end of its server may have come to its watchdog as well: `vmvc clean` is the host's own.
    monkeypatch.setenv("VMVC_STATE_DIR", str(servers["north"].folder / "state"))
    sweep(use=[FolderReaper()])
    assert folders() == before


def folders() -> set[Path]:
    """Of runs, whosever they are."""
    return set(Path(tempfile.gettempdir()).glob("vmvc-r*"))


def line(said: str, start: str) -> str:
    (found,) = (one for one in said.splitlines() if one.startswith(start))
    return found
