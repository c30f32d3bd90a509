"""The fixtures: an experiment is a fixture that gives evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_vmvc.lab import Lab
    from pytest_vmvc.model import Evidence
    from pytest_vmvc.plugin.gate import BoundReading
    from pytest_vmvc.subjects import Pair

EXPERIMENTS = {
    "cold_start": "pytest_vmvc.experiments.cold_start:ColdStart",
    "kernel_facts": "pytest_vmvc.experiments.kernel_facts:KernelFacts",
    "sizes": "pytest_vmvc.experiments.sizes:Sizes",
}


@pytest.fixture(scope="session")
def vmvc_load_pair(request: pytest.FixtureRequest) -> Callable[[str], Pair]:
    """How a pair is made from its name; override it to measure subjects of your own."""
    return _session(request).load_pair  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def vmvc_lab(request: pytest.FixtureRequest, vmvc_load_pair: Callable[[str], Pair]) -> Lab:
    """The run's bench, on which each experiment is made at most once on each pair."""
    return _session(request).lab(vmvc_load_pair)  # type: ignore[no-any-return]


@pytest.fixture
def vmvc_pair(request: pytest.FixtureRequest) -> str:
    """Name of the pair under test."""
    return str(request.param)


@pytest.fixture
def reading(request: pytest.FixtureRequest, vmvc_pair: str) -> BoundReading:  # noqa: ARG001 - a reading is always of a pair
    """The claim's reading under test."""
    return _session(request).bind(request.node, request.param)  # type: ignore[no-any-return]


@pytest.fixture
def cold_start(vmvc_lab: Lab, vmvc_pair: str) -> Evidence:
    """Fresh starts, paired and interleaved: ``start_s``, ``ready_s``."""
    return _measure("cold_start", vmvc_lab, vmvc_pair)


@pytest.fixture
def kernel_facts(vmvc_lab: Lab, vmvc_pair: str) -> Evidence:
    """Whose kernel runs inside: ``kernel_release``, ``boot_id``, ``boot_time``, visibility."""
    return _measure("kernel_facts", vmvc_lab, vmvc_pair)


@pytest.fixture
def sizes(vmvc_lab: Lab, vmvc_pair: str) -> Evidence:
    """Bytes to fetch and to keep: ``fetch_bytes``, ``kept_bytes``, ``virtual_bytes``."""
    return _measure("sizes", vmvc_lab, vmvc_pair)


@pytest.fixture
def record_start_up(request: pytest.FixtureRequest) -> Callable[[Evidence, str], None]:
    """Replay a subject's start-up samples into pytest-benchmark."""
    from pytest_vmvc.plugin import benchmark

    return lambda evidence, subject: benchmark.replay(request, evidence, subject)


def _measure(name: str, lab: Lab, pair: str) -> Evidence:
    from importlib import import_module

    from pytest_vmvc.errors import VmvcError

    module, _, kind = EXPERIMENTS[name].partition(":")
    try:
        return lab.evidence(getattr(import_module(module), kind)(), pair)
    except VmvcError as error:
        # In a fixture this is a pytest error and not a failure: the harness broke, not the claim.
        pytest.fail(f"{name} on {pair}: {type(error).__name__}: {error}", pytrace=False)


def _session(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - Session is imported lazily
    return request.config.pluginmanager.get_plugin("vmvc-session")
