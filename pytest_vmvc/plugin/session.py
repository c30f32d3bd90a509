"""A ``--vmvc`` run from first to last, as a plugin object with pytest's hooks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_vmvc.errors import LedgerError, UsageError, VmvcError
from pytest_vmvc.experiments import carrier_of
from pytest_vmvc.experiments.base import Note, Settings
from pytest_vmvc.judge import readings_hash
from pytest_vmvc.lab import Lab
from pytest_vmvc.ledger import LedgerWriter
from pytest_vmvc.model import SCHEMA_VERSION, End, Host, Reading, Record, Result, Run
from pytest_vmvc.paths import put, state_dir
from pytest_vmvc.plugin import (
    baseline,
    collection,
    extending,
    gate,
    host_link,
    options,
    signals,
    terminal,
)
from pytest_vmvc.plugin.baseline import Baseline
from pytest_vmvc.plugin.run_folder import check_folder, now, point_latest_at, tell_the_job
from pytest_vmvc.resources import RunScope
from pytest_vmvc.saved import SavedBench

if TYPE_CHECKING:
    from pytest_vmvc.conditions import Watch
    from pytest_vmvc.subjects import Pair


class Session:
    """Holds the options, the bench, the results file; workers of xdist have one each."""

    NAME = "vmvc-session"

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.link = host_link.of(config)
        try:
            self.options = options.parse(config)
        except pytest.UsageError as error:
            if self.link:
                self.link.unusable(str(error))
            raise
        self.saved = options.saved(config)
        self.scope = RunScope(watched=True)
        self.results: list[Result] = []
        self.problems = list(self.saved.problems) if self.saved else []
        self._readings_hash = ""
        self._has_claims = False
        self.report_path: Path | None = None
        self.exceeded: tuple[str, ...] = ()
        self._pending: list[Record] = []
        self._wanted: list[tuple[str, str]] = []
        self._readings: dict[str, list[Reading]] = {}
        self._writer: LedgerWriter | None = None
        self._lab: Lab | None = None
        self._saved_bench: SavedBench | None = None
        self._accepted: Baseline | None = None
        self._host: Host | None = None
        self._unwritten: LedgerError | None = None
        self._runner: Any = None
        self._started = time.monotonic()
        self._began = datetime.now(UTC)
        self._results_file = self._choose_file()
        self._signals = signals.Ending()
        if self.options.seed is None:
            told = getattr(config, "workerinput", {})
            self.options = self.options._replace(
                seed=told.get("vmvc_seed", secrets.randbelow(2**32))
            )
        self._choose_article()

    @property
    def ledger_path(self) -> Path | None:
        """The results file of this run, once there is something in it."""
        return self._writer.path if self._writer else None

    # --- before ----------------------------------------------------------------------------------

    def pytest_report_header(self) -> list[str]:
        """Name what was found; ``--collect-only`` asks nobody."""
        if self.config.option.collectonly:
            return ["vmvc: collecting only, nothing is asked of this host"]
        return terminal.header(self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Open the scope, check what is required, take over the ending signals.

        Where nothing is measured nothing is made, and there is nothing to tidy up.
        """
        if self.config.option.collectonly:
            return
        if not self.saved:
            try:
                self.scope.__enter__()
            except OSError as error:
                raise pytest.UsageError(
                    f"the state folder {state_dir()} cannot be written: {error.strerror or error}; "
                    "permit it, or set VMVC_STATE_DIR to a folder of yours"
                ) from error
        self._signals.take_over()
        if self.is_worker:
            signals.end_with_parent()
            if self.link:
                self._sweep_dead_runs()
                self._leave_out(self.link)
        else:
            check_folder(self.options.output)
            self._baseline()
            if not self.saved:
                self._sweep_dead_runs()
                self._check_required()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Where a host does not have what is asked for, say what."""
        try:
            return (yield)
        except pytest.UsageError as error:
            if self.link:
                self.link.unusable("; ".join(map(str, error.args)))
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Register the readings before any data; leave out what asks nothing on these pairs."""
        if unasked := collection.unasked(items):
            self.config.hook.pytest_deselected(items=unasked)
            items[:] = [item for item in items if item not in unasked]
        try:
            claims = collection.declared(items, self._subjects)
        except UsageError as error:
            if not self.is_worker:
                raise pytest.UsageError(str(error)) from error
            # A worker that ends has crashed, to xdist: what it reports is told, and fails the run.
            self.config.hook.pytest_collectreport(
                report=pytest.CollectReport("claims", "failed", str(error), [])
            )
            items[:] = claims = ()
        self._readings_hash = readings_hash(claims)
        self._has_claims = bool(claims)

    def _subjects(self, item: pytest.Item, asked: Collection[str]) -> Collection[str] | None:
        """Every subject that a pair may have; None where the pairs are planted, or saved ones."""
        if self.saved or collection.plants_pairs(item):
            return None
        return extending.subjects(self.config, asked)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Write the run down before anything is measured, so that even a first Ctrl-C reports."""
        # Under xdist its own loop stands in for the session's.
        self._runner = self.config.pluginmanager.get_plugin("dsession") or session
        asked = [wanted for item in session.items for wanted in collection.experiments_of(item)]
        # A worker does not know which pairs it will be given, so it only shares what it starts.
        alone = self.link or not self.is_worker
        self._wanted = [w for w in asked if alone or carrier_of(w[0])]
        self._readings = collection.readings_by_experiment(session.items)
        if self._has_claims and self.link:
            self._introduce(self.link)
        if self._has_claims and not self.is_worker and not self.config.option.collectonly:
            try:
                self._ledger()
            except LedgerError as error:
                raise pytest.UsageError(f"--vmvc-output: {error}") from error

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist is optional
        """Tell a worker the seed that was drawn here, and the file that only we write."""
        node.workerinput["vmvc_seed"] = self.options.seed
        node.workerinput["vmvc_results"] = str(self._results_file)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - xdist is optional
        """Replace xdist's default schedule: it would measure one experiment on every worker."""
        if config.option.dist != "load":
            return None
        from pytest_vmvc.plugin.scheduling import PairScheduling

        return PairScheduling(config, log, pairs=self.options.pairs)

    # --- during ----------------------------------------------------------------------------------

    def load_pair(self, name: str) -> Pair:
        """Make a pair, shipped or the user's own, of what this host offers."""
        from pytest_vmvc.subjects import catalog

        return catalog.load(
            name,
            self.scope,
            own=self.options.own,
            offered=self.options.offered,
            runtime=self.options.runtime,
            machine=self.options.machine,
            progress=lambda step, _: self._note(step, 0, 1),
        )

    def lab(self, load: Callable[[str], Pair], watch: Watch) -> Lab:
        """The bench of this process."""
        if self._lab is None:
            self._lab = Lab(
                load=load,
                host=self.host,
                sink=self.record,
                note=self._note,
                settings=Settings(
                    blocks=self.options.blocks,
                    seed=self.options.seed or 0,
                    deadline_s=self.options.deadline_s,
                    online=self.options.online,
                ),
                wanted=self._wanted,
                readings=self._readings,
                watch=watch,
            )
        return self._lab

    def saved_bench(self) -> SavedBench:
        """What stands in for the bench where nothing is measured."""
        assert self.saved
        if self._saved_bench is None:
            self._saved_bench = SavedBench(self.saved, sink=self.record, readings=self._readings)
        return self._saved_bench

    def host(self) -> Host:
        """The manifest of the host that is measured, read once."""
        if self.saved and self.saved.run:
            return self.saved.run.host
        if self._host is None:
            from pytest_vmvc.host import manifest
            from pytest_vmvc.subjects import catalog

            self._host = manifest(catalog.tier())
        return self._host

    def bind(self, item: pytest.Item, reading: Any) -> gate.BoundReading:  # noqa: ANN401 - a request's parameter is untyped
        """The reading that a claim's test asks for."""
        claim = collection.claim_of(item)
        if claim is None:
            raise pytest.UsageError(f"{item.nodeid} is not a claim: decorate it with @claim(...)")
        return gate.BoundReading(
            claim=claim,
            reading=reading,
            item=item,
            seed=self.options.seed or 0,
            pair=str(item.callspec.params["vmvc_pair"]),  # type: ignore[attr-defined]
            gate=self.options.gate,
            baseline=self._baseline(),
            sink=self.record,
            results=self._results_file,
        )

    def _baseline(self) -> Baseline | None:
        path = self.options.baseline
        if path is None or self.options.update_baseline:
            return None
        if self._accepted is None:
            self._accepted = baseline.load(path)
            self._accepted.check(self.host())
        return self._accepted

    def record(self, record: Record) -> None:
        """Write it down now; a worker hands it to the controller with its next report.

        One that stands for a host sends it at once.
        """
        if self.link:
            self.link.record(record)
            return
        if self.is_worker:
            self._pending.append(record)
            return
        try:
            self._ledger().append(record)
        except LedgerError as error:
            self._stop(error)
            raise
        if isinstance(record, Result):
            self.results.append(record)

    def _stop(self, error: LedgerError) -> None:
        """End the run before its next test: what cannot be written down need not be measured."""
        self._unwritten = self._unwritten or error
        self._runner.shouldstop = f"vmvc: {self._unwritten}"

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Fail a claim that never judged: silence is no evidence."""
        outcome = yield
        if collection.claim_of(pyfuncitem) and gate.RESULT not in pyfuncitem.stash:
            pytest.fail("the claim judged nothing: call reading.judge(experiment)", pytrace=False)
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let a worker's records travel on its report, as builtins."""
        report = yield
        if self._pending:
            report.vmvc_records = msgspec.to_builtins(self._pending)  # type: ignore[attr-defined]
            report.vmvc_readings = self._readings_hash  # type: ignore[attr-defined]
            self._pending = []
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down what came from a worker."""
        carried = getattr(report, "vmvc_records", None)
        if carried and not self.is_worker:
            # The controller collects nothing itself: what was registered, a worker knows.
            self._readings_hash = getattr(report, "vmvc_readings", "")
            # A worker cannot be told that this fails: the run is being stopped.
            with suppress(LedgerError):
                for record in msgspec.convert(carried, list[Record]):
                    self.record(record)

    # --- after -----------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Destroy what is left, close the results file, write the report, whatever happened."""
        self._destroy_held()
        if self.link:
            for problem in self.problems:
                self.link.problem(problem)
            if self._has_claims:
                self.link.record(self._end(int(exitstatus)))
            self.link.close()
        if self._writer is not None:
            self.exceeded = self._exceeded(self._writer.path)
            if self.exceeded and exitstatus == pytest.ExitCode.OK:
                session.exitstatus = exitstatus = pytest.ExitCode.TESTS_FAILED
            if self._unwritten is None:  # else it has no end: what came before it is not all there
                try:
                    self._writer.append(self._end(int(exitstatus)))
                except LedgerError as error:
                    self._unwritten = error
            self._writer.close()
            if self._unwritten:
                self.problems.append(f"the results are not complete: {self._unwritten}")
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            try:
                self._write_report(self._writer.path)
            except KeyboardInterrupt:
                self.problems.append(
                    "the report was interrupted; the results are kept, "
                    f"and `vmvc report {self._writer.path}` writes it"
                )
                session.exitstatus = pytest.ExitCode.INTERRUPTED
            if self.options.baseline and self.options.update_baseline:
                self._update_baseline(self._writer.path, self.options.baseline)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self,
        terminalreporter: Any,  # noqa: ANN401 - pytest's own is private
    ) -> Generator[None, None, None]:
        """Verdicts in words, then where everything is: at the very end, below pytest's own.

        Also where another plugin ends it, as pytest-benchmark does on a regression.
        """
        try:
            yield
        finally:
            terminal.summary(self, terminalreporter)

    def pytest_unconfigure(self) -> None:
        """Give the scope and the signals back."""
        self.scope.close()
        self._signals.give_back()

    # --- inside ----------------------------------------------------------------------------------

    def _choose_file(self) -> Path:
        """Where the results will be; a worker is told."""
        told = getattr(self.config, "workerinput", {}).get("vmvc_results")
        folder = f"{self._began:%Y%m%dT%H%M%SZ}-{self.scope.run_id}"
        return Path(told) if told else self.options.output / folder / "results.jsonl"

    def _choose_article(self) -> None:
        """Without a path, run the article's claims, from wherever they are installed."""
        given = self.config.args_source is pytest.Config.ArgsSource.ARGS
        if not given:
            import claims

            self.config.args[:] = [str(Path(next(iter(claims.__path__))))]
        if self.options.budgets:
            from pytest_vmvc.plugin import budgets

            budgets.asked[:] = self.options.budgets
            self.config.args.append(str(gate.BUDGETS))

    def _ledger(self) -> LedgerWriter:
        if self._writer is None:
            self._writer = LedgerWriter(self._results_file)
            if not (self.saved and self.saved.run):
                with suppress(OSError):  # a name more for the folder, where that can be had
                    point_latest_at(self._results_file.parent)
            self._writer.append(self._run())
        return self._writer

    def _introduce(self, link: host_link.Link) -> None:
        """Say which host this is and what it has; then its results file can begin."""
        link.say(f"{self.host().name}, tier {self.host().tier}")
        for line in terminal.header(self)[1:]:
            link.say(line.removeprefix("vmvc: "))
        link.record(self._run())

    def _run(self) -> Run:
        origin = self.saved.run if self.saved else None
        words = self.config.invocation_params.args
        return Run(
            schema=SCHEMA_VERSION,
            run_id=self.scope.run_id,
            started=self._began.isoformat(timespec="seconds"),
            command=("pytest", *(host_link.without_hosts(words) if self.link else words)),
            profile=origin.profile if origin else self.options.profile,
            seed=self.options.seed or 0,
            version=version("pytest-vmvc"),
            readings_hash=self._readings_hash,
            host=self.host(),
            evidence_from=origin.measured_by if origin else "",
            gateway=getattr(self.config, "workerinput", {})["workerid"] if self.link else "",
        )

    def _end(self, status: int) -> End:
        return End(
            ended=now(),
            exit_status=status,
            duration_s=time.monotonic() - self._started,
            interrupted=status == pytest.ExitCode.INTERRUPTED,
        )

    @cached_property
    def _note(self) -> Note:
        """What says how far it is; it remembers what it has said."""
        return self.link.note if self.link else terminal.Progress(self.config).note

    def _write_report(self, ledger: Path) -> None:
        from pytest_vmvc import report
        from pytest_vmvc.ledger import read

        try:
            log = read(ledger)
            if self.options.redact:
                log = report.redacted(log)
            self.report_path = report.write(log, ledger.with_name("report.html"))
        except Exception as error:  # noqa: BLE001 - whatever breaks the page, the results stand
            self.problems.append(
                f"no report was written: {type(error).__name__}: {error}; "
                f"`vmvc report {ledger}` writes it"
            )
            return
        if problem := tell_the_job(lambda: report.summary(log, exceeded=self.exceeded)):
            self.problems.append(problem)

    def _exceeded(self, ledger: Path) -> tuple[str, ...]:
        """What ``--vmvc-fail-on`` names and has happened since the baseline.

        A limit that could not be looked at has not been kept to.
        """
        limits, accepted = self.options.fail_on, self._baseline()
        if limits is None or accepted is None:
            return ()
        from pytest_vmvc import compare_command
        from pytest_vmvc.compare import compare
        from pytest_vmvc.ledger import read

        try:
            return compare_command.exceeded(compare(accepted.log, read(ledger)), limits)
        except VmvcError as error:
            return (str(error),)

    def _update_baseline(self, ledger: Path, path: Path) -> None:
        try:
            put(path, ledger.read_bytes())
        except OSError as error:
            self.problems.append(f"{path} could not be written: {error.strerror or error}")

    def _leave_out(self, link: host_link.Link) -> None:
        """End where this host lacks what is required; the others go on."""
        try:
            self._check_required()
        except pytest.UsageError as error:
            link.unusable(str(error))
            pytest.exit("this host is left out", returncode=pytest.ExitCode.USAGE_ERROR)

    def _check_required(self) -> None:
        from pytest_vmvc.subjects import catalog

        chosen = self.options.pairs
        own = [self.options.own[name] for name in chosen if name in self.options.own]
        try:
            for name in chosen:
                if name in self.options.offered:
                    _ = self.options.offered[name].offers
            if own or self.options.runtime:
                catalog.check(own, self.options.runtime)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
        for kind in self.options.require:
            gap = catalog.requirement(kind, self.scope)
            if gap is not None:
                raise pytest.UsageError(f"--vmvc-require={kind}: {gap}")

    def _sweep_dead_runs(self) -> None:
        from pytest_vmvc.clean import sweep

        try:
            sweep()
        except VmvcError as error:
            self.problems.append(f"earlier runs could not be tidied up: {error}")

    def _destroy_held(self) -> None:
        if self.scope.held:
            from pytest_vmvc.clean import destroy_run

            report = destroy_run(self.scope)
            reasons = {one.resource: one.reason for one in report.left}
            for resource in self.scope.held:
                reason = reasons.get(resource) or "; ".join(report.skipped) or "it holds on"
                self.problems.append(
                    f"left behind: {resource.kind} {resource.name} ({reason}); "
                    "the next run removes it, or `vmvc clean`"
                )
