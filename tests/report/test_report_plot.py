"""A chart of its own: whole, closed to the outside, PNG or SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec
import pytest
from sample_run import sample_log

from pytest_vmvc.__main__ import main
from pytest_vmvc.errors import UsageError
from pytest_vmvc.ledger import encode
from pytest_vmvc.report.plot import Plot, plots, save

LOG = sample_log()
CLAIM = next(r.claim for r in LOG.results if r.judgement.estimate is not None)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"".join(encode(record) + b"\n" for record in LOG.records()))
    return path


def test_every_chart_of_a_claim_is_a_whole_drawing():
    found = plots(LOG, CLAIM)
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert {one.pair for one in found} <= {"minimal", "debian"}
    for one in found:
        root = ET.fromstring(one.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        text = "".join(root.itertext())
        assert one.title in text
        assert CLAIM in text
        assert LOG.run.host.tier in text
        assert one.svg.count("http") == 1
        assert "NaN" not in one.svg


def test_hostile_names_stay_text_and_in_the_folder():
    bad = msgspec.structs.replace(LOG.results[0], claim="../<b>&\u202e")
    bad_log = msgspec.structs.replace(LOG, results=(bad,))
    [claim] = {one.claim for one in plots(bad_log, "../<b>&⟨U+202E⟩")}
    for one in plots(bad_log, claim):
        ET.fromstring(one.svg)
        assert "/" not in one.name
        assert not one.name.startswith(".")


def test_an_unknown_claim_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"no claim own\.x") as told:
        plots(LOG, "own.x")
    assert CLAIM in told.value.hint


@pytest.mark.parametrize(("ending", "start"), [(".svg", b"<svg"), (".png", b"\x89PNG\r\n\x1a\n")])
def test_the_ending_tells_the_kind(source, tmp_path, capsys, ending, start):
    target = tmp_path / "new" / f"chart{ending}"
    assert main(["plot", str(source), CLAIM, "--number", "1", "-o", str(target)]) == 0
    assert target.read_bytes().startswith(start)
    assert capsys.readouterr().out.startswith(f"{target}: ")


def test_all_of_a_pair_go_into_the_current_folder(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(source), CLAIM, "--pair", "minimal"]) == 0
    written = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert written == sorted(f"{p.name}.svg" for p in plots(LOG, CLAIM) if p.pair == "minimal")
    assert len(capsys.readouterr().out.splitlines()) == len(written)


def test_what_cannot_be_meant_says_what_to_do(source, tmp_path, capsys):
    assert main(["plot", str(source), CLAIM, "-o", str(tmp_path / "one.svg")]) == 64
    assert "--number N" in capsys.readouterr().err
    assert main(["plot", str(source), CLAIM, "--number", "99"]) == 64
    assert "no such chart" in capsys.readouterr().err
    one = Plot(claim="c", pair="p", number=1, title="t", svg="<svg/>")
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        save(one, tmp_path / "chart.gif")
