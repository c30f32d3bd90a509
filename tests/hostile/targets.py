"""What is fed with hostile bytes, and what must hold then.

A target is a function of bytes that raises only where a property is broken: an error that is none
of ours, a decisive verdict from nonsense, more kept than there may be. The same targets are fed by
Hypothesis in the suite and by a coverage-guided fuzzer in the tox environment `fuzz`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import math
import socket
import tarfile
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import msgspec
import pytest

from pytest_vmvc import compare, declaration, host, ledger, neighbours, plain, rejudge, samples
from pytest_vmvc import vitals as host_vitals
from pytest_vmvc.backends import (
    agent,
    console,
    control_group,
    oci,
    public_catalogue,
    qmp,
    registry,
    ssh_shell,
)
from pytest_vmvc.backends.base import Stopwatch
from pytest_vmvc.backends.docker_stream import Stream
from pytest_vmvc.backends.ssh_config import parse_ssh_config
from pytest_vmvc.backends.vagrant_command import VagrantCommand, meaningful_line
from pytest_vmvc.backends.vagrant_start import VagrantStart
from pytest_vmvc.compare_command import limits
from pytest_vmvc.errors import (
    BuildFailed,
    InfrastructureError,
    LaunchFailed,
    LedgerError,
    SamplesError,
    Unavailable,
    UsageError,
    VmvcError,
)
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import (
    Bound,
    Fact,
    Judgement,
    Observation,
    Opinion,
    Ratio,
    Reading,
    Result,
    Slope,
    Verdict,
    subjects_of,
)
from pytest_vmvc.plugin import baseline, budgets
from pytest_vmvc.report.files import KINDS
from pytest_vmvc.report.plot import plots
from pytest_vmvc.report.redact import redacted

RECORDED = Path(__file__).parents[2] / "docs/runs/2026-11-29-kvm-unusable/results.jsonl"
DECIDED = (Verdict.SUPPORTED, Verdict.REFUTED)
NONCE = "0123456789abcdef" * 2

NASTY = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0.0", b"1e-320", b"1.7e308", b"-1", b"0",
    b"9" * 400, b"9" * 5000, b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""',
    b"[" * 5000, b'{"a":' * 2000, b'"\\ud800"', b"\xff\xfe", b"\xed\xa0\x80", b"\0",
    b"\x1b]8;;x\x07",
    b"../../etc/passwd", b"/abs", b"\r\n", b"\xe2\x80\xae", b"\xef\xbb\xbf", b"A" * 3000,
    "٣".encode(), b'\\u0000', b"%s%n", b"{{7*7}}", b"$(id)", b"`id`", b"<script>",
)  # fmt: skip
"""What is put into sound input: numbers that are none, depths, lengths, escapes, paths."""


class Target(NamedTuple):
    """An input of the tool."""

    name: str
    what: str
    feed: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = (b"",)
    """Sound inputs, to be bent."""


class Choices:
    """Decisions drawn from bytes, so that any fuzzer can make them; zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, n: int) -> int:
        piece = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(piece, "big") % n

    def of(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


@contextlib.contextmanager
def only(*errors: type[BaseException]) -> Iterator[None]:
    """Errors that are meant for people; any other one is a finding."""
    with contextlib.suppress(*errors):
        yield


_FOLDER = tempfile.TemporaryDirectory(prefix="vmvc-hostile-")
PLACE = Path(_FOLDER.name)


def _file(data: bytes, name: str = "input") -> Path:
    path = PLACE / name
    path.write_bytes(data)
    return path


# --- results files -------------------------------------------------------------------------------


def recorded_lines(claims: Sequence[str], *, metrics: Sequence[str] = ()) -> list[bytes]:
    """The recorded run cut down to some claims: its first line, their evidence, their results."""
    log = ledger.read(RECORDED)
    results = [r for r in log.results if r.claim in claims and r.pair == "minimal"]
    wanted = {
        (r.experiment, r.pair, subject, r.reading.question.metric)
        for r in results
        for subject in (
            [] if isinstance(r.reading.question, Opinion) else subjects_of(r.reading.question)
        )
    }
    of = {(r.experiment, r.pair) for r in results}
    rows = [s for s in log.series if (s.experiment, s.pair, s.subject, s.metric.name) in wanted]
    seen = [o for o in log.observations if (o.experiment, o.pair, o.subject, o.metric) in wanted]
    others = [
        one
        for kind in (log.missing, log.retries, log.allowances, log.conditions)
        for one in kind
        if (one.experiment, one.pair) in of
    ]
    assert log.run is not None
    assert log.end is not None
    records = (log.run, *rows, *seen, *others, *results, log.end)
    return [ledger.encode(record) + b"\n" for record in records]


BOOT = tuple(recorded_lines(("perf.startup-faster",)))
LINES = tuple(recorded_lines(("table.boot-time", "perf.startup-faster", "os.shared-kernel")))
FEW = tuple(recorded_lines(("os.shared-kernel",)))


def feed_ledger(data: bytes) -> None:
    """Any bytes as a results file, and everything that is made of one but its pictures."""
    with only(LedgerError):
        log = ledger.read(_file(data))
        examine(log, pictures=False)


def feed_records(data: bytes) -> None:
    """A sound results file with some of its values replaced by others."""
    with only(LedgerError):
        examine(ledger.read(_file(bent_records(Choices(data)))), pictures=False)


def feed_page(data: bytes) -> None:
    """The same, with its page and its charts, which are dear."""
    with only(LedgerError):
        examine(ledger.read(_file(bent_records(Choices(data), BOOT))), pictures=True)


VALUES: tuple[Any, ...] = (
    -1, 0, 1, -0.0, 1e308, -1e308, 5e-324, 1e-320, 2**53, 2**62, -(2**62), 0.5, 2.0, 1e9, 1e-9,
    10**400, -(10**400),
    "", "x", "\0", "\ud800", "../../x", "s", "bytes", "ratio", "\x1b[2J", "\u202e", "<b>", None,
    True, False, [], {}, [1], ["a"], {"a": 1}, {"\ud800": 1.0}, "nan", "vm", "host", "container",
    "SUPPORTED", "REFUTED", ">", "<", "same", "is", "inflates", "A" * 5000,
)  # fmt: skip


def bent_records(choose: Choices, sound: Sequence[bytes] = LINES) -> bytes:
    """Lines left out, doubled or swapped, and values replaced anywhere in them."""
    lines = [json.loads(line) for line in sound]
    while choose.left:
        at = choose.below(len(lines))
        match choose.below(12):
            case 0:
                del lines[at : at + 1 + choose.below(8)]
                lines = lines or [json.loads(sound[0])]
            case 1:
                lines.insert(at, lines[choose.below(len(lines))])
            case _:
                replace(lines[at], choose)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def replace(value: Any, choose: Choices) -> None:
    """Put another value somewhere into plain data."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = choose.of(keys)
        child = value[key]
        if not isinstance(child, dict | list) or not child or choose.below(8) == 0:
            # Mostly of the same kind, so that the line stays one that is read.
            like = [one for one in VALUES if _kind(one) is _kind(child)]
            options = VALUES if choose.below(4) == 0 or not like else like
            value[key] = copy.deepcopy(choose.of(options))
            return
        value = child


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) else type(value)


def examine(log: RunLog, *, pictures: bool) -> None:
    """Judge and show all of it: nothing may break, and no verdict may rest on nonsense."""
    for one in rejudge.again(log, log.results):
        if one.judgement.verdict in DECIDED:
            problem = unfounded(log, one.result.reading, one.result, one.judgement)
            assert problem is None, f"{one.judgement.verdict.value}: {problem}"
    with only(VmvcError):
        rejudge.selected(log)
    for kind, made in KINDS.items():
        if pictures or kind != ".html":
            made(log).encode()
    hidden = redacted(log)
    for kind in (".md", ".csv"):
        KINDS[kind](hidden).encode()
    compare.compare(log, log)
    if pictures:
        for claim in dict.fromkeys(result.claim for result in log.results):
            with only(UsageError):
                for plot in plots(log, claim):
                    plot.svg.encode()
                    assert "/" not in plot.name
                    assert len(plot.name) < 200


def unfounded(log: RunLog, reading: Reading, result: Result, judgement: Judgement) -> str | None:
    """Why no verdict can rest on this, found out in another way than the judge does; or None."""
    question = reading.question
    if isinstance(question, Opinion):
        return "an opinion"
    if question.min_n < 1:
        return f"{question.min_n} samples were enough"
    for subject in subjects_of(question):
        of = (result.experiment, result.pair, subject, question.metric)
        rows = [o for o in log.observations if (o.experiment, o.pair, o.subject, o.metric) == of]
        units = {
            s.metric.unit
            for s in log.series
            if (s.experiment, s.pair, s.subject, s.metric.name) == of
        }
        if not rows:
            return f"nothing was seen of {subject}"
        if len(units) != 1:
            return f"{subject}'s figures are in {units}"
        if problem := _no_samples(question, rows, units.pop()):
            return problem
    estimate = judgement.estimate
    if isinstance(question, Fact):
        return None
    if estimate is None:
        return "there is no estimate"
    if not 0.5 < question.confidence < 1:
        return f"the confidence is {question.confidence}"
    ends = [end for end in (estimate.low, estimate.effect, estimate.high) if end is not None]
    if not all(map(math.isfinite, ends)) or any(a > b for a, b in pairwise(ends)):
        return f"the interval is {ends}"
    return None if estimate.n >= question.min_n else f"there are {estimate.n} samples"


def _no_samples(
    question: Bound | Ratio | Slope | Fact, rows: Sequence[Observation], unit: str
) -> str | None:
    values = [row.value for row in rows]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not all(map(math.isfinite, numbers)):
        return "a sample is not finite"
    if isinstance(question, Fact):
        return None
    if len(numbers) < len(values):
        return "a sample is no number"
    if unit == "s" and min(numbers) < 0:
        return "a duration is negative"
    if isinstance(question, Bound) and unit != question.unit:
        return f"a bound in {question.unit!r} for figures in {unit!r}"
    return None


def feed_baseline(data: bytes) -> None:
    """Any bytes as a baseline."""
    with only(pytest.UsageError):
        found = baseline.load(_file(data))
        found.of("table.boot-time", "vm-in-minutes", "minimal")
        found.check(host.manifest("tcg"))


# --- plain samples -------------------------------------------------------------------------------


def feed_samples(data: bytes) -> None:
    """Any bytes as a file of numbers, judged by a bound and by a ratio."""
    with only(SamplesError):
        found = samples.read(_file(data))
        for op in ("<", ">="):
            _expect_founded(plain.judge_bound(found, op, 1.0), found)
        other = samples.read(_file(b"1\n2\n3\n4\n5\n6\n7\n8\n", "other"))
        for paired in (False, True):
            for a, b in ((found, other), (other, found)):
                with only(SamplesError):
                    judged = plain.judge_ratio(a, b, ">", 1.0, paired=paired)
                    _expect_founded(judged, found)


def _expect_founded(judged: Judgement, found: samples.Samples) -> None:
    if judged.verdict in DECIDED:
        assert len(found.values) >= 6
        assert all(math.isfinite(value) and value >= 0 for value in found.values)
        assert not all(found.censored or [False])
        assert judged.estimate is not None


# --- declarations, options -----------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    "container", "vm", "start_s", "s", "", " ", "\0", "a\nb", "../x", "A" * 400, "\x1b[1m", 60,
    1.25,
    0, -1, -0.0, math.nan, math.inf, -math.inf, 10**400, None, True, (), [], {}, b"s", object, 6,
    "SUPPORTED", "own.start", "own", "a", 3.5, "1", ("minimal",), ("minimal", 1), "minimal",
)  # fmt: skip


def feed_declaration(data: bytes) -> None:
    """Claims and readings made of values that make no sense."""
    choose = Choices(data)

    def odd(sound: Any) -> Any:
        return copy.copy(choose.of(ODD)) if choose.below(8) == 1 else sound

    def who() -> tuple[Any, Any]:
        return odd("container"), odd("start_s")

    makers: tuple[Callable[[], Any], ...] = (
        lambda: declaration.below(*who(), odd(60), odd("s"), min_n=odd(6)),
        lambda: declaration.at_least(*who(), odd(1.5), odd("s"), min_n=odd(6)),
        lambda: declaration.ratio(*who(), over=odd("vm"), above=odd(1.25), min_n=odd(6)),
        lambda: declaration.slope(*who(), over=odd(""), below=odd(1), unit=odd("s/byte")),
        lambda: declaration.same(*who(), other=odd("host"), min_n=odd(1)),
        lambda: declaration.holds(*who(), odd(True), min_n=odd(2)),
        lambda: declaration.opinion(odd("a taste")),
    )
    with only(UsageError):
        asked = choose.of(makers)()
        if choose.below(2):
            asked = asked.expecting(odd("REFUTED"), why=odd("so it is"))
        if choose.below(2):
            asked = asked.on(odd("minimal"))
        name = odd("soon")

        def test_it() -> None:
            """A claim of one's own."""

        declared = declaration.claim(
            odd("own.start"), quote=odd("it starts soon"),
            readings=odd({name if isinstance(name, Hashable) else "soon": odd(asked)}),
            pairs=odd(()), published=odd(()), contradicts=odd(("own.other",)), any_of=odd(()),
        )(test_it)  # fmt: skip
        claim = getattr(declared, declaration.ATTRIBUTE)
        # What passes must be what a results file can hold.
        for reading in claim.readings:
            msgspec.convert(msgspec.to_builtins(reading), Reading)
            assert reading.name.isprintable()
            assert reading.name.strip()


def feed_budget(data: bytes) -> None:
    """Any text as a budget."""
    text = data.decode("utf-8", errors="surrogateescape")
    with only(pytest.UsageError, UsageError):
        found = budgets.parse(text)
        budgets.tests([found, budgets.parse("container.cold_start<500ms")])


def feed_fail_on(data: bytes) -> None:
    """Any text behind ``--fail-on``: every limit is a number that something can exceed."""
    with only(argparse.ArgumentTypeError):
        for limit in limits(data.decode("utf-8", errors="surrogateescape")).figures:
            assert 1 <= limit.factor < math.inf


# --- what guests and engines say -----------------------------------------------------------------


def _pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes in pieces, whose sizes are told by the first of them."""
    size = 1 + (data[0] if data else 0) * 16
    for at in range(0, len(data), size):
        yield data[at : at + size]


def feed_console(data: bytes) -> None:
    """A guest's console: the nonce alone is an answer, little is kept, people can read it."""
    found = console.Console(mock.Mock(spec=socket.socket), name="hostile")
    answer = f"vmvc:nonce {NONCE}".encode()
    found._watch = Stopwatch()
    found._texts = {"kernel": b"Linux version", "answer": answer}
    found._last, found._first_byte = "answer", "firmware"
    for piece in _pieces(data):
        found._take(piece)
    assert found._answered == (answer in data)
    assert len(found._tail) <= console.KEPT_BYTES
    assert len(found._window) <= console.OVERLAP_BYTES
    assert all(c == "\n" or c.isprintable() for c in found.tail())


def feed_agent(data: bytes) -> None:
    """The channel of a bare machine's agent: what it answers is what it says it is."""
    reply = agent._Reply(b"0123456789abcdef")
    with only(InfrastructureError):
        for piece in _pieces(data):
            reply.add(piece)
            if reply.complete:
                out, err = reply.streams
                assert len(out) + len(err) <= len(data)
                assert 0 <= reply.exit_status < 256
                break
        assert reply._sizes or len(reply._buffer) <= agent.HEADER_BYTES


def feed_shell(data: bytes) -> None:
    """The shell that stays in a Vagrant machine: its marks alone end an output."""
    reply = ssh_shell.Reply(b"0123456789abcdef")
    for piece in _pieces(data):
        if reply.add_output(piece):
            assert b"\nvmvc:end 0123456789abcdef" in data
            assert 0 <= reply.exit_status < 256
            break
    assert reply.pid is not None or len(reply.out) <= ssh_shell.MARK_BYTES
    for piece in _pieces(data):
        if reply.add_errors(piece):
            break
    assert len(reply.out) + len(reply.err) <= 2 * len(data)


def feed_frames(data: bytes) -> None:
    """The raw stream of a container's output."""
    stream = object.__new__(Stream)
    pieces = iter([*_pieces(data), b""])
    stream._reader = SimpleNamespace(read1=lambda _size: next(pieces))
    stream._socket = SimpleNamespace(settimeout=lambda _left_s: None)
    stream._pending = b""
    deadline = SimpleNamespace(check=lambda: None, left_s=1.0)
    given = sum(len(piece) for _, piece in stream.frames(deadline))
    assert given <= len(data)


def feed_ssh_config(data: bytes) -> None:
    """Any text as an ssh configuration: what is taken from it is no option and no command."""
    with only(LaunchFailed):
        found = parse_ssh_config(data.decode(errors="replace"))
        assert 0 < found.port < 65536
        for word in (found.host, found.user):
            assert word
            assert not word.startswith("-")
            assert word.isprintable()
            assert " " not in word
        assert all(path.startswith("/") and path.isprintable() for path in found.identity_files)


def feed_vagrant(data: bytes) -> None:
    """What ``vagrant`` prints: machine-readable, for people, and while a machine comes up."""
    assert len(meaningful_line(data.decode(errors="replace"))) <= 300
    command = VagrantCommand(PLACE, home=PLACE)
    with mock.patch.object(VagrantCommand, "_bounded", return_value=data):
        with only(Unavailable):
            command.version()
        command.plugin_versions()
        with only(LaunchFailed):
            parse_ssh_config(command.ssh_config())
    start = VagrantStart(command, listen=False)
    pieces = iter(_pieces(data))
    start._up = mock.Mock()
    with mock.patch("os.read", side_effect=lambda _fd, _size: next(pieces)):
        for _ in _pieces(data):
            start._on_output()
    assert len(start._line) <= 1 << 20
    start._up = None
    start.close()


def feed_registry(data: bytes) -> None:
    """A registry's answer: a number of bytes that is one, or a ValueError, as documented."""
    opener = SimpleNamespace(open=lambda *_a, **_k: contextlib.closing(io.BytesIO(data)))
    with mock.patch("urllib.request.build_opener", return_value=opener), only(ValueError):
        found = registry.Registry("r", "127.0.0.1:1").image_bytes("a/b", "1")
        assert 0 <= found < 2**64


def feed_catalogue(data: bytes) -> None:
    """A public catalogue's answer."""

    def answer(*_a: object, **_k: object) -> Any:
        return contextlib.closing(io.BytesIO(data))

    asked = public_catalogue.PublicCatalogue()
    with mock.patch("urllib.request.urlopen", answer):
        for ask in (asked.images, asked.boxes):
            with only(Unavailable):
                found = ask("alpine")
                assert found.count >= 0
                assert (found.pulls or 0) >= 0
                assert 0 <= (found.age_days or 0) < math.inf


def feed_archive(data: bytes) -> None:
    """Any bytes as a saved image: its layers are files of the archive, by plain names."""
    with only(BuildFailed):
        layers, digests = oci.saved_layers(_file(data, "image.tar"))
        assert all(isinstance(one, str) for one in (*layers, *digests))
        for layer in layers:
            assert not layer.startswith(("/", "-"))
            assert ".." not in Path(layer).parts
            assert not set(layer) & set(" \t\n$*?[\\'\"\0")


def saved_image(manifest: Any, config: Any, layer: bytes | None = None) -> bytes:
    """An archive as ``docker save`` makes it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("bin"))
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            ("c.json", json.dumps(config).encode()),
            ("l/layer.tar", inner.getvalue() if layer is None else layer),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


GOOD_MANIFEST = [{"Config": "c.json", "Layers": ["l/layer.tar"]}]
GOOD_CONFIG = {"rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}


def feed_manifest(data: bytes) -> None:
    """A saved image whose two JSON files have other values in them."""
    choose = Choices(data)
    both = {
        "manifest": json.loads(json.dumps(GOOD_MANIFEST)),
        "config": json.loads(json.dumps(GOOD_CONFIG)),
    }
    while choose.left:
        replace(both, choose)
    feed_archive(saved_image(both["manifest"], both["config"]))


QMP_HELLO = (
    b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, '
    b'"capabilities": []}}\r\n'
)


def feed_qmp(data: bytes) -> None:
    """What stands where QEMU's monitor should be, after its greeting and instead of it."""
    ours, theirs = socket.socketpair()
    monitor = qmp.Monitor(ours, name="hostile")
    try:
        with theirs:
            theirs.setblocking(False)
            with contextlib.suppress(OSError):
                theirs.sendall(data)
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_WR)
            with only(VmvcError):
                monitor.execute("query-status", timeout_s=5.0)
            with only(VmvcError):
                monitor.wait_for("SHUTDOWN", timeout_s=0.01)
            assert len(monitor.events) <= qmp.EVENTS_KEPT
    finally:
        monitor.close()
    assert not monitor._thread.is_alive()


# --- the kernel's files --------------------------------------------------------------------------

KERNEL_FILES = (
    "proc/stat", "proc/meminfo", "proc/vmstat", "proc/loadavg", "proc/mounts", "proc/cpuinfo",
    "proc/pressure/cpu", "proc/pressure/io", "proc/self/cgroup", "proc/self/stat", "etc/os-release",
    "sys/fs/cgroup/cpu.stat", "sys/devices/system/clocksource/clocksource0/current_clocksource",
    "proc/1/stat", "proc/7/stat",
)  # fmt: skip


def feed_proc(data: bytes) -> None:
    """Any bytes in /proc and /sys: figures are finite and not negative, or are not told."""
    root = PLACE / "root"
    parts = data.split(b"\x1e")
    for index, name in enumerate(KERNEL_FILES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parts[index % len(parts)])
    found = msgspec.to_builtins(host_vitals.read(root=root))
    figures = [found[name] for name in found if name not in ("real_ahead_s", "clock_source")]
    figures += figures.pop(figures.index(found["pressure_s"])).values()
    assert all(figure is None or 0 <= figure < math.inf for figure in figures)
    told = [neighbours._parsed(part.decode(errors="replace")) for part in parts]
    seen = {process.pid: process for process in told if process is not None}
    assert 0 <= neighbours.cpu_s({}, seen, own=1) < math.inf
    host.manifest("tcg", root=root)
    host.host_facts(root=root)
    assert all(map(math.isfinite, host.load_snapshot(root=root).values()))


def feed_cgroup(data: bytes) -> None:
    """Any bytes in the files of a control group: OSError or KeyError, as documented."""
    root = PLACE / "groups"
    for name in ("7/cgroup", "g/cpu.stat", "g/memory.current", "g/memory.stat", "g/cgroup.procs"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    with mock.patch.multiple(control_group, PROC=root, MOUNT=root):
        control_group.of_process(7, "vmvc")
        group = control_group.Cgroup(cpu=root / "g", memory=root / "g")
        assert all(pid > 0 for pid in group.pids())
        with only(OSError, KeyError):
            held = group.held()
            assert 0 <= held.cpu_s < math.inf
            assert held.memory_bytes >= 0


_STAT = b"cpu  10 0 5 100 1 0 0 2 0 0\ncpu0 10 0 5 100 1 0 0 2 0 0\nbtime 1764000000\n"
_PROC_SEED = b"\x1e".join(
    (
        _STAT, b"MemTotal: 100 kB\nMemAvailable: 50 kB\nSwapTotal: 0 kB\n",
        b"pswpin 1\npswpout 2\n", b"0.1 0.2 0.3 1/100 5\n", b"cgroup /c cgroup2 rw 0 0\n",
        b"model name\t: CPU\n", b"some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n",
        b"full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n", b"0::/a/b\n4:cpu,cpuacct:/a\n",
        b"7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 1 2 3 4 20 0 1 0 55 1 1 " + b"0 " * 20,
        b'PRETTY_NAME="Debian"\nID=debian\n', b"usage_usec 5\nthrottled_usec 12\n",
    )
)  # fmt: skip
_SSH = (
    b"Host default\n  HostName 192.168.121.7\n  User vagrant\n  Port 22\n"
    b'  UserKnownHostsFile /dev/null\n  IdentityFile "/tmp/key"\n  LogLevel FATAL\n'
)
_VAGRANT = (
    b"1764000000,,version-installed,2.3.4\n1764000000,default,state,running\n"
    b"==> default: Starting domain.\nSSH address: 1.2.3.4:22\r\nVagrant 2.3.4\n"
)
_MANIFEST = b'{"schemaVersion":2,"config":{"size":1469},"layers":[{"size":2000000},{"size":12}]}'
_HUB = (
    b'{"count": 12, "pull_count": 7, "last_updated": "2025-01-02T03:04:05Z", "boxes": '
    b'[{"tag": "a/alpine", "downloads": 3, "updated_at": "2025-01-02T03:04:05.000Z"}]}'
)

TARGETS = (
    Target("ledger", "results file, bytes and lines", feed_ledger, (b"".join(FEW), LINES[0])),
    Target("records", "results file, sound lines with other values", feed_records),
    Target("page", "the same, for the page and its charts", feed_page),
    Target("baseline", "baseline", feed_baseline, (b"".join(FEW),)),
    Target(
        "samples",
        "plain samples: text, CSV, JSON",
        feed_samples,
        (b"time (s)\n1.5\n2\n>300\n3\n4\n5\n6\n7\n", b'[1, 2.5, ">3", 4, 5, 6, 7]', b"1\n2\n" * 4),
    ),
    Target("declaration", "readings and claims, as declared", feed_declaration),
    Target(
        "budget",
        "`--vmvc-budget`",
        feed_budget,
        (b"container.cold_start<500ms", b"vm.fleet.pss_bytes<=128MiB"),
    ),
    Target("fail-on", "`--fail-on`", feed_fail_on, (b"verdict,startup:10%", b"pss_bytes:2.5%")),
    Target(
        "console",
        "a guest's console",
        feed_console,
        (f"\x05Linux version 6\r\nvmvc:nonce {NONCE}\n".encode(),),
    ),
    Target(
        "agent",
        "a guest's answer to a command",
        feed_agent,
        (b"\x03vmvc:done 0123456789abcdef 0 2 1\nabc",),
    ),
    Target(
        "shell",
        "a Vagrant machine's answer to a command",
        feed_shell,
        (
            b"\x03vmvc:begin 0123456789abcdef 7\nab\nvmvc:end 0123456789abcdef 3\n",
            b"\x03ab\nvmvc:end 0123456789abcdef\n",
        ),
    ),
    Target(
        "frames",
        "a container's output stream",
        feed_frames,
        (b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01c",),
    ),
    Target("ssh-config", "`vagrant ssh-config`", feed_ssh_config, (_SSH,)),
    Target("vagrant", "what `vagrant` prints", feed_vagrant, (_VAGRANT, _SSH)),
    Target("registry", "a registry's manifest", feed_registry, (_MANIFEST,)),
    Target("catalogue", "a public catalogue's answer", feed_catalogue, (_HUB, b"{}")),
    Target(
        "archive", "a saved image, bytes", feed_archive, (saved_image(GOOD_MANIFEST, GOOD_CONFIG),)
    ),
    Target("manifest", "a saved image, its JSON files", feed_manifest),
    Target(
        "monitor",
        "QEMU's monitor",
        feed_qmp,
        (QMP_HELLO + b'{"return": {}, "id": "x"}\r\n', QMP_HELLO),
    ),
    Target("proc", "/proc and /sys", feed_proc, (_PROC_SEED, _STAT)),
    Target(
        "cgroup",
        "files of a control group",
        feed_cgroup,
        (
            b"usage_usec 5\ninactive_file 3\n",
            b"12\n",
            b"0::/vmvc-r1\n4:cpuacct:/vmvc\n5:memory:/vmvc\n",
        ),
    ),
)
BY_NAME = {target.name: target for target in TARGETS}
