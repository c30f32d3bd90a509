"""A saved run judged again: its own samples and readings, today's judge; nothing is measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from pytest_vmvc import ledger
from pytest_vmvc.errors import LedgerError, UsageError, VmvcError
from pytest_vmvc.family import judge_among
from pytest_vmvc.judge import readings_hash, scope_line
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import (
    Bound,
    Claim,
    Evidence,
    Judgement,
    Question,
    Ratio,
    Reading,
    Result,
    Slope,
    Verdict,
)
from pytest_vmvc.report.wording import question_words, requirement
from pytest_vmvc.stats import Op


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A result as the file has it, and what its samples say now."""

    result: Result
    judgement: Judgement

    @property
    def differs(self) -> bool:
        """Whether the verdict is no longer the one in the file."""
        return self.judgement.verdict is not self.result.judgement.verdict


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What was registered before the data, against what is in the file and what is installed."""

    says: str
    changes: tuple[str, ...]
    """One line for each installed reading that is not as the file has it: from what, to what."""


def again(log: RunLog, results: Sequence[Result]) -> tuple[Again, ...]:
    """Judge results of a file once more, each by the reading that stands in it.

    Evidence that cannot be judged at all is INCONCLUSIVE, with the reason.
    """
    evidence = ledger.evidence(log)
    host, seed = (log.run.host, log.run.seed) if log.run else (None, 0)

    def judged(result: Result) -> Judgement:
        nothing = Evidence(experiment=result.experiment, pair=result.pair, host=host)
        found = evidence.get((result.experiment, result.pair), nothing)
        try:
            return judge_among(result.family, result.reading, found, seed=seed)
        except VmvcError as error:
            return Judgement(
                verdict=Verdict.INCONCLUSIVE,
                finding="Not decided.",
                reason=str(error),
                scope=scope_line(found, result.reading.question),
            )

    return tuple(Again(result=result, judgement=judged(result)) for result in results)


def selected(
    log: RunLog,
    *,
    claims: Collection[str] = (),
    readings: Collection[str] = (),
    pairs: Collection[str] = (),
) -> tuple[Result, ...]:
    """The results of these claims, readings and pairs; all of them where nothing is named.

    Raises `LedgerError` where the file has none, `UsageError` where none is of those names.
    """
    if not log.results:
        raise LedgerError("the file holds no verdict", hint="its run judged nothing; run it again")
    found = tuple(
        result
        for result in log.results
        if (not claims or result.claim in claims)
        and (not readings or result.reading.name in readings)
        and (not pairs or result.pair in pairs)
    )
    if not found:
        asked = ", ".join((*claims, *readings, *pairs))
        known = dict.fromkeys(f"{result.claim} {result.reading.name}" for result in log.results)
        raise UsageError(
            f"the file holds no result of {asked}", hint=f"it holds {'; '.join(known)}"
        )
    return found


def with_bound(result: Result, op: Op, threshold: float) -> Result:
    """The result's reading with another bound: a question that was not registered.

    Raises `UsageError` where it has no bound, or not one of that kind.
    """
    changed = msgspec.structs.replace(
        result.reading, question=_with_bound(result.reading, op, threshold)
    )
    family = tuple(changed if one == result.reading else one for one in result.family)
    return msgspec.structs.replace(result, reading=changed, family=family)


def registration(log: RunLog, installed: Sequence[Claim]) -> Registration:
    """Whether the readings are what was registered, and what the installed claims have changed."""
    known = {claim.id: claim for claim in installed}
    changes = tuple(dict.fromkeys(_changes(log.results, known)))
    registered = log.run.readings_hash if log.run else ""
    own, theirs = readings_hash(_carried(log.results, known)), readings_hash(installed)
    short = f"hash {registered[:12]}…"
    if not registered:
        says = "the file does not say what was registered before its data"
    elif registered == own:
        says = f"the readings in the file are those registered before its data ({short})"
    elif registered == theirs and not changes:
        says = f"the installed claims were registered before the data, part was judged ({short})"
    elif registered == theirs:
        says = f"the readings in the file are NOT those registered before its data ({short})"
    else:
        says = (
            f"{short} cannot be checked: it is neither that of the readings in the file "
            f"({own[:12]}…) nor of the installed claims ({theirs[:12]}…); part of what was "
            "registered was not judged, or another version wrote it"
        )
    return Registration(says=says, changes=changes)


def bound_words(question: Question) -> str:
    """What is asked, with what it takes."""
    return f"{question_words(question, '')}, {requirement(question)}"


def _with_bound(reading: Reading, op: Op, threshold: float) -> Question:
    question = reading.question
    if isinstance(question, Bound):
        return msgspec.structs.replace(question, op=op, threshold=threshold)
    if not isinstance(question, Ratio | Slope):
        raise UsageError(f"reading {reading.name} has no threshold", hint="choose another reading")
    if op not in ("<", ">"):
        raise UsageError(
            f"reading {reading.name} lies above or below its threshold",
            hint="give --above or --below",
        )
    return msgspec.structs.replace(question, op=op, threshold=threshold)


def _carried(results: Sequence[Result], known: Mapping[str, Claim]) -> list[Claim]:
    """The claims as the file has them; readings in the order in which they are installed.

    Pairs that were measured side by side have mixed that order.
    """
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        found.setdefault(result.claim, {}).setdefault(result.reading.name, result)
    return [_claim(claim, of, known.get(claim)) for claim, of in found.items()]


def _claim(claim: str, results: Mapping[str, Result], installed: Claim | None) -> Claim:
    declared = [one.name for one in installed.readings] if installed else []
    names = sorted(results, key=lambda name: declared.index(name) if name in declared else 0)
    families = [_names(result.family) for result in results.values() if result.family]
    return Claim(
        id=claim,
        quote=results[names[0]].quote,
        readings=tuple(results[name].reading for name in names),
        any_of=families[0] if families else (),
    )


def _changes(results: Sequence[Result], known: Mapping[str, Claim]) -> Iterator[str]:
    judged: dict[str, set[str]] = {}
    for result in results:
        judged.setdefault(result.claim, set()).add(result.reading.name)
        claim, name = known.get(result.claim), result.reading.name
        if claim is None:
            yield f"{result.claim}: not among the installed claims"
            continue
        if claim.quote != result.quote:
            yield f"{claim.id}: quote: from “{result.quote}” to “{claim.quote}”"
        now = next((one for one in claim.readings if one.name == name), None)
        if now is None:
            yield f"{claim.id} {name}: no longer declared"
            continue
        yield from (f"{claim.id} {name}: {change}" for change in _differences(result, claim, now))
    for claim_id, names in judged.items():
        pairs = {result.pair for result in results if result.claim == claim_id}
        for one in known[claim_id].readings if claim_id in known else ():
            if one.name not in names and (not one.pairs or pairs.intersection(one.pairs)):
                yield f"{claim_id} {one.name}: declared, and not judged in this file"


def _differences(result: Result, claim: Claim, now: Reading) -> Iterator[str]:
    was = result.reading
    if was.question != now.question:
        words = bound_words(was.question), bound_words(now.question)
        if words[0] == words[1]:
            words = _plain(was.question), _plain(now.question)
        yield f"question: from “{words[0]}” to “{words[1]}”"
    for what, before, after in (
        ("expected", was.expect, now.expect),
        ("because", was.why, now.why),
        ("pairs", was.pairs, now.pairs),
        ("any of", _names(result.family), _names(claim.family(now))),
    ):
        if before != after:
            yield f"{what}: from {before or 'nothing'} to {after or 'nothing'}"


def _names(family: Sequence[Reading]) -> tuple[str, ...]:
    return tuple(one.name for one in family)


def _plain(question: Question) -> str:
    return msgspec.json.encode(question).decode()
