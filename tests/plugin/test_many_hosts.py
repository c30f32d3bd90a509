"""``--dist each``: every gateway is a host, measured, gated and reported by itself."""

import os
import re
import shlex
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from filelock import FileLock

pytest.importorskip("xdist")

from pytest_vmvc import ledger
from pytest_vmvc.errors import LedgerError, UsageError
from pytest_vmvc.ledger import LedgerWriter
from pytest_vmvc.model import Result
from pytest_vmvc.plugin import host_list, hosts
from tests.plugin.conftest import INTERRUPTED_PAGE, PAIR

VM_S = "[float(__import__('os').environ.get('VM_S', 4))] * 50"
CONFTEST = """
import os
import signal

from pytest_vmvc.model import Host
from pytest_vmvc.plugin import terminal
from pytest_vmvc.subjects import catalog


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # a process of its own
        lacks = os.environ.get("LACKS")
        catalog.tier = lambda: "tcg"
        catalog.requirement = lambda kind, scope: lacks and f"no {kind}; install it"
        terminal.header = lambda session: ["vmvc: profile", "vmvc: pair minimal: fake"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    for name in ("SIGKILL", "SIGSTOP", "SIGTERM"):
        if os.environ.get(name, "nobody") in item.nodeid:
            os.kill(os.getpid(), getattr(signal, name))
    if os.environ.get("WAITS", "nobody") in item.nodeid:
        os.mkfifo("never")
        open("never").close()  # nobody will ever write into it
    if os.environ.get("CTRL_C", "nobody") in item.nodeid:
        os.kill(os.getppid(), signal.SIGINT)  # as a terminal does: everyone in the foreground
        raise KeyboardInterrupt


def pytest_runtest_protocol(item):
    if os.environ.get("BREAKS", "nobody") in item.nodeid:
        raise RuntimeError("broken")
"""
SSH = """#!{python}
import os, sys, time
where, command = sys.argv[-2:]
said = {{
    "refusing": "Permission denied (publickey).",
    "unknown": "ssh: Could not resolve hostname unknown: Name or service not known",
}}.get(where)
if said:
    sys.exit(print(said, file=sys.stderr) or 255)
if where == "silent":
    time.sleep(600)
os.chdir({home!r})
if where in ("fickle", "stalling"):
    try:
        os.mkdir("asked-" + where)
    except FileExistsError:  # the second time
        sys.exit(255) if where == "fickle" else time.sleep(600)
if where == "old":
    os.environ["PYTHONPATH"] = {old!r}
if where == "bare":
    command = command.replace(" -c ", " -S -c ")
if where == "mute":
    command = command.replace("python -c", "no-such-python -c")
os.execvp("sh", ["sh", "-c", command])
"""


@pytest.fixture
def many(bed, monkeypatch):
    """The bed's claims on hosts that environment variables turn into others."""
    pair = PAIR.format(vm_s=VM_S, lacking=[], load=1.0, failing=0)
    bed.pytester.makeconftest(pair + CONFTEST)
    monkeypatch.setattr(hosts, "LOOK_S", 0.05)
    return Many(bed)


class Many:
    def __init__(self, bed):
        self.bed = bed
        self.path = bed.pytester.path
        self.text = ""

    def run(self, *specs, more=()):
        tx = [word for spec in specs for word in ("--tx", spec)]
        result = self.bed.run("--dist", "each", *tx, *more)
        self.text = result.stdout.str() + result.stderr.str()
        return result

    @property
    def folder(self):
        return self.path / "vmvc-results" / "latest"

    def log(self, host):
        return ledger.read(self.folder / host / "results.jsonl")

    def verdicts(self, host):
        return {r.reading.name: r.judgement.verdict.value for r in self.log(host).results}

    def line(self, start):
        """The only line that begins so."""
        (found,) = (one for one in self.text.splitlines() if one.startswith(start))
        return found


ALL = {"container-soon": "SUPPORTED", "vm-late": "REFUTED", "vm-slower": "SUPPORTED"}


def test_every_host_runs_every_claim(many):
    result = many.run("popen", "popen//id=north", more=("--junitxml=j.xml", "-v"))
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    logs = {host: many.log(host) for host in ("gw0", "north")}
    for host, log in logs.items():
        assert many.verdicts(host) == ALL
        assert log.problems == ()
        assert log.end.exit_status == 0
        assert log.run.gateway == host
        assert "--tx" not in log.run.command
        assert len([one for one in log.observations if one.metric == "start_s"]) == 12
        assert (many.folder / host / "report.html").stat().st_size > 10_000
    one, other = (log.run for log in logs.values())
    assert one.seed == other.seed
    assert one.readings_hash == other.readings_hash
    assert one.run_id != other.run_id
    page = (many.folder / "report.html").read_text()
    assert f"{one.host.name} (gw0)" in page
    assert f"{one.host.name} (north)" in page
    own = f", host {one.host.name}" if one.host.name else ""
    assert many.line(f"gw0 (popen{own})").endswith("2 supported, 1 refuted; tests: 3 passed")
    assert many.line(f"north (popen{own})").endswith("2 supported, 1 refuted; tests: 3 passed")
    assert many.line("overview: ").endswith("report.html")
    assert re.search(r"\[north\] .*PASSED .*test_start\[minimal-vm-late@north\]", many.text)
    cases = ET.parse(many.path / "j.xml").getroot().iter("testcase")
    named = {
        (case.get("name"), one.get("value"))
        for case in cases
        for one in case.iter("property")
        if one.get("name") == "vmvc_host"
    }
    assert len(named) == 6
    assert ("test_start[minimal-vm-late@north]", "north") in named


def test_each_host_passes_or_fails_by_itself(many):
    result = many.run("popen", "popen//env:VM_S=70//id=slow")
    result.assert_outcomes(passed=5, failed=1)
    assert result.ret == 1
    assert many.verdicts("gw0") == ALL
    assert many.verdicts("slow") == {**ALL, "vm-late": "SUPPORTED"}
    assert "FAILED test_own.py::test_start[minimal-vm-late@slow]" in many.text
    assert "slow/results.jsonl" in many.text
    assert many.line("slow (").endswith("3 supported; tests: 2 passed, 1 failed")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "its process or its connection ended"),
        ("SIGTERM", "it was interrupted there"),
        ("SIGSTOP", "it has not been heard of for 10 s"),
    ],
)
def test_one_that_dies_or_hangs_does_not_take_the_others_with_it(many, monkeypatch, how, said):
    monkeypatch.setattr(hosts, "PULSE_S", 0.1)
    monkeypatch.setattr(hosts, "SILENT_S", 10.0)
    result = many.run("popen", f"popen//env:{how}=vm-slower//id=weak")
    result.assert_outcomes(passed=5, failed=1)
    assert result.ret == 1
    assert many.verdicts("gw0") == ALL
    kept = many.log("weak")
    assert [one.reading.name for one in kept.results] == ["container-soon", "vm-late"]
    lost = many.line("vmvc: host weak (popen, host ")
    assert said in lost
    assert str(many.folder.resolve() / "weak") in lost
    assert "LOST" in many.line("weak (popen, host ")
    assert "test_start[minimal-vm-slower@weak]" in many.text
    assert "replacing crashed worker" not in many.text
    if how != "SIGTERM":  # that one could still say goodbye
        assert kept.end is None
        assert "incomplete" in (many.folder / "weak" / "report.html").read_text()
        assert "before its end was written down" in (many.folder / "report.html").read_text()


def test_an_interrupt_leaves_pages_of_what_was_measured(many):
    words = ("--vmvc", "--vmvc-pair=minimal", "test_own.py", "-p", "no:cacheprovider")
    tx = ("--dist=each", "--tx=popen", "--tx=popen//env:CTRL_C=vm-late//id=here")
    result = many.bed.pytester.runpytest_subprocess(*words, *tx, timeout=60)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    kept = many.log("here")
    assert [one.reading.name for one in kept.results] == ["container-soon"]
    assert kept.end.interrupted
    assert (many.folder / "here" / "report.html").exists()
    assert (many.folder / "report.html").exists()


def test_an_interrupt_of_the_pages_says_what_writes_them(many):
    own = (many.path / "conftest.py").read_text()
    many.bed.pytester.makeconftest(own + INTERRUPTED_PAGE)
    words = ("--vmvc", "--vmvc-pair=minimal", "test_own.py", "-p", "no:cacheprovider")
    tx = ("--dist=each", "--tx=popen", "--tx=popen//id=here")
    result = many.bed.pytester.runpytest_subprocess(*words, *tx, timeout=60)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = "the reports were interrupted; the results are kept, and `vmvc report "
    result.stdout.fnmatch_lines([f"*{said}*/[*]/results.jsonl` writes them"])
    assert len(many.log("here").results) == 3


def test_a_sample_is_kept_before_its_experiment_is_over(many):
    many.run("popen//env:SIGKILL=container-soon", "popen")
    kept = many.log("gw0")
    assert kept.results == ()
    assert len([one for one in kept.observations if one.metric == "start_s"]) == 12


def test_one_on_which_pytest_breaks_is_lost_alone(many):
    result = many.run("popen", "popen//env:BREAKS=vm-late//id=weak")
    assert result.ret == 1
    assert many.verdicts("gw0") == ALL
    assert "LOST" in many.line("weak (popen, host ")


def test_what_is_required_is_required_of_each_host(many):
    words = ("--vmvc-require=vm",)
    result = many.run("popen", "popen//env:LACKS=1//id=poor", more=words)
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert many.verdicts("gw0") == ALL
    assert not (many.folder / "poor").exists()
    assert (
        many.line("poor (popen)") == "poor (popen): LEFT OUT: --vmvc-require=vm: no vm; install it"
    )


@pytest.fixture
def ssh(many, monkeypatch):
    """Hosts that a program called ssh reaches; their claims are in a package."""
    bin_dir, home, old = (many.path / name for name in ("bin", "home", "old"))
    for folder in (bin_dir, home, old / "pytest_vmvc-0.0.9.dist-info"):
        folder.mkdir(parents=True)
    (old / "pytest_vmvc-0.0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pytest-vmvc\nVersion: 0.0.9\n"
    )
    program = bin_dir / "ssh"
    program.write_text(SSH.format(python=sys.executable, home=str(home), old=str(old)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")
    package = many.path / "lib" / "claims_of_ours"
    package.mkdir(parents=True)
    for name in ("conftest.py", "test_own.py"):
        (many.path / name).rename(package / name)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(many.path / "lib"))
    many.bed.pytester.syspathinsert(many.path / "lib")

    def run(*names, more=()):
        python = shlex.quote(sys.executable)
        tx = [
            word for name in names for word in ("--tx", f"ssh={name}//python={python}//id={name}")
        ]
        words = ("--vmvc", "--vmvc-pair=minimal", "--pyargs", "claims_of_ours", "--dist", "each")
        result = many.bed.pytester.runpytest(*words, *tx, *more)
        many.text = result.stdout.str() + result.stderr.str()
        return result

    many.ssh = run
    return many


def test_hosts_that_cannot_be_used_are_named_and_the_others_measure(ssh, monkeypatch):
    monkeypatch.setattr(host_list, "PROBE_S", 14.0)
    here = host_list.importlib.metadata.version("pytest-vmvc")
    result = ssh.ssh("good", "refusing", "unknown", "silent", "old", "bare")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert ssh.verdicts("good") == ALL
    assert [one.name for one in ssh.folder.iterdir() if one.is_dir()] == ["good"]
    for host, cause, remedy in (
        ("refusing", "Permission denied (publickey).", "`ssh refusing true` must work without"),
        ("unknown", "Could not resolve hostname", "is the name right?"),
        ("silent", "did not answer within 14 s", "`ssh silent true` must work"),
        ("old", f"it has pytest-vmvc 0.0.9, and here is {here}", "install the same on both"),
        ("bare", "has no pytest-vmvc and no pytest and no", f"pip install pytest-vmvc=={here}"),
    ):
        early, late = ssh.line(f"vmvc: host {host} (ssh={host})"), ssh.line(f"{host} (ssh={host})")
        assert cause in early
        assert remedy in early
        assert cause in late


# execnet leaves the pipes of a gateway open that it could not make
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_answers_and_then_cannot_be_started_is_lost_alone(ssh, monkeypatch):
    monkeypatch.setattr(hosts, "START_S", 14.0)
    result = ssh.ssh("fickle", "stalling", "good")
    assert result.ret == 1
    assert ssh.verdicts("good") == ALL
    assert "could be asked, and not be started: HostNotFound" in ssh.line("fickle (ssh=fickle)")
    assert "it was not there within 14 s" in ssh.line("stalling (ssh=stalling)")


def test_without_any_host_nothing_is_started(ssh):
    result = ssh.ssh("refusing", "mute")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no host of the list can measure" in ssh.text
    assert "host refusing (ssh=refusing) is left out" in ssh.text


def test_the_ini_file_here_counts_there(ssh):
    ssh.bed.pytester.makeini("[pytest]\nvmvc_gate = off\n")
    ssh.bed.pytester.makeconftest("")
    result = ssh.ssh("good", more=("-o", "vmvc_redact=true"))
    assert result.ret == 0
    assert "‹host" in (ssh.folder / "report.html").read_text()


def test_claims_that_a_host_does_not_have(ssh):
    result = ssh.ssh("good", more=("--pyargs", "claims_of_others"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "claims_of_others" in ssh.line("good (ssh=good)")
    result = ssh.ssh("good", more=("-k", "no_such_test"))
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "nothing of what was asked for was found" in ssh.line("good (ssh=good, host ")


def test_a_path_is_refused_that_other_hosts_do_not_have(many):
    result = many.run("ssh=far")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "test_own.py is a file or folder here, and the hosts do not have it" in many.text


@pytest.mark.parametrize(
    "option", ["--vmvc-baseline=old.jsonl", "--vmvc-from=old.jsonl", "--vmvc-fail-on=startup:10%"]
)
def test_what_is_about_one_host_is_refused(many, option):
    result = many.run("popen", more=(option,))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is about one host" in many.text


def test_hosts_on_one_machine_measure_one_after_the_other(many, monkeypatch):
    (many.path / "state").mkdir()
    lock = FileLock(many.path / "state" / "measuring.lock", thread_local=False)
    waiting, guard, hear = set(), threading.Lock(), hosts.HostsSession._hear

    def listen(session, host, message):
        hear(session, host, message)
        if message[0] == "note" and "another run is measuring" in message[1][0]:
            with guard:
                waiting.add(host.spec.id)
                if len(waiting) == 2:
                    lock.release()

    monkeypatch.setattr(hosts.HostsSession, "_hear", listen)
    with lock.acquire(timeout=5):
        many.run("2*popen").assert_outcomes(passed=6)
    assert "vmvc: gw0: another run is measuring on this host: waiting for it" in many.text
    assert "vmvc: gw1: another run is measuring on this host: waiting for it" in many.text
    assert many.verdicts("gw0") == many.verdicts("gw1") == ALL


def test_results_that_cannot_be_written_end_the_run(many, monkeypatch):
    write = LedgerWriter.append

    def full(writer, record):
        if isinstance(record, Result) and writer.path.parent.name == "gw1":
            raise LedgerError("results.jsonl cannot be written: no space", hint="free some")
        write(writer, record)

    monkeypatch.setattr(LedgerWriter, "append", full)
    result = many.run("2*popen")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "the results are not complete: results.jsonl cannot be written: no space" in many.text


def test_what_a_host_sends_is_not_trusted(many, monkeypatch):
    hear = hosts.HostsSession._hear

    def spoilt(session, host, message):
        foreign = host.spec.id == "gw1" and message[0] == "record"
        hear(session, host, ("record", b'{"record": "\x1b[2J"}') if foreign else message)

    monkeypatch.setattr(hosts.HostsSession, "_hear", spoilt)
    result = many.run("2*popen")
    assert result.ret == 1
    assert many.verdicts("gw0") == ALL
    assert "what it sends cannot be understood" in many.line("gw1 (popen")
    assert "\x1b[2J" not in many.text


def test_without_a_path_workers_run_the_article(pytester, monkeypatch):
    monkeypatch.setenv("VMVC_STATE_DIR", str(pytester.path / "state"))
    pytester.makepyfile(test_other="def test_other(): pass")
    words = ("--vmvc", "--vmvc-pair=minimal", "-k", "test_ideal_choice or test_other")
    result = pytester.runpytest(*words, "-n1")
    result.assert_outcomes(skipped=1)


class TestList:
    def test_names_and_numbers(self):
        specs = host_list.parse(["2*popen", "ssh=root@far//python=/opt/py//id=far", "popen"])
        assert [spec.id for spec in specs] == ["gw0", "gw1", "far", "gw3"]
        assert [spec.remote for spec in specs] == [False, False, True, False]
        assert specs[1].tx == "popen//id=gw1"
        assert specs[2].tx == "ssh=root@far//python=/opt/py//id=far"
        assert specs[2].label == "far (ssh=root@far)"

    @pytest.mark.parametrize(
        "address", ["unix:///run/user/1000/docker.sock", "tcp://10.0.0.7:2375", "unix:/run/x"]
    )
    def test_a_variable_may_be_an_address(self, address):
        (spec,) = host_list.parse([f"popen//env:DOCKER_HOST={address}//env:B=1//id=a"])
        given = host_list.parse([f"popen//id=a//env:DOCKER_HOST={address}"])[0]
        by_execnet = {} if spec.env else {"DOCKER_HOST": address}
        assert spec.env | by_execnet == given.env | by_execnet == {"DOCKER_HOST": address}
        assert "env:B=1" in spec.tx
        assert "id=a" in spec.tx

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["popen//id=a", "popen//id=a"], "two hosts are called a"),
            (["popen//id=../up"], "cannot name a folder"),
            (["popen//nonsense"], "nonsense is no part"),
            (["unix:///run/x"], "unix: is no part"),
        ],
    )
    def test_what_cannot_be_meant(self, given, said):
        with pytest.raises(UsageError, match=re.escape(said)):
            host_list.parse(given)

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            ({}, ""),
            ({"python": [3, 8, 1]}, "is Python 3.8.1; name one of 3.11 or newer"),
            ({"versions": {"pytest-vmvc": "2", "pytest": "9"}}, "it has pytest-vmvc 2, and here"),
            ({"versions": {"pytest-vmvc": "1", "pytest": "9"}}, "has no pytest-xdist; there, run"),
            ({"broken": "ImportError: x"}, "cannot load them: ImportError: x"),
        ],
    )
    def test_what_is_lacking(self, found, said):
        everything = {"pytest-vmvc": "1", "pytest": "9", "pytest-xdist": "3"}
        whole = {"python": [3, 12, 0], "program": "/opt/py", "versions": everything, **found}
        gap = host_list.lacking(whole, "1")
        assert said in gap
        assert bool(said) == bool(gap)


def test_a_death_before_the_first_test_is_told_too(many):
    claims = many.path / "test_own.py"
    claims.write_text(
        "import os\nif os.environ.get('EARLY'): os.kill(os.getpid(), 9)\n" + claims.read_text()
    )
    result = many.run("popen", "popen//env:EARLY=1//id=weak")
    result.assert_outcomes(passed=3)
    assert result.ret == 1
    assert many.verdicts("gw0") == ALL
    assert "LOST" in many.line("weak (popen)")
    assert not Path(many.folder, "weak").exists()


# --- pairs of one's own --------------------------------------------------------------------------

DISK = '[tool.vmvc.pairs.web]\ndisk = "disk.img"\nready = "line:x"\n'
JAILS = """

def pytest_vmvc_pairs(config):
    return {} if "NO_JAILS" in os.environ else {"jails": {"container": print}}
"""


@pytest.mark.parametrize(
    ("project", "words"),
    [
        (DISK, ("--vmvc-pair=web",)),
        ("", ("--vmvc-disk=disk.img", "--vmvc-ready=line:x", "--vmvc-pair=own")),
    ],
)
def test_a_pair_of_the_project_reaches_hosts_and_its_paths_are_theirs(ssh, project, words):
    ssh.bed.pytester.makepyprojecttoml(project)
    there = ssh.path / "home" / "pyexecnetcache"
    there.mkdir()
    result = ssh.ssh("good", more=words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    source = "pyproject.toml:1" if project else "--vmvc-ready --vmvc-disk"
    said = ssh.line("good (ssh=good)")
    assert f"LEFT OUT: {source}: pair " in said
    assert f"disk: there is no file {there / 'disk.img'} — paths are relative to {there}" in said
    (there / "disk.img").touch()
    ssh.ssh("good", more=words).assert_outcomes(passed=6)
    assert {r.pair for r in ssh.log("good").results} == {"minimal", words[-1].partition("=")[2]}


def test_hosts_that_work_in_this_folder_find_its_files(many):
    many.bed.pytester.makepyprojecttoml(DISK)
    (many.path / "disk.img").touch()
    many.run("popen", more=("--vmvc-pair=web",)).assert_outcomes(passed=6)


def test_a_pair_that_cannot_be_meant_is_refused_before_any_host_is_asked(many, monkeypatch):
    many.bed.pytester.makepyprojecttoml(DISK.replace("ready", "redy"))
    monkeypatch.setattr(host_list, "probe", lambda _: pytest.fail("asked"))
    result = many.run("popen", more=("--vmvc-pair=web",))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "pyproject.toml:1: pair web: unknown key 'redy'" in many.text


def test_a_pair_that_a_host_does_not_have_is_that_hosts_error(many):
    conftest = many.path / "conftest.py"
    conftest.write_text(conftest.read_text() + JAILS)
    result = many.run("popen", "popen//env:NO_JAILS=1//id=poor", more=("--vmvc-pair=jails",))
    result.assert_outcomes(passed=6)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert many.line("poor (popen)") == (
        "poor (popen): LEFT OUT: --vmvc-pair=jails: unknown; choose one of minimal, debian"
    )
