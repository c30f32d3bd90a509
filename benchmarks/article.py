"""The whole article by one experiment for many readings, against one for each reading.

    python benchmarks/article.py -o benchmarks/article.json

The obvious design provisions afresh for every reading and every sample of it. What that would take
is counted on the recorded run: the time in which each experiment took its samples, from the first
to the last, once for every reading that was judged on it; the warm-ups and the battery that each of
them would need as well are not counted. The recorded run's own duration is that of its last line.
A part is carried out both ways: the readings of one claim in one run, and each in a run of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import contest
from overview import RECORDED

from pytest_vmvc import ledger

PART = ("table.boot-time", "test_boot_time", "minimal")
LIMIT_S = 600.0


def counted(log: ledger.RunLog) -> dict[str, Any]:
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for one in log.observations:
        at = datetime.fromisoformat(one.at).timestamp()
        first, last = spans.get((one.experiment, one.pair), (at, at))
        spans[one.experiment, one.pair] = min(first, at), max(last, at)
    readings = Counter((one.experiment, one.pair) for one in log.results)
    rows = [
        {
            "experiment": experiment,
            "pair": pair,
            "readings": n,
            "sampling_s": round(spans[experiment, pair][1] - spans[experiment, pair][0], 1),
        }
        for (experiment, pair), n in sorted(readings.items())
        if (experiment, pair) in spans
    ]
    obvious_s = sum(row["readings"] * row["sampling_s"] for row in rows)
    assert log.end is not None
    return {
        "recorded": RECORDED.name,
        "experiments": rows,
        "obvious_s": round(obvious_s),
        "ours_s": round(log.end.duration_s),
        "ratio": round(obvious_s / log.end.duration_s, 1),
        "aim": 12,
    }


def carried_out(claim: str, test: str, pair: str) -> dict[str, Any]:
    def run(select: str) -> tuple[float, dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="vmvc-article-") as folder:
            words = ["--vmvc", f"--vmvc-pair={pair}", "--vmvc-profile=quick", "-k", select]
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "pytest", *words], cwd=folder, check=False,
                stdout=subprocess.DEVNULL, timeout=LIMIT_S,
            )  # fmt: skip
            took = time.monotonic() - began
            log = ledger.read(Path(folder) / "vmvc-results" / "latest" / "results.jsonl")
        return took, {r.reading.name: r.judgement.verdict.value for r in log.results}

    together_s, verdicts = run(test)
    apart = [run(f"{test} and {reading}") for reading in verdicts]
    return {
        "claim": claim,
        "pair": pair,
        "readings": len(verdicts),
        "one_run_s": round(together_s, 1),
        "a_run_each_s": round(sum(took for took, _ in apart), 1),
        "ratio": round(sum(took for took, _ in apart) / together_s, 2),
        "verdicts": {
            reading: [verdict, *(own.get(reading, "") for _, own in apart if reading in own)]
            for reading, verdict in verdicts.items()
        },
    }


def measured(_: int) -> dict[str, Any]:
    log = ledger.read(RECORDED / "results.jsonl")
    return {**counted(log), "part": carried_out(*PART)}


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=1)
