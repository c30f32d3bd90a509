"""Summary, samples and badge: true to the results file, and closed to what hostile texts try."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET

import msgspec
import pytest
from sample_run import sample_log

from pytest_vmvc import report
from pytest_vmvc.__main__ import main
from pytest_vmvc.errors import UsageError
from pytest_vmvc.ledger import RunLog, collect, encode
from pytest_vmvc.report.badge import badge
from pytest_vmvc.report.markdown import code, plain, summary
from pytest_vmvc.report.samples import HEAD, table

LOG = sample_log()
HOSTILE = "=cmd|' /C calc'!A0 \n| <img src=x> [a](javascript:b) `c` **d** \u202e"


def changed(result, **texts):
    return msgspec.structs.replace(result, **texts)


def test_the_summary_has_every_reading_and_the_score():
    text = summary(LOG)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(LOG.results)
    assert "** standing" in text
    assert LOG.run.run_id in text
    assert "Incomplete" not in text
    assert "Incomplete" in summary(msgspec.structs.replace(LOG, end=None))


def test_the_summary_says_what_goes_against_the_expectation():
    result = LOG.results[0]
    wrong = changed(result, reading=msgspec.structs.replace(result.reading, expect="REFUTED"))
    assert "Against the expectation" in summary(collect((LOG.run, wrong, LOG.end)))


def test_hostile_texts_end_no_cell_and_are_no_markup():
    result = LOG.results[0]
    judgement = msgspec.structs.replace(result.judgement, finding=HOSTILE)
    bad = changed(result, judgement=judgement, claim=HOSTILE, quote=HOSTILE, pair=HOSTILE)
    text = summary(collect((LOG.run, bad, LOG.end)))
    [row] = [line for line in text.splitlines() if line.startswith("| `")]
    assert row.replace("\\|", "").count("|") == 6
    for part in ("<img", "[a](", "\u202e"):
        assert part not in text
    assert "`" not in code(HOSTILE)[1:-1]
    assert plain("a\n# b") == "a \\# b"


def test_the_samples_are_all_there_with_unit_and_provider():
    rows = list(csv.DictReader(io.StringIO(table(LOG))))
    assert len(rows) == len(LOG.observations)
    assert tuple(rows[0]) == HEAD
    first = LOG.observations[0]
    row = next(r for r in rows if r["metric"] == "start_s")
    assert row["unit"] == "s"
    assert row["provider"] == "fake" or row["provider"]
    assert rows[0]["subject"] == first.subject
    assert float(row["value"]) > 0
    assert float(row["harness_cpu_s"]) > 0


def test_a_spreadsheet_calculates_nothing():
    bad = msgspec.structs.replace(LOG.observations[0], value=HOSTILE, instance="+1", subject="@x")
    [row] = csv.DictReader(io.StringIO(table(collect((LOG.run, bad)))))
    assert row["value"].startswith("'=cmd")
    assert row["instance"] == "'+1"
    assert row["subject"] == "'@x"
    assert "\n" not in row["value"]


def test_the_badge_is_a_picture_with_the_score():
    root = ET.fromstring(badge(LOG))
    assert "stand" in root.attrib["aria-label"]
    assert "nothing decided" in badge(RunLog())


@pytest.mark.parametrize("ending", [".html", ".md", ".csv", ".svg"])
def test_the_ending_tells_what_is_written(tmp_path, capsys, ending):
    source = tmp_path / "results.jsonl"
    source.write_bytes(b"".join(encode(record) + b"\n" for record in LOG.records()))
    target = tmp_path / "new" / f"out{ending}"
    assert main(["report", str(source), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    starts = {".html": "<!doctype", ".md": "# Virtual", ".csv": "experiment,", ".svg": "<svg"}
    assert target.read_text(encoding="utf-8").lstrip().startswith(starts[ending])


@pytest.mark.parametrize("name", ["out.pdf", "out"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="nothing is written that ends in"):
        report.write(LOG, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
