"""The page in a real browser: what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_run import sample_log

from pytest_vmvc import ledger
from pytest_vmvc.ledger import RunLog, encode
from pytest_vmvc.report.cards import by_claim, section_of
from pytest_vmvc.report.html import render
from pytest_vmvc.report.wording import VERDICT_CLASS
from tests.recorded import RECORDED

pytestmark = pytest.mark.browser

SHOWN = "[...document.querySelectorAll('.reading:not([hidden])')]"
IN_VIEW = """id => {
    const box = document.getElementById(id).getBoundingClientRect();
    return box.height > 0 && box.top < innerHeight && box.bottom > 0 && box.top > -2;
}"""
FOLLOW = """async ([step]) => {
    const wrong = [], links = [...document.querySelectorAll("a[href^='#']")];
    for (const link of links) {
        if (!document.getElementById(link.hash.slice(1))) wrong.push(`no target: ${link.hash}`);
    }
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    for (const link of links.filter((_, index) => index % step === 0)) {
        scrollTo(0, 0);
        history.replaceState(null, "", "#");
        link.click();
        await frame(); await frame();
        const target = document.getElementById(link.hash.slice(1));
        const top = target.getBoundingClientRect().top;
        const last = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
        if (top < -2 || top > (last ? innerHeight : 60)) wrong.push(`${link.hash} at ${top}`);
        if (document.activeElement !== target) wrong.push(`${link.hash} has no focus`);
    }
    return [links.length, wrong];
}"""


@pytest.fixture(params=["sample", "recorded"])
def report(request: Any) -> tuple[Path, RunLog]:
    """The page of the made-up run and that of the recorded one, each with its data."""
    path = request.getfixturevalue(f"{request.param}_page")
    return path, sample_log() if request.param == "sample" else ledger.read(RECORDED)


def count(page: Any) -> tuple[int, int]:
    """Readings that the page says it shows, of all; the same as are shown."""
    words = page.locator("#shown").inner_text()
    found = re.fullmatch(r"(\d+) of (\d+) readings", words)
    assert found, words
    assert page.evaluate(f"{SHOWN}.length") == int(found[1])
    return int(found[1]), int(found[2])


def test_a_page_without_its_samples_offers_none_to_save(open_page, write_page):
    page = open_page(write_page(re.sub(r'(id="raw-data">)[^<]+', r"\1", render(sample_log()))))
    assert page.locator("#filters").is_visible()
    assert not page.locator("#save-data").is_visible()
    assert open_page.heard == []


def test_the_page_loads_with_a_clean_console_and_asks_for_nothing(report, open_page):
    path, log = report
    page = open_page(path)
    # The script ran: it shows what needs it.
    assert page.locator("#filters").is_visible()
    assert page.locator("#save-data").is_visible()
    assert page.locator("[hidden]").count() == 0
    assert page.locator(".reading").count() == len(log.results)
    assert open_page.heard == []


def test_a_violation_would_be_heard(sample_page, write_page, open_page):
    text = sample_page.read_text(encoding="utf-8")
    page = open_page(
        write_page(
            text.replace(
                "<main>", '<main style="color:red"><script>window.ran = 1</script><img src="x.png">'
            )
        )
    )
    heard = "\n".join(open_page.heard)
    open_page.heard.clear()
    assert heard.count("Content Security Policy") == 3
    assert "x.png" in heard
    assert page.evaluate("window.ran") is None


def test_filters_show_what_they_say(report, open_page):
    path, log = report
    page = open_page(path)
    judged = log.results
    expected: dict[str, Callable[[Any], str]] = {
        "verdict": lambda result: VERDICT_CLASS[result.judgement.verdict],
        "section": lambda result: section_of(result.claim),
        "pair": lambda result: result.pair,
    }
    for name, of in expected.items():
        chosen = page.locator(f"#filters [name={name}]")
        for value in sorted({of(result) for result in judged}):
            chosen.select_option(value)
            wanted = [result for result in judged if of(result) == value]
            assert count(page) == (len(wanted), len(judged)), (name, value)
            assert page.locator(".card:not([hidden])").count() == len({r.claim for r in wanted})
            assert page.evaluate("location.hash").startswith(f"#?{name}={value.split(' ')[0]}")
            # The board shows the same claims, and dims what is not chosen.
            assert page.locator("#verdicts tbody:not([hidden])").count() == len(
                {r.claim for r in wanted}
            )
        chosen.select_option("")
    assert page.evaluate("location.hash") == ""
    assert count(page) == (len(judged), len(judged))

    providers = page.locator("#filters [name=provider]")
    for value in providers.locator("option").evaluate_all("all => all.map(o => o.value)"):
        providers.select_option(value)
        shown = page.evaluate(f"{SHOWN}.map(one => one.dataset.providers.split(' '))")
        assert len(shown) == count(page)[0]
        assert not value or all(value in one for one in shown)


def test_search_and_reset(report, open_page):
    path, log = report
    page = open_page(path)
    page.locator("#filters [name=words]").press_sequentially("BOOT minutes")
    shown, every = count(page)
    assert 0 < shown < every == len(log.results)
    texts = page.evaluate(
        f"{SHOWN}.map(one => (one.closest('.card').querySelector('header').textContent"
        " + one.textContent).toLowerCase())"
    )
    assert all("boot" in text and "minutes" in text for text in texts)
    assert page.evaluate("location.hash") == "#?words=BOOT+minutes"
    page.locator("#filters [name=words]").fill("no-such-word")
    assert count(page)[0] == 0
    assert page.locator(".card:visible").count() == 0
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("() => !location.hash")
    assert count(page) == (every, every)
    assert page.locator(".card:not([hidden])").count() == len({r.claim for r in log.results})


def test_a_link_shows_a_selection_or_a_reading(report, open_page):
    path, log = report
    refuted = [r for r in log.results if VERDICT_CLASS[r.judgement.verdict] == "refuted"]
    page = open_page(path, "#?verdict=refuted&pair=minimal")
    assert count(page)[0] == len([r for r in refuted if r.pair == "minimal"])
    assert page.locator("#filters [name=pair]").input_value() == "minimal"
    # What the selection leaves out is shown when it is linked to.
    other = page.locator('.reading[data-verdict="supported"]').last.get_attribute("id")
    page.evaluate("id => { location.hash = id }", other)
    page.wait_for_function(IN_VIEW, arg=other)
    assert count(page)[0] == len(log.results)

    page = open_page(path, f"#{other}")
    page.wait_for_function(IN_VIEW, arg=other)
    assert page.locator(":target").get_attribute("id") == other

    # A word that is none of the choices chooses nothing.
    page = open_page(path, "#?verdict=no-such&rubbish=1")
    assert count(page)[0] == len(log.results)


def test_back_and_forward_keep_address_and_selection_together(sample_page, open_page):
    page = open_page(sample_page, "#?verdict=refuted")
    chosen = count(page)
    page.locator("#verdicts td:not(.off) a.verdict").first.click()
    reading = page.evaluate("location.hash").removeprefix("#")
    page.wait_for_function(IN_VIEW, arg=reading)
    other = page.locator('.reading[data-verdict="supported"]').last.get_attribute("id")
    page.evaluate("id => { location.hash = id }", other)
    page.wait_for_function(f"() => {SHOWN}.length === {chosen[1]}")
    page.go_back()
    page.go_back()
    page.wait_for_function("() => location.hash === '#?verdict=refuted'")
    page.wait_for_function(f"() => {SHOWN}.length === {chosen[0]}")
    assert page.locator("#filters [name=verdict]").input_value() == "refuted"
    page.go_forward()
    page.wait_for_function("id => location.hash === '#' + id", arg=reading)
    assert page.locator(f"#{reading}").is_visible()
    assert count(page) == chosen


def test_every_anchor_leads_to_its_target(report, open_page):
    path, log = report
    page = open_page(path)
    links, wrong = page.evaluate(FOLLOW, [1 if len(log.results) < 50 else 12])
    assert links > len(log.results)
    assert wrong == []


def test_copies_of_a_finding_and_of_a_command(sample_page, open_page):
    page = open_page(sample_page, permissions=["clipboard-read", "clipboard-write"])
    reading = page.locator(".reading").first
    button = reading.get_by_role("button", name="Copy as Markdown")
    button.click()
    reading.get_by_role("button", name="Copied").wait_for()
    first = next(iter(by_claim(sample_log().results).values()))[0]
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(
        f"> {first.quote}\n\n**{first.judgement.verdict.value}** (`{first.claim}`"
    )
    assert first.judgement.finding in copied
    assert f"Holds for: {first.judgement.scope}" in copied

    page.locator("button[data-copy]").first.click()
    page.locator("button[data-copy]", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".reproduce code").first.inner_text()
    assert copied.startswith("pytest --vmvc")


def test_where_copying_is_not_allowed_the_text_is_selected(sample_page, open_page):
    page = open_page(sample_page)
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('no')))")
    page.locator("button[data-copy]").first.click()
    page.get_by_text("Selected", exact=True).wait_for()
    selected = page.evaluate("getSelection().toString()")
    assert selected == page.locator(".reproduce code").first.inner_text()


def test_the_download_is_the_results_file(report, open_page, tmp_path):
    path, log = report
    page = open_page(path)
    with page.expect_download() as coming:
        page.locator("#save-data").click()
    assert coming.value.suggested_filename == "results.jsonl"
    coming.value.save_as(tmp_path / "results.jsonl")
    lines = (tmp_path / "results.jsonl").read_bytes()
    assert lines == b"".join(encode(record) + b"\n" for record in log.records())
    assert ledger.read(tmp_path / "results.jsonl").results == log.results


def test_without_scripts_everything_can_be_read(sample_page, open_page):
    page = open_page(sample_page, java_script_enabled=False)
    results = sample_log().results
    assert page.locator(".reading:visible").count() == len(results)
    assert page.locator("button:visible, form:visible").count() == 0
    assert page.locator("#verdicts a.verdict:visible").count() == len(results)
    page.locator("summary").first.click()
    assert page.locator("details[open] .pairs:visible").first.is_visible()


def test_the_page_prints_on_paper(sample_page, open_page):
    page = open_page(sample_page)
    folded = page.locator("details:not([open])").count()
    assert folded
    page.evaluate(
        "addEventListener('beforeprint', () => {"
        " window.folded = document.querySelectorAll('details:not([open])').length })"
    )
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF-")
    # The sample has six claims, each with its charts and tables.
    assert len(re.findall(rb"/Type /Page\b", paper)) >= 5
    assert page.evaluate("window.folded") == 0
    page.wait_for_function(
        f"() => document.querySelectorAll('details:not([open])').length === {folded}"
    )

    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    assert page.locator("button:visible, form:visible, .skip:visible").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".reading:visible").count() == len(sample_log().results)
