"""The page in a real browser: how it looks, by structure, and whether everyone can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

WIDTHS = (400, 900, 1400)
SCHEMES = ("light", "dark")
STRUCTURE = Path(__file__).with_name("structure.txt")
TOLERANCE = 3
"""Percent of the width of the window by which a box may differ from the recorded one."""
BLOCKS = (
    "header.page, main, footer.page, h1, h2, header.page > .pairs, .score, .headlines > li,"
    " .tallies > li, .shares, #filters, #verdicts, .conflict > section, #claim-1,"
    " #claim-1 > header, #claim-1 .reading, #claim-1 figure, .columns > div"
)

BOXES = """(blocks) => {
    let above = null;
    return [...document.querySelectorAll(blocks)].map((node) => {
        const box = node.getBoundingClientRect();
        const beside = above && box.top < above.bottom - 1 && box.left >= above.right - 1;
        above = box;
        const name = node.id ? `#${node.id}`
            : node.className.baseVal ?? [node.localName, ...node.classList].join(".");
        const words = /^h/.test(node.localName) && node.localName !== "header"
            ? " " + node.textContent.trim() : "";
        const share = (length) => Math.round(100 * length / innerWidth);
        return `${name}${words} | ${share(box.left)} | ${share(box.width)} | `
            + (beside ? "beside" : "below");
    });
}"""
OVERLAPS = """() => {
    const blocks = [...document.querySelectorAll(
        "header.page > *, #board > *, .headlines > li, .tallies > li, #filters > *")]
        .filter((node) => node.getBoundingClientRect().height > 0);
    const wrong = [];
    for (const [index, one] of blocks.entries()) {
        for (const other of blocks.slice(index + 1)) {
            if (one.contains(other)) continue;
            const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
            if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) {
                wrong.push(`${one.outerHTML.slice(0, 60)} over ${other.outerHTML.slice(0, 60)}`);
            }
        }
    }
    return wrong;
}"""
CLIPPED = """() => {
    const wrong = [];
    for (const chart of document.querySelectorAll("svg.chart")) {
        const room = chart.getBoundingClientRect();
        for (const text of chart.querySelectorAll("text")) {
            const box = text.getBoundingClientRect();
            if (box.left < room.left - 3 || box.right > room.right + 3
                || box.top < room.top - 3 || box.bottom > room.bottom + 3) {
                wrong.push(`${chart.getAttribute("aria-label")}: ${text.textContent}`
                    + ` ${Math.round(box.left - room.left)} ${Math.round(room.right - box.right)}`);
            }
            const size = parseFloat(getComputedStyle(text).fontSize) * room.width
                / chart.viewBox.baseVal.width;
            if (size < 9.5) wrong.push(`${text.textContent}: ${size} px`);
        }
    }
    return wrong;
}"""
SMALL = """() => [
    ...document.querySelectorAll("button, select, input, summary, #verdicts a.verdict")]
    .filter((node) => node.getBoundingClientRect().height < 24)
    .map((node) => `${node.outerHTML.slice(0, 80)} ${node.getBoundingClientRect().height}`)"""
# axe-core takes minutes for so long a page: what it says about structure is asked of all of it.
STRUCTURAL = """() => {
    const wrong = [], all = (what) => [...document.querySelectorAll(what)];
    const ids = all("[id]").map((node) => node.id);
    if (new Set(ids).size < ids.length) wrong.push("duplicate ids");
    let before = 0;
    for (const node of all("h1, h2, h3, h4, h5, h6")) {
        const level = Number(node.localName[1]);
        if (level > before + 1) wrong.push(`${node.localName} ${node.textContent}`);
        before = level;
    }
    for (const node of all("svg")) {
        const named = node.getAttribute("role") === "img" && node.getAttribute("aria-label");
        if (!named && node.getAttribute("aria-hidden") !== "true") wrong.push(node.outerHTML);
    }
    for (const node of all("th")) if (!node.scope) wrong.push(node.outerHTML);
    for (const node of all("[aria-labelledby]")) {
        if (!document.getElementById(node.getAttribute("aria-labelledby"))) wrong.push(node.id);
    }
    for (const node of all("*")) {
        if (node.scrollWidth > node.clientWidth + 1 && node.tabIndex < 0
            && getComputedStyle(node).overflowX === "auto") wrong.push(node.outerHTML.slice(0, 90));
    }
    return wrong;
}"""
FOCUS = """() => {
    const node = document.activeElement, look = getComputedStyle(node);
    const shown = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
    const box = node.getBoundingClientRect();
    const name = node.id || node.name || (node.matches(".scroll") ? "scroll" : node.textContent);
    return [name, shown && box.bottom > 0 && box.top < innerHeight];
}"""


@pytest.fixture(params=["sample_page", "recorded_page"])
def path(request: Any) -> Path:
    """The page of the made-up run and that of the recorded one."""
    return request.getfixturevalue(request.param)


def test_nothing_overflows_overlaps_or_is_clipped(path, open_page):
    page = open_page(path)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            wide, room = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= room, (width, scheme)
        assert page.evaluate(OVERLAPS) == [], width
        assert page.evaluate(CLIPPED) == [], width
        assert page.evaluate(SMALL) == [], width


def test_the_first_screen_has_the_score_the_host_and_a_finding(path, open_page):
    page = open_page(path, viewport={"width": 1400, "height": 900})
    for part in ("header.page > .pairs", ".score", ".headlines > li:last-child"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, part
    page.set_viewport_size({"width": 400, "height": 800})
    box = page.locator(".score").bounding_box()
    assert box["y"] + box["height"] <= 800


def test_light_and_dark_are_two_looks(sample_page, open_page):
    page = open_page(sample_page)
    grounds = set()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.screenshot().startswith(b"\x89PNG")
    assert len(grounds) == len(SCHEMES)


def test_the_structure_is_as_recorded(sample_page, open_page, tmp_path):
    page = open_page(sample_page)
    found: list[str] = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{width} {line}" for line in page.evaluate(BOXES, BLOCKS)]
    fresh = tmp_path / STRUCTURE.name
    fresh.write_text("\n".join(found) + "\n", encoding="utf-8")
    recorded = STRUCTURE.read_text(encoding="utf-8").splitlines()
    hint = f"where this is meant: cp {fresh} {STRUCTURE}"
    assert [line.split(" | ")[0] for line in found] == [
        line.split(" | ")[0] for line in recorded
    ], hint
    for now, then in zip(found, recorded, strict=True):
        name, left, wide, place = now.split(" | ")
        _, left_then, wide_then, place_then = then.split(" | ")
        assert abs(int(left) - int(left_then)) <= TOLERANCE, f"{now}; was {then}; {hint}"
        assert abs(int(wide) - int(wide_then)) <= TOLERANCE, f"{now}; was {then}; {hint}"
        assert place == place_then, f"{name}: {place}, was {place_then}; {hint}"


def test_axe_finds_nothing(path, open_page):
    """The page's own policy is in force: Playwright evaluates outside of it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    page = open_page(path)
    # Of a long page every ninth claim, and the head of each table: each is like the others.
    page.evaluate(
        """() => {
            const cards = [...document.querySelectorAll(".card")];
            if (cards.length < 20) return;
            cards.forEach((card, index) => { if (index % 9) card.remove(); });
            for (const table of document.querySelectorAll("table")) {
                [...table.querySelectorAll("tbody tr")].slice(4).forEach((row) => row.remove());
            }
        }"""
    )
    wrong: list[str] = []
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        answer = axe.Axe().run(page, options={"resultTypes": ["violations"], **rules}).response
        assert answer["passes"], "axe-core looked at nothing"
        wrong += [
            f"{scheme}: {rule['id']} ({rule['impact']}): {node['html'][:200]}"
            for rule in answer["violations"]
            for node in rule["nodes"]
        ]
    assert wrong == []


def test_the_whole_page_has_sound_structure(path, open_page):
    page = open_page(path, viewport={"width": 400, "height": 800})
    assert page.evaluate(STRUCTURAL) == []


def test_the_keyboard_reaches_everything(sample_page, open_page):
    page = open_page(sample_page, viewport={"width": 500, "height": 800})
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS) == ["Skip to the verdicts", True]
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'board'")
    names: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, shown = page.evaluate(FOCUS)
        assert shown, name
        names.append(name)
    filters = ["words", "verdict", "section", "pair", "provider", "Show all", "scroll"]
    start = names.index("words")
    assert names[start : start + len(filters)] == filters
    # The first select is changed by keys alone, and the page follows.
    page.locator("#filters [name=verdict]").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => location.hash.startsWith('#?verdict=')")
    page.locator("#filters button").focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => !location.hash")
    folded = page.locator("summary").first
    folded.focus()
    page.keyboard.press("Enter")
    page.locator("details[open]").first.wait_for()
