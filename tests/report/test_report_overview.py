"""Several runs: what changed comes first, hosts vote and are not pooled, and nothing is trusted."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec
import pytest
from sample_run import sample_log
from test_report_html import HOSTILE, Page, everywhere

from pytest_vmvc import ledger
from pytest_vmvc.__main__ import main
from pytest_vmvc.digest import Digester, labelled
from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.fleet import over_hosts
from pytest_vmvc.ledger import RunLog, encode
from pytest_vmvc.model import Fact, Ratio, Verdict
from pytest_vmvc.report import write_several
from pytest_vmvc.report.many_hosts import NAMED, many_hosts
from pytest_vmvc.report.over_words import holds_words, percent, share_words, tally_words
from pytest_vmvc.report.overview import render
from pytest_vmvc.report.overview_summary import overview
from pytest_vmvc.report.side_by_side import side_by_side
from pytest_vmvc.runs import FEW, gather
from tests.recorded import RECORDED

BASE = sample_log()
FAST = ("perf.startup-faster", "container-faster", "minimal")
"""A reading that the made-up run decides."""


def run(number: int, *, name: str = "", turned: tuple[str, ...] = (), **changes: object) -> RunLog:
    """The made-up run on host ``number``; the readings ``turned`` (claim ids) are REFUTED."""
    log = sample_log(seed=number + 1)
    facts = {"tier", "cpus", "boot_id", "kernel"} & changes.keys()
    host = msgspec.structs.replace(
        log.run.host, name=name or f"host-{number}", **{key: changes.pop(key) for key in facts}
    )
    head = msgspec.structs.replace(log.run, run_id=f"r{number:010}", host=host, **changes)
    results = tuple(
        verdict(one, Verdict.REFUTED if one.claim in turned else Verdict.SUPPORTED)
        for one in log.results
    )
    return msgspec.structs.replace(log, run=head, results=results)


def verdict(result, to, **judgement):
    said = msgspec.structs.replace(result.judgement, verdict=to, **judgement)
    return msgspec.structs.replace(result, judgement=said)


def save(folder: Path, *logs: RunLog) -> list[Path]:
    paths = []
    for number, log in enumerate(logs):
        paths.append(folder / f"{number:03}.jsonl")
        paths[-1].write_bytes(b"".join(encode(record) + b"\n" for record in log.records()))
    return paths


def digests(*logs: RunLog):
    digester = Digester()
    return labelled(digester.digest(log, source=f"{n}.jsonl") for n, log in enumerate(logs))


# --- reading without samples ---------------------------------------------------------------------


def test_without_samples_everything_else_is_the_same(tmp_path):
    for path in (*save(tmp_path, BASE), RECORDED):
        full, light = ledger.read(path), ledger.read(path, samples=False)
        assert full.observations
        assert light == msgspec.structs.replace(full, observations=())


def test_without_samples_damage_is_named_all_the_same(tmp_path):
    [path] = save(tmp_path, BASE)
    path.write_bytes(path.read_bytes() + b'{"record":"observation",')
    assert ledger.read(path, samples=False).problems == ledger.read(path).problems != ()
    path.write_bytes(encode(BASE.observations[0]) + b"\n")
    assert "is missing" in ledger.read(path, samples=False).problems[0]
    path.write_bytes(b"no such thing\n")
    with pytest.raises(LedgerError, match="not a results file"):
        ledger.read(path, samples=False)


# --- labels --------------------------------------------------------------------------------------


def test_labels_are_distinct_and_no_longer_than_they_must_be():
    found = digests(
        run(1),
        run(2, name="ci", started="2026-01-01T10:00:00Z"),
        run(3, name="ci", started="2026-02-01T10:00:00Z"),
        run(4, name="vm", started="2026-02-01T10:00:00Z"),
        run(5, name="vm", started="2026-02-01T11:30:00Z"),
        run(6, name="x", started="2026-02-01T10:00:00Z"),
        run(7, name="x", started="2026-02-01T10:00:01Z"),
        msgspec.structs.replace(BASE, run=None),
    )
    assert [one.label for one in found] == [
        "host-1", "ci, 2026-01-01", "ci, 2026-02-01", "vm, 2026-02-01 10:00",
        "vm, 2026-02-01 11:30", "x, 2026-02-01 10:00, r0000000006",
        "x, 2026-02-01 10:00, r0000000007", "7.jsonl",
    ]  # fmt: skip


# --- a few ---------------------------------------------------------------------------------------


def test_what_changed_comes_first_and_the_plainest_change_before_others(tmp_path):
    old, new = run(1, name="h"), run(2, name="h", turned=("table.size",))
    results = tuple(
        verdict(one, Verdict.INCONCLUSIVE if one.claim == "os.guest-per-vm" else said)
        for one in new.results
        for said in [one.judgement.verdict]
    )
    found = gather(save(tmp_path, old, msgspec.structs.replace(new, results=results)))
    seen = side_by_side(found)
    assert [kind for kind, _ in seen.changed] == ["turned round", "left open"]
    assert {line.claim for line in seen.changed[0][1]} == {"table.size"}
    assert {line.claim for line in seen.changed[1][1]} == {"os.guest-per-vm"}
    text = Page(render(found)).text
    assert text.index("What changed verdict") < text.index("Every reading")
    assert overview(found).index("table.size") < overview(found).index("Every reading")


def test_a_reading_that_asks_something_else_is_no_change(tmp_path):
    old, new = run(1, name="h"), run(2, name="h", turned=("perf.startup-faster",))
    results = []
    for one in new.results:
        question = one.reading.question
        if isinstance(question, Ratio):
            question = msgspec.structs.replace(question, threshold=0.5)
        reading = msgspec.structs.replace(one.reading, question=question)
        results.append(msgspec.structs.replace(one, reading=reading))
    found = gather(save(tmp_path, old, msgspec.structs.replace(new, results=tuple(results))))
    seen = side_by_side(found)
    assert seen.changed == ()
    assert "ask another question" in seen.remarks[0]
    assert "asked otherwise" in Page(render(found)).text


def test_figures_of_one_host_move_and_those_of_another_differ(tmp_path):
    def slower(log):
        rows = tuple(
            msgspec.structs.replace(one, value=one.value * 3)
            if one.metric == "start_s" and one.subject == "container"
            else one
            for one in log.observations
        )
        return msgspec.structs.replace(log, observations=rows)

    paths = save(tmp_path, run(1, name="h"), slower(run(2, name="h")), slower(run(3)))
    found = gather(paths)
    here, there = side_by_side(found).figures
    assert (here.here, there.here) == (True, False)
    for part in (here, there):
        assert {(one.subject, one.pair) for one in part.far} == {
            ("container", "minimal"), ("container", "debian"),
        }  # fmt: skip
        assert all(one.ratios[0].way == "more" for one in part.far)
    text = Page(render(found)).text
    assert "Which figures moved beyond noise" in text
    assert "no sign that anything became slower" in text


def test_the_same_run_twice_and_files_that_are_none_are_named(tmp_path, capsys):
    paths = save(tmp_path, run(1), run(2), run(1))
    foreign, cut = tmp_path / "foreign.jsonl", tmp_path / "cut.jsonl"
    foreign.write_text("<html>\n")
    content = paths[1].read_bytes().replace(b"r0000000002", b"r0000000009")
    cut.write_bytes(content[: len(content) - 100])
    words = [str(path) for path in (*paths, foreign, cut, tmp_path / "none.jsonl")]
    assert main(["report", *words]) == 1
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'overview.html'}\n"
    assert "002.jsonl is the same run as" in said.err
    assert "foreign.jsonl is not a results file" in said.err
    assert "none.jsonl cannot be read: No such file" in said.err
    text = Page((tmp_path / "overview.html").read_text(encoding="utf-8")).text
    assert "3 runs side by side" in text
    for part in ("is the same run as", "foreign.jsonl is not a results file", "is cut off"):
        assert part in text


def test_it_fails_only_where_a_file_could_not_be_read(tmp_path, capsys):
    words = [str(path) for path in save(tmp_path, run(1), run(2), run(1))]
    assert main(["report", *words, "-o", str(tmp_path / "o.md")]) == 0
    assert "counted once" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "none of the files can be read" in capsys.readouterr().err
    assert main(["report", *words, "-o", str(tmp_path / "o.svg")]) == 64
    assert "a badge is of one run" in capsys.readouterr().err
    with pytest.raises(UsageError, match="nothing"):
        write_several([], tmp_path / "o.pdf")


def test_runs_of_older_versions_stand_beside_new_ones(tmp_path):
    [new] = save(tmp_path, run(1))
    old = tmp_path / "old.jsonl"
    lines = [line for line in new.read_bytes().splitlines() if b'"record":"conditions"' not in line]
    old.write_bytes(b"\n".join(lines).replace(b"r0000000001", b"r0000000002") + b"\n")
    found = gather([new, old])
    assert [one.problems for one in found.runs] == [(), ()]
    assert len({one.label for one in found.runs}) == 2
    assert side_by_side(found).changed == ()


def test_every_sample_of_every_run_with_its_label(tmp_path):
    logs = [run(1, name="h", started="2026-01-01T10:00:00Z"), run(2, name="h"), run(3)]
    write_several(save(tmp_path, *logs), tmp_path / "o.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text(encoding="utf-8"))))
    assert len(rows) == sum(len(log.observations) for log in logs)
    assert {(row["run"], row["host"]) for row in rows} == {
        ("h, 2026-01-01", "h"), ("h, 2025-01-02", "h"), ("host-3", "host-3"),
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["html", "md", "csv"])
def test_redacted_hosts_are_told_by_numbers(tmp_path, ending):
    logs = [run(1, name="alpha"), run(2, name="beta"), run(3, name="alpha")]
    bad = tmp_path / "beta-broken.jsonl"
    bad.write_text("x\n")
    target = tmp_path / f"o.{ending}"
    write_several([*save(tmp_path, *logs), bad], target, redact=True)
    text = target.read_text(encoding="utf-8")
    for secret in ("alpha", "beta", str(tmp_path)):
        assert secret not in text
    for shown in ("‹host 1›", "‹host 2›"):
        assert shown in text
    assert "‹host 3›" not in text


# --- many ----------------------------------------------------------------------------------------


def test_hosts_vote_and_are_not_pooled():
    logs = [run(n, turned=("os.shared-kernel",) if n < 3 else ()) for n in range(10)]
    by_key = {over.key: over for over in over_hosts(digests(*logs))}
    parted = by_key["os.shared-kernel", "same-kernel", "minimal"]
    assert (parted.holds, parted.odd) == ("most", (0, 1, 2))
    assert holds_words(parted) == "holds on 7 of 10 hosts"
    # Clopper and Pearson's table: 7 of 10, 95 %.
    assert parted.share == pytest.approx((0.3475, 0.9333), abs=5e-4)
    whole = by_key[FAST]
    assert (whole.holds, whole.odd) == ("all", ())
    assert whole.share == pytest.approx((0.05**0.1, 1.0))
    assert share_words(whole) == "74.1% of hosts or more"


@pytest.mark.parametrize(
    ("said", "holds", "words"),
    [
        ("SSSS", "all", "holds on all 4 hosts"),
        ("SSSR", "most", "holds on 3 of 4 hosts"),
        ("SSRR", "some", "holds on 2 of 4 hosts"),
        ("SRRR", "some", "holds on 1 of 4 hosts"),
        ("RRRR", "none", "holds on none of 4 hosts"),
        ("SIIN", "all", "holds on 1 host"),
        ("RNNN", "none", "falls on 1 host"),
        ("IINN", "undecided", "decided on no host"),
        ("NNNN", "untested", "tested on no host"),
    ],
)
def test_the_verdict_over_hosts_in_words(said, holds, words):
    verdicts = dict(zip("SRIN", Verdict, strict=True))
    logs = [
        msgspec.structs.replace(
            log, results=(verdict(log.results[0], verdicts[letter], reason="why"),)
        )
        for log, letter in zip(map(run, range(4)), said, strict=True)
    ]
    [over] = over_hosts(digests(*logs))
    assert (over.holds, holds_words(over)) == (holds, words)
    assert sum(int(number) for number in re.findall(r"\d+", tally_words(over))) == 4
    undecided = said.count("I") + said.count("N")
    assert over.reasons == ((("why", undecided),) if undecided else ())


def test_of_a_host_with_several_runs_the_latest_counts():
    logs = [
        run(1, name="h", turned=("table.size",), started="2026-03-01T00:00:00Z"),
        run(2, name="h", started="2026-01-01T00:00:00Z"),
        run(3),
    ]
    over = {one.key: one for one in over_hosts(digests(*logs))}
    assert over["table.size", "container-below-1-gb", "minimal"].falls == (0,)
    assert over["table.size", "container-below-1-gb", "minimal"].stands == (2,)


def test_hosts_that_asked_something_else_have_no_vote():
    odd = run(3)
    results = tuple(
        msgspec.structs.replace(
            one,
            reading=msgspec.structs.replace(
                one.reading, question=msgspec.structs.replace(one.reading.question, min_n=99)
            ),
        )
        if isinstance(one.reading.question, Fact)
        else one
        for one in odd.results
    )
    logs = [run(1), run(2), msgspec.structs.replace(odd, results=results)]
    over = {one.key: one for one in over_hosts(digests(*logs))}
    assert over["os.shared-kernel", "same-kernel", "minimal"].otherwise == (2,)
    assert over["os.shared-kernel", "same-kernel", "minimal"].decided == 2
    assert over[FAST].decided == 3


def test_no_share_is_rounded_to_what_it_is_not():
    assert percent(1.0) == "100%"
    assert percent(0.99999) == "99.9%"
    assert percent(0.5) == "50%"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Thirty hosts; a third of them refute one claim, all of them emulated."""
    logs = [
        run(n, turned=("table.size",), tier="tcg") if n % 3 == 0 else run(n, tier="kvm-hw")
        for n in range(30)
    ]
    return gather(save(tmp_path_factory.mktemp("many"), *logs))


def test_many_are_told_over_hosts_with_those_that_deviate(many):
    assert len(many.runs) > FEW
    seen = many_hosts(many)
    assert {line.claim for line in seen.parted} == {"table.size"}
    line = seen.parted[0]
    assert line.groups == ("holds by tier: kvm-hw 20 of 20; tcg 0 of 10",)
    assert len(line.odd) == NAMED
    assert seen.hosts[0].odd == len(seen.parted)
    page = render(many)
    text = Page(page).text
    assert "Virtual machines and containers on 30 hosts" in text
    assert "holds on 20 of 30 hosts" in text
    assert text.index("Where hosts disagree") < text.index("Every reading")
    assert "<script" not in page
    assert "over hosts" in overview(many)


def test_the_tenth_host_that_deviates_is_the_last_with_a_name(tmp_path):
    logs = [run(n, turned=("table.size",) if n < 11 else ()) for n in range(24)]
    line = many_hosts(gather(save(tmp_path, *logs))).parted[0]
    assert (len(line.odd), line.odd_more) == (10, "and 1 more")
    assert line.strip.words[0] <= line.strip.words[2]


# --- the page ------------------------------------------------------------------------------------


def hostile_runs(folder: Path, n: int) -> list[Path]:
    logs = []
    for number in range(n):
        log = everywhere(run(number))
        head = msgspec.structs.replace(log.run, run_id=f"{HOSTILE}{number}")
        logs.append(msgspec.structs.replace(log, run=head))
    paths = save(folder, *logs)
    odd = folder / "<img src=x onerror=alert(1)>.jsonl"
    odd.write_text("x\n")
    return [*paths, odd]


@pytest.mark.parametrize("n", [3, FEW + 2])
def test_no_text_of_a_run_is_markup(tmp_path, n):
    found = gather(hostile_runs(tmp_path, n))
    text = render(found)
    page = Page(text)
    assert {tag for tag, _ in page.elements}.isdisjoint({"img", "script", "iframe"})
    assert not any(name.startswith("on") for _, own in page.elements for name in own)
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "alert(1)" in page.text
    for _, own in page.elements:
        assert not (own.get("href") or "#").startswith(("http", "javascript"))
        assert "style" not in own
    for line in overview(found).splitlines():
        assert "<img" not in line
        assert "\u202e" not in line


def test_ids_are_unique_and_headings_descend(many, tmp_path):
    few = gather(save(tmp_path, run(1), run(2, turned=("table.size",)), run(3)))
    for found in (few, many):
        page = Page(render(found))
        ids = [own["id"] for _, own in page.elements if "id" in own]
        assert len(ids) == len(set(ids))
        for _, own in page.elements:
            assert own.get("aria-labelledby", ids[0]) in ids
            if (target := own.get("href") or "").startswith("#"):
                assert target[1:] in ids
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels.count(1) == 1


def test_three_hosts_have_a_verdict_over_them_in_the_table(tmp_path):
    found = gather(save(tmp_path, run(1), run(2, turned=("table.size",)), run(3)))
    assert "holds on 2 of 3 hosts" in Page(render(found)).text
    assert "holds on 2 of 3 hosts" in overview(found)


def test_rendering_is_pure(many):
    assert render(many) == render(many)


@pytest.mark.browser
def test_both_pages_load_and_say_and_fetch_nothing(many, tmp_path, open_page, write_page):
    few = gather(save(tmp_path, run(1), run(2, turned=("table.size",))))
    for found in (few, many):
        page = open_page(write_page(render(found)))
        assert page.locator("a.skip").inner_text() == "Skip to the verdicts"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
