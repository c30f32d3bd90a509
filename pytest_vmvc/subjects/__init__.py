"""The matched pairs: one userland, both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_vmvc.backends.base import Provider
from pytest_vmvc.errors import Unavailable


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is compared: a provider for each subject, or the reason why it is missing.

    Subjects are ``container`` and ``vm``; a pair may have more, which are never pooled with them
    (``vm-restored``). ``userlands`` are further containers, one of each other userland.
    """

    name: str
    subjects: Mapping[str, Provider]
    missing: Mapping[str, Unavailable] = field(default_factory=dict)
    userlands: tuple[Provider, ...] = ()
    missing_userland: Unavailable | None = None
    """Why one of the userlands is not among them."""
    _warm: set[str] = field(default_factory=set)

    def warmed(self, subject: str) -> bool:
        """Whether the subject has been started before in this run; it counts as such from now."""
        before = subject in self._warm
        self._warm.add(subject)
        return before


def pair(
    name: str,
    offers: Mapping[str, Callable[[], Provider]],
    *,
    userlands: Mapping[str, Callable[[], Provider]] | None = None,
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
    others = [_available(offer) for offer in (userlands or {}).values()]
    return Pair(
        name=name,
        subjects=subjects,
        missing=missing,
        userlands=tuple(found for found in others if not isinstance(found, Unavailable)),
        missing_userland=next((found for found in others if isinstance(found, Unavailable)), None),
    )


def _available(offer: Callable[[], Provider]) -> Provider | Unavailable:
    try:
        provider = offer()
    except Unavailable as gap:
        return gap
    return provider.probe() or provider
