"""Hostile input, more of it than the tests take: writes what was fed, and how much, as JSON.

``python benchmarks/fuzz.py [--examples N] [--seconds S] [--target NAME ...]``: N inputs by
Hypothesis and S seconds of a coverage-guided fuzzer (atheris) for each target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HOSTILE = ROOT / "tests" / "hostile"
sys.path[:0] = [str(ROOT), str(HOSTILE)]

from hypothesis import settings  # noqa: E402
from targets import TARGETS, Target  # noqa: E402
from test_fuzz import fuzz  # noqa: E402

DEAR = {"page": 20, "monitor": 10, "baseline": 10}
"""Targets of which one input costs so many times more."""


def guided(target: Target, seconds: int) -> tuple[int, int, str]:
    """Inputs of the coverage-guided fuzzer, its peak of memory in MB, and what broke."""
    with tempfile.TemporaryDirectory(prefix="vmvc-fuzz-") as place:
        done = subprocess.run(
            [
                sys.executable, str(HOSTILE / "coverage_guided.py"), target.name, place,
                f"-max_total_time={seconds}", "-seed=1",
            ],
            capture_output=True, text=True, errors="replace", timeout=seconds + 300, check=False,
            cwd=ROOT, env={**os.environ, "TMPDIR": place, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        said = done.stderr + done.stdout
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
        peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", said)
        broken = [] if done.returncode == 0 else [said[-3000:]]
        broken += [repr(path.read_bytes()[:2000]) for path in Path(place).glob("[clot]*-*")]
    return int(runs[1]) if runs else 0, int(peak[1]) if peak else 0, "\n".join(broken)


def main() -> int:
    """Feed all targets, write the file; 1 where something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "fuzz.json")
    asked = parser.parse_args()
    settings.register_profile("much", derandomize=True, deadline=None)
    settings.load_profile("much")
    rows: list[dict[str, Any]] = []
    for target in TARGETS:
        if asked.target and target.name not in asked.target:
            continue
        examples = asked.examples // DEAR.get(target.name, 1)
        row: dict[str, Any] = {"target": target.name, "input": target.what, "failures": 0}
        rows.append(row)
        try:
            fuzz(target, examples)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            row["failures"] += 1
            sys.stderr.write(f"{target.name}: {error!r}\n")
        inputs, peak_mb, broken = guided(target, asked.seconds) if asked.seconds else (0, 0, "")
        if broken:
            row["failures"] += 1
            sys.stderr.write(f"{target.name}: {broken}\n")
        row |= {"hypothesis": examples, "coverage_guided": inputs, "peak_mb": peak_mb}
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    found = {
        "command": f"tox run -e fuzz -- --examples {asked.examples} --seconds {asked.seconds}",
        "python": platform.python_version(),
        "hypothesis": version("hypothesis"),
        "atheris": version("atheris") if asked.seconds else None,
        "targets": rows,
        "inputs": sum(row["hypothesis"] + row["coverage_guided"] for row in rows),
        "failures": sum(row["failures"] for row in rows),
    }
    asked.output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
