"""The documentation of claims and experiments, written from the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from pytest_vmvc import allowance, experiments
from pytest_vmvc.declaration import ATTRIBUTE, OURS, check, twice
from pytest_vmvc.model import (
    Claim,
    Fact,
    Metric,
    Opinion,
    Reading,
)
from pytest_vmvc.pack import modules
from pytest_vmvc.report.wording import deciding, question_words, requirement

EMULATION = {
    "inflates": "Under emulation what the emulator may have caused is INCONCLUSIVE.",
    "flatters": "Under emulation what speaks for the machine's isolation is INCONCLUSIVE.",
    "none": "",
}
ALLOWANCE = (
    " Not so in a timed experiment where it still holds after the machine's time is divided by the "
    "allowance: twice the worst slowdown of a battery run in the guest and on the host."
)


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A claim with the experiments that its test asks for, and the section it stands in."""

    claim: Claim
    experiments: tuple[str, ...]
    section: str
    test: str
    """Name of the function that declares it."""


def declared(pack: str = "claims") -> tuple[Declared, ...]:
    """Every claim of a pack (see `pack.modules`), file by file, in the order of the file.

    Raises `UsageError`, with file and line, where the pack cannot be loaded, on two claims of one
    id, and for a claim that asks for what its experiments do not measure.
    """
    found: dict[str, Declared] = {}
    for one in (one for module in modules(pack) for one in _of(module)):
        if found.setdefault(one.claim.id, one).claim != one.claim:
            raise twice(found[one.claim.id].claim, one.claim)
    return tuple(found.values())


def claim_page(found: Declared) -> str:
    """One claim: readings, how it is measured, what would change our mind, what others saw."""
    claim = found.claim
    metrics = {m.name: m for name in found.experiments for m in experiments.load(name).metrics}
    lines = [
        f"# `{claim.id}`",
        f"> {claim.quote}",
        claim.method,
        "## Readings",
        "Fixed before any data; a verdict is given for each, on each pair.",
        table(
            ("reading", "question", "set beforehand", "expected", "because", "pairs"),
            [_reading(reading, metrics) for reading in claim.readings],
        ),
    ]
    if claim.any_of:
        lines.append(
            f"Any one of {', '.join(claim.any_of)} would do, so they are judged more strictly for "
            "being several (Holm): the k-th surest of m with an (m - k + 1)-th of the error."
        )
    if found.experiments:
        lines += ["## How it is measured", *_measured(found, metrics)]
    lines += ["## What would change our mind"]
    lines += [f"- *{reading.name}*: {_mind(reading, metrics)}" for reading in claim.readings]
    if claim.published:
        lines += ["## Published figures, of others and on other hosts"]
        lines += [f"- {figure}" for figure in claim.published]
    lines += [f"## Run it\n\n```console\n$ pytest --vmvc -k {found.test}\n```"]
    return _joined(lines)


def index(all_claims: tuple[Declared, ...]) -> str:
    """The list of claims, by section."""
    lines = ["# The article, claim by claim", "Written by `vmvc claims -o docs/claims`."]
    for section in dict.fromkeys(found.section for found in all_claims):
        lines.append(f"## {section}")
        lines.append(
            table(
                ("claim", "the article says", "readings", "experiments"),
                [
                    (
                        f"[`{one.claim.id}`]({one.claim.id}.md)",
                        one.claim.quote,
                        str(len(one.claim.readings)),
                        ", ".join(f"`{name}`" for name in one.experiments) or "none",
                    )
                    for one in all_claims
                    if one.section == section
                ],
            )
        )
    return _joined(lines)


def experiment_list(all_claims: tuple[Declared, ...]) -> str:
    """What each profile runs: every experiment, with whom it shares the host, on which pairs."""
    rows = []
    asked = [name for one in all_claims for name in one.experiments]
    for name in dict.fromkeys((*experiments.CATALOGUE, *asked)):
        entry = experiments.entry(name)
        asking = [one.claim for one in all_claims if name in one.experiments]
        pairs = _pairs(asking)
        kind = "survey" if experiments.is_survey(name) else "timed"
        quick = pairs & {"minimal"}
        rows.append(
            (
                f"`{name}`",
                entry.summary,
                f"rides in `{entry.carrier}`" if entry.carrier else kind,
                _names(quick),
                _names(pairs),
                str(len(asking)),
            )
        )
    return _joined(
        [
            "# What each profile runs",
            "Written by `vmvc claims -o docs/claims`. A *survey* times nothing: all surveys run "
            "first, side by side, in environments that stay for all of them. What is *timed* "
            "has the host for itself, one experiment after the other. What *rides* takes its "
            "samples in the environments that another experiment has started and timed.",
            table(("experiment", "what it sees", "kind", "quick", "standard", "claims"), rows),
        ]
    )


def write(folder: Path, all_claims: tuple[Declared, ...]) -> tuple[Path, ...]:
    """Write all pages into a folder, and remove those of claims that are gone."""
    pages = {"README.md": index(all_claims), "experiments.md": experiment_list(all_claims)}
    pages |= {f"{one.claim.id}.md": claim_page(one) for one in all_claims}
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.md")) - {folder / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in sorted(pages))


def _of(module: ModuleType) -> Iterator[Declared]:
    section = (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    for function in vars(module).values():
        claim = getattr(function, ATTRIBUTE, None)
        if isinstance(claim, Claim):
            asked = inspect.signature(function).parameters
            known = tuple(name for name in asked if name in experiments.names())
            if known and not asked.keys() - {*known, *OURS}:  # else others may give evidence
                check(claim, {m.name: m for name in known for m in experiments.load(name).metrics})
            yield Declared(
                claim=claim,
                experiments=known,
                section=section,
                test=function.__name__,
            )


def _reading(reading: Reading, metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    metric = metrics.get(reading.question.metric)
    return (
        reading.name,
        question_words(reading.question, metric.unit if metric else ""),
        requirement(reading.question),
        "NOT TESTABLE" if isinstance(reading.question, Opinion) else reading.expect,
        reading.why or (reading.question.reason if isinstance(reading.question, Opinion) else ""),
        ", ".join(reading.pairs) or "all",
    )


def _measured(found: Declared, metrics: Mapping[str, Metric]) -> Iterator[str]:
    for name in found.experiments:
        entry = experiments.entry(name)
        described = inspect.cleandoc(type(experiments.load(name)).__doc__ or "")
        yield f"Experiment `{name}`: {entry.summary}.\n\n{described}"
    asked = dict.fromkeys(reading.question.metric for reading in found.claim.readings)
    yield table(
        ("metric", "unit", "definition", "emulation"),
        [
            (
                f"`{name}`",
                metrics[name].unit or "—",
                metrics[name].definition,
                metrics[name].emulation,
            )
            for name in asked
            if name in metrics
        ],
    )


def _mind(reading: Reading, metrics: Mapping[str, Metric]) -> str:
    question = reading.question
    said = deciding(question)
    if isinstance(question, Opinion | Fact):
        return said
    metric = metrics.get(question.metric)
    of_vm = "vm" in (question.subject[:2], getattr(question, "over", "")[:2])
    return f"{said} {_bent(metric) if metric and of_vm else ''}".strip()


def _bent(metric: Metric) -> str:
    """What emulation does to a verdict on the metric."""
    allowed = metric.emulation == "inflates" and allowance.covers(metric.unit)
    return EMULATION[metric.emulation] + (ALLOWANCE if allowed else "")


def _pairs(asking: list[Claim]) -> set[str]:
    named = [reading.pairs for claim in asking for reading in claim.readings]
    return {pair for pairs in named for pair in (pairs or ("minimal", "debian"))}


def _names(pairs: set[str]) -> str:
    return ", ".join(sorted(pairs, reverse=True)) or "—"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown; what would end a cell or a line of it does not."""
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _joined(lines: list[str]) -> str:
    """Blank lines between blocks, none between the items of a list."""
    text = ""
    for before, line in zip(["", *lines], lines, strict=False):
        both = before.startswith("- ") and line.startswith("- ")
        text += line if not text else ("\n" if both else "\n\n") + line
    return text + "\n"
