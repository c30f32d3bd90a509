"""The backend keeps the contract of pytest-vmvc."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from vmvc_unshare.backend import RootReaper, UnshareContainer, UnshareProvider

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.resources import Resource, RunScope
from pytest_vmvc.testing import ProviderContract


@pytest.fixture(scope="module")
def provider(run_scope: RunScope) -> UnshareProvider:
    made = UnshareProvider(run_scope)
    if gap := made.probe():
        pytest.skip(str(gap))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def broken_provider(run_scope: RunScope) -> UnshareProvider:
    return UnshareProvider(run_scope, payload=["sh", "-c", "echo oh no >&2; exit 3"])


class TestContract(ProviderContract):
    bound_s = 10.0

    def kill(self, env: Environment) -> None:
        assert isinstance(env, UnshareContainer)
        env.kill()

    def leftovers(self) -> Sequence[Resource]:
        return RootReaper().inventory()
