"""How long a million samples take to be judged again, and to become a page; and how much memory.

    python benchmarks/million.py -o benchmarks/million.json

Start of Python and imports included; wall and CPU seconds and largest resident set of one process
each. The samples are made up in place of those of the recorded run's start-up ratio; the plain
numbers are two files of half a million. The recorded run itself stands beside them.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contest
import msgspec
from overview import RECORDED, used_by

from pytest_vmvc import ledger
from pytest_vmvc.model import Observation

SAMPLES = 1_000_000
CENTRES = {"vm": 3.0, "container": 0.3}
LIMITS = {"wall_s": 5.0, "largest_resident_bytes": 1 << 30}


def plain_numbers(folder: Path) -> list[str]:
    coin = random.Random(1)
    for name in ("a", "b"):
        numbers = (f"{coin.lognormvariate(0, 0.2):.6f}\n" for _ in range(SAMPLES // 2))
        (folder / name).write_text("".join(numbers))
    return ["--ratio-above", "0.5", "--a", str(folder / "a"), "--b", str(folder / "b")]


def results_file(folder: Path) -> Path:
    coin, path = random.Random(1), folder / "results.jsonl"
    log = ledger.read(RECORDED / "results.jsonl")
    result = next(r for r in log.results if r.reading.name == "vm-over-container")
    kept = [
        msgspec.structs.replace(row, looks=(SAMPLES // 2,))
        for row in log.series
        if (row.experiment, row.pair) == (result.experiment, result.pair)
        and row.subject in CENTRES
        and row.metric.name == "start_s"
    ]
    with path.open("wb") as file:
        for record in (log.run, *kept):
            file.write(ledger.encode(record) + b"\n")
        for block in range(SAMPLES // 2):
            for position, (subject, centre) in enumerate(CENTRES.items()):
                sample = Observation(
                    experiment=result.experiment,
                    pair=result.pair,
                    subject=subject,
                    metric="start_s",
                    value=centre * coin.lognormvariate(0, 0.2),
                    at="2026-11-25T00:00:00.000+00:00",
                    block=block,
                    position=(position + block) % 2,
                )
                file.write(ledger.encode(sample) + b"\n")
        file.write(ledger.encode(result) + b"\n")
    return path


def measured(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vmvc-million-") as own:
        folder = Path(own)
        results, page = results_file(folder), folder / "report.html"
        works: dict[str, Sequence[str]] = {
            "judge, a million samples of a results file": ("judge", str(results)),
            "judge, a million plain numbers": ("judge", *plain_numbers(folder)),
            "report, a million samples": ("report", str(results), "-o", str(page)),
            "judge, the recorded run": ("judge", str(RECORDED / "results.jsonl")),
            "report, the recorded run": (
                "report", str(RECORDED / "results.jsonl"), "-o", str(page),
            ),
        }  # fmt: skip
        rows = {name: [used_by(words) for _ in range(rounds)] for name, words in works.items()}
        return {"samples": SAMPLES, "limits": LIMITS, "works": rows}


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=3)
