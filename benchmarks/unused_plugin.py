"""What pytest pays for the plugin where it is installed and not used.

    python benchmarks/unused_plugin.py -o benchmarks/unused_plugin.json

One file with one test that passes, by `pytest` with our plugin and with `-p no:vmvc`, a process
each, in turn. That neither docker, scipy, jinja2 nor hypothesis is imported is a test of its own
(`tests/plugin/test_run.py`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contest
from contest import Aim

from pytest_vmvc.measure import Sample

LIMIT_S = 60.0
OTHERS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:benchmark")
"""Plugins that are no affair of ours here; the same on both sides."""


def measured(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vmvc-unused-") as folder:
        (Path(folder) / "test_one.py").write_text("def test_one():\n    pass\n")

        def pytest(*words: str):
            def take() -> Sample:
                command = [sys.executable, "-m", "pytest", "-q", *OTHERS, *words, "test_one.py"]
                began = time.monotonic()
                subprocess.run(
                    command, cwd=folder, check=True, capture_output=True, timeout=LIMIT_S
                )
                return Sample(values={"seconds": time.monotonic() - began})

            return take

        return contest.run(
            "unused_plugin",
            {"with it": pytest(), "without it": pytest("-p", "no:vmvc")},
            [
                Aim(subject="with it", over="without it", apart=True, below=0.015),
                Aim(subject="with it", over="without it"),
            ],
            rounds=rounds,
            metrics=(contest.SECONDS,),
        )


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=60)
