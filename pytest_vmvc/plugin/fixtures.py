"""The fixtures: every experiment of the catalogue is one, and gives its evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vmvc.experiments import CATALOGUE

if TYPE_CHECKING:
    from pytest_vmvc.conditions import Watch
    from pytest_vmvc.lab import Lab
    from pytest_vmvc.model import Evidence
    from pytest_vmvc.plugin.gate import BoundReading
    from pytest_vmvc.saved import SavedBench
    from pytest_vmvc.subjects import Pair


@pytest.fixture(scope="session")
def vmvc_load_pair(request: pytest.FixtureRequest) -> Callable[[str], Pair]:
    """How a pair is made from its name; override it to measure subjects of your own."""
    return _session(request).load_pair  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def vmvc_watch() -> Watch:
    """What looks at the host around each timed experiment; override it where no host is measured.

    Such are tests of your own claims on planted subjects: ``return lambda: tuple``.
    """
    from pytest_vmvc.conditions import watch

    return watch


@pytest.fixture(scope="session")
def vmvc_lab(request: pytest.FixtureRequest) -> Lab | SavedBench:
    """The run's bench, on which each experiment is made at most once on each pair."""
    session = _session(request)
    if session.saved:
        return session.saved_bench()  # type: ignore[no-any-return]
    load, watch = (request.getfixturevalue(name) for name in ("vmvc_load_pair", "vmvc_watch"))
    return session.lab(load, watch)  # type: ignore[no-any-return]


@pytest.fixture
def vmvc_pair(request: pytest.FixtureRequest) -> str:
    """Name of the pair under test."""
    return str(request.param)


@pytest.fixture
def reading(request: pytest.FixtureRequest, vmvc_pair: str) -> BoundReading:  # noqa: ARG001 - a reading is always of a pair
    """The claim's reading under test."""
    return _session(request).bind(request.node, request.param)  # type: ignore[no-any-return]


@pytest.fixture
def record_start_up(request: pytest.FixtureRequest) -> Callable[[Evidence, str], None]:
    """Replay a subject's start-up samples into pytest-benchmark."""
    from pytest_vmvc.plugin import benchmark

    return lambda evidence, subject: benchmark.replay(request, evidence, subject)


def experiment(name: str, summary: str) -> Callable[..., Evidence]:
    """The fixture of an experiment."""

    def measured(vmvc_lab: Lab | SavedBench, vmvc_pair: str) -> Evidence:
        from pytest_vmvc.errors import VmvcError

        try:
            return vmvc_lab.evidence(name, vmvc_pair)
        except VmvcError as error:
            broken = f"{name} on {vmvc_pair}: {type(error).__name__}: {error}"
        # In a fixture this is a pytest error and not a failure: the harness broke, not the claim.
        # Outside of the handler, or pytest would show what the error came from, too.
        pytest.fail(broken, pytrace=False)

    measured.__doc__ = f"{summary[:1].upper()}{summary[1:]}."
    return pytest.fixture(name=name)(measured)


globals().update({name: experiment(name, entry.summary) for name, entry in CATALOGUE.items()})


def _session(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - Session is imported lazily
    return request.config.pluginmanager.get_plugin("vmvc-session")
