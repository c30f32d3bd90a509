"""Two pairs of a project's own, by their names, from first to last on the real host."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.backends.docker import Engine, import_image, passing_image
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog, image_machine, own
from pytest_vmvc.testing import run_scope  # noqa: F401 - a fixture
from tests.scratch import minimal_pair_or_skip

pytestmark = [pytest.mark.engine, pytest.mark.machine]

SERVER = ["httpd", "-f", "-p", "8080", "-h", "/etc"]
CLAIMS = '''
from pytest_vmvc import below, claim, differs, same

@claim(
    "mine.kernel",
    quote="they have the same kernel",
    readings={
        "container-same": same("container", "kernel_release", other="host"),
        "vm-another": differs("vm", "kernel_release", other="host"),
    },
)
def test_kernel(reading, kernel_facts):
    """What both say of their kernel."""
    reading.judge(kernel_facts)

@claim(
    "mine.size",
    quote="both are small",
    readings={
        "image-below-10-mb": below("container", "kept_bytes", 10e6, "bytes", min_n=1),
        "machine-below-1-gb": below("vm", "kept_bytes", 1e9, "bytes", min_n=1),
    },
)
def test_size(reading, sizes):
    """What they take on this host."""
    reading.judge(sizes)
'''


@pytest.fixture
def project(tmp_path: Path, run_scope: RunScope) -> Iterator[Path]:  # noqa: F811
    built = minimal_pair_or_skip()
    name = run_scope.new_name()
    with passing_image(run_scope, f"{name}:1", Engine()) as ref:
        import_image(built.rootfs, name, "1", changes=(f"CMD {json.dumps(SERVER)}",), timeout_s=60)
        made = image_machine.build(ref, (), run_scope, lambda *_: None)
        tables = {
            "web": {"image": ref, "ready": "http:8080/passwd", "memory": "256MiB"},
            "other": {
                "image": ref, "ready": "port:8080", "disk": str(made.disk),
                "kernel": str(made.kernel), "initrd": str(made.initrd),
            },
        }  # fmt: skip
        text = "\n".join(own.lines(key, table) for key, table in tables.items())
        (tmp_path / "pyproject.toml").write_text(text)
        (tmp_path / "test_mine.py").write_text(CLAIMS)
        yield tmp_path


def test_two_named_pairs_are_measured_and_judged(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--vmvc", "--vmvc-pair=web", "--vmvc-pair=other",
         "-p", "no:cacheprovider", "test_mine.py"],
        cwd=project, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = project.glob("vmvc-results/2*/results.jsonl")
    log = ledger.read(results)
    verdicts = {(r.pair, r.reading.name): r.judgement.verdict.value for r in log.results}
    web = {key[1]: verdict for key, verdict in verdicts.items() if key[0] == "web"}
    assert web == {
        "container-same": "SUPPORTED",
        "vm-another": "SUPPORTED",
        "image-below-10-mb": "SUPPORTED",
        "machine-below-1-gb": "SUPPORTED",
    }
    # Its machine has a disk of which nobody knows what is on it.
    assert verdicts["other", "vm-another"] == "NOT TESTABLE"
    assert verdicts["other", "container-same"] == "SUPPORTED"
    assert verdicts["other", "machine-below-1-gb"] == "SUPPORTED"
    assert catalog.PAIRS.keys().isdisjoint({"web", "other"})
