"""The fixtures that the contract needs."""

from pytest_vmvc.testing import run_scope, shared_env

__all__ = ["run_scope", "shared_env"]
