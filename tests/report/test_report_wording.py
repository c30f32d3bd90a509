from __future__ import annotations

import pytest
from sample_run import CLAIMS, sample_log

from pytest_vmvc.model import Estimate, Ratio, Verdict
from pytest_vmvc.report.texts import changed
from pytest_vmvc.report.wording import (
    agreement,
    estimate_words,
    quantity,
    question_words,
    scalar,
    shortened,
)
from pytest_vmvc.text import LINE_KEPT, TEXT_LIMIT, last_line, visible, visible_line


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0000031, "s", "3.10 µs"),
        (0.0412, "s", "41.2 ms"),
        (0.9996, "s", "1 000 ms"),
        (4.2, "s", "4.20 s"),
        (71.04, "s", "71.0 s"),
        (1234.5, "s", "1 234 s"),
        (0, "s", "0 s"),
        (999, "bytes", "999 bytes"),
        (2_010_000, "bytes", "2.01 MB"),
        (1e9, "bytes", "1.00 GB"),
        (13.66, "ratio", "13.7×"),
        (0.0731, "×", "0.0731×"),
        (12, "starts", "12.0 starts"),
    ],
)
def test_quantities_are_in_human_units(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit).replace("\u00a0", " ").replace("\u202f", " ") == text


def test_thresholds_lose_their_zeros() -> None:
    assert quantity(60, "s", exact=True) == "60\u00a0s"
    assert quantity(1e9, "bytes", exact=True) == "1\u00a0GB"
    assert quantity(1.25, "×", exact=True) == "1.25×"
    assert quantity(100, "s", exact=True) == "100\u00a0s"


def test_long_identifiers_are_shortened_and_words_are_not() -> None:
    assert shortened("0c8f6a52-1111-4222-8333-944455566677") == "0c8f6a52…"
    assert shortened("6.1.0-sample-amd64") == "6.1.0-sample-amd64"


def test_scalars_of_every_kind() -> None:
    assert [scalar(v) for v in (None, True, False, 3, "x")] == ["none", "yes", "no", "3", "x"]
    assert scalar(0.25, "s") == "250\u00a0ms"


def test_control_and_direction_characters_become_visible() -> None:
    assert visible("a\x00b\u202ec\ud800d\u2028\x1b[31m") == (
        "a⟨U+0000⟩b⟨U+202E⟩c⟨U+D800⟩d⟨U+2028⟩⟨U+001B⟩[31m"
    )
    assert visible("naïve\tπ\n✓") == "naïve\tπ\n✓"
    assert changed(({"k\x07": ("\u2066", 1, None)},), visible) == (
        {"k⟨U+0007⟩": ("⟨U+2066⟩", 1, None)},
    )
    assert visible_line("a\nSUPPORTED b") == "a ⏎ SUPPORTED b"


def test_very_long_text_is_cut_and_says_so() -> None:
    text = visible("x" * (TEXT_LIMIT + 17))
    assert text.endswith("… (17 more characters)")


def test_the_last_line_that_says_something_is_the_reason() -> None:
    assert last_line("debug1: hello\n Permission denied\t(publickey).\r\n \x00\n\n") == (
        "Permission denied (publickey)."
    )
    assert last_line("x" * 999 + "y") == "x" * LINE_KEPT
    assert last_line(" \x1b\n") == "it said nothing"
    assert last_line("", "its domain may be gone") == "its domain may be gone"


def test_questions_in_words() -> None:
    asked = [
        question_words(reading.question, "s").replace("\u00a0", " ")
        for claim in CLAIMS
        for reading in claim.readings
    ]
    assert asked[:3] == [
        "median start_s of container < 60 s",
        "median start_s of vm ≥ 60 s",
        "start_s: vm ÷ container > 1.25×",
    ]
    assert "kernel_release of container is the same as host" in asked
    assert "boot_id of every vm is its own" in asked


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(1.5, 2.5, "1.50× to 2.50×"), (1.5, None, "1.50× or more"), (None, 2.5, "2.50× or less")],
)
def test_an_interval_may_be_open(low: float | None, high: float | None, words: str) -> None:
    estimate = Estimate(
        effect=None, low=low, high=high, confidence=0.95, n=6, unit="ratio", method="m"
    )
    question = Ratio(metric="start_s", subject="vm", over="container", op=">", threshold=1.25)
    assert estimate_words(estimate, question) == ("beyond the deadline", words)


def test_agreement_follows_verdict_and_expectation() -> None:
    seen = {(r.judgement.verdict, r.reading.expect): agreement(r)[0] for r in sample_log().results}
    assert seen[Verdict.SUPPORTED, "SUPPORTED"] == "expected"
    assert seen[Verdict.REFUTED, "REFUTED"] == "expected"
    assert seen[Verdict.INCONCLUSIVE, "SUPPORTED"] == "open"
    assert seen[Verdict.REFUTED, "INCONCLUSIVE"] == "news"
    assert seen[Verdict.NOT_TESTABLE, "INCONCLUSIVE"] == "open"
