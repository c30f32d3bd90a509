"""Hostile texts in every field of a run: nothing that is made of it takes them for more."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import re
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hostile_texts import payloads, planted, runs
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_vmvc.__main__ import main
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.ledger import RunLog, collect, encode
from pytest_vmvc.report.badge import badge
from pytest_vmvc.report.html import render
from pytest_vmvc.report.markdown import summary
from pytest_vmvc.report.plot import plots
from pytest_vmvc.report.redact import redacted
from pytest_vmvc.report.samples import FORMULA, HEAD, table

CANARY = "http://127.0.0.1:9/canary"
PAYLOADS = payloads(CANARY)
RUNS = runs()
OURS = {
    "h1", "h2", "p", "strong", "ul", "li", "details", "summary", "table", "thead", "tbody", "tr",
    "th", "td", "code",
}  # fmt: skip


@pytest.fixture(params=RUNS)
def sound(request: pytest.FixtureRequest) -> RunLog:
    return RUNS[request.param]


@pytest.fixture(params=[*range(len(PAYLOADS)), "recorded"], scope="module")
def bad(request: pytest.FixtureRequest) -> RunLog:
    """Every text with one payload behind it; those of the recorded run with each in turn."""
    if request.param == "recorded":
        return planted(RUNS["recorded"], lambda number: PAYLOADS[number % len(PAYLOADS)])
    return planted(RUNS["made-up"], lambda _: PAYLOADS[request.param])


def obeyed(text: str) -> list[str]:
    """Characters that a terminal obeys, or that turn text around."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn")]


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", ()))


def test_the_payloads_are_in_every_text(sound: RunLog) -> None:
    """Also where a field is added: what is walked is what the types say."""
    plain = msgspec.to_builtins(planted(sound, lambda _: "!!!"))
    words: set[str] = set()

    def walk(value: object, field: str = "") -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                walk(child, key)
        elif isinstance(value, list | tuple):
            for child in value:
                walk(child, field)
        elif isinstance(value, str) and value and not value.endswith("!!!"):
            words.add(field)

    walk(plain)
    assert words <= {
        "record", "type", "kind", "tier", "accelerator", "op", "relation", "emulation", "verdict",
        "expect", "spoils",
    }  # fmt: skip


def test_the_summary_holds_no_markup_of_theirs(bad: RunLog) -> None:
    text = summary(bad)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    parsed = Elements(html)
    assert {tag for tag, _ in parsed.found} <= OURS
    assert not [names for _, names in parsed.found if names]
    assert sum(tag == "tr" for tag, _ in parsed.found) == len(bad.results) + 1
    assert sum(tag == "td" for tag, _ in parsed.found) == 5 * len(bad.results)
    assert obeyed(text) == []


def test_no_cell_of_the_samples_is_a_formula(bad: RunLog) -> None:
    rows = list(csv.reader(io.StringIO(table(bad))))
    assert len(rows) == len(bad.observations) + 1
    assert {len(row) for row in rows} == {len(HEAD)}
    cells = [cell for row in rows for cell in row if not re.fullmatch(r"-?[0-9.e+-]+", cell)]
    assert not [cell for cell in cells if cell.strip().startswith(FORMULA)]
    assert obeyed(table(bad)) == []


@pytest.mark.parametrize("sign", FORMULA)
def test_a_formula_is_a_text_whatever_it_begins_with(sign: str) -> None:
    log = RUNS["made-up"]
    one = msgspec.structs.replace(log.observations[0], value=f"{sign}1+1", instance=f"{sign}1")
    [row] = csv.DictReader(io.StringIO(table(collect((log.run, one)))))
    assert row["value"].startswith("'")
    assert row["instance"].startswith("'")


def test_pictures_are_sound_and_hold_nothing_but_text(sound: RunLog) -> None:
    bad = planted(sound, lambda number: PAYLOADS[number % len(PAYLOADS)])
    charts = [one.svg for claim in dict.fromkeys(_claims(bad)) for one in plots(bad, claim)]
    drawn = [badge(bad), *charts]
    assert len(drawn) > 4
    for text in drawn:
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()}
        assert tags <= {"svg", "rect", "text", "title", "g", "path", "line"}
        assert obeyed(text) == []


def _claims(log: RunLog) -> list[str]:
    from pytest_vmvc.report.wording import visible_log

    return [result.claim for result in visible_log(log).results]


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a\0b", "x\ny", "a" * 10_000_000, "..", "~"])
def test_charts_are_files_in_the_folder_that_one_is_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RUNS["made-up"]
    results = tuple(msgspec.structs.replace(r, claim=name) for r in log.results[:3])
    source = tmp_path / "results.jsonl"
    bad = msgspec.structs.replace(log, results=results)
    source.write_bytes(b"".join(encode(record) + b"\n" for record in bad.records()))
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    [shown] = dict.fromkeys(_claims(bad))
    before = set(tmp_path.rglob("*"))
    assert main(["plot", str(source), shown]) == 0
    made = set(tmp_path.rglob("*")) - before
    assert made
    assert all(path.parent == inside and path.suffix == ".svg" for path in made)


def test_the_command_line_says_nothing_that_a_terminal_obeys(
    sound: RunLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    for path, suffix in ((good, "~"), (bad, PAYLOADS[12] + PAYLOADS[13] + "\nSUPPORTED forged")):
        log = planted(sound, lambda _, suffix=suffix: suffix)
        path.write_bytes(b"".join(encode(record) + b"\n" for record in log.records()))
    lines = {}
    for path in (good, bad):
        for command in (
            ["judge", str(path)],
            ["judge", str(path), "--claim", "no.such"],
            ["compare", str(path), str(path), "--all"],
            ["plot", str(path), "no.such"],
            ["report", str(path), "-o", str(tmp_path / "out.md")],
        ):
            main(command)
            said = capsys.readouterr()
            assert obeyed(said.out + said.err) == []
            lines[path, command[0], len(command)] = (said.out + said.err).count("\n")
    for (path, *command), count in lines.items():
        assert lines[(good, *command)] == count, f"{path.name}: another line was forged"


def test_an_error_that_quotes_a_guest_is_text() -> None:
    error = InfrastructureError("it said \x1b]0;x\x07\u202e", hint="\x1b[2J")
    assert obeyed(str(error)) == []
    assert "⟨U+001B⟩[2J" in str(error)


# --- redacting -----------------------------------------------------------------------------------

AROUND = (
    " ",
    "'",
    '"',
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    ":",
    "=",
    ".",
    "!",
    "|",
    "\n",
    "\t",
    "<",
    ">",
)
SECRETS = (
    "zoe-host", "zoe-host.corp.example", "ZOE-HOST", "/home/zoe/box.img", "/srv/zoe/x", "~/zoe",
    "~zoe/secret", "file:///home/zoe/x", "192.0.2.7", "fe80::5054:ff:fe12:3456", "2001:db8::1",
    "52:54:00:12:34:56", "52-54-00-12-34-56",
)  # fmt: skip
TELLING = re.compile(r"zoe|192\.0\.2|fe80|2001:db8|52[:-]54[:-]00", re.IGNORECASE)


@given(st.sampled_from(SECRETS), st.sampled_from(AROUND), st.sampled_from(AROUND))
def test_what_tells_whose_host_it_was_is_found_whatever_stands_around(
    secret: str, before: str, after: str
) -> None:
    log = RUNS["made-up"]
    one = msgspec.structs.replace(log.missing[0], reason=f"see{before}{secret}{after}then")
    host = msgspec.structs.replace(log.run.host, name="zoe-host.corp.example")
    run = msgspec.structs.replace(log.run, host=host)
    said = redacted(collect((run, one))).missing[0].reason
    assert TELLING.search(said) is None, said
    assert said.startswith("see")


KEPT = {"claim", "contradicts", "at", "started", "ended", "kind", "subject", "over", "other"}


def test_redacted_outputs_are_free_of_it_in_every_field(sound: RunLog) -> None:
    secret = " zoe-host /home/zoe/x 192.0.2.7"
    bad = planted(sound, lambda _: secret)
    host = msgspec.structs.replace(bad.run.host, name="zoe-host")
    hidden = redacted(msgspec.structs.replace(bad, run=msgspec.structs.replace(bad.run, host=host)))
    left: set[str] = set()

    def walk(value: object, field: str = "") -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                assert TELLING.search(str(key)) is None
                walk(child, key)
        elif isinstance(value, list | tuple):
            for child in value:
                walk(child, field)
        elif isinstance(value, str) and TELLING.search(value):
            left.add(field)

    walk(msgspec.to_builtins(hidden))
    assert left <= KEPT
    # Where ids and times are what a run writes, no output has it, nor has the page's own data.
    told = msgspec.structs.replace(
        sound,
        run=msgspec.structs.replace(sound.run, command=("pytest", secret), host=host),
        problems=(secret,),
        missing=tuple(msgspec.structs.replace(m, reason=secret) for m in sound.missing),
        retries=tuple(msgspec.structs.replace(r, error=secret) for r in sound.retries),
        observations=tuple(
            msgspec.structs.replace(o, instance=secret, value=secret)
            if isinstance(o.value, str)
            else o
            for o in sound.observations
        ),
    )
    hidden = redacted(told)
    page, _, rest = render(hidden).partition('id="raw-data">')
    data = gzip.decompress(base64.b64decode(rest.partition("<")[0])).decode()
    for made in (page, data, summary(hidden), table(hidden)):
        assert not re.search(r"zoe-host|/zoe|192\.0\.2", made)


@pytest.mark.parametrize("name", ["vm", "container", "none", "tcg", "start_s", "s", "host", "pair"])
def test_a_host_may_be_called_like_anything(name: str, sound: RunLog) -> None:
    host = msgspec.structs.replace(sound.run.host, name=name)
    hidden = redacted(
        msgspec.structs.replace(sound, run=msgspec.structs.replace(sound.run, host=host))
    )
    assert hidden.run.host.name == "‹host›"
    assert [r.judgement.verdict for r in hidden.results] == [
        r.judgement.verdict for r in sound.results
    ]
    render(hidden)


@pytest.mark.parametrize(
    ("nodeid", "kept"),
    [
        ("claims/test_a.py::test_b[minimal-x]", "test_a.py::test_b[minimal-x]"),
        ("../../zoe/venv/lib/claims/test_a.py::test_b", "test_a.py::test_b"),
        ("/home/zoe/test_a.py::test_b", "test_a.py::test_b"),
    ],
)
def test_of_a_test_the_folders_are_left_out(nodeid: str, kept: str) -> None:
    log = RUNS["made-up"]
    one = msgspec.structs.replace(log.results[0], nodeid=nodeid)
    assert redacted(msgspec.structs.replace(log, results=(one,))).results[0].nodeid == kept
