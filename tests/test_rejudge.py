"""``vmvc judge FILE``: the same samples, the same verdicts; what has changed since is told."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc import __main__ as cli
from pytest_vmvc import ledger, pages, rejudge
from pytest_vmvc.declaration import ATTRIBUTE, at_least, below, claim, holds, ratio
from pytest_vmvc.family import judge_among
from pytest_vmvc.judge import readings_hash
from pytest_vmvc.ledger import LedgerWriter
from pytest_vmvc.model import (
    SCHEMA_VERSION,
    Facts,
    Host,
    Metric,
    Missing,
    Observation,
    Result,
    Run,
    Series,
)

HOST = Host(
    name="h",
    os="o",
    kernel="k",
    boot_id="b",
    architecture="x86_64",
    cpu_model="c",
    cpus=2,
    memory_bytes=1,
    tier="kvm-hw",
    clock_source="tsc",
    cgroup="v2",
)
TIME = Metric(name="start_s", unit="s", definition="test", emulation="inflates", state="warm")
SECONDS = {
    "container": [0.3, 0.31, 0.33, 0.3, 0.29, 0.28],
    "vm": [4.0, 4.1, 4.2, 4.4, 4.3, 4.9],
}


def declared(vm_bound=60):
    @claim(
        "own.start",
        quote="it starts soon",
        readings={
            "container-soon": below("container", "start_s", 60, "s"),
            "vm-late": at_least("vm", "start_s", vm_bound, "s").expecting("REFUTED", why="small"),
            "vm-slower": ratio("vm", "start_s", over="container", above=1.25),
            "lost-held": holds("lost", "held"),
        },
    )
    def test_start():
        pass

    return getattr(test_start, ATTRIBUTE)


def facts(subject):
    return Facts(
        provider="fake",
        kind="vm" if subject == "vm" else "container",
        version="Fake 1",
        accelerator="kvm-hw" if subject == "vm" else "none",
        artefact="sha256:0",
        userland="none",
        vcpus=1,
        memory_bytes=1,
        readiness="push",
        usage_definition="none",
    )


def records(own, pair):
    of = {"experiment": "cold_start", "pair": pair}
    for subject, values in SECONDS.items():
        yield Series(**of, subject=subject, metric=TIME, facts=facts(subject))
        for block, value in enumerate(values):
            yield Observation(
                **of, subject=subject, metric="start_s", value=value, block=block, at="2026-01-02"
            )
    yield Missing(**of, subject="lost", reason="not here")


def saved(path, own, *, pairs=("minimal", "debian"), hashed=None):
    run = Run(
        schema=SCHEMA_VERSION,
        run_id="r0000000001",
        started="2026-01-02T03:04:05Z",
        command=("pytest", "--vmvc"),
        profile="standard",
        seed=7,
        version="0",
        readings_hash=hashed or readings_hash([own]),
        host=HOST,
    )
    series = [record for pair in pairs for record in records(own, pair)]
    evidence = ledger.evidence(ledger.collect((run, *series)))
    results = [
        Result(
            claim=own.id,
            quote=own.quote,
            method="",
            reading=reading,
            pair=pair,
            experiment="cold_start",
            judgement=judge_among((), reading, evidence["cold_start", pair], seed=7),
            nodeid="t.py::t",
        )
        for reading in own.readings
        for pair in pairs
    ]
    with LedgerWriter(path) as writer:
        for record in (run, *series, *results):
            writer.append(record)
    return path


@pytest.fixture
def installed(monkeypatch):
    """What ``vmvc claims`` would find; the article's own stay out of it."""
    found = [declared()]
    monkeypatch.setattr(
        pages,
        "declared",
        lambda package: tuple(
            pages.Declared(claim=own, experiments=(), section="", test="") for own in found
        ),
    )
    return found


@pytest.fixture
def judge(tmp_path, installed, capsys):
    def run(*argv, path=None):
        status = cli.main(["judge", str(path or tmp_path / "r.jsonl"), *argv])
        said = capsys.readouterr()
        return status, said.out, said.err

    saved(tmp_path / "r.jsonl", declared())
    return run


def test_saved_evidence_is_what_was_judged(tmp_path):
    log = ledger.read(saved(tmp_path / "r.jsonl", declared()))
    found = ledger.evidence(log)
    assert list(found) == [("cold_start", "minimal"), ("cold_start", "debian")]
    minimal = found["cold_start", "minimal"]
    assert [row.value for row in minimal.row("vm", "start_s")] == SECONDS["vm"]
    assert minimal.reason_missing("lost") == "not here"
    assert minimal.host == HOST


def test_every_verdict_is_again_what_the_file_says(judge):
    status, out, err = judge()
    assert (status, err) == (0, "")
    assert out.startswith("pre-registration: the readings in the file are those registered")
    assert "SUPPORTED     own.start [minimal, container-soon]\n" in out
    assert "REFUTED       own.start [debian, vm-late]\n" in out
    assert "lost is not available: not here" in out
    assert out.endswith("4 supported, 2 refuted, 2 not testable; all as in the file\n")
    assert "differ" not in out
    assert "EXPLORATORY" not in out


def test_a_verdict_that_the_samples_do_not_give_is_told(judge, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(path.read_text().replace('"verdict":"REFUTED"', '"verdict":"SUPPORTED"', 1))
    status, out, _ = judge()
    assert status == 1
    assert out.count("DIFFERS: the file says SUPPORTED") == 1
    assert "; 1 not as in the file" in out


def test_a_reading_changed_after_the_data_is_told_and_not_used(judge, installed):
    installed[:] = [declared(vm_bound=3)]
    status, out, _ = judge()
    assert status == 0
    changes = [line for line in out.splitlines() if line.startswith("installed claims differ")]
    text = changes[0].replace("\u00a0", " ")
    assert len(changes) == 1
    assert "own.start vm-late: question: from “median start_s of vm ≥ 60 s, at least 6" in text
    assert "to “median start_s of vm ≥ 3 s" in text
    assert "REFUTED       own.start [minimal, vm-late]" in out


def test_a_reading_changed_in_the_file_is_told(judge, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(path.read_text().replace('"threshold":60.0,', '"threshold":3.0,'))
    status, out, _ = judge()
    assert status == 1
    assert "readings in the file are NOT those registered before its data" in out
    assert "to “median start_s of vm ≥ 60" in out.replace("\u00a0", " ")


def test_claims_that_are_gone_or_reworded_are_told(judge, installed):
    own = declared()
    installed[:] = [msgspec.structs.replace(own, quote="other", readings=own.readings[1:])]
    _, out, _ = judge()
    assert "own.start container-soon: no longer declared" in out
    assert "quote: from “it starts soon” to “other”" in out
    installed.clear()
    assert "own.start: not among the installed claims" in judge()[1]


def test_a_hash_that_nothing_here_has_is_not_vouched_for(judge, tmp_path):
    path = saved(tmp_path / "other.jsonl", declared(), hashed="5a" * 32)
    status, out, _ = judge(path=path)
    assert status == 0
    assert "hash 5a5a5a5a5a5a… cannot be checked" in out


def test_claims_readings_and_pairs_can_be_chosen(judge):
    _, out, _ = judge("--reading", "vm-late", "--pair", "debian")
    assert [line for line in out.splitlines() if "[" in line] == [
        "REFUTED       own.start [debian, vm-late]"
    ]
    status, out, err = judge("--claim", "nobody")
    assert (status, out) == (64, "")
    assert "holds no result of nobody" in err


@pytest.mark.parametrize(
    ("bound", "status"),
    [
        (("--reading", "vm-late", "--at-least", "3"), 10),
        (("--reading", "vm-late", "--below", "3"), 11),
        (("--reading", "vm-late", "--at-least", "4.2"), 12),
        (("--reading", "vm-slower", "--above", "2"), 10),
        (("--reading", "vm-slower", "--ratio-above", "50"), 11),
    ],
)
def test_another_bound_is_exploratory_in_every_line_and_in_the_status(judge, bound, status):
    found, out, _ = judge(*bound)
    assert found == status
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert len(heads) == 3
    assert all(line.startswith("EXPLORATORY") for line in heads)
    assert "pre-registration" not in out
    _, out, _ = judge(*bound, "--json")
    assert "judged" not in json.loads(out)
    assert len(json.loads(out)["exploratory"]) == 2


def test_json_has_the_same_verdicts(judge):
    status, out, _ = judge("--json")
    found = json.loads(out)
    assert status == 0
    assert found["registration"]["changes"] == []
    assert "exploratory" not in found
    assert [
        (row["verdict"], row["verdict_in_file"], row["differs"]) for row in found["judged"]
    ] == [
        (word, word, False)
        for word in ("SUPPORTED", "REFUTED", "SUPPORTED", "NOT TESTABLE")
        for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--below", "3"], "another bound is tried on one reading"),
        (["--reading", "lost-held", "--below", "3"], "has no threshold"),
        (["--reading", "vm-slower", "--at-most", "3"], "above or below"),
        (["--reading", "vm-late", "--ratio-above", "3"], "is no ratio"),
        (["--reading", "vm-late", "--below", "3000", "--unit", "ms"], "is in 's', not in 'ms'"),
        (["--package", "no_such_package"], ""),
    ],
)
def test_a_bound_that_does_not_fit_is_a_usage_error(judge, argv, says, monkeypatch):
    if "--package" in argv:
        monkeypatch.undo()
    status, out, err = judge(*argv)
    assert (status, out) == (64, "")
    assert says in err


@pytest.mark.parametrize(
    ("content", "status"), [(None, 66), ("", 65), ("hello\n", 65), ("{}\n", 65)]
)
def test_what_is_no_results_file_is_an_error(judge, tmp_path, content, status):
    path = tmp_path / "other.jsonl"
    if content is not None:
        path.write_text(content)
    found, out, err = judge(path=path)
    assert (found, out) == (status, "")
    assert err.count("\n") == 1


def test_series_that_lost_their_header_decide_nothing(judge, tmp_path):
    path = tmp_path / "r.jsonl"
    kept = [line for line in path.read_text().splitlines() if '"record":"series"' not in line]
    path.write_text("\n".join(kept) + "\n")
    status, out, _ = judge("--reading", "vm-late")
    assert status == 1
    assert "INCONCLUSIVE  own.start [minimal, vm-late]" in out
    assert "without their header" in out


def test_the_scope_names_the_state_that_was_measured(judge):
    _, out, _ = judge("--json")
    assert all("; pair " in row["scope"] for row in json.loads(out)["judged"])
    assert "; warm; " in json.loads(out)["judged"][0]["scope"]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return ledger.read(saved(tmp_path_factory.mktemp("run") / "r.jsonl", declared()))


@given(values=st.lists(scalars, min_size=12, max_size=12), late=st.booleans())
def test_whatever_was_observed_it_is_judged_and_nonsense_decides_nothing(log, values, late):
    given_values = iter(values)
    rows = tuple(
        msgspec.structs.replace(row, value=next(given_values), censored=late)
        if row.subject == "vm"
        else row
        for row in log.observations
    )
    measured = [row.value for row in rows if (row.subject, row.pair) == ("vm", "minimal")]
    nonsense = not all(type(value) in (int, float) for value in measured)
    for one in rejudge.again(msgspec.structs.replace(log, observations=rows), log.results):
        of_vm = one.result.reading.name in ("vm-late", "vm-slower")
        if nonsense and of_vm and one.result.pair == "minimal":
            assert one.judgement.verdict.value == "INCONCLUSIVE"
        assert one.judgement.finding
