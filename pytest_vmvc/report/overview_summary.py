"""Several runs as Markdown: what changed or deviates first, then every reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_vmvc.model import Verdict
from pytest_vmvc.report import many_hosts, side_by_side
from pytest_vmvc.report.markdown import MARKS, code, plain
from pytest_vmvc.report.overview import facts_table, head, run_row, title, troubles
from pytest_vmvc.runs import Runs


def overview(found: Runs) -> str:
    """The page's tables. Nothing in the runs is trusted: no text ends its cell or is markup."""
    lines = [f"# {plain(title(found))}", ""]
    lines += [f"- {name}: {plain(value)}" for name, value in head(found)]
    lines += [f"- **Not all of it:** {plain(line)}" for line in troubles(found)]
    lines += _few(found) if found.few else _many(found)
    return "\n".join([*lines, ""])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _folded(words: str, table: Iterator[str]) -> Iterator[str]:
    yield from ("", f"<details><summary>{words}</summary>", "", *table, "", "</details>")


def _few(found: Runs) -> Iterator[str]:
    seen = side_by_side.side_by_side(found)
    labels = [plain(run.label) for run in found.runs]
    yield from ("", *(f"- **{number}** {words}" for number, _, words in seen.counts))
    yield from (f"- {plain(remark)}" for remark in seen.remarks)
    columns = ["claim", "reading", "pair", *labels, *(["over hosts"] if seen.over else [])]
    yield from ("", "## What changed verdict", "")
    if seen.changed:
        rows = [[*_row(one, over=seen.over), kind] for kind, of in seen.changed for one in of]
        yield from _table([*columns, "how"], rows)
    else:
        yield "Nothing."
    for part in seen.figures:
        here = "Which figures moved beyond noise" if part.here else "How figures differ by host"
        yield from ("", f"## {here}", "")
        yield (
            f"Over those of {labels[0]}, 99 % intervals; {len(part.far)} of {part.compared} "
            "by a quarter or more."
        )
        yield ""
        heads = ["figure", "of", "experiment", "pair", *map(plain, part.columns)]
        yield from _table(heads, [_figure(one) for one in part.far])
    facts = facts_table([run_row(run) for run in found.runs])
    rows = [[plain(name), *map(plain, values)] for name, values in facts]
    yield from _folded("The runs", _table(["", *labels], rows))
    every = [_row(line, over=seen.over) for lines in seen.claims for line in lines]
    yield from _folded("Every reading", _table(columns, every))


def _row(line: side_by_side.Line, *, over: bool) -> list[str]:
    cells = [
        "—" if cell is None else plain(f"{MARKS[Verdict(cell.verdict)]} {cell.effect}".strip())
        for cell in line.cells
    ]
    last = [plain(line.over[1])] if over else []
    return [code(line.claim), plain(line.reading), plain(line.pair), *cells, *last]


def _figure(one: side_by_side.Figure) -> list[str]:
    ratios = [
        "—" if r is None else plain(f"{r.effect} ({r.interval}){'' if r.moved else ', not moved'}")
        for r in one.ratios
    ]
    return [plain(one.name), plain(one.subject), code(one.experiment), plain(one.pair), *ratios]


def _many(found: Runs) -> Iterator[str]:
    seen = many_hosts.many_hosts(found)
    yield from ("", *(f"- **{number}** readings {words}" for number, _, words in seen.counts))
    yield from (f"- {plain(remark)}" for remark in seen.remarks)
    yield from ("", "## Where hosts disagree", "")
    if seen.parted:
        rows = [[*_over(line), plain(_odd(line))] for line in seen.parted]
        yield from _table([*OVER, "hosts that deviate"], rows)
        if seen.parted_more > 0:
            yield from ("", f"And {seen.parted_more} more, below.")
    else:
        yield "On nothing that they decide."
    every = [_over(line) for lines in seen.claims for line in lines]
    yield from _folded("Every reading", _table(OVER, every))
    rows = [
        [plain(row.label), row.started, row.tier, plain(row.engines), str(row.odd)]
        for row in seen.hosts
    ]
    yield from _folded(
        f"The {len(rows)} hosts that deviate most",
        _table(["host", "started", "tier", "engines", "deviates on"], rows),
    )


OVER = ("claim", "reading", "pair", "over hosts", "share", "hosts", "least, median, most")


def _over(line: many_hosts.Line) -> list[str]:
    spread = " · ".join(line.strip.words) if line.strip else ""
    told = (line.reading, line.pair, line.holds, line.share, line.tally, spread)
    return [code(line.claim), *map(plain, told)]


def _odd(line: many_hosts.Line) -> str:
    names = ", ".join(name for name, _ in line.odd)
    return f"{line.odd_verdict}: {names} {line.odd_more}".strip()
