"""The example distribution, installed as a user would: its pair, experiment, claims and reaper."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.backends import control_group

EXAMPLE = Path(__file__).parent.parent / "examples" / "vmvc-unshare"
INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
STEP_S = 60
LEAVES = """
import os, signal
from pytest_vmvc.resources import RunScope
from vmvc_unshare.backend import UnshareProvider

scope = RunScope().__enter__()
launch = UnshareProvider(scope).launch()
print(launch.__enter__().name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
SWEEPS = """
from pytest_vmvc.clean import sweep
print(*(f"{one.kind} {one.name}" for one in sweep().destroyed), sep="\\n")
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or control_group.obstacle() is not None or not shutil.which("unshare"),
    reason="the example needs root, control groups and util-linux",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where it is installed to."""
    pytest.importorskip("hatchling", reason="hatchling builds the example")
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / EXAMPLE.name)
    subprocess.run(
        [sys.executable, *INSTALL, "--target", folder, source], check=True, timeout=STEP_S
    )
    return folder


@pytest.fixture
def do(site, tmp_path):
    """Run Python in an empty folder, with the example installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "VMVC_STATE_DIR": str(tmp_path / "state"),
        "PY_COLORS": "0",
    }

    def run(*words):
        return subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )

    return run


def mounted(name):
    return name in Path("/proc/self/mounts").read_text()


def test_its_claims_are_judged_on_its_pair_by_its_experiment(do, tmp_path):
    done = do(
        *("-m", "pytest", "--vmvc", "--vmvc-pair=unshare"), *("--pyargs", "vmvc_unshare.claims")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = ledger.read(tmp_path / "vmvc-results" / "latest" / "results.jsonl")
    assert {(one.claim, one.pair, one.judgement.verdict.value) for one in log.results} == {
        ("unshare.sees-itself", "unshare", "SUPPORTED")
    }
    (facts,) = {series.facts.version for series in log.series if series.subject == "container"}
    assert facts.startswith("unshare from util-linux")


def test_its_pair_is_measured_by_the_shipped_experiments(do, tmp_path):
    assert do("-m", "pytest_vmvc", "new", "claim", "own.start").returncode == 0
    done = do("-m", "pytest", "--vmvc", "--vmvc-pair=unshare", "test_own_start.py")
    assert done.returncode == 0, done.stdout + done.stderr
    log = ledger.read(tmp_path / "vmvc-results" / "latest" / "results.jsonl")
    starts = [one for one in log.observations if one.metric == "start_s"]
    assert len(starts) == 6
    assert all(0 < one.value < STEP_S for one in starts)


def test_its_claims_are_listed(do):
    done = do("-m", "pytest_vmvc", "claims", "--package", "vmvc_unshare.claims")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("unshare.sees-itself ")


def test_its_backend_keeps_the_contract(do):
    done = do("-m", "pytest", "-p", "no:cacheprovider", EXAMPLE / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_what_a_killed_run_leaves_is_found_by_its_reaper(do):
    name = do("-c", LEAVES).stdout.strip()
    assert mounted(name)
    swept = do("-c", SWEEPS).stdout
    assert f"/{name}\n" in swept
    assert "unshare-root " in swept
    assert not mounted(name)
