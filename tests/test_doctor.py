"""The diagnosis: what counts, what is said, and in which form."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pytest_vmvc import doctor
from pytest_vmvc.diagnosis import Diagnosis, Row, as_json, as_text, show
from pytest_vmvc.doctor import (
    engine_words,
    gates_row,
    guarded,
    inspect,
    pair_row,
    room,
    vagrant_row,
)
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.model import Check

GIB = 1 << 30
ENGINE = {
    "name": "Docker",
    "version": "20.10.24",
    "api_version": "1.41",
    "url": "unix:///var/run/docker.sock",
    "storage_driver": "overlay2",
    "cgroup_version": "1",
    "cgroup_driver": "cgroupfs",
    "runtimes": ["io.containerd.runc.v2", "runc", "runsc"],
    "default_runtime": "runc",
    "rootless": False,
}
VAGRANT = {
    "vagrant": "2.3.4",
    "providers": ["libvirt (vagrant-libvirt 0.11.2)"],
    "others": [],
    "kvm_hidden_from_machines": False,
    "problem": None,
}


def row(name: str, state: str = "OK", *, main: bool = False) -> Row:
    remedy = "" if state == "OK" else f"mend {name}"
    return Row(name=name, state=state, detail=f"about {name}", remedy=remedy, main=main)


def diagnose(*rows: Row) -> Diagnosis:
    return inspect([lambda row=row: row for row in rows])


def test_ready_when_everything_that_the_main_job_needs_is_there() -> None:
    found = diagnose(row("engine", main=True), row("vagrant", "missing"), row("disk", "problem"))

    assert found.ready


@pytest.mark.parametrize("state", ["missing", "problem"])
def test_not_ready_without_one_of_the_main_things(state: str) -> None:
    found = diagnose(row("engine", main=True), row("qemu", state, main=True))

    assert not found.ready
    assert as_text(found).endswith("not ready: qemu — run `vmvc setup`")


def test_the_main_things_are_engine_qemu_and_the_minimal_pair() -> None:
    found = inspect()

    assert {row.name for row in found.rows if row.main} == {"engine", "qemu", "minimal pair"}
    assert len(found.rows) == len(doctor.PROBES)
    assert all(row.remedy for row in found.rows if row.state != "OK")


def test_text_is_aligned_and_carries_the_remedy_below() -> None:
    lines = as_text(diagnose(row("engine", main=True), row("a long name", "missing"))).splitlines()

    assert lines[0].startswith("pytest-vmvc ")
    assert lines[1] == "OK       engine       about engine"
    assert lines[2] == "missing  a long name  about a long name"
    assert lines[3] == "                      remedy: mend a long name"


def test_json_holds_rows_host_and_the_answer() -> None:
    document = json.loads(as_json(diagnose(row("engine", main=True))))

    assert document["ready"] is True
    assert document["rows"][0]["state"] == "OK"
    assert document["host"]["kernel"]


def test_into_a_pipe_no_line_is_wrapped_and_nothing_is_coloured() -> None:
    file = io.StringIO()
    long = Row(name="engine", state="OK", detail="x" * 300)

    show(diagnose(long), Console(file=file))

    assert "x" * 300 in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_on_a_terminal_a_table_with_colours_unless_no_color_is_set() -> None:
    def shown(**options: bool) -> str:
        file = io.StringIO()
        console = Console(
            file=file, force_terminal=True, width=100, color_system="standard", **options
        )
        show(diagnose(row("engine")), console)
        return file.getvalue()

    assert "\x1b[32m" in shown()
    assert "\x1b[32m" not in shown(no_color=True)
    assert "─" in shown()


def test_what_is_not_installed_is_missing_and_what_does_not_answer_is_a_problem() -> None:
    def fail(message: str) -> Row:
        def tell() -> str:
            raise Unavailable(message, hint="do this")

        return guarded("engine", tell, main=True)

    assert fail("docker is not installed").state == "missing"
    assert fail("no permission on the socket").state == "problem"
    assert fail("no permission on the socket").remedy == "do this"


def test_gates_that_would_fail_are_named_with_their_figure() -> None:
    def check(name: str, *, passed: bool | None) -> Check:
        figure = None if passed is None else 51.0
        return Check(name=name, figure=figure, op="<=", limit=10, unit="%", passed=passed)

    noisy = gates_row(
        (check("steal", passed=True), check("load", passed=False), check("heat", passed=None))
    )
    assert noisy.state == "problem"
    assert noisy.detail == (
        "2 of 3 gates, not available: heat; would fail now: load 51.0%, limit 10%"
    )
    calm = gates_row((check("steal", passed=True), check("heat", passed=None)))
    assert (calm.state, calm.remedy) == ("OK", "")
    assert calm.detail == "1 of 2 gates, not available: heat; all would pass now"


def test_the_engine_in_words() -> None:
    words = engine_words(ENGINE)

    assert words.startswith("Docker 20.10.24 (API 1.41), storage overlay2, cgroup v1 by cgroupfs")
    assert "runtimes runc runsc (default runc)" in words
    assert "rootless" not in words
    assert "; rootless: " in engine_words({**ENGINE, "rootless": True})


def test_vagrant_with_its_provider_is_fine() -> None:
    found = vagrant_row(VAGRANT)

    assert found.state == "OK"
    assert found.detail == "2.3.4, provider libvirt (vagrant-libvirt 0.11.2)"


def test_vagrant_that_is_absent_has_the_backends_own_remedy() -> None:
    found = vagrant_row(
        {**VAGRANT, "vagrant": None, "problem": "vagrant is not installed — install it"}
    )

    assert (found.state, found.remedy) == ("missing", "install it")


def test_vagrant_without_the_plugin_is_of_no_use() -> None:
    found = vagrant_row({**VAGRANT, "providers": []})

    assert found.state == "missing"
    assert "vagrant-libvirt" in found.remedy


def test_a_machine_without_kvm_though_the_host_has_it_is_mentioned() -> None:
    assert "KVM is hidden" in vagrant_row({**VAGRANT, "kvm_hidden_from_machines": True}).detail
    others = vagrant_row({**VAGRANT, "others": ["virtualbox (VirtualBox 7.0)"]})
    assert others.detail.endswith("; with tier other: virtualbox (VirtualBox 7.0)")


def test_a_pair_is_built_or_missing() -> None:
    assert pair_row("minimal", object).state == "OK"
    assert pair_row("minimal", lambda: None).state == "missing"


def test_too_little_room_is_a_problem_with_figures() -> None:
    found = room("disk", GIB, needed_bytes=4 * GIB, where=" at /x", remedy="free some")

    assert found.state == "problem"
    assert found.detail == "1.0 GiB free at /x, 4 GiB wanted"
    assert room("disk", 5 * GIB, needed_bytes=4 * GIB, where="", remedy="x").remedy == ""
