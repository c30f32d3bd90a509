"""Hostile input, drawn by Hypothesis: nothing breaks, hangs, or decides on nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import NASTY, TARGETS, Target

EXAMPLES = {"page": 8, "monitor": 30, "baseline": 40}
"""Where one example is dear; else `MANY`."""
MANY = 100
ROOT = Path(__file__).parents[2]


@st.composite
def bent(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A sound input with pieces cut out, doubled, moved or replaced by nasty ones."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from((0, 0, 1, 2, 8, 64, 1000))))
        piece = draw(
            st.one_of(st.sampled_from(NASTY), st.binary(max_size=8), st.just(data[at:end] * 2))
        )
        data = data[:at] + piece + data[end:]
    return data


def fuzz(target: Target, examples: int) -> None:
    """Feed a target with so many inputs; raises what one of them has broken."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.binary(max_size=64), bent(target.seeds)))
    def fed(data: bytes) -> None:
        target.feed(data)

    fed()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_fuzz(target: Target) -> None:
    fuzz(target, EXAMPLES.get(target.name, MANY))


def test_the_figures_in_the_docs_are_those_of_the_recorded_run() -> None:
    found = json.loads((ROOT / "benchmarks" / "fuzz.json").read_text())
    assert [row["target"] for row in found["targets"]] == [target.name for target in TARGETS]
    assert found["failures"] == 0
    text = (ROOT / "docs" / "robustness.md").read_text()
    assert f"{found['inputs']:,} inputs, {found['failures']} failures" in text
    for row in found["targets"]:
        line = (
            f"| {row['target']} | {row['input']} | {row['hypothesis']:,} "
            f"| {row['coverage_guided']:,} | {row['failures']} |"
        )
        assert line in text
