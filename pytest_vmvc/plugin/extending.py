"""What others add to a run: pairs by entry point and by hook, experiments as fixtures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from types import ModuleType

import pytest

from pytest_vmvc import experiments
from pytest_vmvc.errors import UsageError
from pytest_vmvc.plugin import fixtures
from pytest_vmvc.subjects import catalog, offered
from pytest_vmvc.subjects.offered import Offered

HOOK = "pytest_vmvc_pairs"
_PAIRS = pytest.StashKey[Mapping[str, Offered]]()


def pairs(config: pytest.Config) -> Mapping[str, Offered]:
    """Every pair that others offer, by name; the hooks are called once.

    Raises `pytest.UsageError` where a name is taken or malformed.
    """
    if _PAIRS not in config.stash:
        try:
            config.stash[_PAIRS] = {**offered.installed(catalog.PAIRS), **_hooked(config)}
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_PAIRS]


def _hooked(config: pytest.Config) -> dict[str, Offered]:
    taken = {**catalog.PAIRS, **offered.installed(catalog.PAIRS)}
    found: dict[str, Offered] = {}
    for given in config.hook.pytest_vmvc_pairs(config=config):
        if not isinstance(given, Mapping):
            raise UsageError(
                f"{HOOK} gives {type(given).__name__} in place of pairs by name",
                hint=f"{{name: offers}}, where offers is {offered.FORM}",
            )
        for name, offers in given.items():
            one = Offered(str(name), HOOK, partial(_as_given, offers))
            if name in taken or name in found:
                raise one.wrong("there is such a pair already", "give it another name")
            found[one.name] = one
    return found


def _as_given(offers: object) -> object:
    return offers


def subjects(config: pytest.Config, asked: Collection[str]) -> Collection[str] | None:
    """Names of the subjects of all pairs; None where nobody can tell, as pairs are planted.

    What others offer is only looked at where ``asked`` has a name that is not of ours.
    """
    found = {subject for offers in catalog.PAIRS.values() for subject in offers}
    if not found.issuperset(asked):
        try:
            found.update(*(one.offers for one in pairs(config).values()))
        except UsageError:  # told to whoever measures that pair
            return None
    return sorted(found)


def register(config: pytest.Config) -> None:
    """Make a fixture of every experiment of another distribution.

    Raises `pytest.UsageError` where its name is taken, by an experiment or by a fixture of ours.
    """
    module = ModuleType("pytest_vmvc_other_experiments")
    try:
        for name, one in experiments.others().items():
            if hasattr(fixtures, name):
                raise one.wrong("the name is taken by a fixture", "it needs another name")
            summary = f"an experiment of {one.distribution}"
            setattr(module, name, fixtures.experiment(name, summary))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(module, "vmvc-other-experiments")
