"""Readings of which any one would do: Holm by hand, in a simulation, and through a claim."""

import random

import msgspec
import pytest

from pytest_vmvc import stats
from pytest_vmvc.declaration import ATTRIBUTE, below, claim, holds
from pytest_vmvc.errors import UsageError
from pytest_vmvc.family import at_its_strictest, judge_among
from pytest_vmvc.judge import judge, readings_hash
from pytest_vmvc.model import Evidence, Metric, Observation, Series, Verdict


def by_errors(*errors, alpha=0.05):
    """Questions that decide from their error on: what a p-value is to an interval."""
    return [lambda share, error=error: error <= alpha / share for error in errors]


@pytest.mark.parametrize(
    ("errors", "shares"),
    [
        # By hand, Holm's bounds being 0.0125, 0.0167, 0.025, 0.05.
        ((0.01, 0.04, 0.03, 0.005), (4, 2, 2, 4)),
        # 0.02 is held against 0.0167, and does not pass.
        ((0.01, 0.02, 0.04, 0.9), (4, 3, 3, 3)),
        ((0.014, 0.014), (2, 2)),
        ((0.01, 0.04), (2, 1)),
        ((0.06,), (1,)),
        ((0.04, 0.04, 0.04), (3, 3, 3)),
    ],
)
def test_holm_by_hand(errors, shares):
    assert stats.holm(by_errors(*errors)) == shares


def test_without_questions_there_is_nothing_to_divide():
    assert stats.holm([]) == ()


@pytest.mark.parametrize("seed", range(5))
def test_it_decides_exactly_what_holms_procedure_does(seed):
    coin = random.Random(seed)
    for _ in range(200):
        errors = [coin.random() ** 3 for _ in range(5)]
        rejected = set()
        for k, error in enumerate(sorted(errors)):
            if error > 0.05 / (5 - k):
                break
            rejected.add(error)
        shares = stats.holm(by_errors(*errors))
        ours = {e for e, share in zip(errors, shares, strict=True) if e <= 0.05 / share}
        assert ours == rejected


def test_the_family_errs_no_more_often_than_one_reading_may():
    """Truth on the bound, four readings: any of them decides in 5 % at most, alone in more."""
    coin = random.Random(1)
    wrong = {"corrected": 0, "each alone": 0}
    runs = 1000
    for _ in range(runs):
        rows = [[coin.gauss(0, 1) for _ in range(20)] for _ in range(4)]

        def decides(row, share):
            found = stats.median_interval(row, unit="s", confidence=1 - 0.05 / share, correlation=0)
            return stats.decide(found, "<", 0) is not Verdict.INCONCLUSIVE

        asked = [lambda share, row=row: decides(row, share) for row in rows]
        shares = stats.holm(asked)
        wrong["corrected"] += any(ask(share) for ask, share in zip(asked, shares, strict=True))
        wrong["each alone"] += any(ask(1) for ask in asked)
    # 5 % and what 1000 runs may scatter around it: 1.64 standard errors.
    assert wrong["corrected"] / runs <= 0.05 + 1.64 * (0.05 * 0.95 / runs) ** 0.5
    assert wrong["each alone"] / runs > 0.1


# --- through a claim -----------------------------------------------------------------------------


def declared(any_of=("cpu", "memory")):
    @claim(
        "own.light",
        quote="it is light",
        readings={
            "memory": below("vm", "memory", 10, "x"),
            "cpu": below("vm", "cpu", 10, "x"),
            "held": holds("vm", "held"),
        },
        any_of=any_of,
    )
    def test_light():
        pass

    return getattr(test_light, ATTRIBUTE)


def evidence(**rows):
    of = {"experiment": "e", "pair": "p", "subject": "vm"}
    return Evidence(
        experiment="e",
        pair="p",
        series=tuple(
            Series(**of, metric=Metric(name=name, unit="x", definition=""), facts=None)
            for name in rows
        ),
        observations=tuple(
            Observation(**of, metric=name, value=value, block=block, at="")
            for name, values in rows.items()
            for block, value in enumerate(values)
        ),
    )


def verdicts(found, any_of=("cpu", "memory")):
    own = declared(any_of)
    return {
        reading.name: judge_among(own.family(reading), reading, found).verdict.value
        for reading in own.readings[:2]
    }


def test_one_that_is_sure_leaves_the_whole_error_to_the_other():
    # Six of one mind are sure to 96.9 %, nine to 99.6 %.
    assert verdicts(evidence(memory=[1.0] * 6, cpu=[1.0] * 6)) == {
        "memory": "INCONCLUSIVE",
        "cpu": "INCONCLUSIVE",
    }
    assert verdicts(evidence(memory=[1.0] * 6, cpu=[1.0] * 9)) == {
        "memory": "SUPPORTED",
        "cpu": "SUPPORTED",
    }
    assert verdicts(evidence(memory=[1.0] * 6, cpu=[1.0] * 6), any_of=()) == {
        "memory": "SUPPORTED",
        "cpu": "SUPPORTED",
    }


def test_a_member_that_was_not_measured_is_counted_all_the_same():
    assert verdicts(evidence(memory=[1.0] * 6))["memory"] == "INCONCLUSIVE"


def test_the_result_says_so():
    own = declared()
    memory, _, held = own.readings
    found = evidence(memory=[1.0] * 9, cpu=[1.0] * 9, held=[True])
    told = judge_among(own.family(memory), memory, found)
    assert told.reason == "any one of memory, cpu would do: judged with 97.5% confidence (Holm)"
    assert own.family(held) == ()
    assert judge_among(own.family(held), held, found) == judge(held, found)


def test_a_run_goes_on_until_the_strictest_is_settled():
    own = declared()
    memory, _, held = own.readings
    assert at_its_strictest(own.family(memory), memory).question.confidence == pytest.approx(0.975)
    assert at_its_strictest(own.family(held), held) == held


def test_the_family_is_registered():
    assert declared().any_of == ("memory", "cpu")
    assert readings_hash([declared()]) != readings_hash([declared(())])
    plain = msgspec.structs.replace(declared(), any_of=())
    assert readings_hash([plain]) == readings_hash([declared(())])


@pytest.mark.parametrize(
    ("any_of", "says"),
    [
        (("memory",), "two readings"),
        (("memory", "memory"), "two readings"),
        (("memory", "nobody"), "names nobody"),
        (("memory", "held"), "names held"),
    ],
)
def test_a_family_that_cannot_be_corrected_is_refused(any_of, says):
    with pytest.raises(UsageError, match=says):
        declared(any_of)
