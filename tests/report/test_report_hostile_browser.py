"""Payloads in every text, in a real browser: nothing of them runs, and nothing is asked for."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hostile_texts import payloads, planted, runs

from pytest_vmvc.report.badge import badge
from pytest_vmvc.report.html import render
from pytest_vmvc.report.plot import plots
from pytest_vmvc.report.wording import visible_log
from pytest_vmvc.text import visible

pytestmark = pytest.mark.browser

RUNS = runs()
COUNTED = """() => {
    const found = {}, add = (name) => { found[name] = (found[name] ?? 0) + 1; };
    // Of a chart's own parts there are as many as there is room for.
    const drawn = new Set(["text", "g", "path", "line", "rect", "tspan", "td", "tr"]);
    for (const node of document.querySelectorAll("*")) {
        if (!drawn.has(node.localName)) add(node.localName);
        for (const name of node.getAttributeNames()) {
            if (name.startsWith("on") || ["style", "src", "srcdoc"].includes(name)) add("@" + name);
            const target = /^((xlink:)?href|action)$/.test(name) ? node.getAttribute(name) : "#";
            if (!/^(#|data:,$)/.test(target)) add("=" + target);
        }
    }
    return found;
}"""
"""Elements by name, and attributes that can run or load something."""


class Canary:
    """A server on the loopback that a payload calls when it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[str] = []


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.calls.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Canary(f"http://127.0.0.1:{server.server_port}/canary")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    server.shutdown()
    thread.join(10)
    server.server_close()


def alike(payload: str) -> str:
    """As long as the payload is shown, and harmless."""
    return "z" * len(visible(payload))


@pytest.mark.parametrize(("name", "turn"), [("made-up", 0), ("made-up", 7), ("recorded", 3)])
def test_payloads_stay_text_in_the_page(
    name: str, turn: int, canary: Canary, open_page: Any, write_page: Callable[..., Path]
) -> None:
    *hostile, long = payloads(canary.url)

    def payload(number: int) -> str:
        return long if number == 3 else hostile[(number + turn) % len(hostile)]

    harmless = open_page(
        write_page(render(planted(RUNS[name], lambda number: alike(payload(number)))))
    )
    page = open_page(write_page(render(planted(RUNS[name], payload))))
    assert page.evaluate(COUNTED) == harmless.evaluate(COUNTED)
    # The page's own script has the texts in its hands as well.
    page.fill("input[name=words]", hostile[0])
    page.click("button[type=reset]")
    page.click("details summary")
    assert page.title().startswith("Virtual machines and containers")
    assert page.evaluate("window.fired") is None
    assert canary.calls == []
    assert open_page.heard == []


def test_a_payload_in_the_address_is_no_more_than_a_word(
    canary: Canary, open_page: Any, sample_page: Path
) -> None:
    for payload in payloads(canary.url)[:3]:
        page = open_page(sample_page, f"#?words={quote(payload)}&pair={quote(payload)}")
        assert page.evaluate("window.fired") is None
        assert page.title() != "FIRED"
    assert canary.calls == []


def test_payloads_stay_text_in_pictures(
    canary: Canary, open_page: Any, write_page: Callable[..., Path]
) -> None:
    *hostile, _ = payloads(canary.url)
    log = planted(RUNS["made-up"], lambda number: hostile[number % len(hostile)])
    [claim, *_] = dict.fromkeys(result.claim for result in visible_log(log).results)
    for text in (badge(log), *(one.svg for one in plots(log, claim))):
        page = open_page(write_page(text, "picture.svg"))
        found = page.evaluate(COUNTED)
        assert set(found) <= {"svg", "title"}, found
        assert page.evaluate("window.fired") is None
    assert canary.calls == []
    assert open_page.heard == []


@pytest.mark.parametrize("kind", [0, 2])
def test_the_same_payload_runs_where_it_is_not_escaped(
    kind: int, canary: Canary, open_page: Any, write_page: Callable[..., Path]
) -> None:
    """So that the tests above can fail."""
    payload = payloads(canary.url)[kind]
    log = planted(RUNS["made-up"], lambda _: payload)
    page, policy = render(log), '<meta http-equiv="Content-Security-Policy"'
    assert html.escape(payload) in page.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    raw = page.replace("&#34;", '"').replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    opened = open_page(write_page(raw.replace(policy, "<meta ", 1)))
    opened.wait_for_function("window.fired === 1")
    assert opened.title() == "FIRED"
    assert any(canary.url in line for line in open_page.heard)
    assert canary.calls
    opened.close()
    open_page.heard.clear()
    canary.calls.clear()
    # The policy alone would have stopped it, too.
    held = open_page(write_page(raw))
    assert held.evaluate("window.fired") is None
    assert any("Content Security Policy" in line for line in open_page.heard)
    assert canary.calls == []
    held.close()  # or it goes on complaining, thousands of times
    open_page.heard.clear()


def test_the_same_payload_runs_in_a_picture_where_it_is_not_escaped(
    canary: Canary, open_page: Any, write_page: Callable[..., Path]
) -> None:
    payload = payloads(canary.url)[0]
    log = planted(RUNS["made-up"], lambda _: payload)
    [claim, *_] = dict.fromkeys(result.claim for result in visible_log(log).results)
    picture = plots(log, claim)[0].svg
    raw = re.sub(r">[^<]*<", lambda text: html.unescape(text[0]), picture)
    assert payload in raw
    page = open_page(write_page(raw, "picture.svg"))
    page.wait_for_function("window.fired === 1")
    page.close()
    open_page.heard.clear()
    canary.calls.clear()
