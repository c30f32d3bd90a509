"""Whose host it was is left out, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from sample_run import sample_log

from pytest_vmvc.__main__ import main
from pytest_vmvc.ledger import RunLog, collect, encode
from pytest_vmvc.report.redact import ADDRESS, NAME, PATH, redacted

LOG = sample_log()


def shown(text: str) -> str:
    """What becomes of a text in a finding."""
    result = LOG.results[0]
    judgement = msgspec.structs.replace(result.judgement, finding=text)
    changed = msgspec.structs.replace(result, judgement=judgement)
    return redacted(collect((LOG.run, changed, LOG.end))).results[0].judgement.finding


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cp /home/ada/secret/box.img there", f"cp {PATH} there"),
        ("in ~/.cache/pytest-vmvc/x,", f"in {PATH}"),
        ("read /proc/self/status and /dev/kvm", "read /proc/self/status and /dev/kvm"),
        ("docker run vmvc/minimal:1", "docker run vmvc/minimal:1"),
        ("ssh 192.168.121.7 -p 22", f"ssh {ADDRESS} -p 22"),
        ("on 127.0.0.1:5000 and ::1", "on 127.0.0.1:5000 and ::1"),
        ("fe80::5054:ff:fe12:3456 said", f"{ADDRESS} said"),
        ("52:54:00:12:34:56 is its card", f"{ADDRESS} is its card"),
        ("QEMU 7.2.22 at 12:30:45, 0.3 s", "QEMU 7.2.22 at 12:30:45, 0.3 s"),
        ("Debian 1:1.35.0-4+deb12u1", "Debian 1:1.35.0-4+deb12u1"),
        ("2.5 s/byte, 3 of 4 and/or more", "2.5 s/byte, 3 of 4 and/or more"),
    ],
)
def test_what_is_left_out_and_what_stays(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_the_host_has_no_name_anywhere() -> None:
    name = LOG.run.host.name
    found = redacted(LOG)
    assert found.run.host.name == NAME
    assert name not in " ".join(encode(record).decode() for record in found.records()).split()


def named(name: str, finding: str) -> RunLog:
    """The made-up run on a host of that name, with that finding."""
    run = msgspec.structs.replace(LOG.run, host=msgspec.structs.replace(LOG.run.host, name=name))
    result = LOG.results[0]
    judgement = msgspec.structs.replace(result.judgement, finding=finding)
    changed = msgspec.structs.replace(result, judgement=judgement)
    return redacted(collect((run, *LOG.series, changed, LOG.end)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seen on ada.", f"seen on {NAME}."),
        ("ada: 3 s", f"{NAME}: 3 s"),
        ("ada-2 and ada.example", f"ada-2 and {NAME}"),
    ],
)
def test_a_name_ends_where_its_sentence_does(text: str, wanted: str) -> None:
    assert named("ada", text).results[0].judgement.finding == wanted


def test_a_host_that_is_called_vm_does_not_make_its_machines_hosts() -> None:
    found = named("vm", "vm: boots in 3 s")
    assert found.run.host.name == NAME
    assert found.results[0].judgement.finding == "vm: boots in 3 s"
    assert {one.subject for one in found.series} == {one.subject for one in LOG.series}


def test_figures_and_verdicts_stay() -> None:
    found = redacted(LOG)
    assert [o.value for o in found.observations if isinstance(o.value, float)] == [
        o.value for o in LOG.observations if isinstance(o.value, float)
    ]
    assert [r.judgement.verdict for r in found.results] == [
        r.judgement.verdict for r in LOG.results
    ]


def test_the_command_redacts_a_page_and_its_data(tmp_path) -> None:
    run = msgspec.structs.replace(
        LOG.run, host=msgspec.structs.replace(LOG.run.host, name="secret-host")
    )
    source = tmp_path / "results.jsonl"
    log = msgspec.structs.replace(LOG, run=run)
    source.write_bytes(b"".join(encode(record) + b"\n" for record in log.records()))
    for ending in ("html", "md", "csv"):
        target = tmp_path / f"out.{ending}"
        assert main(["report", str(source), "-o", str(target), "--redact"]) == 0
        assert "secret-host" not in target.read_text(encoding="utf-8")
