"""How big the page of the recorded full run is, and how long a headless Chromium takes to load it.

`python benchmarks/page.py` writes page.json beside it: bytes, elements, and the median of several
loads, each in a context of its own; milliseconds since the navigation began.
"""

import datetime as dt
import gzip
import json
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path

from overview import RECORDED
from playwright.sync_api import sync_playwright

from pytest_vmvc import ledger
from pytest_vmvc.report import render

HERE = Path(__file__).parent
LOADS = 9
TIMES = """() => {
    const load = performance.getEntriesByType("navigation")[0];
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    const { domInteractive: interactive, loadEventEnd: loaded } = load;
    return { interactive, loaded, painted: paint.startTime };
}"""


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    assert chromium is not None, "no chromium here: install it with your package manager"
    log = ledger.read(RECORDED / "results.jsonl")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = Path(folder) / "report.html"
        page_file.write_text(render(log), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times, elements, load = [], 0, os.getloadavg()[0]
        for _ in range(LOADS):
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            page = context.new_page()
            page.goto(page_file.as_uri())
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            times.append(page.evaluate(TIMES))
            elements = page.evaluate("document.querySelectorAll('*').length")
            context.close()
        found = {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "host": f"{platform.platform()}, {os.cpu_count()} CPUs",
            "tier": log.run.host.tier if log.run else "",
            "load average before": round(load, 1),
            "browser": browser.version,
            "results": len(log.results),
            "bytes": page_file.stat().st_size,
            "bytes, gzip": len(gzip.compress(page_file.read_bytes())),
            "elements": elements,
            "loads": LOADS,
            "ms": {
                name: {
                    "median": round(statistics.median(one[name] for one in times)),
                    "largest": round(max(one[name] for one in times)),
                }
                for name in times[0]
            },
        }
        browser.close()
    (HERE / "page.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
