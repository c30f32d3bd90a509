"""The article's score at a glance, and the findings that a person would repeat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_vmvc.model import Bound, Ratio, Result, Verdict
from pytest_vmvc.report.cards import section_of


def score(results: Sequence[Result]) -> tuple[tuple[str, str, int], ...]:
    """How many claims stand, fall, and so on: words, class, number; empty ones left out.

    A claim has no verdict of its own: it stands where readings of it are SUPPORTED and none is
    REFUTED, and falls where it is the other way round.
    """
    given: dict[str, set[Verdict]] = {}
    for result in results:
        given.setdefault(result.claim, set()).add(result.judgement.verdict)
    kinds = [kind(verdicts)[0] for verdicts in given.values()]
    found = ((words, css, kinds.count(words)) for words, css in _KINDS.items())
    return tuple(one for one in found if one[2])


_KINDS = {
    "standing": "supported",
    "fallen": "refuted",
    "standing in part": "mixed",
    "open": "inconclusive",
    "not testable": "not-testable",
}


def kind(verdicts: set[Verdict]) -> tuple[str, str]:
    """How a claim with readings of these verdicts is counted: words and class."""
    stands, falls, part, are_open, untested = _KINDS.items()
    match Verdict.SUPPORTED in verdicts, Verdict.REFUTED in verdicts:
        case True, True:
            return part
        case True, False:
            return stands
        case False, True:
            return falls
        case _:
            return are_open if Verdict.INCONCLUSIVE in verdicts else untested


def headlines(results: Iterable[Result]) -> tuple[Result, ...]:
    """The sampled figures that lie farthest from their bound, one a section; at most three.

    One at least speaks against the article and one for it, where there are such. How far: the end
    of the interval that is nearer to the bound over the bound, as a logarithm.
    """
    found = [result for _, result in sorted(_margins(results), key=lambda one: -one[0])]
    chosen: list[Result] = []
    for wanted in ((Verdict.REFUTED,), (Verdict.SUPPORTED,), tuple(Verdict)):
        sections = {section_of(result.claim) for result in chosen}
        fresh = [r for r in found if section_of(r.claim) not in sections]
        chosen += [r for r in fresh if r.judgement.verdict in wanted][:1]
    return tuple(chosen)


def farthest(results: Iterable[Result]) -> Result | None:
    """The sampled figure that lies farthest from its bound; None where there is none."""
    return max(_margins(results), key=lambda one: one[0], default=(0.0, None))[1]


def _margins(results: Iterable[Result]) -> Iterator[tuple[float, Result]]:
    for result in results:
        question, estimate = result.reading.question, result.judgement.estimate
        if (
            not result.judgement.verdict.decided
            or estimate is None
            or not isinstance(question, Bound | Ratio)
        ):
            continue
        if estimate.n == 1:
            continue  # what a count or a size is, is no news
        ends = [end for end in (estimate.low, estimate.high) if end is not None and end > 0]
        if ends and question.threshold > 0:
            yield min(abs(math.log(end / question.threshold)) for end in ends), result
