"""The recorded run, and the tables of it that stand in the README and on the site."""

import re
from pathlib import Path

import msgspec

from pytest_vmvc import rejudge

RECORDED = Path(__file__).parents[1] / "docs/runs/2026-11-29-kvm-unusable/results.jsonl"
FIGURE = re.compile(r"(median|slope) .*")
FIGURE_ALONE = re.compile(r"[^, ][^,]*$")
SHOWN = (
    ("os.guest-per-vm", "one-kernel-each"),
    ("os.vm-heavy", "os-on-disk"),
    ("os.shared-kernel", "any-userland-kernel-same"),
    ("os.overhead-low", "run-a-command"),
    ("os.many-apps-one-kernel", "all-answer-at-once"),
    ("os.flavours-need-vm", "vm-other-architecture"),
    ("sec.vm-strong-isolation", "host-outlives-guest-crash"),
    ("sec.vm-more-secure", "every-proxy-agrees"),
    ("sec.one-breach-all", "default-gives-the-others"),
    ("sec.one-breach-all", "misconfigured-gives-the-others"),
    ("sec.hypervisor-restricts", "only-a-hypervisor-restricts-memory"),
    ("port.containers-easy", "another-kernel-runs-it"),
    ("port.vm-difficult", "vm-runs-unchanged"),
    ("port.vm-slow-because-size", "a-minute-for-each-gb"),
    ("perf.lightweight", "vm-touches-more"),
    ("perf.startup-faster", "vm-over-container"),
    ("perf.startup-faster", "restored-vm-over-container"),
    ("perf.no-permanent-allocation", "vm-keeps-with-reporting"),
    ("perf.no-os-install", "duplicate-vm-needs-install"),
    ("table.boot-time", "container-in-seconds"),
    ("table.boot-time", "vm-in-minutes"),
    ("table.boot-time", "vm-usable-in-minutes"),
    ("table.size", "container-kept-in-mbs"),
    ("table.size", "vm-kept-in-gbs"),
    ("table.move", "vm-goes-on"),
    ("table.creation-time", "container-in-seconds"),
)
"""What stands in the README; the page beside the recorded run has every reading."""


def cell(result):
    judgement = result.judgement
    said = judgement.finding.partition("; ")[0]
    figure = (FIGURE.search(said) or FIGURE_ALONE.search(said))[0]
    return f"{judgement.verdict.value}: {figure}" if judgement.estimate else judgement.verdict.value


def short_table(results):
    """The README's table: chosen readings, a column for each pair."""
    found = {(r.claim, r.reading.name, r.pair): r for r in results}
    lines = ["| the article says | reading | pair minimal | pair debian |", "|---|---|---|---|"]
    for claim, reading in SHOWN:
        cells = [found.get((claim, reading, pair)) for pair in ("minimal", "debian")]
        lines.append(
            f"| {found[claim, reading, 'minimal'].quote} | `{claim}` {reading} | "
            + " | ".join(cell(result) if result else "—" for result in cells)
            + " |"
        )
    return "\n".join(lines)


def table(results):
    """Every reading, as judged in the run."""
    lines = ["| claim | reading | pair | verdict | finding |", "|---|---|---|---|---|"]
    lines += [
        f"| `{r.claim}` | {r.reading.name} | {r.pair} | {r.judgement.verdict.value} "
        f"| {r.judgement.finding} |"
        for r in results
    ]
    return "\n".join(lines)


def judged_again(log):
    """The recorded samples by today's judge; nothing of a verdict is taken from the file."""
    return [
        msgspec.structs.replace(one.result, judgement=one.judgement)
        for one in rejudge.again(log, log.results)
    ]
