from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sample_run import TITLE, sample_log

from pytest_vmvc.report import render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `vmvc setup` tells how to get it"),
]


def chromium(
    page: Path, profile: Path, *options: str, fragment: str = ""
) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    switches = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--hide-scrollbars",
    ]
    return subprocess.run(
        [CHROMIUM, *switches, f"--user-data-dir={profile}", *options, page.as_uri() + fragment],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def console(run: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in run.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    target = tmp_path / "report.html"
    target.write_text(render(sample_log(), title=TITLE), encoding="utf-8")
    return target


def test_the_page_loads_with_a_clean_console(page: Path, tmp_path: Path) -> None:
    run = chromium(page, tmp_path / "profile", "--dump-dom")
    assert console(run) == []
    assert "Refused to" not in run.stderr
    assert "violates" not in run.stderr
    # The script ran: it shows the buttons that need it.
    assert '<button type="button" id="save-data">' in run.stdout
    assert 'hidden=""' not in run.stdout


@pytest.mark.parametrize(
    ("fragment", "wanted"),
    [
        ("#?verdict=refuted", "refuted"),
        ("#?verdict=refuted&amp;words=no-such-word", ""),
        ("#?pair=minimal&verdict=supported", "supported"),
    ],
)
def test_a_link_shows_a_selection(page: Path, tmp_path: Path, fragment: str, wanted: str) -> None:
    run = chromium(
        page, tmp_path / "profile", "--dump-dom", fragment=fragment.replace("&amp;", "&")
    )
    assert console(run) == []
    readings = re.findall(r'<section class="reading [a-z-]+"[^>]*>', run.stdout)
    shown = [tag for tag in readings if " hidden" not in tag]
    assert f"{len(shown)} of {len(readings)} readings" in run.stdout
    assert {re.search('data-verdict="([a-z-]+)"', tag)[1] for tag in shown} == ({wanted} - {""})
    if "pair" in fragment:
        assert all('data-pair="minimal"' in tag for tag in shown)
    for part in re.findall(r'<article class="card"[^>]*>.*?</article>', run.stdout, re.DOTALL):
        empty = not [tag for tag in shown if tag in part]
        assert (" hidden" in part.partition(">")[0]) is empty


def test_a_violation_would_be_seen(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    page.write_text(
        text.replace("<main>", '<main style="color:red"><script>1</script>'), encoding="utf-8"
    )
    lines = console(chromium(page, tmp_path / "profile", "--dump-dom"))
    assert any("Content Security Policy" in line for line in lines)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_page_can_be_pictured(page: Path, tmp_path: Path, mode: str) -> None:
    picture = tmp_path / "page.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if mode == "dark" else []
    run = chromium(
        page, tmp_path / "profile", *scheme, "--window-size=1280,2000", f"--screenshot={picture}"
    )
    assert console(run) == []
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 50_000


def test_the_page_prints_on_paper(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    run = chromium(page, tmp_path / "profile", f"--print-to-pdf={paper}")
    assert console(run) == []
    content = paper.read_bytes()
    assert content.startswith(b"%PDF-")
    # The sample has six claims, each with its charts and tables.
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") >= 5
