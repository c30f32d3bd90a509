"""The contract of containers, at whichever engine the environment names."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.backends.docker import DockerReaper, Engine
from pytest_vmvc.resources import Resource
from pytest_vmvc.testing import ProviderContract


class ContainerContract(ProviderContract):
    def kill(self, env: Environment) -> None:
        with Engine().client() as client:
            client.kill(env.name)

    def leftovers(self) -> Sequence[Resource]:
        return DockerReaper().inventory()
