"""What emulation does to a verdict: every combination, against a table, and against what may be."""

import itertools
import math
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import allowance, stats
from pytest_vmvc.judge import judge, settled
from pytest_vmvc.model import (
    Allowance,
    Bound,
    Estimate,
    Evidence,
    Facts,
    Metric,
    Observation,
    Ratio,
    Reading,
    Series,
    Slope,
)

PAGE = Path(__file__).parent.parent / "docs" / "emulation.md"
"""Its last table is the specification."""

TIERS = {
    "kvm-hw": "real", "kvm-nested": "real",
    "tcg": "emulated", "kvm-unusable": "emulated", "other": "emulated",
}  # fmt: skip
DIRECTIONS = ("inflates", "flatters", "none")
UNITS = ("s", "bytes")
ALLOWANCES = {"absent": None, "small": 2.0, "large": 100.0}
"""A verdict with ten times between figure and bound survives the small one only."""
SIDES = {"below": 0.1, "above": 10.0}
SHAPES = (
    *itertools.product(("bound",), ("subject", "none"), ("<", "<=", ">", ">=")),
    *itertools.product(("slope",), ("subject", "none"), ("<", ">")),
    *itertools.product(("ratio", "quotient"), ("subject", "over", "both", "none"), ("<", ">")),
)
"""Form of the question, who of it is a machine, operator."""


def rules():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    head, *cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, line, strict=True)) for line in cells]


RULES = rules()


def expected(**seen):
    """Verdict and reason of the one line that fits."""
    fits = [
        line
        for line in RULES
        if all(line[key] == "*" or value in line[key].split() for key, value in seen.items())
    ]
    assert len(fits) == 1, (seen, fits)
    return fits[0]["verdict"], fits[0]["reason"]


def looks(op, lies):
    """The verdict on real hardware; the bound itself is never hit."""
    if lies == "across":
        return "INCONCLUSIVE"
    return "SUPPORTED" if (lies == "above") is op.startswith(">") else "REFUTED"


def figure(who, lies):
    if who in ("none", "both"):
        return {"none": "of nobody", "both": "either"}[who]
    return "large" if (lies == "above") is (who == "subject") else "small"


def question(form, op, unit):
    about = {"metric": "m", "subject": "a", "op": op, "threshold": 1.0}
    match form:
        case "bound":
            return Bound(**about, unit=unit)
        case "slope":
            return Slope(**about, unit=f"{unit}/dose")
        case "ratio":
            return Ratio(**about, over="b")
        case "quotient":
            return Slope(**about, unit="ratio", over="b")


def facts(kind, tier):
    return Facts(
        provider="fake", kind=kind, version="1", accelerator=tier, artefact="", userland="",
        vcpus=1, memory_bytes=1, readiness="", usage_definition="",
    )  # fmt: skip


def allowed(figure):
    return Allowance(
        experiment="e", pair="p", figure=figure, worst="fork + exec", n=3,
        parts={"fork + exec": figure / 2},
    )  # fmt: skip


def evidence(form, who, lies, *, tier, direction, unit, figure):
    """The subject's row lies where it is told, of which the other one's is the unit."""
    machine, other = facts("vm", tier), facts("container", "none")
    kinds = {"a": who in ("subject", "both"), "b": who in ("over", "both")}
    scatter = [SIDES.get(lies, side) for side in (*SIDES.values(), *SIDES.values()) * 2]
    dosed = form in ("slope", "quotient")
    rows = {"a": scatter, "b": [1.0] * len(scatter)}
    return Evidence(
        experiment="e",
        pair="p",
        series=tuple(
            Series(
                experiment="e", pair="p", subject=name, facts=machine if is_machine else other,
                metric=Metric(name="m", unit=unit, definition="", emulation=direction),
            )
            for name, is_machine in kinds.items()
        ),
        observations=tuple(
            Observation(
                experiment="e", pair="p", subject=name, metric="m", at="", block=block,
                value=value * (block + 1 if dosed else 1), dose=block + 1.0 if dosed else None,
            )
            for name, values in rows.items()
            for block, value in enumerate(values)
        ),
        allowance=None if figure is None else allowed(figure),
    )  # fmt: skip


def combinations(tier, direction):
    for (form, who, op), lies, unit, (size, divisor) in itertools.product(
        SHAPES, (*SIDES, "across"), UNITS, ALLOWANCES.items()
    ):
        found = evidence(form, who, lies, tier=tier, direction=direction, unit=unit, figure=divisor)
        yield (
            form,
            who,
            op,
            lies,
            unit,
            size,
            Reading(name="r", question=question(form, op, unit)),
            found,
        )


ALL = pytest.mark.parametrize(
    ("tier", "direction"), [*itertools.product(TIERS, DIRECTIONS)], ids="-".join
)


@ALL
def test_every_combination_gets_the_verdict_and_the_reason_of_the_table(tier, direction):
    for form, who, op, lies, unit, size, reading, found in combinations(tier, direction):
        verdict, reason = expected(
            tier=TIERS[tier],
            direction=direction,
            machine=who if who in ("none", "both") else "one",
            interval="across" if lies == "across" else "aside",
            figure=figure(who, lies),
            unit=unit,
            allowance=size,
        )
        wanted = looks(op, lies) if verdict == "as it looks" else verdict
        told = judge(reading, found)
        seen = (form, who, op, lies, unit, size, told)
        assert told.verdict.value == wanted, seen
        assert (reason in told.reason) if reason != "none" else told.reason == "", seen


@ALL
def test_a_verdict_is_given_where_it_is_true_whatever_the_emulator_may_have_done(tier, direction):
    """The same from the meaning: all figures that a real machine may have had agree, or do not."""
    for form, who, op, lies, unit, size, reading, found in combinations(tier, direction):
        divisor = ALLOWANCES[size] if unit == "s" else None
        most = math.inf if divisor is None else divisor
        factors = (1.0, 1.0)  # of the true figure of a machine over the one that was measured
        if TIERS[tier] == "emulated" and direction == "inflates":
            factors = (1 / most, 1.0)
        if TIERS[tier] == "emulated" and direction == "flatters":
            factors = (1.0, math.inf)
        low, high = (min(SIDES.values()), max(SIDES.values())) if lies == "across" else (
            SIDES[lies], SIDES[lies]
        )  # fmt: skip
        if who in ("subject", "both"):
            low, high = low * factors[0], high * factors[1]
        if who in ("over", "both"):
            low, high = low / factors[1], high / factors[0] if factors[0] else math.inf
        wanted = "INCONCLUSIVE"
        if low > 1 or high < 1:
            wanted = looks(op, "above" if low > 1 else "below")
        told = judge(reading, found)
        assert told.verdict.value == wanted, (form, who, op, lies, unit, size, told)


# --- the figure ----------------------------------------------------------------------------------


def battery(**parts):
    return Evidence(
        experiment="battery",
        pair="p",
        observations=tuple(
            Observation(
                experiment="battery", pair="p", subject="vm", metric="slowdown", value=value,
                at="", block=block, instance=part,
            )
            for part, values in parts.items()
            for block, value in enumerate(values)
        ),
    )  # fmt: skip


def test_the_allowance_is_twice_the_worst_median():
    found = allowance.derived(battery(timer=[1.0, 1.2, 1.1], fork=[9.0, 30.0, 10.0]))
    assert (found.figure, found.worst, found.n) == (20.0, "fork", 3)
    assert found.parts == {"timer": 1.1, "fork": 10.0}


def test_a_battery_that_found_no_slowdown_allows_nothing():
    assert allowance.derived(battery()) is None
    assert allowance.derived(battery(timer=[0.9, 1.0, 1.0])) is None


@pytest.mark.parametrize(
    ("unit", "covered"),
    [("s", True), ("s/byte", True), ("bytes", False), ("ratio", False), ("steps", False)],
)
def test_only_times_are_divided(unit, covered):
    assert allowance.covers(unit) is covered


def test_open_ends_stay_open():
    wide = Estimate(
        effect=None, low=4.0, high=None, confidence=0.95, n=8, unit="s", method="m", censored=5
    )
    assert stats.scaled(wide, 0.5) == msgspec.structs.replace(wide, low=2.0)


@pytest.mark.parametrize(("figure", "enough"), [(None, True), (2.0, True), (10.0, False)])
def test_a_run_goes_on_while_more_samples_may_carry_a_verdict_over_the_allowance(figure, enough):
    found = evidence(
        "ratio", "subject", "above", tier="tcg", direction="inflates", unit="s", figure=figure
    )
    rows = tuple(
        msgspec.structs.replace(row, value=row.value * (1 + row.block / 10))
        if row.subject == "a"
        else row
        for row in found.observations
    )
    spread = msgspec.structs.replace(found, observations=rows)
    about = msgspec.structs.replace(question("ratio", ">", "s"), threshold=1.3)
    assert settled(Reading(name="r", question=about), spread) is enough
