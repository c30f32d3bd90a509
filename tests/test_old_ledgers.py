"""Results files of every schema version that there has been, and files that are damaged or foreign.

``data/schema-N.jsonl`` are lines of recorded runs (pair ``minimal``, some claims), as the version
of that day wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vmvc import ledger, report
from pytest_vmvc.__main__ import main
from pytest_vmvc.model import SCHEMA_VERSION, Slope

DATA = Path(__file__).parent / "data"
VERSIONS = range(1, SCHEMA_VERSION + 1)
NOW = DATA / f"schema-{SCHEMA_VERSION}.jsonl"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_one_is_read_rendered_and_judged_as_it_was(version, tmp_path, capsys):
    path = DATA / f"schema-{version}.jsonl"
    log = ledger.read(path)
    assert log.problems == ()
    assert log.run.schema == version
    assert len(log.records()) == path.read_bytes().count(b"\n")
    for ending in (".html", ".md", ".csv", ".svg"):
        assert "ncomplete" not in report.write(log, tmp_path / f"out{ending}").read_text()
    assert main(["judge", str(path)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("all as in the file")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_one_is_compared_with_the_newest(version, capsys):
    path = DATA / f"schema-{version}.jsonl"
    assert main(["compare", str(path), str(NOW), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    starts = {move["subject"] for move in found["moves"] if move["metric"] == "start_s"}
    assert starts == {"container", "vm", "vm-restored"}
    assert found["elsewhere"] == ""


def test_the_newest_has_what_the_version_brought():
    log = ledger.read(NOW)
    assert log.allowances
    assert log.conditions
    assert any(isinstance(one.reading.question, Slope) for one in log.results)
    assert {one.experiment for one in log.missing}


# --- what is not sound ---------------------------------------------------------------------------


def _future(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    head = lines[0].replace(f'"schema":{SCHEMA_VERSION}'.encode(), b'"schema":99,"sun":1')
    return b"".join([head, *lines[1:], b'{"record":"novelty","experiment":"e"}\n'])


DAMAGED = {
    "truncated": (lambda text: text[: len(text) // 2], "*line *, the last, is cut off*"),
    "corrupt": (lambda text: text.replace(b'{"record":"series"', b"\xff\x00", 2), "*2 lines (*"),
    "headless": (lambda text: text.partition(b"\n")[2], "*its host is not known*"),
    "future": (_future, f"*newer pytest-vmvc (schema 99, this one knows {SCHEMA_VERSION})*"),
}
NONE_OF_OURS = {
    "empty": (b"", "*is empty*"),
    "blank": (b"\n\n", "*is empty*"),
    "foreign": (b'{"name": "something else"}\n', "*is not a results file of pytest-vmvc*"),
    "text": (b"hello\n", "*is not a results file of pytest-vmvc*"),
    "binary": (bytes(range(256)) * 9, "*is not a results file of pytest-vmvc*"),
    "cut in its first line": (b'{"record":"run","sche', "*is not a results file*"),
    "folder": (None, "*cannot be read: Is a directory*"),
}


@pytest.fixture(params=DAMAGED)
def damaged(request, tmp_path):
    """A file of which something can be read, and how what cannot is called."""
    harm, says = DAMAGED[request.param]
    path = tmp_path / "harmed.jsonl"
    path.write_bytes(harm(NOW.read_bytes()))
    return path, says


@pytest.fixture(params=NONE_OF_OURS)
def none_of_ours(request, tmp_path):
    """A file of which nothing can be read, and what is said of it."""
    content, says = NONE_OF_OURS[request.param]
    path = tmp_path / "none.jsonl"
    path.mkdir() if content is None else path.write_bytes(content)
    return path, says


def lines_like(says, text):
    """The lines that match, by the one wildcard that is used."""
    parts = [part for part in says.split("*") if part]
    return [line for line in text.splitlines() if all(part in line for part in parts)]


def test_what_is_readable_is_rendered_and_one_line_says_what_is_not(damaged, tmp_path, capsys):
    path, says = damaged
    for ending in ("html", "md", "csv", "svg"):
        assert main(["report", str(path), "-o", str(tmp_path / f"o.{ending}")]) == 0
        assert len(lines_like(says, capsys.readouterr().err)) == 1
    page, summary = ((tmp_path / f"o.{ending}").read_text() for ending in ("html", "md"))
    assert "Damaged results file" in page or "Incomplete run" in page
    assert "**Damaged results file:**" in summary
    assert len((tmp_path / "o.csv").read_text().splitlines()) > 10


def test_the_other_commands_say_it_once_too(damaged, tmp_path, monkeypatch, capsys):
    path, says = damaged
    monkeypatch.chdir(tmp_path)
    main(["judge", str(path)])  # what has lost its samples is judged otherwise: 0 or 1
    assert len(lines_like(says, capsys.readouterr().out)) == 1
    assert main(["compare", str(path), str(NOW)]) == 0
    assert len(lines_like(says, capsys.readouterr().out)) == 1
    main(["plot", str(path), "table.boot-time"])
    said = capsys.readouterr()
    assert len(lines_like(says, said.err)) == 1


def test_nothing_of_ours_is_one_line_and_its_status(none_of_ours, capsys):
    path, says = none_of_ours
    for words, statuses in (
        (["report", str(path)], {1}),
        (["plot", str(path), "table.boot-time"], {1}),
        (["compare", str(path), str(NOW)], {1}),
        (["compare", str(NOW), str(path)], {1}),
        (["judge", str(path)], {65, 66}),
    ):
        assert main(words) in statuses
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert lines_like(says, said.err)
