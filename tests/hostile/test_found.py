"""What fuzzing and reading have found: each input that broke something once."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from unittest import mock

import msgspec
import pytest
from targets import (
    BY_NAME,
    FEW,
    GOOD_CONFIG,
    GOOD_MANIFEST,
    LINES,
    PLACE,
    QMP_HELLO,
    _file,
    examine,
    recorded_lines,
    saved_image,
)

from pytest_vmvc import declaration, ledger, process, rejudge
from pytest_vmvc.backends import agent, control_group, oci
from pytest_vmvc.backends.docker_container import Container
from pytest_vmvc.backends.vagrant_command import VagrantCommand
from pytest_vmvc.compare_command import limits
from pytest_vmvc.errors import BuildFailed, InfrastructureError, UsageError
from pytest_vmvc.model import Verdict
from pytest_vmvc.plugin import budgets
from pytest_vmvc.report.scale import Scale

DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("agent", b"vmvc:done 0123456789abcdef 0 " + b"9" * 5000 + b" 1\n"),
        ("agent", b"vmvc:done 0123456789abcdef 890 2 1\nabc"),
        ("shell", b"vmvc:begin 0123456789abcdef 7\n\nvmvc:end 0123456789abcdef 256\n"),
        ("shell", b"\nvmvc:end 0123456789abcdef 0\nvmvc:begin 0123456789abcdef 7\n"),
        ("ssh-config", b"Host a\nHostName b\nUser c\nIdentityFile /k\nPort " + b"9" * 5000),
        ("vagrant", b"WARNING: something of Ruby's\n"),
        ("vagrant", b"\xff" * 3_000_000),
        ("registry", b'{"config": {"size": 1}, "layers": [1]}'),
        ("registry", b'{"config": ' + DEEP),
        ("registry", b"[]"),
        ("catalogue", DEEP),
        ("monitor", QMP_HELLO),
        ("monitor", b""),
        ("monitor", DEEP),
        ("proc", b"\0"),
        ("proc", b"MemTotal: x kB\nbtime " + b"9" * 5000),
        ("proc", b"some avg10\n\nsome avg10=x"),
        ("cgroup", b"\xff\n-1\n"),
        ("cgroup", b"x" * 5),
        ("ledger", b'{"record":"run","schema":' + DEEP),
        ("ledger", b'{"record":"run","schema":1e400}'),
        ("samples", b"[" + b"9" * 5000 + b"]"),
        ("samples", b"[" * 100_000),
        ("archive", DEEP),
    ],
)
def test_this_broke_something_once(target: str, data: bytes) -> None:
    BY_NAME[target].feed(data)


@pytest.mark.parametrize(
    "manifest",
    [
        [1], {}, [{"Config": 1, "Layers": []}], [{"Config": "c.json", "Layers": "l"}],
        [{"Config": "c.json", "Layers": ["../l"]}], [{"Config": "c.json", "Layers": ["-I x"]}],
        [{"Config": "c.json", "Layers": ["l/layer.tar $(reboot)"]}], [*GOOD_MANIFEST] * 2,
    ],
)  # fmt: skip
def test_a_saved_image_with_another_manifest_is_none(manifest: object) -> None:
    with pytest.raises(BuildFailed, match="no saved image"):
        oci.saved_layers(_file(saved_image(manifest, GOOD_CONFIG), "image.tar"))


def test_a_manifest_is_not_read_without_end() -> None:
    image = saved_image([*GOOD_MANIFEST, "x" * oci.JSON_LIMIT_BYTES], GOOD_CONFIG)
    with pytest.raises(BuildFailed, match="larger than 4 MiB"):
        oci.saved_layers(_file(image, "image.tar"))


def test_a_guest_cannot_announce_more_than_is_kept() -> None:
    reply = agent._Reply(b"0123456789abcdef")
    with pytest.raises(InfrastructureError, match="may print 64 MiB"):
        reply.add(b"vmvc:done 0123456789abcdef 0 999999999999 1\n")


def test_a_container_cannot_print_more_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads its stream stops; `run` then ends the command as it does at a deadline."""
    container = object.__new__(Container)
    container.name = "c"
    piece = bytes(32 << 20)
    frames = SimpleNamespace(frames=lambda _deadline: ((1, piece) for _ in range(1000)))
    stream = mock.MagicMock()
    stream.return_value.__enter__.return_value = frames
    monkeypatch.setattr("pytest_vmvc.backends.docker_container.Call", mock.Mock())
    monkeypatch.setattr("pytest_vmvc.backends.docker_container.Stream", stream)
    output = {1: bytearray(), 2: bytearray()}
    with pytest.raises(InfrastructureError, match="printed more than"):
        container._stream(mock.Mock(), "c", b"", output, SimpleNamespace(left_s=1.0))
    assert len(output[1]) <= process.OUTPUT_LIMIT_BYTES + len(piece)


def test_a_process_that_is_hidden_from_us_is_never_killed() -> None:
    """Its number is 0 here, and to signal 0 is to signal ourselves."""
    folder = PLACE / "hidden"
    folder.mkdir(exist_ok=True)
    (folder / "cgroup.procs").write_text("0\n17\n-1\n")
    assert control_group.Cgroup(cpu=folder, memory=folder).pids() == {17}


def test_a_path_out_of_the_groups_is_not_followed() -> None:
    (PLACE / "9").mkdir(exist_ok=True)
    (PLACE / "9" / "cgroup").write_text("0::/../../vmvc\n4:cpuacct,memory:/a/../../vmvc\n")
    with mock.patch.multiple(control_group, PROC=PLACE, MOUNT=PLACE):
        assert control_group.of_process(9, "vmvc") is None


def test_plugins_are_told_from_warnings() -> None:
    said = (
        b"WARNING: x\n1,,plugin-name,vagrant-libvirt\n"
        b"1,vagrant-libvirt,plugin-version,0.11.2%!(VAGRANT_COMMA) system\n"
    )
    with mock.patch.object(VagrantCommand, "_bounded", return_value=said):
        found = VagrantCommand(PLACE, home=PLACE).plugin_versions()
    assert found == {"vagrant-libvirt": "0.11.2"}


def test_headers_that_contradict_each_other_decide_nothing() -> None:
    lines = recorded_lines(("table.boot-time",))
    twice = [
        line.replace(b'"unit":"s"', b'"unit":"ms"')
        for line in lines
        if b'"record":"series"' in line
    ]
    log = ledger.read(_file(b"".join([*lines[:-1], *twice])))
    sound = ledger.read(_file(b"".join(lines)))
    assert Verdict.REFUTED in {one.judgement.verdict for one in rejudge.again(sound, sound.results)}
    judged = rejudge.again(log, log.results)
    assert {one.judgement.verdict for one in judged} == {Verdict.INCONCLUSIVE}
    assert all("contradict" in one.judgement.reason for one in judged)


@pytest.mark.parametrize(("field", "value"), [("min_n", 0), ("min_n", -6), ("confidence", 0.01)])
def test_a_reading_that_takes_nothing_is_not_read(field: str, value: float) -> None:
    lines = [json.loads(line) for line in LINES]
    for line in lines:
        if line["record"] == "result" and "confidence" in line["reading"]["question"]:
            line["reading"]["question"][field] = value
            line["family"] = []
    log = ledger.read(_file(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    assert all(getattr(one.reading.question, field, 1) != value for one in log.results)
    assert "cannot be read" in log.problems[0]


@pytest.mark.parametrize("values", [(5e-324, 1e-320), (1e308, -1e308), (0.0, 0.0), (5e-324, 1e308)])
@pytest.mark.parametrize("log", [None, True, False])
def test_an_axis_has_room_for_any_numbers(values: tuple[float, ...], log: bool | None) -> None:
    scale = Scale(values, unit="s", log=log)
    assert len(scale.ticks()) < 30
    assert all(-0.1 <= scale.fraction(value) <= 1.1 for value in (scale.low, scale.high))
    scale.axis()


def test_a_whole_number_that_no_float_stands_for_is_not_read() -> None:
    lines = [json.loads(line) for line in LINES]
    for line in lines:
        if line["record"] == "observation" and isinstance(line["value"], float):
            line["value"] = 10**400
    log = ledger.read(_file(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    assert "left out" in log.problems[0]
    examine(log, pictures=True)


def test_budgets_that_differ_in_their_unit_are_two() -> None:
    made = budgets.tests(
        [budgets.parse(f"container.cold_start<500{unit}") for unit in ("µs", "s", "us", "ms")]
    )
    [test] = made.values()
    names = [one.name for one in getattr(test, declaration.ATTRIBUTE).readings]
    assert len(names) == 3, "one is written twice: us is µs"
    with pytest.raises(pytest.UsageError, match="no figure is so large"):
        budgets.parse("container.cold_start<" + "9" * 400 + "s")


def test_a_limit_that_nothing_exceeds_is_none() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="nothing grows"):
        limits("startup:" + "9" * 400 + "%")


@pytest.mark.parametrize(
    "readings",
    [
        {"": declaration.below("container", "start_s", 1, "s")},
        {"a\nb": declaration.below("container", "start_s", 1, "s")},
        {"a" * 200: declaration.below("container", "start_s", 1, "s")},
        {"a": declaration.below("container", "start_s", 1, "s", min_n=0)},
        {"a": declaration.holds("container", "word", float("nan"))},
        {"a": declaration.holds("container", "word", 10**400)},
        {"a": declaration.holds("container", "word", "\ud800")},
        {"a": declaration.below("container", 5, 1, "s")},  # type: ignore[arg-type]
    ],
)
def test_a_reading_that_no_file_could_hold_is_refused(readings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"own\.start"):
        declaration.claim("own.start", quote="q", readings=readings)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", ["60", None, True, 10**400, float("nan")])
def test_a_threshold_is_a_number(threshold: object) -> None:
    with pytest.raises(UsageError, match="a threshold cannot be"):
        declaration.below("container", "start_s", threshold, "s")  # type: ignore[arg-type]


def test_a_newer_version_is_told_whatever_else_its_line_holds() -> None:
    run = json.loads(FEW[0]) | {"schema": 99, "host": {"deep": [[[]]]}}
    log = ledger.read(_file(json.dumps(run).encode() + b"\n" + b"".join(FEW[1:])))
    assert "newer pytest-vmvc (schema 99" in log.problems[0]
    assert msgspec.to_builtins(log.results)
