from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sample_run import PAIRS, TITLE, sample_log

import pytest_vmvc.report
from pytest_vmvc.errors import LedgerError
from pytest_vmvc.ledger import RunLog, collect
from pytest_vmvc.model import (
    Check,
    End,
    Estimate,
    Judgement,
    Metric,
    Observation,
    Opinion,
    Reading,
    Record,
    Result,
    Series,
    Slope,
    Verdict,
)
from pytest_vmvc.report import html as html_module
from pytest_vmvc.report import layers, render, write

STYLE = (Path(pytest_vmvc.report.__file__).parent / "style.css").read_text()
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u202e\x00<!--{{7*7}}"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and text of a page, with a check that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def log() -> RunLog:
    return sample_log()


@pytest.fixture(scope="module")
def html(log: RunLog) -> str:
    return render(log, title=TITLE)


def hostile(value: Any) -> Any:
    """The same plain data with every free text replaced by a hostile one."""
    fixed = {"record", "type", "kind", "accelerator", "tier", "op", "relation", "emulation"}
    fixed |= {"verdict", "expect", "metric", "subject", "other", "over", "spoils"}
    if isinstance(value, dict):
        return {
            key: child
            if key in fixed and isinstance(child, str)
            else {f"{HOSTILE}{name}": x for name, x in child.items()}
            if key in ("versions", "extra", "marks", "parts")
            else hostile(child)
            for key, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [hostile(child) for child in value]
    return HOSTILE if isinstance(value, str) else value


def table(html: str, name: str) -> str:
    """The first table of a class."""
    return re.split(f'<table class="{name}"[^>]*>', html, maxsplit=1)[1].partition("</table>")[0]


def everywhere(log: RunLog) -> RunLog:
    """The log with hostile text in every field, subjects and metrics too."""
    plain = msgspec.to_builtins(log)
    text = json.dumps(hostile(plain))
    for name in ("container", "start_s"):
        text = text.replace(f'"{name}"', json.dumps(f"{name}{HOSTILE}"))
    swapped = json.loads(text)
    # The kind of a subject is one of two words, whatever its name is.
    for series in swapped["series"]:
        if series["facts"] is not None:
            series["facts"]["kind"] = "vm" if series["facts"]["kind"] == "vm" else "container"
    return msgspec.convert(swapped, RunLog)


def test_every_finding_quote_and_reason_is_shown(log: RunLog, html: str) -> None:
    text = Page(html).text
    for result in log.results:
        assert result.judgement.finding in text
        assert result.quote in text
        assert result.method in text
        assert result.judgement.reason in text
        assert result.reading.name in text
        assert result.reading.why in text
        assert result.judgement.scope in text
    assert TITLE in text


def test_all_gates_of_a_timed_experiment_are_shown(log: RunLog, html: str) -> None:
    text = Page(html).text
    assert "The host during cold_start: 3 gates passed, 0 failed, 1 not available" in text
    for check in log.conditions[0].checks:
        assert check.name in text
        assert check.note in text
    assert "at least 537 MB" in text
    assert "none of hpet, pit" in text
    assert '<details class="conditions" open>' not in html


def test_a_failed_gate_lies_open(log: RunLog) -> None:
    checks = tuple(msgspec.structs.replace(c, passed=False) for c in log.conditions[0].checks[:1])
    noisy = msgspec.structs.replace(log.conditions[0], checks=checks)
    html = render(msgspec.structs.replace(log, conditions=(noisy,)))
    assert '<details class="conditions" open>' in html
    assert "0 gates passed, 1 failed" in Page(html).text


def test_gates_on_the_samples_stand_beside_the_interval(log: RunLog) -> None:
    sampled = next(r for r in log.results if r.judgement.estimate is not None)
    drift = Check(
        name="drift",
        figure=1.34,
        op="within",
        limit=1.1,
        unit="ratio",
        passed=False,
        note="99.9% interval 1.20× to 1.50×, n = 8",
    )
    judged = msgspec.structs.replace(sampled.judgement, checks=(drift,))
    text = Page(render(collect((msgspec.structs.replace(sampled, judgement=judged),)))).text
    assert "1.34× (failed; limit a factor of 1.1×; 99.9% interval 1.20× to 1.50×, n = 8)" in text


def test_provenance_is_shown(log: RunLog, html: str) -> None:
    text = Page(html).text
    assert log.run is not None
    for fact in (
        log.run.run_id,
        log.run.readings_hash,
        log.run.host.kernel,
        "overlay2",
        "20.10.24",
    ):
        assert fact in text
    for series in log.series:
        assert series.metric.definition in text
    assert log.missing[0].reason in text
    assert log.retries[0].error in text
    assert "harness's own CPU time in a start" in text
    assert "0.500% (median)" in text
    assert "emulated in software" in text


def test_the_battery_and_its_allowance_are_shown_the_worst_part_first(html: str) -> None:
    text = Page(html).text
    assert "Allowance 34.2×, from fork + exec, the worst of 3 parts; medians of 3 rounds." in text
    assert text.index("17.1×") < text.index("9.50×") < text.index("1.10×")
    assert "Not measured: disk on minimal: files of vm are in memory" in text


def test_without_a_battery_nothing_is_said_of_one(log: RunLog) -> None:
    gaps = tuple(gap for gap in log.missing if gap.experiment != "battery")
    bare = msgspec.structs.replace(log, allowances=(), missing=gaps)
    assert "Slowdown by emulation" not in Page(render(bare)).text


def test_the_board_counts_right(log: RunLog, html: str) -> None:
    tallies = re.findall(
        r'<span class="count">(\d+)</span>.*?</svg>([A-Z ]+)</span>', html, re.DOTALL
    )
    verdicts = [result.judgement.verdict.value for result in log.results]
    assert {word: int(n) for n, word in tallies} == {v.value: verdicts.count(v) for v in Verdict}
    board = table(html, "board")
    for verdict in Verdict:
        assert board.count(f"</svg>{verdict.value}</span>") == verdicts.count(verdict.value)
    assert f"{len(log.results)} verdicts on 6 claims: " in html


def test_each_card_says_how_to_reproduce(html: str) -> None:
    assert 'pytest --vmvc -k "test_boot_time"' in Page(html).text


def test_a_strange_node_id_is_quoted_for_the_shell(log: RunLog) -> None:
    result = msgspec.structs.replace(log.results[0], nodeid="a b::$(reboot)")
    text = Page(render(collect((result,)))).text
    assert "pytest --vmvc 'a b::$(reboot)'" in text


def test_the_page_is_closed_to_the_outside(html: str) -> None:
    page = Page(html)
    assert "http:" not in html
    assert "https:" not in html
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), tag
    assert {tag for tag, _ in page.elements}.isdisjoint({"img", "iframe", "object", "base"})
    assert [sorted(form) for form in page.all("form")] == [
        ["aria-label", "class", "hidden", "id", "role"]
    ], "the filters send nothing anywhere"


def test_the_policy_allows_exactly_the_inline_style_and_script(html: str) -> None:
    page = Page(html)
    policy = next(
        meta["content"]
        for meta in page.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    (style,) = page.raw["style"]
    data, script = page.raw["script"]
    for kind, source in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert re.fullmatch("[A-Za-z0-9+/=]+", data)


def embedded(page: Page) -> tuple[Record, ...]:
    lines = gzip.decompress(base64.b64decode(page.raw["script"][0])).splitlines()
    return tuple(msgspec.json.decode(line, type=Record) for line in lines)


def test_the_embedded_data_are_the_records(log: RunLog, html: str) -> None:
    assert embedded(Page(html)) == log.records()


def test_hostile_text_stays_text_in_every_field(log: RunLog) -> None:
    bad = everywhere(log)
    page = render(bad, title=HOSTILE)
    parsed = Page(page)
    assert len(parsed.all("script")) == 2
    assert parsed.all("img") == []
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page, re.DOTALL)[0]
    assert "<!--" not in page
    assert "⟨U+202E⟩" in parsed.text
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert embedded(parsed) == bad.records(), "the raw data are the truth, unchanged"


def test_a_page_of_very_many_samples_does_not_carry_them_and_says_so(
    log: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_module, "EMBEDDED", len(log.observations) - 1)
    monkeypatch.setattr(layers, "MOST", 3)
    page = Page(render(log))
    assert page.text.count(f"its {len(log.observations)} samples are too many to be inside it") == 1
    assert re.search(r"Drawn and listed: \d+ of \d+, of blocks at even distances", page.text)
    assert '<script type="application/gzip" id="raw-data"></script>' in render(log)


def test_ids_are_unique_and_every_link_arrives(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        if (target := attributes.get("href") or "").startswith("#"):
            assert target[1:] in ids
        for name in ("aria-labelledby", "data-copy"):
            assert attributes.get(name, ids[0]) in ids


def test_headings_descend_one_level_at_a_time(html: str) -> None:
    levels = [int(tag[1]) for tag, _ in Page(html).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_chart_has_a_name_and_its_numbers(html: str) -> None:
    figures = html.split("<figure>")[1:]
    assert len(figures) >= 12
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert '<table class="numbers">' in figure


def test_fact_readings_show_their_values_short_and_in_full(log: RunLog, html: str) -> None:
    assert log.run is not None
    boot_id = log.run.host.boot_id
    assert f'<abbr title="{boot_id}"><code>{boot_id[:8]}…</code></abbr>' in html
    assert "<code>6.1.0-guest-cloud-amd64</code>" not in html.partition("claim-4")[0]


def test_a_complete_run_has_no_banner(html: str) -> None:
    assert 'class="banner"' not in html


def test_a_run_without_end_is_marked_incomplete(log: RunLog) -> None:
    cut = msgspec.structs.replace(log, end=None, problems=("line 9 is cut off",))
    text = Page(render(cut)).text
    assert "Incomplete run" in text
    assert "line 9 is cut off" in text
    assert log.results[-1].judgement.finding in text


def test_an_interrupted_run_is_marked(log: RunLog) -> None:
    end = End(ended="2025-01-02T03:10:05Z", exit_status=2, duration_s=1.0, interrupted=True)
    assert "was interrupted" in Page(render(msgspec.structs.replace(log, end=end))).text


def test_an_empty_log_renders() -> None:
    text = Page(render(RunLog())).text
    assert "No claim was judged" in text
    assert "Incomplete run" in text


@pytest.mark.parametrize("part", ["run", "series", "observations"])
def test_a_log_without_some_part_renders(log: RunLog, part: str) -> None:
    poor = msgspec.structs.replace(log, **{part: None if part == "run" else ()})
    assert log.results[0].judgement.finding in Page(render(poor)).text


@pytest.mark.parametrize("bounds", [None, (None, None), (None, 9.0), (0.1, None)])
def test_an_estimate_may_be_missing_or_open(
    log: RunLog, bounds: tuple[float | None, float | None] | None
) -> None:
    estimate = None
    if bounds is not None:
        estimate = Estimate(
            effect=None, low=bounds[0], high=bounds[1], confidence=0.95, n=8, unit="s", method="m"
        )
    results = tuple(
        msgspec.structs.replace(
            result, judgement=msgspec.structs.replace(result.judgement, estimate=estimate)
        )
        for result in log.results[:6]
    )
    page = render(msgspec.structs.replace(log, results=results))
    assert results[0].judgement.finding in Page(page).text
    assert "NaN" not in page.partition('id="raw-data"')[0]


def test_censored_samples_are_shown_as_bounds(log: RunLog) -> None:
    observations = tuple(
        msgspec.structs.replace(o, censored=o.block == 2 and o.subject == "vm")
        for o in log.observations
    )
    text = Page(render(msgspec.structs.replace(log, observations=observations))).text
    assert "≥ " in text
    assert "cut off at the deadline" in text


def test_rendering_is_pure_small_and_quick(log: RunLog, html: str) -> None:
    began = time.perf_counter()
    assert render(log, title=TITLE) == html
    # Generous: the machine may be busy. It is some tenths of a second on an idle one.
    assert time.perf_counter() - began < 10
    assert len(html.encode()) < 500_000


def test_write_replaces_the_file_in_one_step(log: RunLog, tmp_path: Path) -> None:
    path = write(log, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render(log)
    write(RunLog(), path)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_write_to_an_impossible_place_names_a_remedy(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(LedgerError, match="choose another path"):
        write(RunLog(), blocker / "report.html")
    with pytest.raises(LedgerError, match="choose another path"):
        write(RunLog(), tmp_path / ("x" * 300 + ".html"))


def variables(mode: str) -> dict[str, str]:
    block = STYLE.split(":root {")[1 if mode == "light" else 2].split("}")[0]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_meets_wcag_aa_in_both_modes(mode: str) -> None:
    colours = variables(mode)
    for verdict in ("supported", "refuted", "inconclusive", "not-testable"):
        grounds = (f"{verdict}-tint", "paper", "surface", "sunken")
        for ground in grounds:
            assert contrast(colours[verdict], colours[ground]) >= 4.5, (verdict, ground)
    for text in ("ink", "muted", "link"):
        for ground in ("paper", "surface", "sunken"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for phase in range(10):
        assert contrast(colours["ink"], colours[f"phase-{phase}"]) >= 4.5, phase
    for subject in ("container", "vm", "vm-restored", "host", "other"):
        assert contrast(colours[subject], colours["surface"]) >= 3, subject


def test_both_pairs_stand_on_the_board(html: str) -> None:
    head = table(html, "board").partition("</thead>")[0]
    assert [name in head for name in PAIRS] == [True, True]


# --- slopes, opinions, contradictions ------------------------------------------------------------


def result(claim: str, question: Slope | Opinion, verdict: Verdict, **more: Any) -> Result:
    return Result(
        claim=claim,
        quote=f"the quote of {claim}",
        method="m",
        reading=Reading(name="r", question=question),
        pair="minimal",
        experiment="planted",
        judgement=Judgement(verdict=verdict, finding=f"the finding of {claim}"),
        nodeid="claims/test_x.py::test_x[minimal-r]",
        **more,
    )


def log_of(*records: Record) -> RunLog:
    run = sample_log().run
    assert run is not None
    return collect((run, *records))


def test_a_slope_is_drawn_over_its_dose() -> None:
    metric = Metric(name="port_s", unit="s", definition="d", dose="bytes")
    question = Slope(metric="port_s", subject="vm", op=">", threshold=1, unit="s")
    rows = [
        Observation(
            experiment="planted",
            pair="minimal",
            subject="vm",
            metric="port_s",
            value=float(value),
            at="2025-01-02T03:04:05Z",
            dose=value * 64e6,
        )
        for value in (1, 2, 4)
    ]
    head = Series(experiment="planted", pair="minimal", subject="vm", metric=metric, facts=None)
    page = Page(render(log_of(head, *rows, result("port.x", question, Verdict.SUPPORTED))))
    assert "Dose and response: port s" in page.text
    assert "256 MB" in page.text
    assert "slope of port_s of vm" in page.text


def test_a_slope_that_was_not_measured_has_a_card_without_figures() -> None:
    question = Slope(metric="port_s", subject="vm", op=">", threshold=1, unit="s")
    page = Page(render(log_of(result("port.x", question, Verdict.NOT_TESTABLE))))
    assert "slope of port_s of vm" in page.text
    assert not any(tag == "figure" for tag, _ in page.elements)


def test_an_opinion_has_a_card_without_figures() -> None:
    found = result("opinion.x", Opinion(reason="a taste"), Verdict.NOT_TESTABLE)
    page = Page(render(log_of(found)))
    assert "nothing that could be measured" in page.text
    assert not any(tag == "figure" for tag, _ in page.elements)


def test_claims_that_contradict_each_other_stand_side_by_side() -> None:
    one = result("port.x", Opinion(reason="a"), Verdict.NOT_TESTABLE, contradicts=("table.y",))
    other = result("table.y", Opinion(reason="b"), Verdict.NOT_TESTABLE)
    text = Page(render(log_of(one, other))).text
    assert "Where the article contradicts itself" in text
    assert text.index("contradicts itself") < text.index("Every reading")
    assert "contradicts itself" not in Page(render(log_of(one))).text
