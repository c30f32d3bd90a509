"""The simulation study: it judges as the judge does, it holds, and it can fail."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pytest_vmvc import __main__ as cli
from pytest_vmvc import calibration, looks
from pytest_vmvc.calibration import rivals, twin
from pytest_vmvc.calibration.figures import BOUND, TRUE
from pytest_vmvc.calibration.requirements import required
from pytest_vmvc.calibration.study import cells, simulate
from pytest_vmvc.calibration.tables import markdown
from pytest_vmvc.calibration.worlds import SCALE, World, taken, worlds
from pytest_vmvc.judge import judge, settled
from pytest_vmvc.measure import Plan
from pytest_vmvc.model import (
    Bound,
    Evidence,
    Metric,
    Observation,
    Ratio,
    Reading,
    Series,
    Verdict,
)
from tests.recorded import RECORDED

ROOT = Path(__file__).parent.parent
FIGURE = Metric(name="figure", unit="count", definition="test")
READINGS = {
    "ratio": Reading(
        name="r",
        question=Ratio(
            metric="figure", subject="over", over="under", op=">", threshold=BOUND["ratio"]
        ),
    ),
    "bound": Reading(
        name="b",
        question=Bound(
            metric="figure", subject="over", op=">", threshold=BOUND["bound"], unit="count"
        ),
    ),
}
SAID = {Verdict.SUPPORTED: 1, Verdict.REFUTED: -1, Verdict.INCONCLUSIVE: 0}


def seen(world, rows, at, factor, kind, plan, blocks):
    """One experiment's samples as evidence, so far."""
    centre = world.shift if kind == "ratio" else world.median
    figures = {
        "over": (factor * np.exp(SCALE * (rows.over[at] - centre)), rows.late_over[at]),
        "under": (np.exp(SCALE * rows.under[at]), rows.late_under[at]),
    }
    return Evidence(
        experiment="simulated",
        pair="simulated",
        series=tuple(
            Series(
                experiment="simulated",
                pair="simulated",
                subject=subject,
                metric=FIGURE,
                facts=None,
                looks=plan,
            )
            for subject in figures
        ),
        observations=tuple(
            Observation(
                experiment="simulated",
                pair="simulated",
                subject=subject,
                metric="figure",
                value=float(values[block]),
                at="2026-01-01T00:00:00Z",
                block=block,
                censored=bool(late[block]),
            )
            for subject, (values, late) in figures.items()
            for block in range(blocks)
        ),
    )


def as_shipped(kind, world, rows, at, factor, plan):
    """Verdict and pairs of one experiment that is run as `measure` and `lab` run it."""
    for size in plan:
        evidence = seen(world, rows, at, factor, kind, plan, size)
        if size == plan[-1] or settled(READINGS[kind], evidence):
            return SAID[judge(READINGS[kind], evidence).verdict], size
    raise AssertionError


@pytest.mark.parametrize("world", worlds(), ids=lambda world: world.name)
@pytest.mark.parametrize("kind", ["ratio", "bound"])
def test_the_twin_says_what_the_judge_says(kind, world):
    experiments = 6
    for plan in ((6,), (9,), looks.declared(20)):
        rows = taken(world, plan[-1], experiments, np.random.default_rng(7))
        found = twin.ends(kind, world, rows, plan)
        for factor in TRUE[kind].values():
            told = twin.run(
                kind,
                found,
                plan,
                factor=factor,
                threshold=BOUND[kind],
                correlation=twin.ALLOWANCE[kind],
            )
            expected = [
                as_shipped(kind, world, rows, at, factor, plan) for at in range(experiments)
            ]
            assert list(zip(told.said, told.pairs, strict=True)) == expected


def test_samples_are_taken_in_the_order_of_a_plan():
    counting = World(
        name="counting",
        definition="the place in the sequence",
        draw=lambda _rng, experiments, samples: np.tile(
            np.arange(float(samples)), (experiments, 1)
        ),
    )
    rows = taken(counting, 8, 300, np.random.default_rng(0))
    assert {tuple(sorted(pair)) for pair in zip(rows.over[0], rows.under[0], strict=True)} == {
        (2.0 * block, 2.0 * block + 1) for block in range(8)
    }
    first = (rows.over < rows.under).tolist()
    planned = [
        [order[0] == "over" for order in Plan(blocks=8, seed=seed).orders(("over", "under"))]
        for seed in range(2000)
    ]
    assert all(one in planned for one in first)
    assert 100 < sum(one[0] for one in first) < 200


@pytest.fixture(scope="module")
def small():
    return simulate(experiments=800, seed=1, noise=0.15, fixed=(6, 12), growing=(20,))


def test_what_must_hold_holds_on_a_small_grid(small):
    assert [one for one in required(small) if not one.holds] == []
    assert 0.38 < small.naive < 0.56


def test_an_interval_is_wrong_less_often_with_the_allowance(small):
    for cell in small.cells:
        assert 0 <= cell.wrong <= 1
        assert -1e-9 < cell.undecided <= 1
        assert cell.wrong <= cell.textbook or len(cell.plan) > 1


def test_without_noise_everything_is_right(small):
    constant = [cell for cell in small.cells if cell.world == "constant"]
    assert {(cell.wrong, cell.right, cell.coverage) for cell in constant} == {(0, 1, 1)}


def on_the_bound(kind, name, plan):
    world = next(world for world in worlds() if world.name == name)
    found = cells(kind, world, plan, 1500, 1)
    return next(cell for cell in found if cell.truth == "on the bound")


def test_the_study_would_find_peeking(monkeypatch):
    every = tuple(range(6, 21))
    assert on_the_bound("ratio", "normal", every).textbook < 0.07
    monkeypatch.setattr(looks, "confidences", lambda plan, confidence: (confidence,) * len(plan))
    assert on_the_bound("ratio", "normal", every).textbook > 0.1


def test_the_study_finds_what_no_allowance_would_do():
    cell = on_the_bound("bound", "AR(1)", (20,))
    assert cell.textbook > 0.08
    assert cell.wrong < 0.07


def test_a_limit_that_is_broken_is_told(small):
    wrong = msgspec.structs.replace(small.cells[0], wrong=0.2, coverage=0.8)
    broken = msgspec.structs.replace(small, cells=(wrong, *small.cells[1:]))
    failed = [one.name for one in required(broken) if not one.holds]
    assert failed == ["wrong verdicts, truth on the bound", "coverage of 95 % intervals"]
    assert "**no**" in markdown(broken, made_by="test")


# --- the others ----------------------------------------------------------------------------------

EQUAL = np.array([[1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98]])


def test_hyperfine_says_something_of_nearly_equal_means():
    assert rivals.hyperfine(EQUAL + 1e-6, EQUAL) == [1]
    assert rivals.hyperfine_apart(EQUAL + 0.05, EQUAL) == [0]
    assert rivals.hyperfine_apart(EQUAL + 1, EQUAL) == [1]


@pytest.mark.parametrize("decide", [rivals.pyperf, rivals.welch, rivals.paired_t, rivals.wilcoxon])
def test_a_test_finds_what_is_plain(decide):
    assert decide(EQUAL * [2, 2.1, 1.9, 2, 2.2, 2, 1.8, 2], EQUAL) == [1]
    assert decide(EQUAL, EQUAL * [2, 2.1, 1.9, 2, 2.2, 2, 1.8, 2]) == [-1]
    assert decide(EQUAL, EQUAL[:, ::-1]) == [0]


def test_whoever_peeks_says_more():
    noise = np.random.default_rng(0).lognormal(0, 0.1, (2, 2000, 20))
    for once, often in (
        (rivals.paired_t, rivals.peeked_t),
        (rivals.wilcoxon, rivals.peeked_wilcoxon),
    ):
        assert (often(*noise) != 0).mean() > 2 * (once(*noise) != 0).mean()


# --- the command ---------------------------------------------------------------------------------


def test_the_noise_of_a_run_is_that_of_its_paired_starts():
    assert 0 < calibration.host_noise(RECORDED) < 1


def test_the_page_of_the_study_is_written_and_says_how(tmp_path, capsys):
    page = tmp_path / "page.md"
    argv = ["calibrate", "--experiments", "200", "--seed", "5", "--run", str(RECORDED)]
    assert cli.main([*argv, "-o", str(page)]) == 0
    text = page.read_text()
    assert "vmvc calibrate --experiments 200 --seed 5" in text
    assert "**no**" not in text
    assert "a ratio of 2 at the host's noise" in text
    assert "BROKEN" not in capsys.readouterr().out


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_a_judge_that_is_not_right_fails_the_command(holds, status, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "calibrate", lambda **_: ("the tables\n", holds))
    assert cli.main(["calibrate", "--quick"]) == status
    assert capsys.readouterr().out == "the tables\n"


@pytest.mark.parametrize("argv", [["-o", "page.txt"], ["--experiments", "0"], ["--seed", "-1"]])
def test_a_wrong_request_is_refused_before_anything_is_simulated(argv, capsys):
    assert cli.main(["calibrate", *argv]) == 64
    assert "vmvc: error" in capsys.readouterr().err


def test_the_recorded_study_holds():
    text = (ROOT / "docs" / "calibration.md").read_text()
    assert "| yes |" in text
    assert "**no**" not in text
