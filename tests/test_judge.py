"""Readings on planted evidence: each can come out every way, and emulation bends only one way."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.declaration import (
    at_least,
    below,
    differs,
    distinct,
    holds,
    opinion,
    ratio,
    same,
    slope,
)
from pytest_vmvc.errors import UsageError
from pytest_vmvc.judge import judge, readings_hash, settled
from pytest_vmvc.model import (
    Claim,
    Evidence,
    Facts,
    Metric,
    Missing,
    Observation,
    Reading,
    Series,
)

TIME = Metric(name="start_s", unit="s", definition="test", emulation="inflates")
SIZE = Metric(name="kept_bytes", unit="bytes", definition="test")
TEXT = Metric(name="boot_id", unit="", definition="test")


def facts(kind, accelerator="none"):
    return Facts(
        provider="fake",
        kind=kind,
        version="Fake 1",
        accelerator=accelerator,
        artefact="sha256:0",
        userland="none",
        vcpus=1,
        memory_bytes=1,
        readiness="push",
        usage_definition="none",
    )


def evidence(metric, tier="kvm-hw", missing=(), **rows):
    kinds = {"vm": facts("vm", tier), "vm_restored": facts("vm", tier), "host": None}
    return Evidence(
        experiment="planted",
        pair="planted",
        series=tuple(
            Series(
                experiment="planted",
                pair="planted",
                subject=subject,
                metric=metric,
                facts=kinds.get(subject, facts("container")),
            )
            for subject in rows
        ),
        observations=tuple(
            Observation(
                experiment="planted",
                pair="planted",
                subject=subject,
                metric=metric.name,
                value=value,
                at="2026-01-01T00:00:00Z",
                block=block,
            )
            for subject, values in rows.items()
            for block, value in enumerate(values)
        ),
        missing=tuple(
            Missing(experiment="planted", pair="planted", subject=s, reason="not here")
            for s in missing
        ),
    )


def verdict(asked, found):
    return judge(Reading(name="r", question=asked.question), found).verdict.value


def test_a_bound_comes_out_every_way():
    asked = below("container", "start_s", 60, "s")
    assert verdict(asked, evidence(TIME, container=[0.3] * 6)) == "SUPPORTED"
    assert verdict(asked, evidence(TIME, container=[90.0] * 6)) == "REFUTED"
    assert verdict(asked, evidence(TIME, container=[1, 1, 1, 1, 1, 90])) == "INCONCLUSIVE"
    assert verdict(asked, evidence(TIME, container=[0.3] * 5)) == "INCONCLUSIVE"
    assert verdict(asked, evidence(TIME, missing=["container"])) == "NOT TESTABLE"
    assert verdict(asked, evidence(TIME, vm=[1.0] * 6)) == "NOT TESTABLE"


def test_a_ratio_comes_out_every_way():
    asked = ratio("vm", "start_s", over="container", above=1.25)
    assert verdict(asked, evidence(TIME, vm=[4.0] * 6, container=[0.3] * 6)) == "SUPPORTED"
    assert verdict(asked, evidence(TIME, vm=[0.3] * 6, container=[0.3] * 6)) == "REFUTED"
    spread = [0.3, 0.3, 0.5, 0.5, 1, 1]
    assert verdict(asked, evidence(TIME, vm=spread, container=[0.4] * 6)) == "INCONCLUSIVE"


def test_a_ratio_uses_complete_blocks_only():
    found = evidence(TIME, vm=[4.0] * 7, container=[1.0] * 6)
    judged = judge(
        Reading(name="r", question=ratio("vm", "start_s", over="container", above=1.25).question),
        found,
    )
    assert judged.estimate is not None
    assert judged.estimate.n == 6


@pytest.mark.parametrize("tier", ["kvm-hw", "kvm-nested", "other", "tcg", "kvm-unusable"])
@pytest.mark.parametrize(
    ("asked", "slow_machine_says"),
    [
        (at_least("vm", "start_s", 60, "s"), "SUPPORTED"),
        (below("vm", "start_s", 60, "s"), "REFUTED"),
        (ratio("vm", "start_s", over="container", above=1.25), "SUPPORTED"),
        (ratio("vm", "start_s", over="container", below=0.8), "REFUTED"),
        (ratio("container", "start_s", over="vm", below=0.8), "SUPPORTED"),
        (ratio("container", "start_s", over="vm", above=1.25), "REFUTED"),
    ],
)
def test_emulation_takes_away_only_what_it_may_have_caused(tier, asked, slow_machine_says):
    emulated = tier in ("tcg", "kvm-unusable", "other")
    slow = evidence(TIME, tier, vm=[100.0] * 6, container=[1.0] * 6)
    fast = evidence(TIME, tier, vm=[0.01] * 6, container=[1.0] * 6)
    fast_machine_says = {"SUPPORTED": "REFUTED", "REFUTED": "SUPPORTED"}[slow_machine_says]
    assert verdict(asked, slow) == ("INCONCLUSIVE" if emulated else slow_machine_says)
    assert verdict(asked, fast) == fast_machine_says


@pytest.mark.parametrize(
    ("restored", "op"), list(itertools.product([0.1, 100.0], ["above", "below"]))
)
def test_two_emulated_machines_are_never_compared(restored, op):
    asked = ratio("vm_restored", "start_s", over="vm", **{op: 1.25 if op == "above" else 0.8})
    found = evidence(TIME, "tcg", vm=[1.0] * 6, vm_restored=[restored] * 6)
    assert verdict(asked, found) == "INCONCLUSIVE"


def test_emulation_does_not_bend_bytes():
    asked = at_least("vm", "kept_bytes", 1e9, "bytes", min_n=1)
    assert verdict(asked, evidence(SIZE, "tcg", vm=[2e9])) == "SUPPORTED"
    assert verdict(asked, evidence(SIZE, "tcg", vm=[2e7])) == "REFUTED"


def test_facts_fall_by_one_counter_example():
    together = evidence(TEXT, host=["a"], container=["a", "a"], vm=["b", "c"])
    assert verdict(same("container", "boot_id", other="host"), together) == "SUPPORTED"
    assert verdict(differs("vm", "boot_id", other="host"), together) == "SUPPORTED"
    assert verdict(distinct("vm", "boot_id"), together) == "SUPPORTED"
    planted = evidence(TEXT, host=["a"], container=["a", "z"], vm=["b", "b", "a"])
    assert verdict(same("container", "boot_id", other="host"), planted) == "REFUTED"
    assert verdict(differs("vm", "boot_id", other="host"), planted) == "REFUTED"
    assert verdict(distinct("vm", "boot_id"), planted) == "REFUTED"


def test_a_fact_needs_as_many_instances_as_it_registered():
    few = evidence(TEXT, userlands=[True, True])
    assert verdict(holds("userlands", "boot_id", min_n=3), few) == "INCONCLUSIVE"
    assert verdict(holds("userlands", "boot_id", min_n=2), few) == "SUPPORTED"
    assert verdict(holds("userlands", "boot_id", value=False, min_n=3), few) == "REFUTED"


@pytest.mark.parametrize("nonsense", ["soon", None, True, float("nan"), float("inf")])
def test_nonsense_never_decides(nonsense):
    found = evidence(TIME, vm=[nonsense] * 6, container=[1.0] * 6)
    for asked in (
        below("vm", "start_s", 60, "s"),
        ratio("vm", "start_s", over="container", above=1.25),
    ):
        assert verdict(asked, found) == "INCONCLUSIVE"


def test_a_negative_duration_makes_no_ratio():
    found = evidence(TIME, vm=[-1.0] * 6, container=[1.0] * 6)
    asked = ratio("vm", "start_s", over="container", above=1.25)
    assert verdict(asked, found) == "INCONCLUSIVE"


def test_a_wrong_unit_is_a_fault_of_the_claim():
    with pytest.raises(UsageError, match="measured in 's'"):
        verdict(below("vm", "start_s", 60, "ms"), evidence(TIME, vm=[1.0] * 6))


def test_the_scope_names_what_the_verdict_is_about():
    found = evidence(TIME, vm=[1.0] * 6)
    judged = judge(Reading(name="r", question=below("vm", "start_s", 60, "s").question), found)
    assert judged.scope == "vm: Fake 1, none; pair planted; 2026-01-01"


def test_the_hash_changes_with_any_reading_and_not_with_the_order():
    one = Claim(
        id="a", quote="q", readings=(Reading(name="r", question=below("vm", "m", 1, "s").question),)
    )
    two = Claim(id="b", quote="q", readings=one.readings)
    changed = msgspec.structs.replace(
        two, readings=(Reading(name="r", question=below("vm", "m", 2, "s").question),)
    )
    assert readings_hash([one, two]) == readings_hash([two, one])
    assert readings_hash([one, two]) != readings_hash([one, changed])


# --- slopes, opinions, isolation -----------------------------------------------------------------


def judge_it(asked, found):
    return judge(Reading(name="r", question=asked.question), found)


HELD = Metric(name="held", unit="", definition="test", emulation="flatters")
EXPOSED = Metric(name="exposed", unit="count", definition="test", emulation="flatters")


def dosed(found, *doses):
    """The evidence with these doses, in the order of each row."""
    of_subject = {}
    rows = []
    for row in found.observations:
        place = of_subject[row.subject] = of_subject.get(row.subject, -1) + 1
        rows.append(msgspec.structs.replace(row, dose=float(doses[place % len(doses)])))
    return msgspec.structs.replace(found, observations=tuple(rows))


def steps(gain, *, start=1.0, n=8):
    return [start + gain * at for at in range(n)]


@pytest.mark.parametrize(
    ("gain", "asked", "word"),
    [
        (3.0, slope("container", "kept_bytes", above=2, unit="bytes"), "SUPPORTED"),
        (1.0, slope("container", "kept_bytes", above=2, unit="bytes"), "REFUTED"),
        (1.0, slope("container", "kept_bytes", below=2, unit="bytes"), "SUPPORTED"),
    ],
)
def test_a_slope_is_per_unit_of_dose(gain, asked, word):
    found = dosed(evidence(SIZE, container=steps(gain)), *range(8))
    told = judge_it(asked, found)
    assert told.verdict.value == word
    assert told.estimate.effect == pytest.approx(gain)


def test_slopes_are_compared_by_their_worst_ends():
    found = dosed(evidence(SIZE, vm=steps(5.0), container=steps(1.0)), *range(8))
    told = judge_it(slope("vm", "kept_bytes", over="container", above=1.25), found)
    assert told.verdict.value == "SUPPORTED"
    assert told.estimate.effect == pytest.approx(5)
    flat = dosed(evidence(SIZE, vm=steps(5.0), container=steps(0.0)), *range(8))
    told = judge_it(slope("vm", "kept_bytes", over="container", above=1.25), flat)
    assert told.verdict.value == "INCONCLUSIVE"


def test_a_slope_without_doses_decides_nothing():
    asked = slope("container", "kept_bytes", above=2, unit="bytes")
    assert judge_it(asked, evidence(SIZE, container=steps(3.0))).verdict.value == "INCONCLUSIVE"
    one_dose = dosed(evidence(SIZE, container=steps(3.0)), 1)
    assert judge_it(asked, one_dose).verdict.value == "INCONCLUSIVE"


def test_emulation_bends_a_slope_as_it_bends_a_ratio():
    found = dosed(evidence(TIME, tier="tcg", vm=steps(5.0), container=steps(1.0)), *range(8))
    above = slope("vm", "start_s", over="container", above=1.25)
    assert judge_it(above, found).verdict.value == "INCONCLUSIVE"
    below_ = slope("vm", "start_s", over="container", below=1.25)
    assert judge_it(below_, found).verdict.value == "INCONCLUSIVE"
    equal = dosed(evidence(TIME, tier="tcg", vm=steps(1.0), container=steps(1.0)), *range(8))
    assert judge_it(above, equal).verdict.value == "REFUTED"


def test_an_opinion_is_never_tested():
    told = judge_it(opinion("a taste"), Evidence(experiment="", pair="planted"))
    assert (told.verdict.value, told.reason) == ("NOT TESTABLE", "a taste")


@pytest.mark.parametrize("tier", ["kvm-hw", "tcg", "other"])
@pytest.mark.parametrize(
    ("values", "asked", "word"),
    [
        ([True] * 3, holds("vm", "held"), "SUPPORTED"),
        ([True] * 3, holds("vm", "held", value=False), "REFUTED"),
        ([True, False], holds("vm", "held"), "REFUTED"),
        ([False] * 3, holds("vm", "held", value=False), "SUPPORTED"),
    ],
)
def test_what_speaks_for_the_isolation_of_an_emulated_machine_proves_nothing(
    tier, values, asked, word
):
    told = judge_it(asked, evidence(HELD, tier=tier, vm=values))
    emulated = tier != "kvm-hw" and all(values)
    assert told.verdict.value == ("INCONCLUSIVE" if emulated else word)
    assert ("does not tell whether it is emulated" in told.reason) is (emulated and tier == "other")


@pytest.mark.parametrize(
    ("tier", "words"),
    [
        ("tcg", "emulated: the machine ran without"),
        ("other", "its provider does not tell whether it is emulated: the machine may have run"),
    ],
)
def test_what_is_not_known_is_not_called_emulated(tier, words):
    told = judge_it(at_least("vm", "start_s", 60, "s"), evidence(TIME, tier, vm=[100.0] * 6))
    assert told.reason.startswith(words)


def test_a_container_is_never_flattered():
    assert judge_it(holds("container", "held"), evidence(HELD, container=[True])).verdict.value == (
        "SUPPORTED"
    )


@pytest.mark.parametrize(
    ("tier", "vm", "word"),
    [
        ("kvm-hw", [1] * 6, "SUPPORTED"),
        ("tcg", [1] * 6, "INCONCLUSIVE"),
        ("kvm-hw", [9] * 6, "REFUTED"),
        ("tcg", [9] * 6, "REFUTED"),
    ],
)
def test_a_small_figure_of_exposure_needs_real_hardware(tier, vm, word):
    found = evidence(EXPOSED, tier=tier, vm=vm, container=[9] * 6)
    assert (
        judge_it(ratio("vm", "exposed", over="container", below=0.8), found).verdict.value == word
    )


def test_without_machines_there_are_no_variants_of_them():
    found = evidence(HELD, missing=("vm",), container=[True])
    told = judge_it(holds("vm-limited", "held"), found)
    assert told.verdict.value == "NOT TESTABLE"
    assert "not here" in told.reason


# --- nonsense, and properties --------------------------------------------------------------------

seconds = st.floats(min_value=1e-3, max_value=1e3)
rows = st.lists(st.tuples(seconds, seconds), min_size=6, max_size=12)
anything = st.one_of(
    st.floats(), st.integers(), st.text(max_size=3), st.booleans(), st.none(), seconds
)
BOUNDS = (below("vm", "start_s", 60, "s"), at_least("vm", "start_s", 60, "s"))
RATIOS = (
    ratio("vm", "start_s", over="container", above=1.25),
    ratio("vm", "start_s", over="container", below=0.8),
)


def sane(value):
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    )


@given(st.lists(anything, min_size=1, max_size=10), st.lists(anything, min_size=1, max_size=10))
def test_whatever_was_recorded_is_judged_and_nonsense_never_decides(vm, container):
    found = evidence(TIME, vm=vm, container=container)
    for asked in (*BOUNDS, *RATIOS):
        told = judge_it(asked, found)
        assert told.finding
        used = vm if asked in BOUNDS else [*vm, *container][: 2 * min(len(vm), len(container))]
        if not all(sane(value) for value in used):
            assert told.verdict.value == "INCONCLUSIVE"
            assert told.reason
        if min(len(vm), len(vm) if asked in BOUNDS else len(container)) < 6:
            assert told.verdict.value == "INCONCLUSIVE"


@pytest.mark.parametrize("asked", [*BOUNDS, *RATIOS], ids=repr)
def test_negative_durations_decide_nothing(asked):
    found = evidence(TIME, vm=[-1.0] * 8, container=[1.0] * 8)
    told = judge_it(asked, found)
    assert told.verdict.value == "INCONCLUSIVE"
    assert "negative" in told.reason


def test_one_negative_duration_spoils_the_row():
    found = evidence(TIME, vm=[1.0] * 8 + [-1e-9], container=[1.0] * 9)
    assert verdict(BOUNDS[0], found) == "INCONCLUSIVE"


def test_a_ratio_over_nothing_decides_nothing():
    asked = ratio("vm", "kept_bytes", over="container", above=1.25, min_n=1)
    told = judge_it(asked, evidence(SIZE, vm=[1.0], container=[0.0]))
    assert told.verdict.value == "INCONCLUSIVE"
    assert told.reason


def test_a_single_sample_that_timed_out_is_no_exact_figure():
    found = evidence(TIME, vm=[300.0])
    late = msgspec.structs.replace(
        found,
        observations=tuple(
            msgspec.structs.replace(row, censored=True) for row in found.observations
        ),
    )
    asked = below("vm", "start_s", 400, "s", min_n=1)
    assert verdict(asked, found) == "SUPPORTED"
    assert verdict(asked, late) == "INCONCLUSIVE"


def test_units_that_differ_make_no_ratio():
    found = evidence(TIME, vm=[4.0] * 6, container=[1.0] * 6)
    header = found.series[1]
    other = msgspec.structs.replace(
        header, metric=msgspec.structs.replace(header.metric, unit="ms")
    )
    found = msgspec.structs.replace(found, series=(found.series[0], other))
    told = judge_it(RATIOS[0], found)
    assert told.verdict.value == "INCONCLUSIVE"
    assert "different units" in told.reason


def test_no_number_is_no_fact():
    told = judge_it(holds("vm", "boot_id", value=1.0), evidence(TEXT, vm=[float("nan")] * 3))
    assert told.verdict.value == "INCONCLUSIVE"


@pytest.mark.parametrize("looks", [(0,), (20, 8), (8, 8)])
def test_a_damaged_plan_decides_nothing(looks):
    found = evidence(TIME, vm=[4.0] * 20, container=[1.0] * 20)
    series = tuple(msgspec.structs.replace(one, looks=looks) for one in found.series)
    found = msgspec.structs.replace(found, series=series)
    assert verdict(RATIOS[0], found) == "INCONCLUSIVE"
    assert not settled(Reading(name="r", question=RATIOS[0].question), found)


@given(rows)
def test_swapping_the_sides_mirrors_the_verdict(pairs):
    vm, container = zip(*pairs, strict=True)
    found = evidence(TIME, vm=vm, container=container)
    above = ratio("vm", "start_s", over="container", above=1.25)
    below_ = ratio("container", "start_s", over="vm", below=0.8)
    assert verdict(above, found) == verdict(below_, found)


@given(rows, st.randoms())
def test_the_order_in_which_samples_stand_does_not_matter(pairs, random):
    vm, container = zip(*pairs, strict=True)
    found = evidence(TIME, vm=vm, container=container)
    shuffled = list(found.observations)
    random.shuffle(shuffled)
    other = msgspec.structs.replace(found, observations=tuple(shuffled))
    for asked in (*BOUNDS, *RATIOS):
        assert judge_it(asked, found) == judge_it(asked, other)


@given(rows, st.sampled_from([0.001, 0.25, 8, 1000]))
def test_the_unit_of_both_sides_does_not_matter(pairs, scale):
    vm, container = zip(*pairs, strict=True)
    found = evidence(TIME, vm=vm, container=container)
    scaled = evidence(TIME, vm=[x * scale for x in vm], container=[x * scale for x in container])
    for asked in RATIOS:
        assert verdict(asked, found) == verdict(asked, scaled)


@given(rows, st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_harder_threshold_is_never_easier_to_meet(pairs, one, other):
    easy, hard = sorted((one, other))
    vm, container = zip(*pairs, strict=True)
    found = evidence(TIME, vm=vm, container=container)
    if verdict(ratio("vm", "start_s", over="container", above=hard), found) == "SUPPORTED":
        assert verdict(ratio("vm", "start_s", over="container", above=easy), found) == "SUPPORTED"
    if verdict(below("vm", "start_s", easy, "s"), found) == "SUPPORTED":
        assert verdict(below("vm", "start_s", hard, "s"), found) == "SUPPORTED"


def test_exceptions_to_a_universal_are_bounded_exactly():
    told = judge_it(holds("container", "held"), evidence(HELD, container=[True] * 10))
    assert "upper bound on exceptions 0.26" in told.reason
