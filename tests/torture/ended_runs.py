"""Runs of the real plugin on real containers and machines, each ended at a random moment."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import host_inventory

ROOT = Path(__file__).parents[2]

ENDINGS = (
    "SIGINT",
    "SIGINT twice",
    "SIGTERM",
    "SIGHUP",
    "SIGKILL",
    "SIGKILL of a worker",
    "SIGKILL of the controller",
)
CLOSERS = ("watchdog", "vmvc clean", "next start")
"""Who tidies up: the run and its watchdog alone; or, with the watchdog killed too, somebody else.
"""
CLEAN_S = 10.0
"""From the next start, from the command, or else from the end of the run."""
END_S = 60.0
"""A run that has not ended by then hangs."""
RUN_S = 300.0

CLAIMS = {
    "starts": '''
from pytest_vmvc import at_most, below, claim, differs, same

@claim("torture.survey", quote="one kernel for all", readings={
    "same-kernel": same("container", "kernel_release", other="host"),
    "own-kernel": differs("vm", "boot_id", other="host"),
})
def test_survey(reading, kernel_facts):
    """Containers and machines that stand at once."""
    reading.judge(kernel_facts)

@claim("torture.start", quote="it starts soon", readings={
    "soon": below("container", "start_s", 60, "s"),
    "sure": at_most("container", "ready_s", 60, "s"),
})
def test_start(reading, cold_start):
    """Fresh starts."""
    reading.judge(cold_start)
''',
    "journeys": '''
from contextlib import ExitStack

from pytest_vmvc import claim, opinion

@claim("torture.journey", quote="it gets about", readings={"all": opinion("nothing is judged")})
def test_journey(reading, vmvc_load_pair, vmvc_pair):
    """A registry, a group, a clone, a move, a tree in an image, a second engine."""
    pair = vmvc_load_pair(vmvc_pair)
    container, machine = pair.subjects["container"], pair.subjects["vm-restored"]
    with container.offered() as acquire, acquire(60) as acquired, acquired.provider.launch():
        pass
    with pair.other("bare").launch() as group:
        group.run(["sleep", "0.2"])
    with pair.other("vm-linked").launch():
        pass
    machine.prepare()
    with machine.launch() as source, machine.migrated(source, deadline_s=60):
        pass
    with container.laden(lambda tree: (tree / "file").touch()) as laden, laden.provider.launch():
        pass
    with ExitStack() as way:
        there = way.enter_context(container.destinations()[""]())
        arrived = way.enter_context(container.ported(there))
        arrived.provider.prepare()
        way.enter_context(arrived.provider.launch())
    reading.judge()
''',
    "vagrant": '''
from pytest_vmvc import claim, differs, same

@claim("torture.survey", quote="one kernel for all", readings={
    "same-kernel": same("container", "kernel_release", other="host"),
    "own-kernel": differs("vm", "boot_id", other="host"),
})
def test_survey(reading, kernel_facts):
    """A container and a Vagrant machine that stand at once."""
    reading.judge(kernel_facts)
''',
}
"""Of each scene: what its runs measure."""
SCENES = tuple(CLAIMS)
NEXT = """
from pytest_vmvc import claim, opinion

@claim("torture.next", quote="on we go", readings={"taste": opinion("nothing is measured")})
def test_next(reading, vmvc_pair):
    '''Nothing.'''
    reading.judge()
"""

NEXT_CONFTEST = """
import time
from pathlib import Path

def pytest_collection():
    Path(__file__).with_name("started").write_text(str(time.monotonic()))
"""

CONFTEST = '''
import dataclasses
import functools
import os
from pathlib import Path

import pytest

from pytest_vmvc.experiments.cold_start import ColdStart
from pytest_vmvc.lab import Lab
from pytest_vmvc.plugin import session

# The battery starts nothing that is not started here anyway, and would be half of the time.
Lab._gauge = lambda self, pair: None
# And one of each kind is enough.
session.Settings = functools.partial(session.Settings, instances=1)

timed = ColdStart.run


def run(self, pair, record, settings):
    """Time containers only."""
    only = {"container": pair.subjects["container"]}
    timed(self, dataclasses.replace(pair, subjects=only), record, settings)


ColdStart.run = run


@pytest.fixture(scope="session")
def vmvc_load_pair(vmvc_load_pair):
    """A machine that is restored from a snapshot, so that a run takes seconds."""

    def load(name):
        pair = vmvc_load_pair(name)
        if os.environ["TORTURE_SCENE"] != "starts":
            return pair
        soon = {"container": pair.subjects["container"], "vm": pair.subjects["vm-restored"]}
        return dataclasses.replace(pair, subjects=soon, userlands=())

    return load


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """What a person at the terminal has seen finished."""
    if report.when == "call" and not report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(__file__).with_name("finished.txt").open("a") as file:
            file.write(report.nodeid + "\\n")
'''


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One run and what became of it."""

    scene: str
    ending: str
    closer: str
    workers: int
    seed: int
    moment_s: float
    """Seconds after its start; uniform over an undisturbed run."""
    begun: bool
    """It has a results file."""
    ended_before: bool
    """It was done when its time came: its results file had its end."""
    exit_status: int
    end_s: float
    """From the signal to the end of its output."""
    clean_s: float
    """From then, or from the start of whoever tidies up, until nothing was left."""
    left: tuple[str, ...]
    hangs: bool
    finished: int
    """Tests that were seen finished."""
    lost: tuple[str, ...]
    """Those of them whose result is not in the results file."""
    unreadable: int
    """Lines in the middle of the results file that are no JSON."""


class Bed:
    """Folders in which runs of one scene are started and ended."""

    def __init__(self, folder: Path, scene: str) -> None:
        self.scene = scene
        self.folder = folder
        self.state = folder / "state"
        self.temporary = Path(tempfile.mkdtemp(prefix="tt-"))  # sockets want a short path
        self.token = secrets.token_hex(8)
        self.claims = folder / "claims"
        self.claims.mkdir(parents=True)
        (self.claims / "conftest.py").write_text(CONFTEST)
        (self.claims / "test_torture_claims.py").write_text(CLAIMS[scene])
        (self.claims / "pytest.ini").write_text("[pytest]\n")
        following = folder / "next"
        following.mkdir()
        (following / "test_next.py").write_text(NEXT)
        (following / "conftest.py").write_text(NEXT_CONFTEST)
        (following / "pytest.ini").write_text("[pytest]\n")
        self._undisturbed_s = 0.0

    def close(self) -> None:
        """Remove what the system's temporary folder has of it."""
        shutil.rmtree(self.temporary)

    def undisturbed_s(self) -> float:
        """Seconds of a run that nobody ends; measured once. It must leave nothing, too."""
        if not self._undisturbed_s:
            before = self.inventory()
            child, began = self._start(0), time.monotonic()
            said, _ = child.communicate(timeout=RUN_S)
            self._undisturbed_s = time.monotonic() - began
            assert child.returncode == 0, said.decode(errors="replace")
            left, _ = self._left(before, CLEAN_S)
            assert not left, left
        return self._undisturbed_s

    def inventory(self) -> host_inventory.Inventory:
        """Everything on the host that runs of this bed could leave."""
        return host_inventory.take(self.token, folders=(self.temporary, self.state / "runs"))

    def _left(
        self, before: host_inventory.Inventory, within_s: float
    ) -> tuple[host_inventory.Inventory, float]:
        folders = (self.temporary, self.state / "runs")
        return host_inventory.left(before, self.token, folders=folders, within_s=within_s)

    def end(self, ending: str, closer: str, seed: int) -> Ended:
        """Start a run, end it at a random moment, have it tidied up, and look."""
        chance = random.Random(seed)
        workers = 2 if ending.endswith(("worker", "controller")) else 0
        moment_s = chance.uniform(0, self.undisturbed_s())
        (self.claims / "finished.txt").unlink(missing_ok=True)
        shutil.rmtree(self.claims / "results", ignore_errors=True)
        before = self.inventory()
        child = self._start(workers)
        hangs = False
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(moment_s)
            if closer != "watchdog":
                self._without_watchdogs(child, only_workers=ending.endswith("worker"))
            ended_before = self._has_ended()
            began = time.monotonic()
            self._signal(child, ending, chance)
            try:
                child.communicate(timeout=RUN_S if ending.endswith("worker") else END_S)
            except subprocess.TimeoutExpired:
                hangs = True
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(END_S)
        end_s = time.monotonic() - began
        helped_s = 0.0 if closer == "watchdog" else self._have_cleaned(closer)
        left, clean_s = self._left(before, CLEAN_S - helped_s)
        finished, lost, unreadable = self._ledger()
        return Ended(
            scene=self.scene,
            ending=ending,
            closer=closer,
            workers=workers,
            seed=seed,
            moment_s=round(moment_s, 3),
            begun=bool(self._files()),
            ended_before=ended_before,
            exit_status=child.returncode,
            end_s=round(end_s, 2),
            clean_s=round(helped_s + clean_s, 2),
            left=tuple(sorted(" ".join(one) for one in left)),
            hangs=hangs,
            finished=finished,
            lost=lost,
            unreadable=unreadable,
        )

    def beside(self, seed: int) -> tuple[int, int, host_inventory.Inventory]:
        """Two runs at once, of which one is killed at a random moment.

        Returns the other one's exit status, the number of its results, and what is left of both.
        """
        moment_s = random.Random(seed).uniform(0, self.undisturbed_s())
        elsewhere = self.folder / "beside"
        if not elsewhere.exists():
            shutil.copytree(self.claims, elsewhere)
        for folder in (self.claims, elsewhere):
            (folder / "finished.txt").unlink(missing_ok=True)
            shutil.rmtree(folder / "results", ignore_errors=True)
        before = self.inventory()
        killed, other = self._start(0), self._start(0, elsewhere)
        try:
            with suppress(subprocess.TimeoutExpired):
                killed.wait(moment_s)
            killed.kill()
            other.communicate(timeout=RUN_S)
        finally:
            for child in (killed, other):
                child.kill()
                child.communicate(timeout=END_S)
        left, _ = self._left(before, CLEAN_S)
        (file,) = (elsewhere / "results").glob("*-r*/results.jsonl")
        records = [json.loads(line) for line in file.read_bytes().splitlines()]
        results = [one for one in records if one["record"] == "result"]
        return other.returncode, len(results), left

    def _start(self, workers: int, folder: Path | None = None) -> subprocess.Popen[bytes]:
        pair = "debian" if self.scene == "vagrant" else "minimal"
        words = [
            "--vmvc",
            f"--vmvc-pair={pair}",
            "--vmvc-output=results",
            "-p",
            "no:cacheprovider",
            "--basetemp=base",
        ]
        if workers:
            words += [f"-n{workers}"]
        return self._pytest(folder or self.claims, *words)

    def _pytest(self, folder: Path, *words: str) -> subprocess.Popen[bytes]:
        """In a session of its own, as of a terminal; what it says comes by a pipe."""
        return subprocess.Popen(
            # Whoever started us may have had signals ignored, as `nohup` has.
            ["env", "--default-signal", sys.executable, "-m", "pytest", *words, "."],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def _environment(self) -> dict[str, str]:
        others = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        return {
            **others,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "VMVC_STATE_DIR": str(self.state),
            "TMPDIR": str(self.temporary),
            "TORTURE_TOKEN": self.token,
            "TORTURE_SCENE": self.scene,
        }

    def _signal(self, child: subprocess.Popen[bytes], ending: str, chance: random.Random) -> None:
        if child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            if ending == "SIGKILL of a worker":
                # In the first second there is none yet.
                while not (workers := _workers(child.pid)) and child.poll() is None:
                    time.sleep(0.05)
                if workers:
                    os.kill(chance.choice(workers), signal.SIGKILL)
            elif ending.startswith("SIGKILL"):
                child.kill()
            elif ending == "SIGTERM":
                child.terminate()
            else:
                number = signal.SIGHUP if ending == "SIGHUP" else signal.SIGINT
                os.killpg(child.pid, number)  # a terminal tells all of them
                if ending == "SIGINT twice":
                    with suppress(subprocess.TimeoutExpired):
                        child.wait(chance.uniform(0, 1))
                    os.killpg(child.pid, number)

    def _without_watchdogs(self, child: subprocess.Popen[bytes], *, only_workers: bool) -> None:
        """Kill those too: then the next start has to do without what they would have done."""
        parents = _workers(child.pid) if only_workers else [child.pid, *_workers(child.pid)]
        for pid, parent, words in _processes():
            if parent in parents and "vmvc-watchdog-" in words:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _have_cleaned(self, closer: str) -> float:
        """Returns the seconds that it took; the next start goes on to other things after it."""
        began = time.monotonic()
        if closer == "next start":
            words = ("--vmvc", "--vmvc-pair=minimal", "--vmvc-output=results")
            following = self._pytest(self.folder / "next", *words, "-p", "no:cacheprovider")
            said, _ = following.communicate(timeout=RUN_S)
            assert following.returncode == 0, said.decode(errors="replace")
            return float((self.folder / "next" / "started").read_text()) - began
        done = subprocess.run(
            [sys.executable, "-m", "pytest_vmvc", "clean"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=RUN_S,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")
        return time.monotonic() - began

    def _has_ended(self) -> bool:
        """Nothing is left to be measured; its page may be, and Python's own end, after it."""
        return any(b'"record":"end"' in file.read_bytes() for file in self._files())

    def _files(self) -> list[Path]:
        return list((self.claims / "results").glob("*-r*/results.jsonl"))

    def _ledger(self) -> tuple[int, tuple[str, ...], int]:
        """Tests seen finished, those of them that are not in the file, lines that are no JSON."""
        listed = self.claims / "finished.txt"
        finished = listed.read_text().splitlines() if listed.exists() else []
        written: set[str] = set()
        unreadable = 0
        for file in self._files():
            lines = file.read_bytes().split(b"\n")
            for line in lines[:-1]:  # after the last end of line there may be a part of one
                try:
                    record = json.loads(line)
                except ValueError:
                    unreadable += 1
                    continue
                if record.get("record") == "result":
                    written.add(f"[{record['pair']}-{record['reading']['name']}]")
        lost = [one for one in finished if not any(one.endswith(name) for name in written)]
        return len(finished), tuple(lost), unreadable


def record(ended: Ended, file: Path, host: Mapping[str, str]) -> None:
    """Append it to the recorded runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write(json.dumps({**asdict(ended), **host}) + "\n")


def _workers(pid: int) -> list[int]:
    """Those of pytest-xdist, by what execnet runs."""
    return [
        child for child, parent, words in _processes() if parent == pid and "exec(eval" in words
    ]


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and command line."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(folder.name), int(parent), words.decode(errors="replace")


def table(runs: list[dict[str, object]]) -> str:
    """The recorded runs in figures, a line for each kind of end."""
    head = ("ended by", "runs", "hangs", "left behind", "lost results", "longest until clean")
    rows = []
    for ending in (*ENDINGS, "all"):
        of = [one for one in runs if ending in (one["ending"], "all")]
        longest = max((float(str(one["clean_s"])) for one in of), default=0.0)
        sums = [sum(_count(one[key]) for one in of) for key in ("hangs", "left", "lost")]
        rows.append((ending, str(len(of)), *map(str, sums), f"{longest:.1f} s"))
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _count(value: object) -> int:
    return len(value) if isinstance(value, list | tuple) else int(bool(value))
