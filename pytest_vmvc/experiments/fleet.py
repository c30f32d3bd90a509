"""Idle instances of each kind, alive at once: what each more of them costs the host."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar, runtime_checkable

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Account, Accountable, HasDisk, Inspectable, Stoppable
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.fleet_metrics import IDLE_S, METRICS
from pytest_vmvc.experiments.replicas import (
    available_bytes,
    fits,
    offered,
    ready,
    side_by_side,
)
from pytest_vmvc.model import Scalar
from pytest_vmvc.subjects import Pair

SETTLE_S = 0.2
"""Between the last answer and a look at MemAvailable: the kernel's counters lag a little."""
WRITTEN = b"\xa5" * 4096
"""What each instance writes to its own disk."""
KSM = Path("/sys/kernel/mm/ksm")
_T = TypeVar("_T")


@runtime_checkable
class Member(Environment, Accountable, Inspectable, Stoppable, HasDisk, Protocol):
    """An environment with every power that is asked for here."""


@dataclass(kw_only=True)
class _Side:
    subject: str
    provider: Provider
    members: list[Member] = field(default_factory=list)
    gone_bytes: int = 0
    """MemAvailable lost while instances of this kind were started."""
    full: bool = False


class Fleet:
    """So many containers and machines, each started fresh, idle for one window, then ended."""

    name = "fleet"
    metrics = METRICS

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        sleep: Callable[[float], None] = time.sleep,
        available: Callable[[], int] = available_bytes,
    ) -> None:
        """``sleep`` and ``available`` (the host's MemAvailable) replace those of this host."""
        self._idle_s = idle_s
        self._sleep = sleep
        self._available = available

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record memory, disk, CPU time and the latencies of the control plane, per instance."""
        coin = random.Random(f"{settings.seed}")  # noqa: S311 - an experiment's order, no secret
        record.observe("host", "ksm", _ksm(), facts=None)
        with ExitStack() as stack:
            sides = list(_sides(pair, record, settings))
            sides = self._muster(sides, stack, coin, record, settings)
            self._idle(sides, record)
            _rank(sides, record)
            for index in range(settings.fleet):
                for side, member in _abreast(sides, index, coin):
                    _ask(side, index, member, record)
            for index in range(settings.fleet):
                for side, member in _abreast(sides, index, coin):
                    stop_s = _seconds(member, "stop", member.stop)
                    _observe(record, side, index, {"stop_s": stop_s})

    def _muster(
        self,
        sides: list[_Side],
        stack: ExitStack,
        coin: random.Random,
        record: Recorder,
        settings: Settings,
    ) -> list[_Side]:
        """Start the fleet step by step, a kind at a time; returns the kinds that came up."""
        for block, target in enumerate(_targets(settings.fleet)):
            record.progress(target, settings.fleet, "instances of each kind")
            for side in _shuffled(sides, coin):
                try:
                    self._grow(side, target, stack, settings.deadline_s)
                except Unavailable as gap:
                    record.missing(side.subject, str(gap))
                    sides = [one for one in sides if one is not side]
                    continue
                if not side.full:
                    _observe(
                        record,
                        side,
                        block,
                        {"available_bytes": side.gone_bytes},
                        dose=float(target),
                    )
        for side in sides:
            _observe(record, side, 0, {"instances": len(side.members)})
        return sides

    def _grow(self, side: _Side, target: int, stack: ExitStack, deadline_s: float) -> None:
        count = target - len(side.members)
        before = self._settled()
        # Once it was too many, one of a smaller step would not be the next of the row.
        side.full = side.full or not fits(side.provider, count, before)
        if side.full:
            return
        started = stack.enter_context(
            side_by_side(side.provider, count, deadline_s=deadline_s, then=_move_in)
        )
        side.members += [one for one in started if isinstance(one, Member)]
        side.gone_bytes += before - self._settled()

    def _settled(self) -> int:
        self._sleep(SETTLE_S)
        return self._available()

    def _idle(self, sides: Sequence[_Side], record: Recorder) -> None:
        """One window for all of them; nothing is asked of anyone in it."""
        record.progress(0, 1, "idle window")
        before = [[member.account() for member in side.members] for side in sides]
        self._sleep(self._idle_s)
        after = [[member.account() for member in side.members] for side in sides]
        record.progress(1, 1, "idle window")
        for side, olds, news in zip(sides, before, after, strict=True):
            for index, (old, new) in enumerate(zip(olds, news, strict=True)):
                share = 1 / len(side.members)
                costs = _costs(old, new, share=share, scale=IDLE_S / self._idle_s)
                _observe(record, side, index, costs)


def _sides(pair: Pair, record: Recorder, settings: Settings) -> Iterator[_Side]:
    """Both kinds, prepared and warm, as far as this host has them."""
    for subject in ("container", "vm"):
        try:
            provider = offered(pair, subject)
            provider.prepare()
        except Unavailable as gap:
            record.missing(subject, str(gap))
            continue
        if not pair.warmed(subject):
            with provider.launch(deadline_s=settings.deadline_s) as environment:
                ready(environment)
        yield _Side(subject=subject, provider=provider)


def _targets(fleet: int) -> list[int]:
    """Sizes at which MemAvailable is looked at: one by one to the half, then two at a time."""
    half = max(1, fleet // 2)
    return [*range(1, half + 1), *range(half + 2, fleet, 2), fleet] if fleet > 1 else [1]


def _move_in(environment: Environment) -> None:
    """Its first command and its first data; raises `Unavailable` where a power is lacking."""
    ready(environment)
    if not isinstance(environment, Member):
        raise Unavailable(
            f"{environment.facts.provider} cannot tell costs and state of {environment.name}"
        )
    environment.write(WRITTEN)
    environment.account()


def _costs(old: Account, new: Account, *, share: float, scale: float) -> dict[str, Scalar]:
    """Figures of one instance; the daemons' are divided among those that they manage."""
    daemons_cpu_s = (new.daemons_cpu_s - old.daemons_cpu_s) * share
    return {
        "pss_bytes": new.payload_bytes + new.manager_bytes,
        "touched_bytes": new.payload_bytes,
        "manager_bytes": round(new.manager_bytes + new.daemons_bytes * share),
        "idle_cpu_s": (new.cpu_s - old.cpu_s + daemons_cpu_s) * scale,
        "manager_cpu_s": (new.manager_cpu_s - old.manager_cpu_s + daemons_cpu_s) * scale,
    }


def _ask(side: _Side, index: int, member: Member, record: Recorder) -> None:
    """The latencies first: what else is asked would warm the way."""
    values: dict[str, Scalar] = {
        "exec_s": _seconds(member, "exec", lambda: member.run(["true"])),
        "inspect_s": _seconds(member, "inspect", member.inspect),
        "disk_bytes": member.disk_bytes(),
    }
    _observe(record, side, index, values)


def _rank(sides: Sequence[_Side], record: Recorder) -> None:
    """The third way, by the instances' kernels; then whether the three ways agree.

    A kind that has no such way, as containers without control groups, is left out of it.
    """
    ways: list[list[float]] = []
    for side in sides:
        used = []
        # An engine takes a second for each answer.
        with ThreadPoolExecutor(max_workers=max(1, len(side.members))) as pool:
            asked = [pool.submit(member.memory) for member in side.members]
        try:
            held = [one.result() for one in asked]
        except Unavailable:
            continue
        for index, found in enumerate(held):
            used.append(found.used_bytes)
            values: dict[str, Scalar] = {
                "configured_bytes": found.configured_bytes,
                "used_bytes": found.used_bytes,
                "cache_bytes": found.cache_bytes,
            }
            _observe(record, side, index, values)
        if used:
            accounts = [member.account() for member in side.members]
            pss = median(one.payload_bytes + one.manager_bytes for one in accounts)
            ways.append([side.gone_bytes / len(used), pss, median(used)])
    if len(ways) == 2:
        agree = len({one < other for one, other in zip(*ways, strict=True)}) == 1
        _observe(record, sides[-1], 0, {"rank_agrees": agree})


def _abreast(
    sides: Sequence[_Side], index: int, coin: random.Random
) -> Iterator[tuple[_Side, Member]]:
    """The members of each kind with that index, in random order."""
    for side in _shuffled(sides, coin):
        if index < len(side.members):
            yield side, side.members[index]


def _seconds(member: Member, word: str, action: Callable[[], object]) -> float:
    """Time of an action, by the stopwatch that the environment was started with."""
    asked = member.mark(f"{word} asked")
    action()
    return member.mark(f"{word} done") - asked


def _observe(
    record: Recorder,
    side: _Side,
    block: int,
    values: dict[str, Scalar],
    *,
    dose: float | None = None,
) -> None:
    for metric, value in values.items():
        instance = side.members[block].name if dose is None and block < len(side.members) else ""
        record.observe(
            side.subject,
            metric,
            value,
            facts=side.provider.facts,
            block=block,
            instance=instance,
            dose=dose,
        )


def _shuffled(items: Sequence[_T], coin: random.Random) -> list[_T]:
    return coin.sample(items, len(items))


def _ksm() -> str:
    """State of the kernel's same-page merging."""
    with suppress(OSError):
        state = {name: (KSM / name).read_text().strip() for name in ("run", "pages_sharing")}
        on = {"0": "off", "1": "on", "2": "off, unmerged"}.get(state["run"], state["run"])
        return f"{on}, {state['pages_sharing']} pages shared"
    return "not in this kernel"
