"""The verdicts as Markdown: for the summary of a CI job, an issue, a chat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Result, Verdict
from pytest_vmvc.report.score import headlines, score
from pytest_vmvc.report.wording import TIER_WORDS, agreement
from pytest_vmvc.text import visible

MARKS = {
    Verdict.SUPPORTED: "✓ SUPPORTED",
    Verdict.REFUTED: "✗ REFUTED",
    Verdict.INCONCLUSIVE: "≈ INCONCLUSIVE",
    Verdict.NOT_TESTABLE: "⊘ NOT TESTABLE",
}


def summary(log: RunLog, *, exceeded: Sequence[str] = ()) -> str:
    """Score, findings that stand out, what goes against the expectation, and every reading.

    ``exceeded``: limits that this run did not keep to, in words.
    Nothing in the log is trusted: no text can end its line or cell, or be taken for markup.
    """
    lines = ["# Virtual machines and containers, measured side by side", ""]
    if log.run is not None:
        host = log.run.host
        lines += [
            plain(
                f"{host.cpu_model}, {host.cpus} CPUs, {host.os}, Linux {host.kernel}; "
                f"{TIER_WORDS[host.tier]}; {log.run.started[:10]}; run {log.run.run_id}"
            ),
            "",
        ]
    if log.end is None:
        lines += ["**Incomplete:** the run ended before its end was written down.", ""]
    lines += [f"**Damaged results file:** {plain(problem)}\n" for problem in log.problems]
    lines += [f"**FAILED:** {plain(one)}\n" for one in exceeded]
    if counted := score(log.results):
        lines += [
            "Claims: " + ", ".join(f"**{number}** {words}" for words, _, number in counted) + ".",
            "",
        ]
    lines += [
        f"- **{one.judgement.verdict.value}** “{plain(one.quote)}”: {plain(one.judgement.finding)}"
        for one in headlines(log.results)
    ]
    against = [r for r in log.results if agreement(r)[0] == "contradicts"]
    if against:
        lines += ["", "## Against the expectation", ""]
        lines += [
            f"- **{r.judgement.verdict.value}** {code(r.claim)} {plain(r.reading.name)} "
            f"({plain(r.pair)}), expected {r.reading.expect}: {plain(r.judgement.finding)}"
            for r in against
        ]
    lines += ["", "<details><summary>Every reading</summary>", "", *_table(log.results)]
    return "\n".join([*lines, "", "</details>", ""])


def _table(results: Sequence[Result]) -> list[str]:
    rows = [
        f"| {code(r.claim)} | {plain(r.reading.name)} | {plain(r.pair)} "
        f"| {MARKS[r.judgement.verdict]} | {plain(r.judgement.finding)} |"
        for r in results
    ]
    return ["| claim | reading | pair | verdict | finding |", "|---|---|---|---|---|", *rows]


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    one_line = " ".join(visible(text).split())
    return re.sub(r"([\\`*_\[\]|#~!@])", r"\\\1", escape(one_line, quote=False))


def code(text: str) -> str:
    """An id in code; what no id has is left out."""
    return "`" + re.sub(r"[^\w.-]", "", visible(text)) + "`"
