"""Claims as test items: what a declared function is parametrised over."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable

import pytest

from pytest_vmvc import experiments
from pytest_vmvc.declaration import ATTRIBUTE, OURS, check, twice
from pytest_vmvc.errors import UsageError
from pytest_vmvc.family import at_its_strictest
from pytest_vmvc.model import Claim, Opinion, Reading
from pytest_vmvc.plugin import options


def claim_of(item: object) -> Claim | None:
    """The claim that a test item or function declares."""
    return getattr(getattr(item, "function", item), ATTRIBUTE, None)


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Pair by pair; a claim also reading by reading."""
    claim = claim_of(metafunc)
    pairs = options.parse(metafunc.config).pairs
    if claim is None:
        metafunc.parametrize("vmvc_pair", pairs, indirect=True)
        return
    if "reading" not in metafunc.fixturenames:
        raise UsageError(
            f"claim {claim.id} at {claim.source} has no `reading` argument",
            hint="def test_name(reading, experiment): reading.judge(experiment)",
        )
    metafunc.parametrize(
        ("vmvc_pair", "reading"),
        [
            pytest.param(pair, reading, id=f"{pair}-{reading.name}")
            for reading in claim.readings
            for pair in (pairs[:1] if isinstance(reading.question, Opinion) else pairs)
            if pair in (reading.pairs or pairs)
        ],
        indirect=True,
    )


def unasked(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The items of claims that ask nothing on any pair of this run: pytest has one for each."""
    return [
        item
        for item in items
        if claim_of(item) and not isinstance(item.callspec.params["reading"], Reading)  # type: ignore[attr-defined]
    ]


def declared(
    items: Iterable[pytest.Item],
    subjects: Callable[[pytest.Item, Collection[str]], Collection[str] | None],
) -> tuple[Claim, ...]:
    """The claims among the items, each once and held against what its experiments measure.

    ``subjects(item, asked)``: those of all pairs that it could be given; None where nobody can
    tell. Raises `UsageError` where two claims share an id, and as `declaration.check` does.
    """
    found: dict[str, Claim] = {}
    for item in items:
        if (claim := claim_of(item)) is None:
            continue
        if claim.id not in found:
            found[claim.id] = claim
            _check(claim, item, subjects)
        elif found[claim.id] != claim:
            raise twice(found[claim.id], claim)
    return tuple(found.values())


def _check(
    claim: Claim,
    item: pytest.Item,
    subjects: Callable[[pytest.Item, Collection[str]], Collection[str] | None],
) -> None:
    """Not where other fixtures may give evidence of which nothing is known here."""
    asked = [name for name, _ in experiments_of(item)]
    if not asked or inspect.signature(item.function).parameters.keys() - {*asked, *OURS}:  # type: ignore[attr-defined]
        return
    metrics = {one.name: one for name in asked for one in experiments.load(name).metrics}
    added = {one for name in asked for one in experiments.entry(name).adds}
    known = subjects(item, claim.subjects() - added)
    check(claim, metrics, None if known is None else [*known, *sorted(added)])


def plants_pairs(item: pytest.Item) -> bool:
    """Whether somebody has put a ``vmvc_load_pair`` in the place of ours, for this item."""
    manager = getattr(item.session, "_fixturemanager", None)  # pytest tells it nowhere else
    found = manager and manager.getfixturedefs("vmvc_load_pair", item)
    return found is None or len(found) > 1


def readings_by_experiment(items: Iterable[pytest.Item]) -> dict[str, list[Reading]]:
    """What will be judged on each experiment, each reading as strictly as it may come to."""
    found: dict[str, list[Reading]] = {}
    for item in items:
        if claim := claim_of(item):
            reading = item.callspec.params["reading"]  # type: ignore[attr-defined]
            reading = at_its_strictest(claim.family(reading), reading)
            for name, _ in experiments_of(item):
                found.setdefault(name, []).append(reading)
    return {name: list(dict.fromkeys(readings)) for name, readings in found.items()}


def experiments_of(item: pytest.Item) -> list[tuple[str, str]]:
    """The experiments that an item asks for, each with the pair it wants it on."""
    pair = getattr(item, "callspec", None) and item.callspec.params.get("vmvc_pair")  # type: ignore[attr-defined]
    asked = getattr(item, "fixturenames", ()) if pair else ()
    known = experiments.names()
    return [(name, str(pair)) for name in asked if name in known]
