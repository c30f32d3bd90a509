"""The tables of docs/performance.md from the recorded figures: `python benchmarks/table.py` writes.

A test holds the page against the records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BETWEEN = "<!-- {name}: by benchmarks/table.py -->\n"
CONTESTS = ("container_start", "machine_start", "vagrant_start", "many", "unused_plugin")
WORDS = {"SUPPORTED": "yes", "REFUTED": "no", "INCONCLUSIVE": "not decided", "told": ""}


def load(name: str) -> Mapping[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


def where(found: Mapping[str, Any]) -> str:
    """Host, tier and date of a record."""
    host = found["host"]
    return (
        f"{host['cpus']} CPUs ({host['cpu_model']}), tier {host['tier']}, {found['date'][:10]}, "
        f"`{found['command']}`"
    )


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def aims(name: str) -> str:
    """Every comparison of a contest."""

    def rows() -> Iterator[Sequence[str]]:
        for one in load(name)["aims"]:
            low, high = one["interval"]
            if "ratio" in one:
                figure = f"{one['ratio']:.3f}× ({low:.3f} to {high:.3f})"
                aim = f"≤ {one['below']:.3g}×" if one["below"] else ""
            else:
                figure = f"{1e3 * one['difference']:.1f} ms ({1e3 * low:.1f} to {1e3 * high:.1f})"
                aim = f"≤ {1e3 * one['below']:.0f} ms" if one["below"] else ""
            if "floor" in one:
                aim = f"{aim}; the CPUs allow {one['floor']:.2f}×"
            of = "" if one["metric"] == "seconds" else f", {one['metric']}"
            yield (f"{one['aim']}{of}", figure, str(one["n"]), aim, WORDS[one["verdict"]])

    return table(("what", "ratio or difference, 95 %", "n", "aim", "reached"), rows())


def rivals(name: str) -> str:
    """What each rival took, and the marks on the way."""

    def rows() -> Iterator[Sequence[str]]:
        for rival, row in load(name)["rivals"].items():
            for metric, one in row.items():
                if metric == "marks":
                    continue
                low, high = one["quartiles"]
                share = metric == "harness_share"
                unit, times = ("%", 100) if share else ("ms", 1e3)
                figure = f"{times * one['median']:.3g} {unit}"
                spread = f"{times * low:.3g} to {times * high:.3g}"
                marks = row.get("marks", {}) if metric == next(iter(row)) else {}
                said = ", ".join(f"{mark} {1e3 * value:.0f}" for mark, value in marks.items())
                yield (rival, metric, figure, spread, str(one["n"]), said)

    return table(("rival", "figure", "median", "quartiles", "n", "marks, ms"), rows())


def works() -> str:
    found = load("million")

    def rows() -> Iterator[Sequence[str]]:
        for name, runs in found["works"].items():
            wall = sorted(one["wall_s"] for one in runs)[len(runs) // 2]
            largest = max(one["largest_resident_bytes"] for one in runs)
            yield (name, f"{wall:.2f} s", f"{largest / 2**20:.0f} MiB")

    return table(("work", "wall time (median)", "largest resident set"), rows())


def others() -> str:
    article, memory = load("article"), load("memory")
    part = article["part"]
    largest = max(one["largest_bytes"] for one in memory["runs"])
    page = max(one["largest_of_the_page_bytes"] for one in memory["runs"])

    def rows() -> Iterator[Sequence[str]]:
        yield (
            f"the article ({article['recorded']}): an experiment for each reading, over ours",
            f"{article['obvious_s']} s / {article['ours_s']} s = {article['ratio']:.1f}×",
            f"≥ {article['aim']}×",
        )
        yield (
            f"a part carried out: the {part['readings']} readings of `{part['claim']}`, a run each "
            "over one run",
            f"{part['a_run_each_s']} s / {part['one_run_s']} s = {part['ratio']:.1f}×",
            "",
        )
        yield (
            "pytest and its watchdog while the whole article is measured (quick): proportional "
            "set size",
            f"{largest / 2**20:.0f} MiB at most",
            f"≤ {memory['limit_bytes'] / 2**20:.0f} MiB",
        )
        yield ("the same afterwards, for the page and its charts", f"{page / 2**20:.0f} MiB", "")

    return table(("what", "figure", "aim"), rows())


def parts() -> Iterator[tuple[str, str]]:
    for name in CONTESTS:
        yield f"{name} aims", aims(name)
        yield f"{name} rivals", rivals(name)
    yield "million works", works()
    yield "others", others()
    for name in (*CONTESTS, "million", "article", "memory"):
        yield f"{name} where", where(load(name)) + "\n"


def written(page: str) -> str:
    """The page with every table that it names brought up to date."""
    for name, text in parts():
        mark = BETWEEN.format(name=name)
        end = f"<!-- end of {name} -->"
        page = re.sub(
            f"{re.escape(mark)}.*?{re.escape(end)}", lambda _, t=f"{mark}{text}{end}": t, page,
            flags=re.DOTALL,
        )  # fmt: skip
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
