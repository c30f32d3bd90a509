"""A real headless Chromium for the tests of the page, by Playwright; nothing is downloaded."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sample_run import TITLE, sample_log

from pytest_vmvc import ledger
from pytest_vmvc.report import render
from tests.recorded import RECORDED

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)
WAIT_MS = 10_000
"""No condition in a page is waited for longer."""
TEST_S = 90.0
"""A browser that hangs is ended when one test has kept it for so long."""
CLOSE_S = 15.0


# One browser a module: while Playwright's synchronous interface is open, the thread has a running
# event loop, in which nothing else can call asyncio.run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser; afterwards no process of it or of its driver is left."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: install it with your package manager")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    before = set(psutil.Process().children(recursive=True))
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=3 * WAIT_MS
        )
        started = set(psutil.Process().children(recursive=True)) - before
        yield found
        started |= set(psutil.Process().children(recursive=True)) - before
        with contextlib.suppress(playwright.Error):  # interrupted: the driver is gone already
            found.close()
    _, alive = psutil.wait_procs(started, timeout=CLOSE_S)
    for process in alive:
        process.kill()
    assert not alive, "the browser left processes behind"


class Opener:
    """Opens pages with the real policy, and hears all that they say or ask for."""

    def __init__(self, browser: Any, error: type[Exception]) -> None:
        self._browser, self._error = browser, error
        self._contexts: list[Any] = []
        self.heard: list[str] = []
        """Console lines, errors, dialogs, further windows and requests, of all pages."""

    def __call__(self, path: Path, fragment: str = "", **options: Any) -> Any:
        """A page in a context of its own, loaded; `options` are those of `new_context`."""
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        own = path.as_uri()
        context.on("page", lambda other: self.heard.append(f"window {other.url}"))
        context.on(
            "request",
            lambda asked: (
                None if asked.url.partition("#")[0] == own else self._hear("request", asked.url)
            ),
        )
        page.on("console", lambda line: self._hear(f"console {line.type}", line.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        page.on("dialog", self._dismiss)
        page.goto(own + fragment)
        return page

    def _hear(self, kind: str, text: str) -> None:
        self.heard.append(f"{kind}: {text}")

    def _dismiss(self, dialog: Any) -> None:
        self._hear("dialog", dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        """Close what was opened; the browser may be gone already."""
        for context in self._contexts:
            with contextlib.suppress(self._error):
                context.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opener]:
    """`open_page(path, fragment, **context_options)`; at the end nothing may have been heard.

    A test that expects to hear something looks at `open_page.heard` and clears it.
    """
    # What Playwright calls without a deadline (evaluate, pdf) ends when the browser does.
    guard = threading.Timer(TEST_S, _kill_children, [psutil.Process()])
    guard.daemon = True
    guard.start()
    opener = Opener(browser, importlib.import_module("playwright.sync_api").Error)
    try:
        yield opener
        opener.close()
    finally:
        guard.cancel()
        guard.join()
    assert opener.heard == []


def _kill_children(process: psutil.Process) -> None:
    for child in process.children(recursive=True):
        if "chrom" in child.name():
            child.kill()


@pytest.fixture(scope="session")
def write_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Puts a page into a file of its own, named for what it is."""

    def write(text: str, name: str = "report.html") -> Path:
        target = tmp_path_factory.mktemp("page") / name
        target.write_text(text, encoding="utf-8")
        return target

    return write


@pytest.fixture(scope="session")
def sample_page(write_page: Callable[[str], Path]) -> Path:
    """The page of the made-up run."""
    return write_page(render(sample_log(), title=TITLE))


@pytest.fixture(scope="session")
def recorded_page(write_page: Callable[[str], Path]) -> Path:
    """The page of the recorded full run."""
    return write_page(render(ledger.read(RECORDED)))
