"""A study as tables for people, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_vmvc.calibration.figures import BOUND, COMPARED, RIVALS_MOST, TRUE, Cell, Study
from pytest_vmvc.calibration.requirements import (
    NOMINAL,
    SIGMAS,
    error,
    plan_of,
    required,
)
from pytest_vmvc.calibration.twin import ALLOWANCE, Kind
from pytest_vmvc.calibration.worlds import SCALE, worlds

KINDS: dict[Kind, str] = {
    "ratio": "Paired ratios",
    "bound": "Absolute bounds on a median",
}


def markdown(study: Study, *, made_by: str) -> str:
    """The page; ``made_by`` is its date and command."""
    return "\n".join(_page(study, made_by)) + "\n"


def _page(study: Study, made_by: str) -> Iterator[str]:
    yield "# Is the judge right?"
    yield ""
    yield f"Written by `vmvc calibrate` ({made_by}); do not edit."
    yield ""
    yield (
        f"{study.experiments:,} experiments are simulated for every cell, from seed {study.seed}, "
        "in worlds whose truth is known, and judged by the shipped rule "
        "([how a verdict is reached](verdicts.md)). Samples are taken in blocks of two, in the "
        "mirrored random order of a run; drift and serial correlation run over the sequence of all "
        f"samples. Noise is that of logarithms, in units of {SCALE:.0%}. Monte-Carlo standard "
        f"error of a share of {NOMINAL:.0%}: {error(NOMINAL, study.experiments):.2%}; a limit "
        f"counts as broken where a figure is beyond it by more than {SIGMAS:g} of these."
    )
    yield ""
    yield from _required(study)
    for kind, title in KINDS.items():
        yield from _on_the_bound(study, kind, title)
        yield from _beside(study, kind)
    yield from _races(study)
    yield from _rivals(study)
    yield from _worlds()


def _required(study: Study) -> Iterator[str]:
    yield "## What must hold"
    yield ""
    yield from _table(
        ("requirement", "limit", "worst figure", "holds"),
        (
            (one.name, one.limit, one.found, "yes" if one.holds else "**no**")
            for one in required(study)
        ),
    )


def _on_the_bound(study: Study, kind: Kind, title: str) -> Iterator[str]:
    cells = [cell for cell in study.cells if (cell.kind, cell.truth) == (kind, "on the bound")]
    plans = list(dict.fromkeys(plan_of(cell) for cell in cells))
    yield f"## {title}: the truth on the bound"
    yield ""
    yield (
        f"Wrong decisive verdicts of a reading “above {BOUND[kind]:g}” where the truth is "
        f"{TRUE[kind]['on the bound']:g}: every verdict is wrong whose interval excludes it. "
        f"In brackets: the textbook interval, without the allowance for a serial correlation of "
        f"{ALLOWANCE[kind]:g}."
    )
    yield ""
    yield from _by_world(cells, plans, lambda c: f"{c.wrong:.2%} ({c.textbook:.2%})")
    yield "Coverage of the 95 % intervals; of a plan with looks, of all its intervals together:"
    yield ""
    yield from _by_world(cells, plans, lambda c: f"{c.coverage:.1%}")


def _beside(study: Study, kind: Kind) -> Iterator[str]:
    yield f"### {KINDS[kind]}: the truth beside the bound"
    yield ""
    yield "Right / wrong / undecided, and pairs to the decision (median, mean) of plans with looks:"
    yield ""
    for truth in ("inside", "outside"):
        cells = [cell for cell in study.cells if (cell.kind, cell.truth) == (kind, truth)]
        plans = list(dict.fromkeys(plan_of(cell) for cell in cells))
        word = "is not above the bound" if truth == "inside" else "is above the bound"
        yield f"A true figure of {TRUE[kind][truth]:g}, which {word}:"
        yield ""
        yield from _by_world(cells, plans, _outcome)


def _outcome(cell: Cell) -> str:
    text = f"{cell.right:.1%} / {cell.wrong:.1%} / {cell.undecided:.1%}"
    growing = len(cell.plan) > 1
    return text + (f"; {cell.pairs_median:g}, {cell.pairs_mean:.1f}" if growing else "")


def _races(study: Study) -> Iterator[str]:
    yield "## What stopping early costs"
    yield ""
    yield (
        "How often an effect of half a standard deviation of the paired log-ratios is found, in "
        "normal noise: by a plan with looks, and by a fixed plan of as many pairs as that took at "
        "mean. The first look needs a sixth of the error to decide on eight pairs at all. A plan "
        "with room repays that; one that ends before it finds such an effect more often than not "
        "does not, and is not held to it."
    )
    yield ""
    yield from _table(
        ("at most", "pairs at mean", "found", "fixed plan", "found"),
        (
            (
                f"{race.most}",
                f"{race.pairs_mean:.1f}",
                f"{race.found:.1%} ± {error(race.found, study.experiments):.1%}",
                f"n = {race.fixed}",
                f"{race.fixed_found:.1%} ± {error(race.fixed_found, study.experiments):.1%}",
            )
            for race in study.races
        ),
    )


def _rivals(study: Study) -> Iterator[str]:
    yield "## Beside what others do"
    yield ""
    yield (
        f"False alarms (nothing differs, and something is said) / misses (the true ratio is one "
        f"standard deviation of the paired ratios from 1, and it is not found), {COMPARED} pairs, "
        f"{min(study.experiments, RIVALS_MOST):,} experiments, all on the same samples, taken in "
        "our order. hyperfine and pyperf themselves run one command after the other: under drift "
        f"that alone makes {study.naive:.1%} false alarms of Welch's test, where the interleaved "
        "order has those in the table. hyperfine prints which mean is smaller and tests nothing; "
        "whoever waits until its “± s” excludes 1 hardly ever says anything, as s is the spread of "
        "single runs and not the error of the mean. A tool that knows no censoring is given the "
        "deadline as the time. What ours misses more is the price of no assumption about the "
        "noise, of room for neighbours that are alike, and of looking early: beside tests of the "
        "same assumptions stands “one look”, all samples taken."
    )
    yield ""
    who = list(dict.fromkeys(rival.who for rival in study.rivals))
    found = {(rival.world, rival.who): rival for rival in study.rivals}
    yield from _table(
        ("world", *who),
        (
            (
                world,
                *(
                    f"{found[world, one].false_alarms:.1%} / {found[world, one].misses:.0%}"
                    for one in who
                ),
            )
            for world in dict.fromkeys(rival.world for rival in study.rivals)
        ),
    )


def _worlds() -> Iterator[str]:
    yield "## The worlds"
    yield ""
    yield from _table(("world", "noise"), ((w.name, w.definition) for w in worlds()))


def _by_world(
    cells: Sequence[Cell], plans: Sequence[str], show: Callable[[Cell], str]
) -> Iterator[str]:
    found = {(cell.world, plan_of(cell)): show(cell) for cell in cells}
    yield from _table(
        ("world", *plans),
        (
            (world, *(found[world, plan] for plan in plans))
            for world in dict.fromkeys(cell.world for cell in cells)
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
