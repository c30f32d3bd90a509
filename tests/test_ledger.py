from __future__ import annotations

import json
import resource
from pathlib import Path

import msgspec
import pytest

from pytest_vmvc import ledger
from pytest_vmvc.errors import LedgerError
from pytest_vmvc.ledger import LedgerWriter, RunLog
from pytest_vmvc.model import (
    SCHEMA_VERSION,
    Allowance,
    Check,
    Conditions,
    End,
    Host,
    Judgement,
    Missing,
    Observation,
    Reading,
    Record,
    Result,
    Retry,
    Run,
    Verdict,
)
from pytest_vmvc.model import Fact as FactQuestion

SCHEMA = Path(__file__).parent.parent / "docs" / "results.schema.json"

HOST = Host(
    name="h",
    os="o",
    kernel="k",
    boot_id="b",
    architecture="x86_64",
    cpu_model="c",
    cpus=2,
    memory_bytes=1,
    tier="tcg",
    clock_source="tsc",
    cgroup="v2",
)
RUN = Run(
    schema=SCHEMA_VERSION,
    run_id="r0000000001",
    started="2025-01-02T03:04:05Z",
    command=("pytest", "--vmvc"),
    profile="quick",
    seed=7,
    version="0.1.0",
    readings_hash="00",
    host=HOST,
)
MISSING = Missing(experiment="e", pair="p", subject="vm", reason="no QEMU")
CONDITIONS = Conditions(
    experiment="e",
    pair="p",
    checks=(Check(name="load", figure=None, op="<=", limit=10, unit="%", passed=None),),
)
RETRY = Retry(experiment="e", pair="p", subject="vm", block=2, error="died")
RESULT = Result(
    claim="table.x",
    quote="q",
    method="m",
    reading=Reading(name="r", question=FactQuestion(metric="k", subject="vm", relation="distinct")),
    pair="p",
    experiment="e",
    judgement=Judgement(verdict=Verdict.NOT_TESTABLE, finding="Not measured.", reason="no QEMU"),
    nodeid="claims/test_x.py::test_x[p-r]",
)
ALLOWANCE = Allowance(
    experiment="e", pair="p", figure=20.0, worst="timer", n=3, parts={"timer": 10.0}
)
END = End(ended="2025-01-02T03:05:05Z", exit_status=0, duration_s=60.0)


def observation(value: object = 1.5, **changes: object) -> Observation:
    plain = {"experiment": "e", "pair": "p", "subject": "vm", "metric": "start_s", "at": "now"}
    return Observation(**{**plain, "value": value, **changes})  # type: ignore[arg-type]


RECORDS: tuple[Record, ...] = (
    RUN, observation(), MISSING, RETRY, ALLOWANCE, CONDITIONS, RESULT, END,
)  # fmt: skip


def written(path: Path, *records: Record) -> Path:
    with LedgerWriter(path) as writer:
        for record in records:
            writer.append(record)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    log = ledger.read(written(tmp_path / "new" / "folder" / "results.jsonl", *RECORDS))
    assert log == RunLog(
        run=RUN,
        observations=(observation(),),
        missing=(MISSING,),
        retries=(RETRY,),
        allowances=(ALLOWANCE,),
        conditions=(CONDITIONS,),
        results=(RESULT,),
        end=END,
    )
    assert log.records() == RECORDS


def test_each_record_is_one_line_on_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with LedgerWriter(path) as writer:
        for n, record in enumerate((*RECORDS, observation("two\nlines\r\x00\u2028")), 1):
            writer.append(record)
            assert path.read_bytes().count(b"\n") == n
            assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused(tmp_path: Path, bad: float) -> None:
    path = written(tmp_path / "r.jsonl", RUN)
    with LedgerWriter(path) as writer:
        with pytest.raises(LedgerError, match="in value"):
            writer.append(observation(bad))
        with pytest.raises(LedgerError, match=r"in marks\.ready"):
            writer.append(observation(1.0, marks={"answer": 1.0, "ready": bad}))
        writer.append(END)
    assert ledger.read(path) == RunLog(run=RUN, end=END)


def test_text_that_is_not_unicode_is_written_with_its_escapes(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", RUN, observation("caf\udce9"))
    assert ledger.read(path).observations[0].value == "caf\\udce9"


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path / "r.jsonl")
    writer.close()
    writer.close()
    with pytest.raises(LedgerError, match="closed"):
        writer.append(RUN)


def test_a_path_that_cannot_be_written_names_a_remedy(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(LedgerError, match="choose another path"):
        LedgerWriter(blocker / "r.jsonl")


def test_a_full_device_names_a_remedy() -> None:
    with LedgerWriter(Path("/dev/full")) as writer, pytest.raises(LedgerError, match="free some"):
        writer.append(RUN)


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", RUN, observation())
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LedgerWriter(path) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        try:
            with pytest.raises(LedgerError, match="what was written stays valid"):
                writer.append(RESULT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.stat().st_size == size
        writer.append(END)
    assert ledger.read(path) == RunLog(run=RUN, observations=(observation(),), end=END)


def test_a_file_cut_in_mid_line_is_continued_on_a_fresh_line(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", RUN, MISSING)
    path.write_bytes(path.read_bytes()[:-9])
    written(path, END)
    log = ledger.read(path)
    assert (log.run, log.missing, log.end) == (RUN, (), END)
    assert log.problems[0].startswith("line 2 cannot be read and was left out")


def test_every_prefix_of_a_file_is_readable(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", *RECORDS)
    content = path.read_bytes()
    first = content.index(b"\n")
    for size in range(first, len(content)):
        path.write_bytes(content[:size])
        log = ledger.read(path)
        assert log.run == RUN
        assert len(log.records()) >= content[:size].count(b"\n")
        assert all("cut off" in problem for problem in log.problems)


def test_a_cut_last_line_is_one_problem(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", RUN, MISSING, RETRY)
    path.write_bytes(path.read_bytes()[:-20])
    log = ledger.read(path)
    assert log.missing == (MISSING,)
    assert log.problems == ("line 3, the last, is cut off and was left out",)


def test_corrupt_lines_are_one_problem(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", RUN, MISSING)
    junk = [b"\xff\xfe", b"[" * 100_000, b'{"record":"no such"}', b'{"record":"end"}', b"\x00"] * 2
    path.write_bytes(path.read_bytes() + b"\n".join(junk) + b"\n" + ledger.encode(END) + b"\n")
    log = ledger.read(path)
    assert (log.run, log.missing, log.end) == (RUN, (MISSING,), END)
    (problem,) = log.problems
    assert problem.startswith("10 lines (3, 4, 5, 6, 7, …) cannot be read and were left out: ")
    assert "\n" not in problem
    assert len(problem) < 300


def test_a_future_schema_is_one_problem_and_what_is_known_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    future = {**msgspec.to_builtins(RUN), "schema": SCHEMA_VERSION + 1, "new field": 1}
    path.write_bytes(json.dumps(future).encode() + b"\n" + ledger.encode(MISSING) + b"\n")
    log = ledger.read(path)
    assert log.missing == (MISSING,)
    (problem,) = log.problems
    assert "newer pytest-vmvc" in problem
    assert "upgrade" in problem


def test_a_file_without_its_head_says_so(tmp_path: Path) -> None:
    log = ledger.read(written(tmp_path / "r.jsonl", MISSING))
    assert log.run is None
    assert log.missing == (MISSING,)
    assert "missing" in log.problems[0]


def test_of_several_runs_the_last_counts(tmp_path: Path) -> None:
    other = msgspec.structs.replace(RUN, run_id="r0000000002")
    log = ledger.read(written(tmp_path / "r.jsonl", RUN, RETRY, END, other, MISSING))
    assert log.records() == (other, MISSING)
    assert log.problems == ("the file holds 2 runs: this is the last of them",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"<html>hello</html>\n", "not a results file"),
        (b'{"a": 1}\n', "not a results file"),
        (b"\x7fELF\x00\x01\xff", "not a results file"),
    ],
)
def test_nothing_readable_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=message):
        ledger.read(path)


def test_no_such_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.read(tmp_path / "none.jsonl")
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.read(tmp_path)


def test_the_shipped_schema_is_the_models() -> None:
    assert json.loads(SCHEMA.read_text()) == ledger.json_schema(), (
        "write it again: json.dumps(ledger.json_schema(), indent=2, ensure_ascii=False)"
    )


def test_the_schema_knows_every_record() -> None:
    tags = {
        struct["properties"]["record"]["enum"][0]
        for struct in ledger.json_schema()["$defs"].values()
        if "record" in struct.get("properties", {})
    }
    assert tags == {
        "run", "series", "observation", "missing", "retry", "allowance", "conditions", "result",
        "end",
    }  # fmt: skip


@pytest.mark.parametrize("figure", [0.0, 0.5, -2.0])
def test_an_allowance_that_would_make_a_machine_slower_is_a_bad_line(
    tmp_path: Path, figure: float
) -> None:
    broken = msgspec.structs.replace(ALLOWANCE, figure=figure)
    log = ledger.read(written(tmp_path / "r.jsonl", RUN, broken))
    assert log.allowances == ()
    assert "line 2" in log.problems[0]
