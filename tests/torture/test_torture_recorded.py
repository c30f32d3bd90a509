"""The figures in the documentation are those of the recorded runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ended_runs import CLOSERS, ENDINGS, SCENES, table

DOCS = Path(__file__).parents[2] / "docs"
RECORDED = sorted((DOCS / "runs").glob("*-torture/runs.jsonl"))


@pytest.fixture(scope="module")
def runs() -> list[dict[str, object]]:
    return [json.loads(line) for line in RECORDED[-1].read_text().splitlines()]


def test_the_page_has_the_figures_of_the_last_recorded_runs(runs: list[dict[str, object]]) -> None:
    page = (DOCS / "robustness.md").read_text()
    assert table(runs) in page
    assert f"runs/{RECORDED[-1].parent.name}/runs.jsonl" in page


def test_the_recorded_runs_are_of_every_kind_and_left_nothing(
    runs: list[dict[str, object]],
) -> None:
    assert {one["ending"] for one in runs} == set(ENDINGS)
    assert {one["closer"] for one in runs} == set(CLOSERS)
    assert {one["scene"] for one in runs} == set(SCENES)
    for key in ("left", "lost", "hangs", "unreadable"):
        assert not [one for one in runs if one[key]]
    assert max(float(str(one["clean_s"])) for one in runs) <= 10
