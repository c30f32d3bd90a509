"""One run's bench: each experiment is made at most once on each pair, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pytest_vmvc.errors import InfrastructureError, VmvcError
from pytest_vmvc.experiments.base import Experiment, Note, Recorder, Settings
from pytest_vmvc.model import Evidence, Host, Record
from pytest_vmvc.paths import state_dir
from pytest_vmvc.subjects import Pair

QUEUE_TIMEOUT_S = 3600.0
"""Longest wait for another run of this user that is measuring."""


class Lab:
    """Runs experiments on demand and keeps their evidence.

    ``load`` makes a pair by name; ``sink`` is handed every record as soon as it exists, so that an
    interrupted run has lost nothing; ``note`` tells a person how far it is.
    """

    def __init__(
        self,
        *,
        load: Callable[[str], Pair],
        host: Callable[[], Host],
        sink: Callable[[Record], None],
        note: Note,
        settings: Settings,
    ) -> None:
        self._load = load
        self._host = host
        self._sink = sink
        self._note = note
        self.settings = settings
        self._pairs: dict[str, Pair] = {}
        self._evidence: dict[tuple[str, str], Evidence | VmvcError] = {}

    def evidence(self, experiment: Experiment, pair_name: str) -> Evidence:
        """The evidence of an experiment on a pair, measured now or earlier in this run.

        Raises whatever broke the experiment, again for everyone who asks: a broken harness is not
        retried until it is green.
        """
        key = (experiment.name, pair_name)
        if key not in self._evidence:
            self._evidence[key] = self._measure(experiment, pair_name)
        found = self._evidence[key]
        if isinstance(found, VmvcError):
            raise found.with_traceback(None)
        return found

    def pair(self, name: str) -> Pair:
        """The pair, made once."""
        if name not in self._pairs:
            self._pairs[name] = self._load(name)
        return self._pairs[name]

    def _measure(self, experiment: Experiment, pair_name: str) -> Evidence | VmvcError:
        with self._alone():
            record = Recorder(experiment, pair_name, sink=self._sink, note=self._note)
            try:
                experiment.run(self.pair(pair_name), record, self.settings)
            except VmvcError as error:
                return error
            return record.evidence(self._host())

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
