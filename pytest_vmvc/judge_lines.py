"""What ``vmvc judge`` says: lines for people, plain data for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Judgement
from pytest_vmvc.rejudge import Again, Registration, bound_words
from pytest_vmvc.text import visible_line

INDENT = " " * 13


def registered_lines(log: RunLog, judged: Sequence[Again], registration: Registration) -> list[str]:
    """What was registered, every verdict, and how many are not those of the file."""
    lines = [f"the file: {problem}" for problem in log.problems]
    lines.append(f"pre-registration: {registration.says}")
    lines += [f"installed claims differ: {change}" for change in registration.changes]
    for one in judged:
        lines += [f"{_word(one.judgement)} {_name(one)}", *_grounds(one.judgement)]
        if one.differs:
            lines.append(f"{INDENT} DIFFERS: the file says {one.result.judgement.verdict.value}")
    counts = Counter(one.judgement.verdict.value for one in judged)
    differ = sum(one.differs for one in judged)
    score = ", ".join(f"{many} {word.lower()}" for word, many in counts.items())
    lines.append(f"{score}; {f'{differ} not as in the file' if differ else 'all as in the file'}")
    return [visible_line(line) for line in lines]


def exploratory_lines(tried: Sequence[Again]) -> list[str]:
    """Verdicts on a bound that was chosen after the data, each marked as such."""
    lines = ["EXPLORATORY: a bound chosen after the data; nothing here was pre-registered."]
    for one in tried:
        question = bound_words(one.result.reading.question)
        lines.append(f"EXPLORATORY {_word(one.judgement)} {_name(one)}: {question}")
        lines += _grounds(one.judgement)
    return [visible_line(line) for line in lines]


def plain_lines(judgement: Judgement) -> list[str]:
    """The verdict on plain numbers, and what it rests on."""
    grounds = [judgement.reason, f"scope: {judgement.scope}"]
    lines = [f"{_word(judgement)} {judgement.finding}"]
    return [visible_line(line) for line in (*lines, *(f"{INDENT} {one}" for one in grounds if one))]


def registered_data(
    log: RunLog, judged: Sequence[Again], registration: Registration
) -> dict[str, Any]:
    """The same as plain data."""
    rows = [
        {
            **_row(one),
            "verdict_in_file": one.result.judgement.verdict.value,
            "differs": one.differs,
        }
        for one in judged
    ]
    return {**_about(log), "registration": msgspec.to_builtins(registration), "judged": rows}


def exploratory_data(log: RunLog, tried: Sequence[Again]) -> dict[str, Any]:
    """The same as plain data, under a key of its own."""
    return {**_about(log), "exploratory": [_row(one) for one in tried]}


def _about(log: RunLog) -> dict[str, Any]:
    return {
        "run": log.run.run_id if log.run else None,
        "readings_hash": log.run.readings_hash if log.run else None,
        "problems": list(log.problems),
    }


def _row(one: Again) -> dict[str, Any]:
    return {
        "claim": one.result.claim,
        "reading": one.result.reading.name,
        "pair": one.result.pair,
        "question": msgspec.to_builtins(one.result.reading.question),
        **msgspec.to_builtins(one.judgement),
    }


def _name(one: Again) -> str:
    return f"{one.result.claim} [{one.result.pair}, {one.result.reading.name}]"


def _word(judgement: Judgement) -> str:
    return f"{judgement.verdict.value:<13}"


def _grounds(judgement: Judgement) -> list[str]:
    return [f"{INDENT} {text}" for text in (judgement.finding, judgement.reason) if text]
