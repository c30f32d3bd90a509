"""Two runs: what turned, what moved, what fails; and what must not be held against each other."""

import json
import random

import msgspec
import pytest

from pytest_vmvc.__main__ import main
from pytest_vmvc.compare import compare
from pytest_vmvc.compare_command import Limit, limits
from pytest_vmvc.digest import Digester
from pytest_vmvc.ledger import collect, encode
from pytest_vmvc.model import (
    SCHEMA_VERSION,
    Bound,
    Facts,
    Host,
    Judgement,
    Metric,
    Observation,
    Reading,
    Result,
    Run,
    Series,
    Verdict,
)

HOST = Host(
    name="h",
    os="Debian",
    kernel="6.1",
    boot_id="b",
    architecture="x86_64",
    cpu_model="CPU",
    cpus=2,
    memory_bytes=2**32,
    tier="kvm-hw",
    clock_source="tsc",
    cgroup="v2",
    versions={"docker": "1"},
)
FACTS = Facts(
    provider="docker",
    kind="container",
    version="",
    accelerator="none",
    artefact="a",
    userland="u",
    vcpus=None,
    memory_bytes=None,
    readiness="r",
    usage_definition="u",
)
START = Metric(name="start_s", unit="s", definition="time")


def log(centre=0.3, *, verdict="SUPPORTED", threshold=60.0, seed=1, n=8, metric=START, **host):
    coin = random.Random(seed)
    run = Run(
        schema=SCHEMA_VERSION,
        run_id=f"r{seed:010x}",
        started="2026-01-01T00:00:00+00:00",
        command=("pytest",),
        profile="quick",
        seed=1,
        version="0",
        readings_hash="0" * 64,
        host=msgspec.structs.replace(HOST, **host),
    )
    where = {"experiment": "cold_start", "pair": "minimal", "subject": "container"}
    rows = [
        Observation(
            **where,
            metric=metric.name,
            value=centre * coin.lognormvariate(0, 0.05),
            at="2026-01-01T00:00:00+00:00",
            block=block,
        )
        for block in range(n)
    ]
    question = Bound(metric="start_s", subject="container", op="<", threshold=threshold, unit="s")
    result = Result(
        claim="own.fast",
        quote="fast",
        method="",
        reading=Reading(name="soon", question=question),
        pair="minimal",
        experiment="cold_start",
        judgement=Judgement(verdict=Verdict(verdict), finding="."),
        nodeid="test",
    )
    return collect((run, Series(**where, metric=metric, facts=None), *rows, result))


@pytest.fixture
def saved(tmp_path):
    def save(name, found):
        path = tmp_path / name
        path.write_bytes(b"".join(encode(record) + b"\n" for record in found.records()))
        return str(path)

    return save


def test_what_is_the_same_has_not_moved():
    found = compare(log(seed=1), log(seed=2))
    assert found.turns == found.gone == found.added == found.caveats == ()
    assert [move.moved for move in found.moves] == [False]
    assert found.elsewhere == ""


@pytest.mark.parametrize(("new", "way"), [(0.45, 1), (0.2, -1)])
def test_what_is_slower_or_faster_has_moved_by_its_ratio(new, way):
    [move] = compare(log(0.3), log(new, seed=2)).moves
    assert move.moved
    assert move.ratio.low < new / 0.3 < move.ratio.high
    assert (move.ratio.effect > 1) is (way > 0)


def test_a_verdict_that_turned_is_told_and_whether_its_reading_changed():
    [turn] = compare(log(), log(verdict="REFUTED", seed=2)).turns
    assert (turn.old, turn.new, turn.redefined) == ("SUPPORTED", "REFUTED", False)
    [turn] = compare(log(), log(verdict="REFUTED", threshold=0.1)).turns
    assert turn.redefined


def test_too_few_samples_zeros_and_other_units_are_no_ratio():
    assert compare(log(), log(n=5)).moves == ()
    assert compare(log(), log(centre=0.0)).moves == ()
    in_ms = msgspec.structs.replace(START, unit="ms")
    assert compare(log(), log(metric=in_ms)).moves == ()


def test_another_host_and_other_versions_are_named():
    assert "tier tcg" in compare(log(), log(tier="tcg")).elsewhere
    assert compare(log(), log(boot_id="c")).caveats == ("the host was started again in between",)
    assert compare(log(), log(versions={"docker": "2"})).caveats == ("docker 1, now 2",)
    assert compare(log(), msgspec.structs.replace(log(), run=None)).elsewhere


def test_another_runtime_is_another_technology_and_is_told_once():
    def under(runtime):
        version = f"Docker 1 (overlay2, {runtime}, cgroup v2)"
        facts = msgspec.structs.replace(FACTS, version=version, extra={"runtime": runtime})
        found = log()
        return msgspec.structs.replace(
            found,
            series=tuple(
                msgspec.structs.replace(
                    one, facts=facts, metric=msgspec.structs.replace(START, name=name)
                )
                for one in found.series
                for name in ("start_s", "create_s")
            ),
        )

    usual, other = under("runc"), under("crun")
    assert compare(usual, other).caveats == (
        "container of minimal: Docker 1 (overlay2, runc, cgroup v2), "
        "now Docker 1 (overlay2, crun, cgroup v2)",
    )
    assert compare(other, other).caveats == ()
    engines = [Digester().digest(one, source="x").engines for one in (log(), usual, other)]
    assert engines == [(), ("Docker 1",), ("Docker 1, crun",)]


def test_what_is_gone_and_what_is_new_is_listed():
    empty = msgspec.structs.replace(log(), results=())
    assert compare(log(), empty).gone == ("own.fast soon minimal",)
    assert compare(empty, log()).added == ("own.fast soon minimal",)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "fail_on", "status"),
    [
        ({"centre": 0.3}, "verdict,startup:10%", 0),
        ({"centre": 0.45}, "startup:10%", 1),
        ({"centre": 0.45}, "startup:100%", 0),
        ({"centre": 0.2}, "startup:10%", 0),
        ({"verdict": "REFUTED"}, "startup:10%", 0),
        ({"verdict": "REFUTED"}, "verdict", 1),
        ({"verdict": "REFUTED", "tier": "tcg"}, "verdict", 1),
    ],
)
def test_it_fails_on_what_is_named_alone(saved, capsys, new, fail_on, status):
    words = [saved("old", log()), saved("new", log(seed=2, **new))]
    assert main(["compare", *words, f"--fail-on={fail_on}"]) == status
    said = capsys.readouterr().out
    assert ("FAILED" in said) is (status == 1)


def test_limits_are_for_one_host_and_for_what_both_have(saved, capsys):
    old = saved("old", log())
    assert main(["compare", old, saved("far", log(tier="tcg")), "--fail-on=startup:10%"]) == 64
    assert "two hosts" in capsys.readouterr().err
    assert main(["compare", old, old, "--fail-on=pss_bytes:10%"]) == 64
    assert "no samples of pss_bytes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["verdicts", "startup:", "startup:x%", "startup:10"])
def test_what_cannot_be_meant_is_a_usage_error(saved, text):
    old = saved("old", log())
    with pytest.raises(SystemExit) as ended:
        main(["compare", old, old, f"--fail-on={text}"])
    assert ended.value.code == 64


def test_limits_have_names_and_factors():
    found = limits("verdict, startup:10%, pss_bytes:2.5%")
    assert found.verdict
    assert found.figures == (Limit("start_s", 1.1), Limit("pss_bytes", 1.025))


def test_json_has_all_of_it(saved, capsys):
    main(["compare", saved("old", log()), saved("new", log(0.5)), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["moves"][0]["metric"] == "start_s"
    assert found["failed"] == []
