"""Pairs that somebody else offers: another distribution, or a project's ``conftest.py``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial

from pytest_vmvc import extensions
from pytest_vmvc.backends.base import Provider
from pytest_vmvc.errors import UsageError, VmvcError
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import Offer, own

NEEDED = ("name", "kind", "facts", "probe", "prepare", "launch")
"""What a `Provider` has."""
FORM = 'like {"container": offer, "vm": offer}, where offer(scope) gives a Provider'


class Offered:
    """A pair by its name, from whoever ``source`` is; ``load`` is called when it is measured."""

    def __init__(self, name: str, source: str, load: Callable[[], object]) -> None:
        self.name = name
        self.source = source
        self._load = load
        own.check_name(name, source)

    @cached_property
    def offers(self) -> Mapping[str, Offer]:
        """What makes each subject; raises `UsageError` where it is no such mapping."""
        given = self._load()
        if not isinstance(given, Mapping) or not given:
            raise self.wrong(f"it gives {type(given).__name__} in place of offers", FORM)
        for subject, offer in given.items():
            if not isinstance(subject, str) or not own.NAME.fullmatch(subject):
                raise self.wrong(f"{subject!r:.80} is no name of a subject", "like vm-restored")
            if not callable(offer):
                raise self.wrong(f"its {subject} cannot be called", FORM)
        return dict(given)

    def bound(self, scope: RunScope) -> dict[str, Callable[[], Provider]]:
        """The same for one run; each is made when it is asked for, and held against `Provider`."""
        return {
            subject: partial(self._make, subject, offer, scope)
            for subject, offer in self.offers.items()
        }

    def _make(self, subject: str, offer: Offer, scope: RunScope) -> Provider:
        try:
            made = offer(scope)
        except VmvcError:
            raise
        except Exception as error:  # a stranger's function may do anything
            raise self.wrong(
                f"its {subject} cannot be made: {type(error).__name__}: {error}"
            ) from error
        lacking = [one for one in NEEDED if inspect.getattr_static(made, one, None) is None]
        if lacking:
            raise self.wrong(
                f"its {subject} is no Provider: {type(made).__name__} has no {lacking[0]}",
                "pytest_vmvc.testing.ProviderContract tells what one keeps",
            )
        return made

    def wrong(self, message: str, hint: str = "") -> UsageError:
        """An error of this pair, with whose it is."""
        return own.wrong(self.source, self.name, message, hint)


def installed(taken: Collection[str]) -> dict[str, Offered]:
    """The pairs of other distributions, by name; none is imported.

    Raises `UsageError` where one has a name that is ``taken`` or malformed, or two have one name.
    """
    return {
        one.name: Offered(one.name, str(one), one.load)
        for one in extensions.by_name(extensions.PAIRS, taken).values()
    }
