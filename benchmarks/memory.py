"""What the harness itself holds of the host's memory while it measures.

    python benchmarks/memory.py -o benchmarks/memory.json

Runs the whole article with its fewest samples and looks at pytest's own process, and at the
watchdog beside it, from outside: proportional set size, four times a second. Containers, machines,
engines and the commands that are driven are not the harness. Once the results file has its last
line nothing is measured any more: what the page takes, with its charts, is told apart.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contest
import psutil

from pytest_vmvc.model import End

EVERY_S = 0.25
LIMIT_BYTES = 120 << 20
HELPERS = ("sh",)
"""The watchdog is a shell that waits."""
LAST_LINE = f'"record":"{End.__struct_config__.tag}"'.encode()


def has_ended(results: Path) -> bool:
    """Whether everything that was to be measured is."""
    return results.exists() and LAST_LINE in results.read_bytes()[-2000:]


def own_bytes(run: psutil.Process) -> int:
    found = [run, *(one for one in run.children() if one.name() in HELPERS)]
    return sum(one.memory_full_info().pss for one in found)


def measured(rounds: int) -> dict[str, Any]:
    """``rounds`` runs; only the largest figure of each counts."""
    rows = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="vmvc-memory-") as folder:
            words = ["--vmvc", "--vmvc-profile=quick", "-q", "-p", "no:cacheprovider"]
            child = subprocess.Popen(
                [sys.executable, "-m", "pytest", *words], cwd=folder, stdout=subprocess.DEVNULL
            )
            run = psutil.Process(child.pid)
            measuring, after = [], []
            results = Path(folder) / "vmvc-results" / "latest" / "results.jsonl"
            while child.poll() is None:
                try:
                    (after if has_ended(results) else measuring).append(own_bytes(run))
                except psutil.Error:
                    continue  # something has ended while it was looked at
                finally:
                    time.sleep(EVERY_S)
            rows.append(
                {
                    "exit_status": child.returncode,
                    "looks": len(measuring),
                    "median_bytes": round(statistics.median(measuring)),
                    "largest_bytes": max(measuring),
                    "largest_of_the_page_bytes": max(after, default=0),
                }
            )
    return {"limit_bytes": LIMIT_BYTES, "runs": rows}


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=1)
