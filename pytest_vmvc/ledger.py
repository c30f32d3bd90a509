"""The results file: one record a line, appended as the run goes, readable after any kind of end."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from inspect import cleandoc
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pytest_vmvc.errors import LedgerError
from pytest_vmvc.model import (
    SCHEMA_VERSION,
    Allowance,
    Conditions,
    End,
    Evidence,
    Missing,
    Observation,
    Record,
    Result,
    Retry,
    Run,
    Series,
)

LONGEST_LINE = 16 << 20
"""Bytes of a line that is read: the longest that a run writes has some thousands."""
_DURABLE = (Run, Result, End)
"""Records that are on the disk before `LedgerWriter.append` returns."""


class LedgerWriter:
    """Appends records to one file; the only writer of it. A context manager.

    Opening creates missing folders, and never truncates: a file that a killed run left with half a
    line is continued on a fresh line. Raises `LedgerError` when the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode=0o644
            )
        except OSError as error:
            raise _unwritable(path, error) from error
        self._closed = False
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        if self._ends_in_mid_line():
            self._write(b"\n")

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, record: Record) -> None:
        """Write one record as one line; runs and results are synced to the disk.

        Raises `LedgerError` for a number that JSON does not have (NaN, infinity) and when the file
        cannot take the line; what was written before stays valid.
        """
        if self._closed:
            raise LedgerError(f"{self.path} is closed", hint="open a new LedgerWriter")
        self._write(encode(record) + b"\n")
        if isinstance(record, _DURABLE) and self._regular:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self._fd)

    def _ends_in_mid_line(self) -> bool:
        size = os.fstat(self._fd).st_size
        return self._regular and size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def _write(self, line: bytes) -> None:
        state = os.fstat(self._fd)
        size = state.st_size
        if self._regular and not state.st_nlink:
            raise LedgerError(
                f"{self.path} was removed while the run was going on",
                hint="nothing more can be kept; leave the output folder alone, and run it again",
            )
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            # Half a line would spoil the next one: take it back.
            if self._regular:
                with suppress(OSError):
                    os.ftruncate(self._fd, size)
            raise _unwritable(self.path, error) from error


class RunLog(msgspec.Struct, frozen=True, kw_only=True):
    """A results file as read: everything that could be read, and what could not."""

    run: Run | None = None
    series: tuple[Series, ...] = ()
    observations: tuple[Observation, ...] = ()
    missing: tuple[Missing, ...] = ()
    retries: tuple[Retry, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    conditions: tuple[Conditions, ...] = ()
    results: tuple[Result, ...] = ()
    end: End | None = None
    problems: tuple[str, ...] = ()
    """One line for each kind of damage; empty for a sound file, however early its run ended."""

    def records(self) -> tuple[Record, ...]:
        """Everything as records again, the run first and the end last."""
        head: tuple[Record, ...] = () if self.run is None else (self.run,)
        tail: tuple[Record, ...] = () if self.end is None else (self.end,)
        body: tuple[Record, ...] = self.series + self.observations + self.missing
        body += self.retries + self.allowances + self.conditions + self.results
        return (*head, *body, *tail)


def collect(records: tuple[Record, ...], *, problems: tuple[str, ...] = ()) -> RunLog:
    """Sort records into a `RunLog`; where there are several runs, the last one counts."""
    starts = [index for index, record in enumerate(records) if isinstance(record, Run)]
    if len(starts) > 1:
        problems = (*problems, f"the file holds {len(starts)} runs: this is the last of them")
        records = records[starts[-1] :]
    if not starts:
        problems = (*problems, "the line that describes the run is missing: its host is not known")
    found: dict[type, list[Any]] = defaultdict(list)
    for record in records:
        found[type(record)].append(record)
    return RunLog(
        run=next(iter(found[Run]), None),
        series=tuple(found[Series]),
        observations=tuple(found[Observation]),
        missing=tuple(found[Missing]),
        retries=tuple(found[Retry]),
        allowances=tuple(found[Allowance]),
        conditions=tuple(found[Conditions]),
        results=tuple(found[Result]),
        end=next(reversed(found[End]), None),
        problems=problems,
    )


def read(path: Path, *, samples: bool = True) -> RunLog:
    """Read a results file, damaged or not.

    Whatever cannot be read is left out and named in ``problems``. Without ``samples`` observations
    are not kept nor looked into, so that memory does not grow with them. Raises `LedgerError` where
    there is no such file, or nothing in it is ours.
    """
    try:
        with path.open("rb") as file:
            records, problems, passed = _decode(_lines(file), samples=samples)
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be read: {error.strerror}",
            hint="name a results.jsonl that `pytest --vmvc` has written",
        ) from error
    if not (records or problems or passed):
        raise LedgerError(
            f"{path} is empty", hint="its run ended before it wrote anything; run it again"
        )
    if not (records or passed):
        raise LedgerError(
            f"{path} is not a results file of pytest-vmvc",
            hint="name a results.jsonl that `pytest --vmvc` has written",
        )
    return collect(records, problems=problems)


Row = tuple[str, str, str, str]
"""Experiment, pair, subject and metric."""


def headers(log: RunLog) -> dict[Row, Series]:
    """The header of each row of samples."""
    return {(s.experiment, s.pair, s.subject, s.metric.name): s for s in log.series}


def by_reading(log: RunLog) -> dict[tuple[str, str, str], Result]:
    """The results by claim, reading and pair."""
    return {(r.claim, r.reading.name, r.pair): r for r in log.results}


def evidence(log: RunLog) -> dict[tuple[str, str], Evidence]:
    """What each experiment found on each pair, by both names: all that a judge was given."""
    host = None if log.run is None else log.run.host
    found: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for kind in ("series", "observations", "missing", "retries", "conditions"):
        for record in getattr(log, kind):
            of = found.setdefault((record.experiment, record.pair), {})
            of.setdefault(kind, []).append(record)
    allowances = {(one.experiment, one.pair): one for one in log.allowances}
    return {
        (experiment, pair): Evidence(
            experiment=experiment,
            pair=pair,
            host=host,
            allowance=allowances.get((experiment, pair)),
            **{kind: tuple(records) for kind, records in of.items()},
        )
        for (experiment, pair), of in found.items()
    }


def encode(record: Record) -> bytes:
    """One record as one line of JSON, without its end of line.

    Text that is not Unicode (undecodable bytes of a command line) is written with its escapes.
    Raises `LedgerError` for NaN and infinity: JSON has neither.
    """
    plain = msgspec.to_builtins(record)
    if (where := _not_finite(plain)) is not None:
        raise LedgerError(
            f"a {plain['record']} record has a number that JSON does not have, in {where}",
            hint="leave the observation out, or record it as censored",
        )
    try:
        return msgspec.json.encode(plain)
    except UnicodeEncodeError:
        return msgspec.json.encode(_unicode(plain))


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of a line of the results file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": f"Results of pytest-vmvc, schema version {SCHEMA_VERSION}.",
        **msgspec.json.schema(Record),
    }
    # Through JSON, so that a default which is a tuple here is the list that a reader gets.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    for struct in found["$defs"].values():
        if "description" in struct:  # Python 3.13 takes the indentation away by itself
            struct["description"] = cleandoc(struct["description"])
    return found


class _Passed(msgspec.Struct, frozen=True, gc=False, tag_field="record", tag="observation"):
    """Stands for an observation whose fields nobody asked for: the decoder skips them."""


_WITHOUT_SAMPLES = Run | Series | _Passed | Missing | Retry | Allowance | Conditions | Result | End


class _Head(msgspec.Struct):
    """What tells that a line is from a newer version, whatever else is in it."""

    record: str
    schema: int


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Its lines; of one that is too long no more than tells that it is."""
    while line := file.readline(LONGEST_LINE + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
        yield line


def _decode(
    lines: Iterable[bytes], *, samples: bool
) -> tuple[tuple[Record, ...], tuple[str, ...], int]:
    """Records, problems, and how many observations were passed over."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
        Record if samples else _WITHOUT_SAMPLES
    )
    passed = 0
    records: list[Record] = []
    bad: list[tuple[int, str]] = []
    newest = SCHEMA_VERSION
    number, line = 0, b""
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            bad.append((number, f"longer than {LONGEST_LINE >> 20} MiB"))
            continue
        try:
            record = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not line.isspace():
                bad.append((number, str(error)))
                newest = max(newest, _schema_of(line))
            continue
        if type(record) is _Passed:
            passed += 1
            continue
        records.append(record)
        if type(record) is Run:
            newest = max(newest, record.schema)
    problems: list[str] = []
    if newest > SCHEMA_VERSION:
        problems.append(
            f"written by a newer pytest-vmvc (schema {newest}, this one knows {SCHEMA_VERSION}): "
            "upgrade to read all of it"
        )
    if bad and bad[-1][0] == number and not line.endswith(b"\n"):
        # No end of line after it: the run was ended in the middle of writing.
        number, _ = bad.pop()
        problems.append(f"line {number}, the last, is cut off and was left out")
    if bad:
        problems.append(_bad_lines(bad))
    return tuple(records), tuple(problems), passed


def _bad_lines(bad: list[tuple[int, str]]) -> str:
    numbers = ", ".join(str(number) for number, _ in bad[:5]) + (", …" if len(bad) > 5 else "")
    many = f"{len(bad)} lines ({numbers})" if len(bad) > 1 else f"line {numbers}"
    verb = "were" if len(bad) > 1 else "was"
    return f"{many} cannot be read and {verb} left out: {bad[0][1][:200]}"


def _schema_of(line: bytes) -> int:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        head = msgspec.json.decode(line, type=_Head)
        if head.record == "run":
            return head.schema
    return 0


def _not_finite(value: object, where: str = "") -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    children: list[tuple[object, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list | tuple):
        children = list(enumerate(value))
    found = (_not_finite(child, f"{where}.{key}".lstrip(".")) for key, child in children)
    return next((place for place in found if place is not None), None)


def _unicode(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_unicode(key): _unicode(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode(child) for child in value]
    return value


def _unwritable(path: Path, error: OSError) -> LedgerError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "free some space; what was written stays valid" if full else "choose another path"
    return LedgerError(f"{path} cannot be written: {error.strerror}", hint=hint)
