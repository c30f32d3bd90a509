"""Claims as test items: what a declared function is parametrised over."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_vmvc.declaration import ATTRIBUTE
from pytest_vmvc.errors import UsageError
from pytest_vmvc.model import Claim, Fact, Reading
from pytest_vmvc.plugin import options


def claim_of(item: object) -> Claim | None:
    """The claim that a test item or function declares."""
    return getattr(getattr(item, "function", item), ATTRIBUTE, None)


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Pair by pair; a claim also reading by reading, less what the profile leaves out."""
    chosen = options.parse(metafunc.config)
    claim = claim_of(metafunc)
    if claim is None:
        pairs = [name for name in chosen.pairs if chosen.profile == "standard" or name == "minimal"]
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
            for pair in chosen.pairs
            for reading in claim.readings
            if pair in (reading.pairs or chosen.pairs)
            and (chosen.profile == "standard" or pair == "minimal" or not _sampled(reading))
        ],
        indirect=True,
    )


def declared(items: Iterable[pytest.Item]) -> tuple[Claim, ...]:
    """The claims among the items, each once; raises `UsageError` where two share an id."""
    found: dict[str, Claim] = {}
    for item in items:
        if (claim := claim_of(item)) and found.setdefault(claim.id, claim) != claim:
            raise UsageError(
                f"two claims are called {claim.id}: {found[claim.id].source} and {claim.source}",
                hint="give one of them another id",
            )
    return tuple(found.values())


def _sampled(reading: Reading) -> bool:
    return not isinstance(reading.question, Fact) and reading.question.min_n > 1
