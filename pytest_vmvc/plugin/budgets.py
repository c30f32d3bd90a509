"""Limits of one's own in a line, ``container.cold_start<500ms``: judged as any reading is."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import pytest

from pytest_vmvc.declaration import Asked, at_most, below, claim
from pytest_vmvc.experiments import entry, load, names
from pytest_vmvc.model import Evidence
from pytest_vmvc.plugin.gate import BoundReading

SHORT: Final[Mapping[str, tuple[str, str]]] = {
    "cold_start": ("cold_start", "start_s"),
    "ready": ("cold_start", "ready_s"),
    "memory": ("guest_cost", "idle_memory_bytes"),
    "size": ("sizes", "kept_bytes"),
    "download": ("sizes", "fetch_bytes"),
}
"""Names for the figures that most budgets are about; others are named EXPERIMENT.METRIC."""
SCALES: Final[Mapping[str, Mapping[str, float]]] = {
    "s": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60},
    "bytes": {
        "bytes": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9,
        "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
    },
}  # fmt: skip
_FORM: Final = re.compile(
    r"\s*(?P<subject>[a-z][\w-]*)\.(?P<name>\w+(?:\.\w+)?)\s*(?P<op><=?)\s*"
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[^\s\d]*)\s*"
)
EXAMPLE: Final = "such as container.cold_start<500ms or container.fleet.pss_bytes<=20MB"

asked: list[Budget] = []
"""Those of the run that is being collected."""


class Budget(NamedTuple):
    """A limit in the unit of its metric."""

    text: str
    subject: str
    experiment: str
    metric: str
    op: Literal["<", "<="]
    threshold: float
    unit: str

    def reading(self) -> Asked:
        """The reading that it is."""
        bound = below if self.op == "<" else at_most
        found = entry(self.experiment)
        # What is neither timed nor rides in fresh starts is looked at once.
        least = {} if found.timed or found.carrier else {"min_n": 1}
        made = bound(self.subject, self.metric, self.threshold, self.unit, **least)
        return made.because(f"the budget is {self.text}")


def parse(text: str) -> Budget:
    """Read one; raises `pytest.UsageError` naming what is wrong with it."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise pytest.UsageError(f"--vmvc-budget={text}: write SUBJECT.FIGURE<NUMBER, {EXAMPLE}")
    experiment, metric = _figure(text, found["name"])
    units = {known.name: known.unit for known in load(experiment).metrics}
    if metric not in units:
        raise pytest.UsageError(
            f"--vmvc-budget={text}: {experiment} has no {metric}; it has {', '.join(units)}"
        )
    unit = units[metric]
    scales = SCALES.get(unit, {unit: 1})
    if found["unit"] not in scales:
        raise pytest.UsageError(
            f"--vmvc-budget={text}: {metric} is measured in {unit or 'no unit'}; "
            f"write {' or '.join(filter(None, scales)) or 'a bare number'}"
        )
    threshold = float(found["number"]) * scales[found["unit"]]
    if not math.isfinite(threshold):
        raise pytest.UsageError(f"--vmvc-budget={text[:80]}: no figure is so large")
    return Budget(
        text=text.strip(),
        subject=found["subject"],
        experiment=experiment,
        metric=metric,
        op="<" if found["op"] == "<" else "<=",
        threshold=threshold,
        unit=unit,
    )


def _figure(text: str, name: str) -> tuple[str, str]:
    experiment, _, metric = name.partition(".")
    if not metric and name in SHORT:
        return SHORT[name]
    if not metric or experiment not in names():
        raise pytest.UsageError(
            f"--vmvc-budget={text}: no figure is called {name}; name one of {', '.join(SHORT)}, "
            "or EXPERIMENT.METRIC (`vmvc claims -o DIR` lists them)"
        )
    return experiment, metric


def tests(budgets: Iterable[Budget]) -> dict[str, Callable[..., None]]:
    """A claim for each experiment that a budget is about, by the name of its test."""
    grouped: dict[str, dict[str, Asked]] = {}
    for one in budgets:
        name = re.sub(
            r"[^a-z0-9]+",
            "-",
            one.text.replace("<=", " at most ").lower().replace("<", " below ").replace("µ", "u"),
        )
        grouped.setdefault(one.experiment, {})[name.strip("-")] = one.reading()
    return {
        f"test_budget_{experiment}": claim(
            f"budget.{experiment.replace('_', '-')}",
            quote="it keeps to our budget",
            readings=readings,
        )(_test(experiment))
        for experiment, readings in grouped.items()
    }


def _test(experiment: str) -> Callable[..., None]:
    """A test that asks for that experiment."""

    def budget(reading: BoundReading, **evidence: Evidence) -> None:
        reading.judge(evidence[experiment])

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    wanted = [inspect.Parameter(name, kind) for name in ("reading", experiment)]
    made: Any = budget
    made.__signature__ = inspect.Signature(wanted)
    made.__doc__ = f"A budget of one's own, judged on the experiment `{experiment}`."
    return budget
