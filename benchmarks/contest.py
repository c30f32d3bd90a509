"""Rivals side by side: one interleaved, randomised run, judged by the judge of the article.

A contest is an experiment like any other of ours: blocks of one fresh sample of each rival in a
seeded order, a warm-up that is thrown away, paired ratios with 95 % intervals. What is aimed at is
fixed before the first sample. `run` gives a record, which is printed and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pytest_vmvc import doctor, host, judge, stats
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Estimate, Metric, Ratio, Reading, Verdict

Taker = Callable[[], Sample]
SECONDS = Metric(name="seconds", unit="s", definition="from the request until it is entered")
END = Metric(name="end", unit="s", definition="from leaving it to its verified end")
SHARE = Metric(
    name="harness_share",
    unit="1",
    definition="CPU time of our own process up to the first answer, over the time of that",
)


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What one rival's figure over another's shall be; without a bound it is only told.

    ``apart``: not the quotient but the difference is asked for, in the metric's unit.
    """

    subject: str
    over: str
    below: float | None = None
    metric: str = "seconds"
    apart: bool = False

    @property
    def name(self) -> str:
        return f"{self.subject} {'-' if self.apart else '/'} {self.over}"


class _Experiment:
    def __init__(self, name: str, metrics: tuple[Metric, ...]) -> None:
        self.name, self.metrics = name, metrics

    def run(self, *_: object) -> None:
        raise NotImplementedError


def entering(launch: Callable[[], AbstractContextManager[Any]]) -> Taker:
    """Seconds from just before a context is made until it is entered, and those of leaving it."""

    def take() -> Sample:
        began = time.monotonic()
        with launch() as entered:
            seconds = time.monotonic() - began
            marks = dict(getattr(entered, "marks", {}))
            values = {"seconds": seconds}
            if hasattr(entered, "harness_cpu_s"):
                values["harness_share"] = entered.harness_cpu_s / marks["answer"]
            began = time.monotonic()
        return Sample(values={**values, "end": time.monotonic() - began}, marks=marks)

    return take


def run(
    name: str,
    rivals: Mapping[str, Taker],
    aims: Sequence[Aim],
    *,
    rounds: int,
    seed: int = 0,
    metrics: tuple[Metric, ...] = (SECONDS, END, SHARE),
) -> dict[str, Any]:
    """Hold the contest: what each rival took, and each aim's ratio, interval and verdict."""

    def note(what: str, done: int, of: int) -> None:
        if done % 10 == 0:
            print(f"{what} {done}/{of}", file=sys.stderr)

    for take in rivals.values():
        take()
    recorder = Recorder(_Experiment(name, metrics), "contest", sink=lambda _: None, note=note)
    settings = Settings(blocks=rounds, seed=seed)
    recorder.blocks(rivals, lambda _: None, settings)
    evidence = recorder.evidence(None)
    return {
        "rounds": rounds,
        "retries": len(evidence.retries),
        "rivals": {
            rival: {
                metric.name: _figures(
                    [float(one.value) for one in evidence.row(rival, metric.name)]
                )
                for metric in metrics
                if evidence.row(rival, metric.name)
            }
            | _marks([one.marks for one in evidence.row(rival, metrics[0].name)])
            for rival in rivals
        },
        "aims": [_judged(aim, evidence) for aim in aims],
    }


def _figures(values: Sequence[float]) -> dict[str, Any]:
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {
        "median": round(statistics.median(values), 6),
        "quartiles": [round(quarters[0], 6), round(quarters[2], 6)],
        "n": len(values),
    }


def _marks(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    names = [name for name in (rows[0] if rows else ()) if all(name in row for row in rows)]
    found = {name: round(statistics.median(row[name] for row in rows), 6) for name in names}
    return {"marks": dict(sorted(found.items(), key=lambda item: item[1]))} if found else {}


def _judged(aim: Aim, evidence: Any) -> dict[str, Any]:
    figure, estimate, verdict = (_apart if aim.apart else _quotient)(aim, evidence)
    return {
        "aim": aim.name,
        "metric": aim.metric,
        figure: _rounded(estimate.effect),
        "interval": [_rounded(estimate.low), _rounded(estimate.high)],
        "n": estimate.n,
        "below": aim.below,
        "verdict": verdict.value if aim.below else "told",
    }


def _quotient(aim: Aim, evidence: Any) -> tuple[str, Estimate, Verdict]:
    """By the judge: the pseudo-median of the quotients within each block."""
    question = Ratio(
        metric=aim.metric, subject=aim.subject, over=aim.over, op="<", threshold=aim.below or 1.0
    )
    found = judge.judge(Reading(name="aim", question=question), evidence)
    assert found.estimate is not None, found
    return "ratio", found.estimate, found.verdict


def _apart(aim: Aim, evidence: Any) -> tuple[str, Estimate, Verdict]:
    """The median of the differences within each block."""
    over, under = (
        {one.block: float(one.value) for one in evidence.row(rival, aim.metric)}
        for rival in (aim.subject, aim.over)
    )
    apart = [over[block] - under[block] for block in over if block in under]
    estimate = stats.median_interval(apart, unit="s")
    return "difference", estimate, stats.decide(estimate, "<", aim.below or 0.0)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def record(doc: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """With the host, its tier, the date and the command that makes it again."""
    return {
        "what": doc.strip().splitlines()[0],
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": msgspec.to_builtins(host.manifest(doctor.known_tier())),
        "load": host.load_snapshot(),
        **found,
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    said = []
    for rival, row in found.get("rivals", {}).items():
        for metric, one in row.items():
            if metric == "marks":
                said.append(
                    "    " + ", ".join(f"{k} {1e3 * v:.1f}" for k, v in one.items()) + " ms"
                )
            else:
                low, high = one["quartiles"]
                said.append(
                    f"{rival}: {metric} {one['median']:.4g} [{low:.4g}, {high:.4g}], n = {one['n']}"
                )
    for aim in found.get("aims", ()):
        low, high = aim["interval"]
        below = f", aim <= {aim['below']}: {aim['verdict']}" if aim["below"] else ""
        figure = f"{aim['ratio']}x" if "ratio" in aim else f"{aim['difference']} s"
        of = "" if aim["metric"] == "seconds" else f" ({aim['metric']})"
        said.append(f"{aim['aim']}{of}: {figure} [{low}, {high}], n = {aim['n']}{below}")
    return said


def main(doc: str, measured: Callable[[int], Mapping[str, Any]], *, rounds: int) -> None:
    """The command line of a benchmark: ``[--rounds N] [-o FILE]``."""
    parser = argparse.ArgumentParser(description=doc.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON")
    asked = parser.parse_args()
    found = record(doc, measured(asked.rounds))
    print("\n".join(lines(found)))
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=1) + "\n")
