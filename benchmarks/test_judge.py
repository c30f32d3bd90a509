"""How long `vmvc judge` takes, start of Python and imports included, and how much memory.

`pytest benchmarks --benchmark-json benchmarks/judge.json` writes the figures down; the largest
resident set of each is in its `extra_info`, in bytes.
"""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vmvc import ledger
from pytest_vmvc.model import Observation, Series

SAMPLES = 1_000_000
RECORDED = Path(__file__).parent.parent / "docs" / "runs" / "2026-11-25-kvm-unusable"


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Two files of half a million numbers each."""
    folder, coin = tmp_path_factory.mktemp("plain"), random.Random(1)
    for name in ("a", "b"):
        numbers = (f"{coin.lognormvariate(0, 0.2):.6f}\n" for _ in range(SAMPLES // 2))
        (folder / name).write_text("".join(numbers))
    return ["--ratio-above", "0.5", "--a", str(folder / "a"), "--b", str(folder / "b")]


@pytest.fixture(scope="module")
def results_file(tmp_path_factory):
    """The recorded start-up ratio, with a million samples made up in place of its own."""
    path, coin = tmp_path_factory.mktemp("ledger") / "results.jsonl", random.Random(1)
    log = ledger.read(RECORDED / "results.jsonl")
    wanted = {"vm": 3.0, "container": 0.3}
    result = next(r for r in log.results if r.reading.name == "vm-over-container")
    kept = [r for r in log.series if r.experiment == result.experiment and r.pair == result.pair]
    with path.open("wb") as file:
        file.write(ledger.encode(log.run) + b"\n")
        for row in kept:
            if row.subject in wanted and row.metric.name == "start_s":
                plain = {**_plain(row), "looks": [SAMPLES // 2]}
                file.write(json.dumps(plain).encode() + b"\n")
        for block in range(SAMPLES // 2):
            for position, (subject, centre) in enumerate(wanted.items()):
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
    return [str(path)]


def _plain(row: Series) -> dict[str, object]:
    return json.loads(ledger.encode(row))


def timed(benchmark, words):
    def judge():
        done = subprocess.run(
            [sys.executable, "-m", "pytest_vmvc", "judge", *words], capture_output=True, check=False
        )
        assert done.returncode in (0, 1), done.stderr

    benchmark.pedantic(judge, rounds=3)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    benchmark.extra_info["largest_resident_set_so_far_bytes"] = 1024 * largest


def test_judge_recorded_run(benchmark):
    timed(benchmark, [str(RECORDED / "results.jsonl")])


def test_judge_million_plain_numbers(benchmark, figures):
    timed(benchmark, figures)


def test_judge_million_samples_of_a_results_file(benchmark, results_file):
    timed(benchmark, results_file)
