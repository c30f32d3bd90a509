"""One run's bench: each experiment is made at most once on each pair, whoever asks for it.

What times nothing is done first, side by side, in environments that stay for all of it; then
everything is taken down, and what is timed has the host for itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from pytest_vmvc import allowance, conditions, experiments, gates, judge
from pytest_vmvc.errors import Closed, InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Ended, Experiment, Note, Recorder, Rider, Settings
from pytest_vmvc.model import MAYBE_EMULATED, Allowance, Evidence, Host, Missing, Reading, Record
from pytest_vmvc.paths import state_dir
from pytest_vmvc.resources import end_children
from pytest_vmvc.subjects import Pair

QUEUE_TIMEOUT_S = 3600.0
"""Longest wait for another run of this user that is measuring."""

Wanted = tuple[str, str]
"""Name of an experiment, and of the pair it is wanted on."""


class Lab:
    """Runs experiments on demand and keeps their evidence.

    ``load`` makes a pair by name; ``sink`` is handed every record as soon as it exists, one at a
    time, so that an interrupted run has lost nothing; ``note`` tells a person how far it is.
    ``wanted`` is everything that this run will ask for: what times nothing is then made side by
    side, and riders share the environments of their carrier. ``readings`` are those that will be
    judged on an experiment: once all of them are settled, it need not go on. ``watch`` looks at the
    host before what is timed, and what it returns is called after it.
    """

    def __init__(
        self,
        *,
        load: Callable[[str], Pair],
        host: Callable[[], Host],
        sink: Callable[[Record], None],
        note: Note,
        settings: Settings,
        wanted: Iterable[Wanted] = (),
        readings: Mapping[str, Sequence[Reading]] | None = None,
        catalogue: Callable[[str], Any] = experiments.load,
        watch: conditions.Watch = conditions.watch,
    ) -> None:
        self._load = load
        self._host = host
        self._sink = sink
        self._note = note
        self.settings = settings
        self._wanted = tuple(dict.fromkeys(wanted))
        self._readings = dict(readings or {})
        self._catalogue = catalogue
        self._watch = watch
        self._pairs: dict[str, Pair | Exception] = {}
        self._evidence: dict[Wanted, Evidence | Exception] = {}
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def evidence(self, name: str, pair: str) -> Evidence:
        """The evidence of an experiment on a pair, measured now or earlier in this run.

        Raises whatever broke the experiment, again for everyone who asks: a broken harness is not
        retried until it is green.
        """
        if (name, pair) not in self._evidence:
            with self._alone() if self._times(name) else nullcontext():
                self._survey()
                if (name, pair) not in self._evidence:
                    if _is_timed(name):
                        self._gauge(pair)
                        self._close()
                    self._make(name, pair)
                    self._close()
        found = self._evidence[name, pair]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def pair(self, name: str) -> Pair:
        """The pair, made once; what broke its making is raised again for everyone who asks."""
        if name not in self._pairs:
            try:
                self._pairs[name] = self._load(name)
            except Exception as error:  # noqa: BLE001 - raised below, and again
                self._pairs[name] = error
        found = self._pairs[name]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def _survey(self) -> None:
        """Make all that is wanted and times nothing, side by side; then nothing stands."""
        open_ones = [
            w for w in self._wanted if experiments.is_survey(w[0]) and w not in self._evidence
        ]
        if not open_ones:
            return
        pairs = dict.fromkeys(pair for _, pair in open_ones)
        for pair in pairs:
            self.pair(pair)  # one after the other: making one may build what the next one uses

        # A lane a CPU, and one for each further pair: starting what stands is mostly waiting.
        lanes = len(os.sched_getaffinity(0)) + len(pairs) - 1
        with ThreadPoolExecutor(max_workers=lanes) as pool:
            parts: list[Future[None]] = []
            try:
                parts += [pool.submit(self._make, *one) for one in open_ones]
                for part in wait(parts, return_when=FIRST_EXCEPTION).done:
                    part.result()
                for pair in dict.fromkeys(on for name, on in self._wanted if _is_timed(name)):
                    self._gauge(pair)  # its machine stands already, and waits
            except BaseException:
                self._ended.set()  # the threads leave their environments at their next record
                for part in parts:
                    part.cancel()
                end_children()  # a machine that is being started may take minutes
                raise
            finally:
                wait(parts)
                self._close()

    def _close(self) -> None:
        for pair in self._pairs.values():
            if isinstance(pair, Pair):
                # What went with its technology stays held: the end of the run names it.
                with suppress(Unavailable):
                    pair.close()

    def _make(self, asked: str, pair: str) -> None:
        """Make one experiment with the wanted ones that ride with it; keep what comes of each."""
        name = experiments.carrier_of(asked) or asked
        riding = {w for w, on in (*self._wanted, (asked, pair)) if on == pair}
        riders = {
            rider: (made, self._recorder(made, pair))
            for rider in sorted(riding)
            if experiments.carrier_of(rider) == name
            for made in (self._catalogue(rider),)
        }
        experiment = self._catalogue(name)
        record = self._recorder(experiment, pair, riders)
        failed: Exception | None = None
        try:
            subjects = self.pair(pair)
            ended = None if experiments.is_survey(name) else self._watch()
            self._run(experiment, subjects, record)
            if ended is not None:
                record.conditions(gates.excused(ended(), record.void_s))
        except Ended:
            return
        except Exception as error:  # noqa: BLE001 - raised again for everyone who asks for it
            failed = error
        host = self._host()
        self._evidence[name, pair] = failed or record.evidence(host)
        for rider, (_, own) in riders.items():
            self._evidence[rider, pair] = failed or own.evidence(host)

    def _run(self, experiment: Experiment, subjects: Pair, record: Recorder) -> None:
        """Run it; where a subject has gone or cannot be seen, the others go on without it."""
        try:
            experiment.run(subjects, record, self.settings)
        except Unavailable as gap:
            if isinstance(gap, Closed):
                left = subjects.open(gap)
            else:
                left = self._pairs[subjects.name] = subjects.present()
            if left is subjects:
                raise
            if not record.seen(left.subjects):
                experiment.run(left, record, self.settings)
                return
            for subject in subjects.subjects.keys() - left.subjects.keys():
                record.lost(subject, left.missing[subject])

    def _gauge(self, pair: str) -> None:
        """Have the battery's evidence, once, where this pair's machines may be emulated.

        Without it nothing is allowed for, so what breaks it is written down and hurts nobody else.
        """
        battery = (experiments.BATTERY, pair)
        try:
            machines = [one for one in self.pair(pair).subjects.values() if one.kind == "vm"]
            emulated = any(one.facts.accelerator in MAYBE_EMULATED for one in machines)
        except Exception:  # noqa: BLE001 - whoever is measured on this pair will raise it
            return
        if battery in self._evidence or not emulated:
            return
        self._make(*battery)
        if isinstance(broken := self._evidence.get(battery), Exception):
            reason = f"{type(broken).__name__}: {broken}"
            self._write(Missing(experiment=battery[0], pair=pair, subject="vm", reason=reason))

    def _allowed(self, name: str, pair: str) -> Allowance | None:
        """What emulation may have cost the machines of an experiment that times something."""
        if not _is_timed(name):
            return None
        found = self._evidence.get((experiments.BATTERY, pair))
        made = allowance.derived(found) if isinstance(found, Evidence) else None
        return made and msgspec.structs.replace(made, experiment=name)

    def _recorder(
        self,
        of: Experiment | Rider,
        pair: str,
        riders: Mapping[str, tuple[Rider, Recorder]] | None = None,
    ) -> Recorder:
        asked = [
            reading
            for reading in self._readings.get(of.name, ())
            if not reading.pairs or pair in reading.pairs
        ]

        def settled(evidence: Evidence) -> bool:
            return all(judge.settled(reading, evidence) for reading in asked)

        return Recorder(
            of,
            pair,
            sink=self._write,
            note=self._note,
            riders=riders,
            ended=self._ended,
            settled=settled if asked else None,
            allowance=self._allowed(of.name, pair),
        )

    def _write(self, record: Record) -> None:
        with self._writing:
            self._sink(record)

    def _times(self, asked: str) -> bool:
        """Whether this run times anything: then it queues, with its surveys, which load the host.

        A run of surveys alone has no figure that another run could spoil, and does not wait.
        """
        names = {asked, *(name for name, _ in self._wanted)}
        return not all(map(experiments.is_survey, names))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Measuring runs queue: two at once would measure each other."""
        state_dir().mkdir(parents=True, exist_ok=True)
        lock = FileLock(state_dir() / "measuring.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._note("another run is measuring on this host: waiting for it", 0, 1)
            try:
                lock.acquire(timeout=QUEUE_TIMEOUT_S)
            except Timeout as late:
                raise InfrastructureError(
                    f"another run has been measuring for {QUEUE_TIMEOUT_S:g} s",
                    hint=f"end it, or see who holds {lock.lock_file}",
                ) from late
        try:
            yield
        finally:
            lock.release()


def _is_timed(name: str) -> bool:
    """Whether emulation's slowness is in what it finds, and is not what it looks for."""
    return name != experiments.BATTERY and not experiments.is_survey(name)
