"""A small suite of own claims on a fake pair: what the plugin does with it is tested here."""

import shutil

import docker  # noqa: F401 - loaded once a process, and pytester forgets what a run loads
import pytest
import scipy.stats  # noqa: F401 - numpy loads once a process, and pytester forgets what a run loads
import vl_convert  # noqa: F401 - same

from pytest_vmvc import clean, ledger  # noqa: F401 - same
from pytest_vmvc.plugin import session  # noqa: F401 - same

PAIR = """
import pytest
from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.model import Check
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Pair

VM_S = {vm_s}
LACKING = {lacking}
FAILING = {failing}

@pytest.fixture(scope="session")
def vmvc_watch():
    load = Check(name="load", figure={load}, op="<=", limit=10, unit="%", passed={load} <= 10)
    return lambda: lambda: (load,)

@pytest.fixture(scope="session")
def vmvc_load_pair():
    clock = FakeClock()
    with RunScope() as scope:
        def starts(seconds):
            return [FakeLaunch(marks={{"created": 0.01, "answer": s}}) for s in seconds]
        broken = [FakeLaunch(failure="launch")] * FAILING
        subjects = {{
            "container": FakeProvider(scope, clock=clock, launches=starts([0.3] * 50)),
            "vm": FakeProvider(scope, clock=clock, kind="vm", launches=starts(VM_S) + broken),
        }}
        missing = {{name: Unavailable("not on this host", hint="install it") for name in LACKING}}
        yield lambda name: Pair(
            name=name,
            subjects={{k: v for k, v in subjects.items() if k not in missing}},
            missing=missing,
        )
"""

INTERRUPTED_PAGE = """
from pytest_vmvc import report

def interrupted(*_):
    raise KeyboardInterrupt

report.write = interrupted
"""
"""More of a conftest: somebody presses Ctrl-C while the page is written."""

CLAIMS = """
from pytest_vmvc import claim, below, at_least, ratio

@claim(
    "own.start",
    quote="it starts soon",
    readings={
        "container-soon": below("container", "start_s", 60, "s"),
        "vm-late": at_least("vm", "start_s", 60, "s").expecting("REFUTED", why="it is small"),
        "vm-slower": ratio("vm", "start_s", over="container", above=1.25),
    },
)
def test_start(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)
"""


class Bed:
    """A folder with own claims; every run keeps its state in it."""

    def __init__(self, pytester):
        self.pytester = pytester
        pytester.makepyfile(test_own=CLAIMS)
        self.starts()

    def starts(self, vm_s=(4.0,) * 50, lacking=(), load=1.0, failing=0):
        """Script the pair: seconds of the machine's starts (the first is a warm-up).

        ``load`` is that of others on the host, in per cent; ``failing``: so many starts of the
        machine after those fail.
        """
        values = {"vm_s": list(vm_s), "lacking": list(lacking), "load": load, "failing": failing}
        # Written twice in a second and of the same length it would be taken for the one before.
        shutil.rmtree(self.pytester.path / "__pycache__", ignore_errors=True)
        self.pytester.makeconftest(PAIR.format(**values))

    def run(self, *args):
        """One run on the pair ``minimal``, which is the fake."""
        return self.pytester.runpytest(
            "--vmvc", "--vmvc-pair=minimal", "test_own.py", "-p", "no:cacheprovider", *args
        )

    def log(self):
        """What the last run wrote."""
        return ledger.read(self.pytester.path / "vmvc-results" / "latest" / "results.jsonl")

    def verdicts(self):
        return {r.reading.name: r.judgement.verdict.value for r in self.log().results}


@pytest.fixture
def bed(pytester, monkeypatch):
    monkeypatch.setenv("VMVC_STATE_DIR", str(pytester.path / "state"))
    return Bed(pytester)
