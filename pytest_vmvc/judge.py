"""A reading and the evidence in, a judgement out. Pure: saved evidence gives the same verdict."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import msgspec

from pytest_vmvc import allowance, looks, stats, validity
from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.model import (
    EMULATED,
    MAYBE_EMULATED,
    Bound,
    Claim,
    Estimate,
    Evidence,
    Fact,
    Facts,
    Judgement,
    Observation,
    Opinion,
    Question,
    Ratio,
    Reading,
    Scalar,
    Series,
    Slope,
    Tier,
    Verdict,
    subjects_of,
)
from pytest_vmvc.units import quantity

FLATTERED = (
    "QEMU disclaims isolation without hardware virtualisation, so what speaks for the "
    "machine's isolation proves nothing here"
)
NOT_TOLD = "its provider does not tell whether it is emulated"
WORDS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}


def judge(reading: Reading, evidence: Evidence, *, seed: int = 0) -> Judgement:
    """Give one reading its verdict on one pair's evidence.

    Raises `UsageError` when the reading's unit is not the metric's: that is a fault of the claim,
    never a verdict.
    """
    question = reading.question
    if isinstance(question, Opinion):
        return Judgement(
            verdict=Verdict.NOT_TESTABLE,
            finding="Not measured.",
            reason=question.reason,
            scope="any host: nothing measurable is said",
        )
    for subject in subjects_of(question):
        if reason := evidence.reason_missing(subject):
            return _unmeasured(f"{subject} is not available: {reason}", evidence, question)
        if not evidence.row(subject, question.metric):
            return _unmeasured(
                f"{evidence.experiment} has no {question.metric} of {subject} on this pair",
                evidence,
                question,
            )
    try:
        match question:
            case Bound():
                found = _judge_bound(question, evidence)
            case Ratio():
                found = _judge_ratio(question, evidence, seed=seed)
            case Slope():
                found = _judge_slope(question, evidence)
            case Fact():
                found = _judge_fact(question, evidence)
    except (ValueError, ArithmeticError) as error:
        found = _undecided(f"the samples cannot be used: {error}")
    return msgspec.structs.replace(found, scope=scope_line(evidence, question))


def settled(reading: Reading, evidence: Evidence, *, seed: int = 0) -> bool:
    """Whether more samples of what this evidence holds would change nothing about the reading.

    So it is where the interval lies on one side of the bound, also where emulation then keeps the
    verdict from being one, and where the question is not asked of this evidence at all.
    """
    question = reading.question
    if isinstance(question, Opinion | Slope) or not all(
        evidence.row(subject, question.metric) for subject in subjects_of(question)
    ):
        return True
    try:
        match question:
            case Fact():
                found = _judge_fact(question, evidence)
                return found.verdict is not Verdict.INCONCLUSIVE or FLATTERED in found.reason
            case Bound():
                estimate = _bounded(question, evidence)
            case Ratio():
                estimate = _quotient(question, evidence, seed=seed)
    except (ValueError, ArithmeticError):
        return False
    found_so_far = (
        stats.decide(estimate, question.op, question.threshold),
        *_divided(question, evidence, estimate),
    )
    return Verdict.INCONCLUSIVE not in found_so_far and estimate.n >= question.min_n


def readings_hash(claims: Iterable[Claim]) -> str:
    """SHA-256 over the canonical form of every reading: what was registered before the data."""
    registered = sorted(
        (claim.id, claim.quote, claim.readings, *filter(None, [claim.any_of])) for claim in claims
    )
    return hashlib.sha256(msgspec.json.encode(registered, order="deterministic")).hexdigest()


def scope_line(evidence: Evidence, question: Question) -> str:
    """What the verdict is about: this host, tier, engine, pair, versions, state, date."""
    parts = []
    subjects = subjects_of(question)
    if host := evidence.host:
        parts.append(f"{host.cpu_model}, {host.cpus} CPUs, {host.os}, Linux {host.kernel}")
        parts.append(f"tier {host.tier}")
    parts.extend(
        f"{subject}: {facts.version}, {facts.userland}"
        for subject in subjects
        if (facts := _facts(evidence, subject))
    )
    parts.append(f"pair {evidence.pair}")
    rows = [evidence.find(subject, question.metric) for subject in subjects]
    parts.extend(dict.fromkeys(row.metric.state for row in rows if row and row.metric.state))
    if dates := sorted(o.at[:10] for o in evidence.observations):
        parts.append(dates[-1])
    return "; ".join(parts)


def _judge_bound(question: Bound, evidence: Evidence) -> Judgement:
    unit = _series(evidence, question.subject, question.metric).metric.unit
    estimate = _bounded(question, evidence)
    verdict = stats.decide(estimate, question.op, question.threshold)
    finding = (
        f"{_label(evidence, question.subject, question.metric)}, {_spread(estimate)}; "
        f"the bound is {WORDS[question.op]} {quantity(question.threshold, unit, exact=True)}."
    )
    grows = question.op in (">", ">=")
    return _conclude(question, evidence, verdict, finding, estimate, inflated_supports=grows)


def _bounded(question: Bound, evidence: Evidence) -> Estimate:
    rows = evidence.row(question.subject, question.metric)
    series = _series(evidence, question.subject, question.metric)
    unit = series.metric.unit
    if unit != question.unit:
        raise UsageError(
            f"a reading bounds {question.metric} in {question.unit!r}; it is measured in {unit!r}",
            hint="state the threshold in the metric's unit",
        )
    if question.min_n == 1 and len(rows) == 1 and not rows[0].censored:
        return stats.exact(_number(rows[0], unit), unit=unit)

    def of_first(blocks: int, confidence: float) -> Estimate:
        first = [row for row in rows if not series.looks or row.block < blocks]
        return stats.median_interval(
            [_number(row, unit) for row in first],
            unit=unit,
            confidence=confidence,
            censored=[row.censored for row in first],
        )

    return looks.estimated(series.looks, _blocks(rows), question.confidence, of_first)


def _judge_ratio(question: Ratio, evidence: Evidence, *, seed: int) -> Judgement:
    estimate = _quotient(question, evidence, seed=seed)
    verdict = stats.decide(estimate, question.op, question.threshold)
    finding = (
        f"{_label(evidence, question.subject, question.metric)} over {question.over}'s, "
        f"{_spread(estimate)}; the bound is {WORDS[question.op]} "
        f"{quantity(question.threshold, 'ratio', exact=True)}."
    )
    low, high = stats.EQUIVALENCE
    if estimate.low is not None and estimate.high is not None:
        inside = low <= estimate.low and estimate.high <= high
        finding += " Practically equal." if inside else ""
    return _conclude(
        question,
        evidence,
        verdict,
        finding,
        estimate,
        inflated_supports=_leaning(question, evidence),
    )


def _quotient(question: Ratio, evidence: Evidence, *, seed: int) -> Estimate:
    above = {row.block: row for row in evidence.row(question.subject, question.metric)}
    below = {row.block: row for row in evidence.row(question.over, question.metric)}
    paired = sorted(above.keys() & below.keys())
    if not paired:
        raise ValueError("no block has both subjects")
    unit = _same_unit(question, evidence)
    if question.min_n == 1 and len(paired) == 1:
        one, other = above[paired[0]], below[paired[0]]
        if not (one.censored or other.censored):
            return stats.exact(_number(one, unit) / _number(other, unit), unit="ratio")
    plan = _series(evidence, question.subject, question.metric).looks

    def of_first(blocks: int, confidence: float) -> Estimate:
        first = [block for block in paired if not plan or block < blocks]
        return stats.ratio_interval(
            [_number(above[block], unit) for block in first],
            [_number(below[block], unit) for block in first],
            confidence=confidence,
            seed=seed,
            censored_over=[above[block].censored for block in first],
            censored_under=[below[block].censored for block in first],
        )

    return looks.estimated(plan, _blocks([above[b] for b in paired]), question.confidence, of_first)


def _blocks(rows: Sequence[Observation]) -> int:
    """How many blocks there are of a row."""
    return max(row.block for row in rows) + 1


def _judge_slope(question: Slope, evidence: Evidence) -> Judgement:
    own = _slope(question, evidence, question.subject)
    estimate = (
        stats.quotient(own, _slope(question, evidence, question.over)) if question.over else own
    )
    verdict = stats.decide(estimate, question.op, question.threshold)
    over = f" over {question.over}'s" if question.over else ""
    finding = (
        f"{_label(evidence, question.subject, question.metric)} per unit of dose{over}, "
        f"{_spread(estimate, what='slope')}; the bound is {WORDS[question.op]} "
        f"{quantity(question.threshold, estimate.unit, exact=True)}."
    )
    grows = _leaning(question, evidence) if question.over else question.op == ">"
    return _conclude(question, evidence, verdict, finding, estimate, inflated_supports=grows)


def _slope(question: Slope, evidence: Evidence, subject: str) -> Estimate:
    rows = evidence.row(subject, question.metric)
    if any(row.dose is None for row in rows):
        raise ValueError(f"{subject}'s {question.metric} has samples without a dose")
    unit = _same_unit(question, evidence)
    return stats.slope_interval(
        [row.dose for row in rows if row.dose is not None],
        [_number(row, unit) for row in rows],
        unit=question.unit,
        confidence=question.confidence,
    )


def _same_unit(question: Ratio | Slope, evidence: Evidence) -> str:
    """The unit of all subjects' figures."""
    units = {_series(evidence, one, question.metric).metric.unit for one in subjects_of(question)}
    if len(units) > 1:
        raise ValueError(f"{question.metric} is measured in different units: {sorted(units)}")
    return units.pop()


def _leaning(question: Ratio | Slope, evidence: Evidence) -> bool | None:
    """Whether a machine's figure that is too large speaks for the claim.

    In the numerator it raises the ratio, in the denominator it lowers it; with a machine on both
    sides nobody knows.
    """
    over, under = (_is_vm(evidence, name) for name in (question.subject, question.over))
    return None if over and under else (question.op == ">") == over


def _judge_fact(question: Fact, evidence: Evidence) -> Judgement:
    rows = evidence.row(question.subject, question.metric)
    values = [row.value for row in rows]
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise ValueError(f"{question.subject}'s {question.metric} is not a finite number")
    label = _label(evidence, question.subject, question.metric)
    match question.relation:
        case "same" | "differs":
            others = {row.value for row in evidence.row(question.other, question.metric)}
            wanted = question.relation == "same"
            bad: list[Scalar] = [value for value in values if (value in others) is not wanted]
            finding = f"{label} {'equals' if wanted else 'differs from'} the {question.other}'s"
        case "distinct":
            bad = [value for value in values if values.count(value) > 1]
            finding = f"{label} is another one in every instance"
        case "is":
            bad = [value for value in values if value != question.value]
            finding = f"{label}: {_word(question.value)}"
    n = len(values)
    if _flattered(question, evidence, values):
        return _undecided(_flattering(question, evidence), f"{finding} in {n - len(bad)} of {n}.")
    if bad:
        finding = f"Not so: “{finding}” fails for {len(bad)} of {n} (saw {_word(bad[0])[:60]})."
        return Judgement(
            verdict=Verdict.REFUTED, finding=finding, reason="one counter-example is enough"
        )
    if n < question.min_n:
        return _undecided(
            f"{question.min_n} instances were asked for, {n} were seen", finding + "."
        )
    return Judgement(
        verdict=Verdict.SUPPORTED,
        finding=f"{finding}; held in all {n} tried.",
        reason=""
        if n < 3
        else f"a universal is never proved; upper bound on exceptions "
        f"{stats.proportion_bound(0, n):.2g}",
    )


def _conclude(
    question: Bound | Ratio | Slope,
    evidence: Evidence,
    verdict: Verdict,
    finding: str,
    estimate: Estimate,
    *,
    inflated_supports: bool | None,
) -> Judgement:
    """Apply what stands above the interval: gates, the minimum of pairs, and emulation's bias."""
    checks = validity.of_samples(question, evidence)
    failures = validity.failed(question, evidence, checks)
    swing, swung = validity.swing(failures)
    extremes = [stats.scaled(estimate, factor) for factor in (1, swing, 1 / swing)]
    if reason := validity.objection(question, failures):
        verdict = Verdict.INCONCLUSIVE
    elif estimate.n < question.min_n:
        verdict = Verdict.INCONCLUSIVE
        reason = f"too few samples: {estimate.n} of at least {question.min_n}"
    elif verdict is Verdict.INCONCLUSIVE:
        reason = "the interval spans the bound"
    elif any(_decided(question, one) is not verdict for one in extremes):
        reason = f"noisy host: {swung}; on one that much faster or slower it would not hold"
        verdict = Verdict.INCONCLUSIVE
    elif _bent(question, evidence, "flatters"):
        leans = Verdict.REFUTED if inflated_supports else Verdict.SUPPORTED
        if inflated_supports is None or verdict == leans:
            reason, verdict = _flattering(question, evidence), Verdict.INCONCLUSIVE
        else:
            reason = "a fortiori: emulation may only flatter the machine's isolation"
    elif _bent(question, evidence, "inflates"):
        leans = Verdict.SUPPORTED if inflated_supports else Verdict.REFUTED
        if inflated_supports is None or verdict == leans:
            verdict, reason = _discounted(question, evidence, verdict, extremes)
        else:
            reason = "a fortiori: emulation makes the machine's figure larger, never smaller"
    if swung and verdict is not Verdict.INCONCLUSIVE:
        reason = f"{reason}; holds" if reason else "holds"
        reason += f" on a host that much faster or slower as well ({swung})"
    return Judgement(
        verdict=verdict, finding=finding, reason=reason, estimate=estimate, checks=checks
    )


def _discounted(
    question: Bound | Ratio | Slope,
    evidence: Evidence,
    verdict: Verdict,
    estimates: Iterable[Estimate],
) -> tuple[Verdict, str]:
    """What is left of a verdict that emulation may have caused, and why."""
    ran = "ran" if _told(question, evidence) else "may have run"
    reason = (
        f"{_emulation(question, evidence)}: the machine {ran} without hardware virtualisation, "
        f"which makes its figure larger; what looks {verdict.value} may be the emulator's doing"
    )
    divided = [found for one in estimates for found in _divided(question, evidence, one)]
    if evidence.allowance is None or not divided:
        return Verdict.INCONCLUSIVE, reason
    words = f"the machine's figure is divided by {allowance.words(evidence.allowance)}"
    if all(found is verdict for found in divided):
        return verdict, f"holds even after {words}"
    return Verdict.INCONCLUSIVE, f"{reason}: it does not hold any more once {words}"


def _divided(
    question: Bound | Ratio | Slope, evidence: Evidence, estimate: Estimate
) -> list[Verdict]:
    """What the interval says after the figure of each emulated machine is divided; mostly nothing.

    With one on both sides each may have been slowed down by another factor: first the one is
    divided, then the other.
    """
    allowed = evidence.allowance
    unit = _series(evidence, question.subject, question.metric).metric.unit
    if allowed is None or not allowance.covers(unit) or not _bent(question, evidence, "inflates"):
        return []
    # What divides the denominator multiplies the quotient.
    factors = (1 / allowed.figure, allowed.figure)
    return [
        _decided(question, stats.scaled(estimate, factor))
        for factor, subject in zip(factors, subjects_of(question), strict=False)
        if _emulated(evidence, subject, question.metric)
    ]


def _decided(question: Bound | Ratio | Slope, estimate: Estimate) -> Verdict:
    return stats.decide(estimate, question.op, question.threshold)


def _bent(question: Question, evidence: Evidence, way: str) -> bool:
    """Whether emulation bends a machine's figure in this question that way, or may."""
    return any(
        _series(evidence, subject, question.metric).metric.emulation == way
        and _emulated(evidence, subject, question.metric)
        for subject in subjects_of(question)
    )


def _emulated(
    evidence: Evidence, subject: str, metric: str, tiers: frozenset[Tier] = MAYBE_EMULATED
) -> bool:
    facts = _series(evidence, subject, metric).facts
    return facts is not None and facts.accelerator in tiers


def _told(question: Question, evidence: Evidence) -> bool:
    """Whether it is known of one of its machines that it is emulated."""
    return any(
        _emulated(evidence, subject, question.metric, EMULATED) for subject in subjects_of(question)
    )


def _emulation(question: Question, evidence: Evidence) -> str:
    return "emulated" if _told(question, evidence) else NOT_TOLD


def _flattering(question: Question, evidence: Evidence) -> str:
    return f"{_emulation(question, evidence)}: {FLATTERED}"


def _flattered(question: Fact, evidence: Evidence, values: Sequence[Scalar]) -> bool:
    """Whether all that was seen speaks for the isolation of a machine that is emulated."""
    return _bent(question, evidence, "flatters") and all(value is True for value in values)


def _series(evidence: Evidence, subject: str, metric: str) -> Series:
    found = [s for s in evidence.series if (s.subject, s.metric.name) == (subject, metric)]
    if not found:
        raise LedgerError(f"observations of {subject}'s {metric} stand without their header")
    if any(one != found[0] for one in found):
        raise LedgerError(f"observations of {subject}'s {metric} have headers that contradict")
    return found[0]


def _facts(evidence: Evidence, subject: str) -> Facts | None:
    return next((s.facts for s in evidence.series if s.subject == subject and s.facts), None)


def _is_vm(evidence: Evidence, subject: str) -> bool:
    facts = _facts(evidence, subject)
    return facts is not None and facts.kind == "vm"


def _number(row: Observation, unit: str) -> float:
    if isinstance(row.value, bool) or not isinstance(row.value, int | float):
        raise ValueError(  # noqa: TRY004 - the caller turns it into a verdict, not into a crash
            f"{row.subject}'s {row.metric} is not a number: {row.value!r}"
        )
    if unit == "s" and row.value < 0:
        raise ValueError(f"{row.subject}'s {row.metric} is a negative duration: {row.value:g} s")
    return float(row.value)


def _label(evidence: Evidence, subject: str, metric: str) -> str:
    label = _series(evidence, subject, metric).metric.label
    return f"{subject}: {label or metric.replace('_', ' ')}"


def _word(value: Scalar) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _spread(estimate: Estimate, *, what: str = "median") -> str:
    def show(value: float | None) -> str:
        return "unbounded" if value is None else quantity(value, estimate.unit)

    if estimate.method == "exact":
        return show(estimate.effect)
    text = f"{what} {show(estimate.effect)}"
    if estimate.low is not None or estimate.high is not None:
        sure = f"{100 * estimate.confidence:.4g}%"
        text += f" ({sure} interval {show(estimate.low)} to {show(estimate.high)}"
    else:
        text += " (no interval"
    text += f", n = {estimate.n}"
    if estimate.n < estimate.most:
        text += f" of at most {estimate.most}"
    return text + (f", {estimate.censored} timed out)" if estimate.censored else ")")


def _undecided(reason: str, finding: str = "") -> Judgement:
    return Judgement(
        verdict=Verdict.INCONCLUSIVE, finding=finding or f"Not decided: {reason}.", reason=reason
    )


def _unmeasured(reason: str, evidence: Evidence, question: Question) -> Judgement:
    return Judgement(
        verdict=Verdict.NOT_TESTABLE,
        finding="Not measured.",
        reason=reason,
        scope=scope_line(evidence, question),
    )
