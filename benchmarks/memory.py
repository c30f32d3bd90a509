"""What the harness itself holds of the host's memory while it measures.

    python benchmarks/memory.py -o benchmarks/memory.json

Runs the whole article with its fewest samples and looks at pytest's own process, and at the
watchdog beside it, from outside: proportional set size, four times a second. Containers, machines,
engines and the commands that are driven are not the harness.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import contest
import psutil

EVERY_S = 0.25
LIMIT_BYTES = 120 << 20
HELPERS = ("sh",)
"""The watchdog is a shell that waits."""


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
            run, seen = psutil.Process(child.pid), []
            while child.poll() is None:
                try:
                    seen.append(own_bytes(run))
                except psutil.Error:
                    continue  # something has ended while it was looked at
                finally:
                    time.sleep(EVERY_S)
            rows.append(
                {
                    "exit_status": child.returncode,
                    "looks": len(seen),
                    "median_bytes": round(statistics.median(seen)),
                    "largest_bytes": max(seen),
                }
            )
    return {"limit_bytes": LIMIT_BYTES, "runs": rows}


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=1)
