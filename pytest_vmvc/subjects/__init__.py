"""The matched pairs: one userland, both sides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import Closed, Unavailable
from pytest_vmvc.resources import RunScope

if TYPE_CHECKING:
    from pytest_vmvc.subjects.builders import Builder

Offer = Callable[[RunScope], Provider]
"""Makes a provider for one run; raises `Unavailable` with the reason where this host cannot."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is compared: a provider for each subject, or the reason why it is missing.

    Subjects are ``container`` and ``vm``; a pair may have more, which are never pooled with them
    (``vm-restored``). ``userlands`` are further containers, one of each other userland.
    """

    name: str
    subjects: Mapping[str, Provider]
    source: str = ""
    """Where a user defined it; empty: it is shipped."""
    missing: Mapping[str, Unavailable] = field(default_factory=dict)
    userlands: tuple[Provider, ...] = ()
    missing_userland: Unavailable | None = None
    """Why one of the userlands is not among them."""
    others: Mapping[str, Callable[[], Provider]] = field(default_factory=dict)
    """What only single experiments start, by name: made when it is asked for."""
    builders: Mapping[str, Builder] = field(default_factory=dict)
    """What makes a subject anew, where that can be done in a run."""
    workdir: Path | None = None
    """A folder that goes with the run, for an experiment's own files; None: the system's."""
    _warm: set[str] = field(default_factory=set)
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _standing: dict[str, list[tuple[Environment, ExitStack]]] = field(default_factory=dict)

    def warmed(self, subject: str) -> bool:
        """Whether the subject has been started before in this run; it counts as such from now."""
        before = subject in self._warm
        self._warm.add(subject)
        return before

    def present(self) -> Pair:
        """The pair as this host has it now: what has gone since is missing, with the reason."""
        gaps = _gaps((*self.subjects.values(), *self.userlands))
        if not any(gaps):
            return self
        gone = {key: gap for key, gap in zip(self.subjects, gaps, strict=False) if gap}
        lands = list(zip(self.userlands, gaps[len(self.subjects) :], strict=True))
        return replace(
            self._without(gone),
            userlands=tuple(one for one, gap in lands if gap is None),
            missing_userland=next((gap for _, gap in lands if gap), self.missing_userland),
        )

    def open(self, closed: Closed) -> Pair:
        """The pair without the subjects of which that cannot be seen; it is the reason."""
        extra = {key: one.facts.extra for key, one in self.subjects.items()}
        shut = [key for key, facts in extra.items() if facts.get(closed.fact) is False]
        return self._without(dict.fromkeys(shut, closed)) if shut else self

    def _without(self, gone: Mapping[str, Unavailable]) -> Pair:
        return replace(
            self,
            subjects={key: one for key, one in self.subjects.items() if key not in gone},
            missing={**self.missing, **gone},
        )

    def other(self, name: str) -> Provider:
        """A provider that is no subject of the pair; raises `Unavailable` with the reason."""
        if name not in self.others:
            raise Unavailable(f"the pair {self.name} has no {name}")
        found = _available(self.others[name])
        if isinstance(found, Unavailable):
            raise found
        return found

    def standing(
        self, subject: str, count: int = 1, *, deadline_s: float = 300.0
    ) -> list[Environment]:
        """So many living environments of a subject, which experiments that time nothing share.

        Those that are lacking are started, side by side; all of them stand until `close`. Leave
        them as they were. Raises what `Provider.launch` raises.
        """
        with self._starting:
            return self._stand(subject, count, deadline_s)

    def _stand(self, subject: str, count: int, deadline_s: float) -> list[Environment]:
        entries = self._standing.setdefault(subject, [])
        alive = [one for one, _ in entries if one.alive()]
        lacking = count - len(alive)
        if lacking > 0:
            provider = self.subjects[subject]
            provider.prepare()
            self._warm.add(subject)
            stacks = [ExitStack() for _ in range(lacking)]
            with ThreadPoolExecutor(max_workers=lacking) as pool:
                launches = [
                    pool.submit(stack.enter_context, provider.launch(deadline_s=deadline_s))
                    for stack in stacks
                ]
            # Those that came up are kept, also where another one did not.
            entries += [
                (launch.result(), stack)
                for launch, stack in zip(launches, stacks, strict=True)
                if launch.exception() is None
            ]
            alive += [launch.result() for launch in launches]
        return alive[:count]

    def close(self) -> None:
        """End whatever stands, side by side; raises `TeardownFailed` once all were tried."""
        stacks = [stack for entries in self._standing.values() for _, stack in entries]
        self._standing.clear()
        with ThreadPoolExecutor(max_workers=max(1, len(stacks))) as pool:
            endings = [pool.submit(stack.close) for stack in stacks]
        for ending in endings:
            ending.result()


def pair(
    name: str,
    offers: Mapping[str, Callable[[], Provider]],
    *,
    source: str = "",
    userlands: Mapping[str, Callable[[], Provider]] | None = None,
    others: Mapping[str, Callable[[], Provider]] | None = None,
    builders: Mapping[str, Builder] | None = None,
    workdir: Path | None = None,
) -> Pair:
    """Make a pair of whatever this host can offer; what it cannot is missing, with the reason."""
    subjects: dict[str, Provider] = {}
    missing: dict[str, Unavailable] = {}
    for subject, offer in offers.items():
        found = _available(offer)
        if isinstance(found, Unavailable):
            missing[subject] = found
        else:
            subjects[subject] = found
    found_userlands = [_available(offer) for offer in (userlands or {}).values()]
    return Pair(
        name=name,
        source=source,
        subjects=subjects,
        missing=missing,
        others=others or {},
        builders=builders or {},
        workdir=workdir,
        userlands=tuple(found for found in found_userlands if not isinstance(found, Unavailable)),
        missing_userland=next(
            (found for found in found_userlands if isinstance(found, Unavailable)), None
        ),
    )


def _gaps(providers: Iterable[Provider]) -> list[Unavailable | None]:
    """Why each cannot be used now, or None; asked at once, as a technology that hangs is slow."""
    asked = list(providers)
    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
        return list(pool.map(lambda provider: provider.probe(), asked))


def _available(offer: Callable[[], Provider]) -> Provider | Unavailable:
    try:
        provider = offer()
    except Unavailable as gap:
        return gap
    return provider.probe() or provider
