"""How a claim is declared: data on a test function, complete before anything is measured.

::

    @claim(
        "table.boot-time",
        quote="Boots in minutes / Boots in seconds",
        readings={
            "container-in-seconds": below("container", "start_s", 60, "s"),
            "vm-in-minutes": at_least("vm", "start_s", 60, "s").expecting("REFUTED", why="..."),
        },
    )
    def test_boot_time(reading, cold_start):
        \"\"\"From the request to the payload's first answer, on the host's clock.\"\"\"
        reading.judge(cold_start)
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from pytest_vmvc.errors import UsageError
from pytest_vmvc.model import (
    Bound,
    Claim,
    Fact,
    Metric,
    Opinion,
    Published,
    Question,
    Ratio,
    Reading,
    Scalar,
    Slope,
    subjects_of,
)

ATTRIBUTE = "__vmvc_claim__"
"""Where a test function carries its `Claim`."""
OURS = ("reading", "record_start_up", "vmvc_pair", "request")
"""What a claim's test may ask for beside experiments, and that gives no evidence."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*")
LONGEST = 100
"""Characters of a name: files and anchors are called by it."""
_F = TypeVar("_F", bound=Callable[..., None])
Expected = Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question on its way to become a `Reading`; made by the functions below."""

    question: Question
    expect: Expected = "SUPPORTED"
    why: str = ""
    pairs: tuple[str, ...] = ()

    def on(self, *pairs: str) -> Asked:
        """Ask it of these pairs only: the others do not have such a subject."""
        return msgspec.structs.replace(self, pairs=pairs)

    def expecting(self, verdict: Expected, *, why: str) -> Asked:
        """State the expected verdict, with the reasoning behind it."""
        return msgspec.structs.replace(self, expect=verdict, why=why)

    def because(self, why: str) -> Asked:
        """State why the claim is expected to stand."""
        return msgspec.structs.replace(self, why=why)


def below(subject: str, metric: str, threshold: float, unit: str, *, min_n: int = 6) -> Asked:
    """The median lies below a number."""
    return _bound(subject, metric, "<", threshold, unit, min_n)


def at_most(subject: str, metric: str, threshold: float, unit: str, *, min_n: int = 6) -> Asked:
    """The median is at most a number."""
    return _bound(subject, metric, "<=", threshold, unit, min_n)


def at_least(subject: str, metric: str, threshold: float, unit: str, *, min_n: int = 6) -> Asked:
    """The median is at least a number."""
    return _bound(subject, metric, ">=", threshold, unit, min_n)


def ratio(
    subject: str,
    metric: str,
    *,
    over: str,
    above: float | None = None,
    below: float | None = None,
    min_n: int = 6,
) -> Asked:
    """The median of the paired ratios lies beyond a number, usually the margin's edge."""
    op, threshold = _one_side("a ratio", above, below)
    if threshold <= 0:
        raise UsageError(f"a ratio is never {threshold:g}", hint="give a positive number")
    return Asked(
        question=Ratio(
            metric=metric, subject=subject, over=over, op=op, threshold=threshold, min_n=min_n
        )
    )


def slope(
    subject: str,
    metric: str,
    *,
    over: str = "",
    above: float | None = None,
    below: float | None = None,
    unit: str = "ratio",
    min_n: int = 6,
) -> Asked:
    """What one more unit of dose adds to a metric; with ``over``, over what it adds there.

    ``unit`` is the metric's per unit of dose; with ``over`` it is a ratio.
    """
    op, threshold = _one_side("a slope", above, below)
    return Asked(
        question=Slope(
            metric=metric,
            subject=subject,
            over=over,
            op=op,
            threshold=threshold,
            unit=unit,
            min_n=min_n,
        )
    )


def opinion(reason: str) -> Asked:
    """Nothing that could be measured: the report says so, with the reason."""
    if not isinstance(reason, str) or not reason.strip():
        raise UsageError(
            "an opinion needs the reason why it is one", hint='opinion("a taste: ...")'
        )
    return Asked(question=Opinion(reason=reason))


def same(subject: str, metric: str, *, other: str, min_n: int = 1) -> Asked:
    """Every instance has what ``other`` has."""
    return Asked(
        question=Fact(metric=metric, subject=subject, relation="same", other=other, min_n=min_n)
    )


def differs(subject: str, metric: str, *, other: str, min_n: int = 1) -> Asked:
    """No instance has what ``other`` has."""
    return Asked(
        question=Fact(metric=metric, subject=subject, relation="differs", other=other, min_n=min_n)
    )


def distinct(subject: str, metric: str, *, min_n: int = 2) -> Asked:
    """No two instances have the same."""
    return Asked(question=Fact(metric=metric, subject=subject, relation="distinct", min_n=min_n))


def holds(subject: str, metric: str, value: Scalar = True, *, min_n: int = 1) -> Asked:  # noqa: FBT002 - the value to hold, not a switch
    """Every instance shows ``value``."""
    return Asked(
        question=Fact(metric=metric, subject=subject, relation="is", value=value, min_n=min_n)
    )


def claim(
    claim_id: str,
    *,
    quote: str,
    readings: Mapping[str, Asked],
    pairs: tuple[str, ...] = (),
    published: tuple[Published, ...] = (),
    contradicts: tuple[str, ...] = (),
    any_of: tuple[str, ...] = (),
) -> Callable[[_F], _F]:
    """Declare a test function to be a claim: ``section.name``, quote, readings by name.

    ``pairs``: ask it of these only (all, where it is empty); a reading may narrow that with `on`.
    ``published``: figures of others, shown apart from ours. ``contradicts``: claims of the same
    article that the report shows beside this one. ``any_of``: readings of which
    one alone would do for the claim; they are judged with Holm's correction for being several.
    Raises `UsageError`, naming the claim, on a malformed id, an empty quote, no readings, an
    expectation other than SUPPORTED without a reason, an ``any_of`` that cannot be corrected, or
    anything that a results file could not hold.
    """
    check_id(claim_id)
    if not isinstance(quote, str) or not quote.strip():
        raise UsageError(f"claim {claim_id} has no quote", hint="quote the sentence to be tested")
    if not isinstance(readings, Mapping) or not readings:
        raise UsageError(f"claim {claim_id} has no readings", hint="give at least one")
    registered = []
    for name, asked in readings.items():
        if not isinstance(asked, Asked):
            raise UsageError(
                f"reading {name!r} of {claim_id} is {type(asked).__name__}",
                hint="make it with below(), at_least(), ratio(), same(), ...",
            )
        registered.append(
            Reading(
                name=name,
                question=asked.question,
                expect=asked.expect,
                why=asked.why,
                pairs=asked.pairs or pairs,
            )
        )
    sound = _sound(
        Claim(
            id=claim_id,
            quote=quote,
            readings=tuple(registered),
            published=published,
            contradicts=contradicts,
            any_of=any_of,
        )
    )
    for reading in sound.readings:
        if reading.expect != "SUPPORTED" and not reading.why.strip():
            raise UsageError(
                f"reading {reading.name!r} of {claim_id} expects {reading.expect} without a reason",
                hint="expecting(..., why=...)",
            )
    _check_family(claim_id, sound.any_of, sound.readings)

    def declare(function: _F) -> _F:
        declared = msgspec.structs.replace(
            sound,
            method=inspect.cleandoc(function.__doc__ or ""),
            source=f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}",
            any_of=tuple(one.name for one in sound.readings if one.name in sound.any_of),
        )
        setattr(function, ATTRIBUTE, declared)
        return function

    return declare


def check_id(claim_id: object) -> None:
    """Raise `UsageError` where no claim can be called so."""
    if not isinstance(claim_id, str) or len(claim_id) > LONGEST or not _ID.fullmatch(claim_id):
        raise UsageError(
            f"claim id {claim_id!r:.120} is malformed",
            hint="like table.boot-time: lower case, dots",
        )


def twice(claim: Claim, other: Claim) -> UsageError:
    """The error of two claims that have one id."""
    return UsageError(
        f"two claims are called {claim.id}: {claim.source} and {other.source}",
        hint="give one of them another id",
    )


def check(
    claim: Claim, metrics: Mapping[str, Metric], subjects: Collection[str] | None = None
) -> None:
    """Hold a claim against what its experiments measure, before they do.

    ``subjects``: those that there are; None where nobody can tell. Raises `UsageError`, with file
    and line of the claim, for a metric or a subject that there is not and for a unit that is not
    the metric's: such a reading would never be judged, or never as it was meant.
    """
    for reading in claim.readings:
        question = reading.question
        if isinstance(question, Opinion):
            continue
        where = f"{claim.source}: reading {reading.name} of {claim.id}"
        if (metric := metrics.get(question.metric)) is None:
            raise UsageError(
                f"{where} asks for {question.metric}, which its experiments do not measure",
                hint=_like(question.metric, metrics),
            )
        unit = question.unit if isinstance(question, Bound) else metric.unit
        if isinstance(question, Slope) and not question.over:
            unit = question.unit.partition("/")[0]
        if unit != metric.unit:
            raise UsageError(
                f"{where} bounds {question.metric} in {unit!r}; it is measured in {metric.unit!r}",
                hint="state the threshold in the metric's unit",
            )
        for subject in subjects_of(question):
            if subjects is not None and subject not in subjects:
                raise UsageError(
                    f"{where} asks for {subject}, which is no subject of its experiments",
                    hint=_like(subject, subjects),
                )


def _like(name: str, known: Collection[str]) -> str:
    """The remedy for a name that is not known: those that are, the likeliest alone."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"is it {found[0]}?" if found else f"one of {', '.join(known)}"


def _sound(claim: Claim) -> Claim:
    """The claim as a results file would give it back: of the right types, with real numbers."""
    try:
        found = msgspec.json.decode(msgspec.json.encode(claim), type=Claim)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"claim {claim.id} is malformed: {error}", hint="see the types of what it is made with"
        ) from error
    for given, kept in zip(claim.readings, found.readings, strict=True):
        if given.question != kept.question:
            raise UsageError(
                f"reading {kept.name!r:.120} of {claim.id} asks for what JSON does not have",
                hint="give a finite number",
            )
        if not kept.name.strip() or not kept.name.isprintable() or len(kept.name) > LONGEST:
            raise UsageError(
                f"a reading of {claim.id} is called {kept.name!r:.120}",
                hint=f"give it a name in one line, of {LONGEST} characters at most",
            )
    return found


def _check_family(claim_id: str, any_of: tuple[str, ...], readings: Sequence[Reading]) -> None:
    if not any_of:
        return
    sampled = {
        one.name
        for one in readings
        if isinstance(one.question, Bound | Ratio | Slope) and one.question.min_n > 1
    }
    if len(set(any_of)) < 2 or len(set(any_of)) < len(any_of):
        raise UsageError(
            f"any_of of {claim_id} is {any_of}", hint="name two readings or more, once"
        )
    if strangers := [name for name in any_of if name not in sampled]:
        raise UsageError(
            f"any_of of {claim_id} names {', '.join(strangers)}",
            hint=f"name readings that rest on an interval: {', '.join(sorted(sampled))}",
        )


def _bound(
    subject: str,
    metric: str,
    op: Literal["<", "<=", ">="],
    threshold: float,
    unit: str,
    min_n: int,
) -> Asked:
    return Asked(
        question=Bound(
            metric=metric,
            subject=subject,
            op=op,
            threshold=_finite(threshold),
            unit=unit,
            min_n=min_n,
        )
    )


def _one_side(
    what: str, above: float | None, below: float | None
) -> tuple[Literal["<", ">"], float]:
    if (above is None) == (below is None):
        raise UsageError(f"{what} needs either `above` or `below`", hint="for example above=1.25")
    return ("<", _finite(below)) if above is None else (">", _finite(above))


def _finite(value: float | None) -> float:
    try:
        found = math.nan if value is None or isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"a threshold cannot be {value!r:.80}", hint="give a finite number")
    return found
