"""``--vmvc --dist each``: every gateway of pytest-xdist is a host, and each runs every claim.

This is the controller's side: it measures nothing itself. The hosts are asked beforehand whether
they can; what each measures is written into a results file of its own as it comes. One that dies or
falls silent is taken out, and nobody waits for it: pytest-xdist would start it again and again.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import psutil
import pytest

from pytest_vmvc.errors import LedgerError, UsageError, VmvcError
from pytest_vmvc.model import Record
from pytest_vmvc.plugin import (
    host_link,
    host_list,
    host_summary,
    options,
    own_pairs,
    signals,
    terminal,
)
from pytest_vmvc.plugin.host_list import Spec
from pytest_vmvc.plugin.host_run import HostRun, crashed, death, named
from pytest_vmvc.plugin.run_folder import check_folder, point_latest_at, tell_the_job
from pytest_vmvc.plugin.scheduling import HostScheduling
from pytest_vmvc.text import last_line, visible_line

PULSE_S = 10.0
"""Seconds between two signs of life of a host that is at work."""
SILENT_S = 90.0
"""Seconds without any after which a host is given up."""
START_S = 180.0
"""Seconds until the first one: a host may have to import everything from a slow disk."""
LOOK_S = 0.5
REFUSED: Final = ("vmvc_baseline", "vmvc_from", "vmvc_fail_on")
"""Options that are about one host."""


class _Unmade:
    """What pytest-xdist takes for the node of a host whose gateway could not be made."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.workeroutput: dict[str, Any] = {}


class HostsSession:
    """A run on many hosts from first to last, as a plugin object with pytest's hooks."""

    NAME = "vmvc-session"

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        _refuse(config)
        self.options = options.parse(config)
        self.seed = secrets.randbelow(2**32) if self.options.seed is None else self.options.seed
        began = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self.folder = self.options.output / f"{began}-r{secrets.token_hex(5)}"
        try:
            specs = host_list.parse(config.option.tx)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
        _check_paths(config, specs)
        self.hosts = {spec.id: HostRun(spec, self.folder) for spec in specs}
        self.started: list[HostRun] = []
        """Those that were found able to measure."""
        self.problems: list[str] = []
        self.overview: Path | None = None
        self._session: pytest.Session | None = None
        self._progress: terminal.Progress | None = None
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._look, name="vmvc-hosts", daemon=True)
        self._unwritten: LedgerError | None = None
        self._signals = signals.Ending()

    # --- before ----------------------------------------------------------------------------------

    def pytest_report_header(self) -> list[str]:
        """Name the hosts; what each has it says itself."""
        from pytest_vmvc.report.over_words import hosts_words

        lines = [
            f"vmvc: every claim on {hosts_words(len(self.started))}, profile "
            f"{self.options.profile}, at most {self.options.blocks} pairs, seed {self.seed}"
        ]
        lines += [f"vmvc: host {host.spec.label}" for host in self.started]
        return [visible_line(line) for line in lines]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Ask every host, and go on with those that can: pytest-xdist starts them after this."""
        self._session, self._progress = session, terminal.Progress(self.config)
        check_folder(self.options.output)
        self._signals.take_over()
        for name, gap in host_list.probe([host.spec for host in self.hosts.values()]).items():
            self.hosts[name].out = gap
            self._say(f"host {self.hosts[name].label} is left out: {gap}", red=True)
        self.started = [host for host in self.hosts.values() if not host.out]
        if not self.started:
            raise pytest.UsageError("--tx: no host of the list can measure; nothing was started")
        # In place: pytest-xdist reads this list once more.
        self.config.option.tx[:] = [host.spec.tx for host in self.started]
        self._point_at_us()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config, specs: list[Any]) -> None:
        """Give variables as they were meant, and copy no pytest: every host has its own."""
        for spec in specs:
            spec.env.update(self.hosts[spec.id].spec.env)
        dsession: Any = config.pluginmanager.get_plugin("dsession")
        manager = dsession.nodemanager
        import _pytest

        own = {Path(module.__file__ or "").resolve().parent for module in (pytest, _pytest)}
        manager.roots = [root for root in manager.roots if root not in own]
        make = manager.setup_node
        manager.setup_node = lambda spec, put: self._start(make, spec, put)
        self._watch.start()

    def _start(self, make: Callable[..., Any], spec: Any, put: Callable[[Any], None]) -> Any:  # noqa: ANN401
        """Make a gateway and its worker; one that cannot be made is lost, and no more than that."""
        host = self.hosts[spec.id]
        others = {child.pid for child in psutil.Process().children()}
        host.began = host.heard = time.monotonic()
        host.starting = others
        try:
            return make(spec, put)
        except Exception as error:  # noqa: BLE001 - of execnet, ssh, or our end of it
            self._lose(host, f"it could be asked, and not be started: {last_line(repr(error))}")
            host.node, host.put = _Unmade(host.spec.id), put
            self._finish(host)
            return host.node
        finally:
            host.starting = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist is optional
        """Lay the wire, and stand between the worker's events and pytest-xdist."""
        host = self.hosts[node.gateway.id]
        host.node, host.put = node, node.putevent
        host.began = host.heard = time.monotonic()
        host.channel = node.gateway.newchannel()
        host.channel.setcallback(lambda message: self._hear(host, message))
        node.putevent = lambda event: self._pass(host, event)
        node.workerinput["vmvc_seed"] = self.seed
        node.workerinput["vmvc_results"] = str(host.path)
        node.workerinput[host_link.CHANNEL] = host.channel
        node.workerinput[host_link.PULSE] = PULSE_S
        node.workerinput[host_link.OPTIONS] = dict(_of_the_ini_file(self.config))
        node.workerinput[host_link.PAIRS] = own_pairs.to_send(self.config, remote=host.spec.remote)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> HostScheduling:
        """Replace xdist's schedule: there, all wait for the slowest to begin."""
        return HostScheduling(self._collected, lambda: all(host.down for host in self.started))

    # --- during ----------------------------------------------------------------------------------

    def _collected(self, tests: int) -> None:
        if self._session is not None:
            self._session.testscollected = tests

    def _hear(self, host: HostRun, message: Any) -> None:  # noqa: ANN401 - from another host
        """What a host says on our wire; in a thread of its gateway."""
        host.heard, host.answered = time.monotonic(), True
        try:
            kind, what = message
            if kind == "record":
                host.write(msgspec.json.decode(what, type=Record))
            elif kind == "note":
                text, done, of = what
                if self._progress:
                    label = visible_line(f"{host.spec.id}: {text}")
                    self._progress.note(label, int(done), int(of))
            elif kind == "line":
                self._say(f"{host.spec.id}: {what}")
            elif kind == "problem":
                host.problems.append(str(what))
            elif kind == "gap":
                host.out = str(what)
        except LedgerError as error:
            self._unwritten = self._unwritten or error
            stopping: Any = self.config.pluginmanager.get_plugin("dsession")
            stopping.shouldstop = f"vmvc: {error}"
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            self._lose(host, f"what it sends cannot be understood ({error})")
            self._cut(host)

    def _pass(self, host: HostRun, event: tuple[str, dict[str, Any]]) -> None:
        """Pass a worker's event on; what would end the others, or begin it anew, as its end."""
        host.heard = time.monotonic()
        name, words = event
        if host.over:
            return
        if name == "logstart":
            host.running = words["nodeid"]
        elif name == "runtest_protocol_complete":
            host.running = ""
        elif name == "internal_error":
            self._lose(host, f"pytest broke there: {last_line(words['formatted_error'])}")
            return
        elif name == "errordown":
            self._lose(host, death(words["error"]))
        elif name == "workerfinished":
            status = host.node.workeroutput["exitstatus"]
            if status == pytest.ExitCode.USAGE_ERROR:
                self._lose(host, "pytest refused the request there")
            if status == pytest.ExitCode.NO_TESTS_COLLECTED:
                host.empty = True
                self._lose(host, "nothing of what was asked for was found there")
            if status == pytest.ExitCode.INTERRUPTED:
                self._lose(host, "it was interrupted there")
        if name == "errordown" or (name == "workerfinished" and (host.lost or host.out)):
            self._finish(host)
        elif name != "workerfinished" or host.end():
            assert host.put
            host.put(event)

    def _lose(self, host: HostRun, why: str) -> None:
        if not host.out:
            host.lost = host.lost or why

    def _finish(self, host: HostRun) -> None:
        """Have pytest-xdist believe that it is through: so nothing is started again or stopped."""
        if not host.end():
            return
        host.node.workeroutput = {"exitstatus": 1, "shouldfail": False, "shouldstop": False}
        assert host.put
        host.put(("workerfinished", {"node": host.node}))

    def _cut(self, host: HostRun) -> None:
        """End our end of a host that does not end itself."""
        self._finish(host)
        with suppress(Exception):
            host.node.gateway._io.kill()  # noqa: SLF001 - execnet has no other way, but to wait

    def _give_up_start(self, others: set[int]) -> None:
        """End what was begun for a gateway that is not there yet: our children since then."""
        for child in psutil.Process().children():
            if child.pid not in others:
                with suppress(psutil.Error):
                    child.kill()

    def _look(self) -> None:
        """Give up hosts that have fallen silent; a thread of its own."""
        looked = time.monotonic()
        while not self._stopped.wait(LOOK_S):
            before, looked = looked, time.monotonic()
            if looked - before > SILENT_S / 2:  # it is us who were stopped
                for host in self.started:
                    host.heard = looked
            for host in self.started:
                begun = host.starting
                if begun is not None and time.monotonic() - host.began > START_S:
                    self._lose(host, f"it was not there within {START_S:g} s")
                    self._give_up_start(begun)
                limit = SILENT_S if host.answered else START_S
                if host.node and not host.over and time.monotonic() - host.heard > limit:
                    self._lose(
                        host,
                        f"it has not been heard of for {limit:g} s; is it up, and its network?",
                    )
                    self._cut(host)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist is optional
        """A host has ended: say so where it should not have, and fail what it was at."""
        host = self.hosts[node.gateway.id]
        host.down = True
        if host.out:
            self._say(f"host {host.label} is left out: {host.out}", red=True)
        elif host.lost:
            kept = f"; what it had measured is in {host.path}" if host.path.exists() else ""
            self._say(f"host {host.label} is lost: {host.lost}{kept}", red=True)
            if host.running:
                self.config.hook.pytest_runtest_logreport(report=crashed(host))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Name the host in each test's name, for pytest's summary and JUnit's file."""
        node: Any = getattr(report, "node", None)
        if node is not None:
            report.nodeid = named(report.nodeid, node.gateway.id)
            report.user_properties.append(("vmvc_host", node.gateway.id))

    # --- after -----------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Close the results, write the reports, whatever happened."""
        self._stopped.set()
        for host in self.started:
            try:
                host.close(int(exitstatus))
            except LedgerError as error:
                self._unwritten = self._unwritten or error
        calm = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if self._unwritten:
            self.problems.append(f"the results are not complete: {self._unwritten}")
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        elif all(host.empty for host in self.hosts.values()):
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        elif calm and any(host.lost for host in self.hosts.values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif calm and any(host.out for host in self.hosts.values()):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        try:
            self._write_reports()
        except KeyboardInterrupt:
            self.problems.append(
                "the reports were interrupted; the results are kept, "
                f"and `vmvc report {self.folder}/*/results.jsonl` writes them"
            )
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self,
        terminalreporter: Any,  # noqa: ANN401 - pytest's own is private
    ) -> Generator[None, None, None]:
        """Each host with its counts and its files, then the overview."""
        try:
            yield
        finally:
            host_summary.write(
                terminalreporter, list(self.hosts.values()), self.problems, self.overview
            )

    def pytest_unconfigure(self) -> None:
        """Give the signals back."""
        self._stopped.set()
        self._signals.give_back()

    # --- inside ----------------------------------------------------------------------------------

    def _say(self, text: str, **style: bool) -> None:
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and (self.config.get_verbosity() >= 0 or style):
            terminal.fresh_line(reporter)
            reporter.write_line(visible_line(f"vmvc: {text}"), **style)

    def _point_at_us(self) -> None:
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise pytest.UsageError(
                f"--vmvc-output: {self.folder}: {error.strerror or error}"
            ) from error
        with suppress(OSError):  # a name more for the folder, where that can be had
            point_latest_at(self.folder)

    def _write_reports(self) -> None:
        from pytest_vmvc import report
        from pytest_vmvc.ledger import read

        measured = [host for host in self.hosts.values() if host.path.exists()]
        for host in measured:
            try:
                log = read(host.path)
                log = report.redacted(log) if self.options.redact else log
                host.report = report.write(log, host.path.with_name("report.html"))
            except Exception as error:  # noqa: BLE001 - whatever breaks the page, the results stand
                self.problems.append(
                    f"no report was written of {host.label}: {type(error).__name__}: {error}; "
                    f"`vmvc report {host.path}` writes it"
                )
        if not measured:
            return
        paths = [host.path for host in measured]
        try:
            page = self.folder / "report.html"
            report.write_several(paths, page, redact=self.options.redact)
            self.overview = page
            if problem := tell_the_job(lambda: self._as_markdown(paths)):
                self.problems.append(problem)
        except (VmvcError, OSError) as error:
            self.problems.append(f"no overview was written: {error}")

    def _as_markdown(self, paths: list[Path]) -> str:
        from pytest_vmvc import report

        text = self.folder / "report.md"
        report.write_several(paths, text, redact=self.options.redact)
        return text.read_text(encoding="utf-8")


def _refuse(config: pytest.Config) -> None:
    for name in REFUSED:
        if config.getoption(name, default=None) or config.getini(name):
            raise pytest.UsageError(
                f"--{name.replace('_', '-')} is about one host, and --dist each measures on "
                "several; hold each host's results against its own with `vmvc compare`"
            )


def _check_paths(config: pytest.Config, specs: tuple[Spec, ...]) -> None:
    """Other hosts do not have our files; pytest-xdist would end with a traceback."""
    if not any(spec.remote for spec in specs):
        return
    copied = [*config.option.rsyncdir, *config.getini("rsyncdirs")]
    roots = [Path(root).resolve() for root in copied]
    for argument in config.invocation_params.args:
        path = Path(str(argument).partition("::")[0])
        if path.exists() and not any(path.is_relative_to(root) for root in roots):
            raise pytest.UsageError(
                f"{argument} is a file or folder here, and the hosts do not have it: leave it out "
                "and choose among the article's claims with -k; name claims of your own by their "
                "package, with --pyargs and from another folder, or have their folder copied with "
                "--rsyncdir and name it by its full path; write an option's value as --option=VALUE"
            )


def _of_the_ini_file(config: pytest.Config) -> Iterator[tuple[str, Any]]:
    """Our options that are set in the ini file here, which other hosts do not have."""
    for name, given in vars(config.option).items():
        if name.startswith("vmvc") and given is None and name != "vmvc_output":
            with suppress(ValueError, KeyError):  # some have no twin there
                if value := config.getini(name):
                    yield name, value
