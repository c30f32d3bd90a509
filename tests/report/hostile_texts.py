"""Payloads in every text of a run: found by the types of its records, so that none is forgotten."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Literal, get_origin, get_type_hints

import msgspec
from sample_run import sample_log

from pytest_vmvc import ledger
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Opinion, subjects_of
from tests.recorded import RECORDED

CUT = (
    "table.boot-time", "perf.startup-faster", "os.shared-kernel", "sec.one-breach-all",
    "port.vm-slow-because-size", "opinion.fair",
)  # fmt: skip
"""Claims of the recorded run with bounds, ratios, facts, a matrix, a slope and gates."""


def script(canary: str) -> str:
    """What a payload runs: it leaves a mark, and calls out."""
    return f"window.fired=1;document.title='FIRED';new Image().src='{canary}'"


def payloads(canary: str) -> tuple[str, ...]:
    """One text for each way out of text; each is put into every field."""
    code = script(canary)
    return (
        f"<script>{code}</script>",
        f"</script></style></title></svg></textarea><script>{code}</script>",
        f"\"'><img src=x onerror=\"{code}\"><svg onload=\"{code}\">",
        f"<iframe src=\"javascript:{code}\"></iframe><a href=\"javascript:{code}\">x</a>",
        f"javascript:{code}",
        f"data:text/html,<script>{code}</script>",
        f"[x](javascript:{code}) ![x]({canary}) <{canary}> [r]: {canary}\n\n# h\n| a | b |\n|-|-|",
        f"]]><![CDATA[<script>{code}</script>]]><!--<?xml-stylesheet href='{canary}'?><!DOCTYPE x>",
        f"&lt;script&gt;{code}&lt;/script&gt;&#x3c;img/src=x onerror={code}&#62;&amp;lt;b&amp;gt;",
        "{{7*7}}${7*7}#{7*7}<%= 7*7 %>{% raw %}{{constructor.constructor('return 1')()}}",
        f"expression({code}) url({canary}) @import '{canary}'; </style> background:url({canary})",
        f"x' + datum.constructor.constructor(\"{code}\")() + ' \\\" \\n ${{1}} //",
        f"\x00\x1b]8;;{canary}\x07x\x1b]8;;\x07\x1b[2J\x1b[31m\x9b1m\r\b\x7f\u2028\u2029\ufffe\uffff",
        "\u202eabc\u2066def\u2069\u200f\u061c\u200b\ufeff\U000e0041\ud800",
        "=cmd|' /C calc'!A0",
        "A" * 100_000 + " " + "B " * 50_000,
    )  # fmt: skip


def planted(log: RunLog, suffix: Callable[[int], str]) -> RunLog:
    """The log with a suffix behind every text of it, the same behind the same text.

    ``suffix`` is asked once for each different text, with its number.
    """
    numbers: dict[str, int] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, bool | int | float | enum.Enum | type(None)):
            return value
        if isinstance(value, str):
            return value + suffix(numbers.setdefault(value, len(numbers))) if value else value
        if isinstance(value, dict):
            return {walk(key): walk(child) for key, child in value.items()}
        if isinstance(value, tuple):
            return tuple(map(walk, value))
        assert isinstance(value, msgspec.Struct), type(value)
        hints = get_type_hints(type(value))
        free = [name for name in value.__struct_fields__ if get_origin(hints[name]) is not Literal]
        return msgspec.structs.replace(value, **{name: walk(getattr(value, name)) for name in free})

    found: RunLog = walk(log)
    return found


def runs() -> dict[str, RunLog]:
    """The made-up run, and a part of the recorded one; no text in either is empty."""

    log = ledger.read(RECORDED)
    results = tuple(r for r in log.results if r.claim in CUT and r.pair == "minimal")
    of = {(r.experiment, r.pair) for r in results}
    rows = {
        (r.experiment, r.pair, subject)
        for r in results
        if not isinstance(r.reading.question, Opinion)
        for subject in subjects_of(r.reading.question)
    }
    kept = {
        kind: tuple(one for one in getattr(log, kind) if (one.experiment, one.pair) in of)
        for kind in ("missing", "retries", "allowances", "conditions")
    }
    cut = msgspec.structs.replace(
        log,
        results=results,
        series=tuple(s for s in log.series if (s.experiment, s.pair, s.subject) in rows),
        observations=tuple(
            o for o in log.observations if (o.experiment, o.pair, o.subject) in rows
        ),
        problems=("line 7 cannot be read",),
        **kept,
    )
    return {"made-up": sample_log(), "recorded": cut}
