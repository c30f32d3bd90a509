"""What the host does to a run: disks that fill up, folders that go, other runs, clocks, a lid."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pytest_vmvc import ledger
from pytest_vmvc.backends import accelerator
from pytest_vmvc.backends.accelerator import Accelerator
from pytest_vmvc.backends.docker import ContainerSpec, DockerProvider
from pytest_vmvc.errors import LaunchTimedOut, Unavailable
from pytest_vmvc.gates import SUSPEND, checks, excused
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.measure import RETRIES, Plan, Sample, Suspended, interleave
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_vmvc"
DEADLINE_S = 300.0  # bounds a hang, expects nothing of the host

CONFTEST = """
import os, shutil, time
from contextlib import contextmanager
from pathlib import Path
import pytest
from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Pair

def fault(number):
    {fault}

class Faulty(FakeProvider):
    count = 0

    @contextmanager
    def launch(self, **words):
        Faulty.count += 1
        fault(Faulty.count)
        with super().launch(**words) as environment:
            yield environment

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: tuple

@pytest.fixture(scope="session")
def vmvc_load_pair():
    clock = FakeClock()
    starts = lambda seconds: [FakeLaunch(marks={{"created": 0.01, "answer": seconds}})] * 50
    with RunScope() as scope:
        yield lambda name: Pair(name=name, subjects={{
            "container": Faulty(scope, clock=clock, launches=starts(0.3)),
            "vm": Faulty(scope, clock=clock, kind="vm", launches=starts(4.0)),
        }})
"""
CLAIMS = """
from pytest_vmvc import claim, below, ratio

@claim("own.start", quote="it starts soon", readings={
    "soon": below("container", "start_s", 60, "s"),
    "slower": ratio("vm", "start_s", over="container", above=1.25),
})
def test_start(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)

@claim("own.size", quote="it is small", readings={
    "small": below("container", "kept_bytes", 10**9, "bytes", min_n=1),
})
def test_size(reading, sizes):
    '''Bytes.'''
    reading.judge(sizes)
"""
OUTPUT = Path("vmvc-results")
RESULTS = OUTPUT / "latest" / "results.jsonl"


class Place:
    """A folder with claims of its own on a pair that is scripted; each run is a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faulty("pass")
        (folder / "test_own.py").write_text(CLAIMS)
        (folder / OUTPUT).mkdir()
        (folder / "state").mkdir()

    def faulty(self, fault: str) -> None:
        """What happens before each start; ``number`` counts them from one."""
        (self.folder / "conftest.py").write_text(CONFTEST.format(fault=fault))

    def argv(self, *words: str) -> list[str]:
        argv = [sys.executable, "-m", "pytest", "--vmvc", "--vmvc-pair=minimal", "test_own.py"]
        unused = ("cacheprovider", "benchmark", "hypothesispytest", "xdist")
        return [*argv, *(f"-pno:{plugin}" for plugin in unused), "--rootdir=.", *words]

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "VMVC_STATE_DIR": str(self.folder / "state"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *words: str, mounts: str = "", after: str = ":") -> tuple[int, str]:
        """Run it in a mount namespace of its own, where ``mounts`` is done first; status, output.

        ``after`` is a script that is run in there when the run has ended.
        """
        script = f'{mounts}\n"$@"; status=$?\n{after}\nexit $status'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"set -e\n{mounts}\nset +e\n{script}", "sh",
             *self.argv(*words)],
            cwd=self.folder, env=self.env, capture_output=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        text = (done.stdout + done.stderr).decode(errors="replace")
        assert "INTERNALERROR" not in text, text
        assert "Traceback" not in text, text
        return done.returncode, text

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A run that goes on beside the test; ended with it."""
        with subprocess.Popen(
            self.argv(*words), cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as child:  # fmt: skip
            try:
                yield child
            finally:
                child.kill()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def said(text: str, words: str) -> str:
    """The one line that has these words."""
    (line,) = {line.strip() for line in text.splitlines() if words in line}
    return line


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")


# --- disks and folders ---------------------------------------------------------------------------


def filled(folder: str, left_kib: int) -> str:
    """A small file system in memory there, with so much room left."""
    return f"""
mount -t tmpfs -o size=128k tmpfs {folder}
head -c {(128 - left_kib) * 1024} /dev/zero >{folder}/ballast"""


@needs_root
def test_a_disk_that_fills_up_ends_the_run_and_what_was_written_stays_valid(place: Place) -> None:
    status, text = place.run(
        "-k", "start", mounts=filled("vmvc-results", 8), after="cp vmvc-results/2*/*.jsonl kept"
    )
    assert status == 3, text
    line = said(text, "the results are not complete")
    assert "No space left on device" in line
    assert "what was written stays valid" in line
    assert "`vmvc report " in said(text, "no report was written")
    log = ledger.read(place.folder / "kept")
    assert log.problems == ()
    assert log.run is not None
    assert log.observations
    assert log.end is None


@needs_root
@pytest.mark.parametrize(
    ("mounts", "words"),
    [
        (filled("vmvc-results", 0), "--vmvc-output"),
        ("mount -t tmpfs -o ro tmpfs state", "VMVC_STATE_DIR"),
    ],
    ids=["full-output", "read-only-state"],
)
def test_what_cannot_be_written_from_the_start_is_a_usage_error(
    place: Place, mounts: str, words: str
) -> None:
    status, text = place.run(mounts=mounts)
    assert status == 4, text
    assert words in said(text, "ERROR: ")


def test_a_folder_removed_in_mid_run_ends_it_and_is_not_silent(place: Place) -> None:
    place.faulty("if number == 6: shutil.rmtree('vmvc-results')")
    status, text = place.run("-k", "start")
    assert status == 3, text
    assert "was removed while the run was going on" in said(text, "the results are not complete")
    assert "results: " not in text


def test_a_report_that_cannot_be_written_costs_nothing_else(place: Place) -> None:
    place.faulty("next(Path('vmvc-results').glob('2*')).joinpath('report.html').mkdir(exist_ok=1)")
    status, text = place.run()
    assert status == 0, text
    assert "`vmvc report " in said(text, "no report was written")
    assert len(ledger.read(place.folder / RESULTS).results) == 3


FILL = """
from pathlib import Path
from pytest_vmvc.subjects import store
recipe = {"what": "a file of two megabytes"}
def build(folder):
    (folder / "file").write_bytes(bytes(2 << 20))
    return {}
try:
    store.built("thing", recipe, build)
except store.BuildFailed as error:
    print(error)
assert store.stored("thing", recipe) is None
print(sorted(path.name for path in Path("cache/artefacts").iterdir()))
Path("cache/ballast").unlink()
assert store.built("thing", recipe, build).files["file"].size_bytes == 2 << 20
"""


@needs_root
def test_a_cache_that_fills_up_during_a_build_keeps_no_half_of_it(place: Place) -> None:
    (place.folder / "cache").mkdir()
    mounts = "mount -t tmpfs -o size=3m tmpfs cache && head -c 2M /dev/zero >cache/ballast"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mounts} && "$@"', "sh", sys.executable, "-c", FILL],
        cwd=place.folder, env={**place.env, "VMVC_CACHE_DIR": "cache"},
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    line, left = done.stdout.decode().splitlines()
    assert line.startswith("the disk is full: thing-")
    assert "set VMVC_CACHE_DIR to a folder on a bigger disk" in line
    assert ".part" not in left


BOTH = """
import sys, tempfile
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog
with RunScope() as scope:
    print(scope.workdir)
    pair = catalog.load("minimal", scope)
    for subject in ("container", "vm"):
        provider = pair.subjects[subject]
        provider.prepare()
        with provider.launch(deadline_s=60) as environment:
            assert environment.run(["echo", "here"]).stdout == b"here\\n"
    assert not scope.held
print("both")
"""


@needs_root
@pytest.mark.engine
@pytest.mark.machine
def test_without_a_writable_tmp_and_shared_memory_both_sides_start(place: Place) -> None:
    """Python's temporary folder is then /var/tmp."""
    if minimal.load() is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    # What is in them stays in sight: the checkout may be.
    mounts = """for place in /tmp /dev/shm; do
        mount --bind $place $place && mount -o remount,bind,ro $place || exit
    done"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'cd / && {mounts}\n"$@"', "sh",
         sys.executable, "-c", BOTH],
        env={**place.env, "VMVC_STATE_DIR": f"/var/tmp/vmvc-state-{os.getpid()}"},
        cwd="/", capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    subprocess.run(["rm", "-rf", f"/var/tmp/vmvc-state-{os.getpid()}"], check=True, timeout=10)
    assert done.returncode == 0, done.stderr.decode()
    first, *_, last = done.stdout.decode().splitlines()
    assert first.startswith("/var/tmp/vmvc-r")
    assert last == "both"


def test_no_temporary_folder_at_all_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with RunScope() as scope, pytest.raises(Unavailable, match="set TMPDIR"):
        _ = scope.workdir


# --- other runs ----------------------------------------------------------------------------------

HOLD = f"""
    Path(f"at-{{os.getpid()}}").touch()
    until = time.monotonic() + {DEADLINE_S}
    while not Path("go").exists() and time.monotonic() < until: time.sleep(0.02)"""


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_measuring_runs_queue_and_functional_ones_go_on(place: Place) -> None:
    place.faulty(HOLD)
    waits = "another run is measuring on this host: waiting for it"
    with place.started("-k", "start") as first:
        wait_for((place.folder / f"at-{first.pid}").exists)

        # One of surveys alone does not wait.
        status, text = place.run("-k", "size")
        assert status == 0, text
        assert waits not in text

        # One that waits is interrupted at once.
        with place.started("-k", "start") as second:
            assert second.stdout is not None
            assert any(waits in line for line in second.stdout)
            second.send_signal(signal.SIGINT)
            rest = second.stdout.read()
            assert second.wait(DEADLINE_S) == 2
            assert "KeyboardInterrupt" in rest

        # The end of the one that holds it, however hard, lets the next one in.
        with place.started("-k", "start") as third:
            assert third.stdout is not None
            assert any(waits in line for line in third.stdout)
            assert not (place.folder / f"at-{third.pid}").exists()
            (place.folder / "go").touch()
            first.kill()
            assert "2 supported" in third.stdout.read()
            assert third.wait(DEADLINE_S) == 0
    log: RunLog = ledger.read(place.folder / RESULTS)
    assert [result.judgement.verdict.value for result in log.results] == ["SUPPORTED"] * 2


# --- clocks --------------------------------------------------------------------------------------

WALL = {"datetime.now", "time.time", "time.time_ns", "datetime.utcnow", "date.today"}
DATES = {
    "experiments/base.py": "when a value was observed",
    "plugin/session.py": "begin of the run, and its folder's name",
    "plugin/hosts.py": "the name of the folder of a run on many hosts",
    "plugin/run_folder.py": "end of the run",
    "subjects/store.py": "when an artefact was built",
    "backends/public_catalogue.py": "the age of an image in days: its own date is a wall clock's",
}


def test_nothing_is_timed_by_the_wall_clock() -> None:
    """It is read for dates only, which are text at once."""
    readers: dict[str, list[ast.Call]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL:
                readers.setdefault(str(path.relative_to(PACKAGE)), []).append(node)
    assert set(readers) == set(DATES)
    for name in set(DATES) - {"backends/public_catalogue.py"}:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            inside = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.Call)]
            if any(ast.unparse(one.func) in WALL for one in inside):
                assert not isinstance(node, ast.BinOp | ast.Compare), f"{name}:{node.lineno}"


@pytest.mark.engine
def test_a_wall_clock_that_steps_changes_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An hour forth and back at every look, through a real start and a real command."""
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path))
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    steps = [0]

    def stepping() -> float:
        steps[0] += 1
        return 1.7e9 + (3600 if steps[0] % 2 else -3600)

    with RunScope() as scope:
        provider = DockerProvider(ContainerSpec(image=found.image_ref, userland="x"), scope)
        provider.prepare()
        monkeypatch.setattr(time, "time", stepping)
        begin = time.monotonic()
        with provider.launch(deadline_s=60) as container:
            done = container.run(["sleep", "0.1"])
            ready_s = container.mark("ready")
        whole_s = time.monotonic() - begin
        monkeypatch.undo()
        assert not scope.held
    marks = [*container.marks.values()]
    assert marks == sorted(marks)
    assert 0 < marks[0] <= marks[-1] == ready_s < whole_s
    assert 0.1 <= done.duration_s < whole_s


class Lid:
    """A pair of clocks; while the lid is closed only the one that counts from boot goes on."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def __call__(self, number: int) -> float:
        return 1000.0 + (self.slept_s if number == time.CLOCK_BOOTTIME else 0.0)


@pytest.mark.parametrize("late", [False, True])
def test_a_sample_taken_across_a_suspend_is_void_taken_again_and_counted(*, late: bool) -> None:
    lid, sleeps = Lid(), iter([0.0, 1832.0, 0.0, 0.0, 0.05])
    retries: list[tuple[str, int, str]] = []

    def take() -> Sample:
        slept_s = next(sleeps)
        lid.slept_s += slept_s
        if late and slept_s > 1:
            raise LaunchTimedOut("no answer")
        return Sample(values={"x": slept_s})

    taken = interleave(
        {"vm": take},
        plan=Plan(blocks=4, seed=0),
        on_retry=lambda subject, block, error: retries.append((subject, block, str(error))),
        on_lost=lambda *_: pytest.fail("it was there"),
        clock=lid,
    )
    assert [one.sample.values["x"] for one in taken] == [0.0, 0.0, 0.0, 0.05]
    ((subject, block, error),) = retries
    assert (subject, block) == ("vm", 1)
    assert error.startswith("the host was suspended for 1832.0 s: the sample is void")


def test_a_host_that_falls_asleep_every_time_is_an_error() -> None:
    lid = Lid()

    def take() -> Sample:
        lid.slept_s += 60
        return Sample(values={})

    retries: list[object] = []
    with pytest.raises(Suspended, match=r"suspended for 60\.0 s"):
        list(
            interleave(
                {"vm": take},
                plan=Plan(blocks=1, seed=0),
                on_retry=lambda *what: retries.append(what),
                on_lost=lambda *_: None,
                clock=lid,
            )
        )
    assert len(retries) == RETRIES


def test_an_interrupt_after_a_suspend_is_an_interrupt() -> None:
    lid = Lid()

    def take() -> Sample:
        lid.slept_s += 60
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(
            interleave(
                {"vm": take},
                plan=Plan(blocks=1, seed=0),
                on_retry=lambda *_: None,
                on_lost=lambda *_: None,
                clock=lid,
            )
        )


@pytest.mark.parametrize(("void_s", "passed"), [(0.0, False), (20.0, False), (30.0, True)])
def test_the_gate_counts_what_no_void_sample_has_paid_for(void_s: float, *, passed: bool) -> None:
    from tests.quiet_host import during, quiet

    found = checks(during(quiet(), suspended_s=30.0, real_ahead_s=1.7e9 + 30.0))
    after = {check.name: check for check in excused(found, void_s)}
    assert after[SUSPEND].passed is passed
    assert after["clock step"].passed
    if void_s:
        assert "in samples that are void for it" in after[SUSPEND].note
    assert [check for name, check in after.items() if name != SUSPEND] == [
        check for check in found if check.name != SUSPEND
    ]


def test_a_subject_that_is_lost_is_left_out_and_the_others_go_on() -> None:
    starts: list[str] = []

    def container() -> Sample:
        starts.append("container")
        if len(starts) > 2:
            raise Unavailable("the engine has gone", hint="start it")
        return Sample(values={})

    lost: list[str] = []
    taken = interleave(
        {"container": container, "vm": lambda: Sample(values={})},
        plan=Plan(blocks=6, seed=0),
        on_retry=lambda *_: pytest.fail("it is gone"),
        on_lost=lambda subject, gap: lost.append(f"{subject}: {gap}"),
    )
    subjects = [one.subject for one in taken]
    assert (subjects.count("container"), subjects.count("vm")) == (2, 6)
    assert lost == ["container: the engine has gone — start it"]


# --- a processor that hangs ----------------------------------------------------------------------

HANGING = """#!/bin/sh
case "$*" in --version) echo "QEMU emulator version 7.2.22"; exit;; "-device help") exit;; esac
echo $$ >"$0.pid"
trap '' TERM
exec sleep 60
"""


@pytest.mark.machine
@pytest.mark.skipif(not accelerator.DEVICE.exists(), reason="no /dev/kvm on this host")
def test_a_kvm_that_opens_and_hangs_is_found_out_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = minimal.load()
    if found is None:
        pytest.skip("the minimal pair is not built — run `vmvc setup`")
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.write_text(HANGING)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    tier: Accelerator = accelerator.detect(found.kernel, found.initrd, deadline_s=1.0)
    assert tier.tier == "kvm-unusable"
    assert "/dev/kvm opens, and a guest d" in tier.reason
    assert accelerator.cached() == tier
    assert not psutil.pid_exists(int(program.with_name(f"{program.name}.pid").read_text()))
    assert not [*(tmp_path / "state" / "runs").iterdir()]
