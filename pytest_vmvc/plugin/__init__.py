"""The pytest plugin: hooks, options, fixtures; no logic.

Everything heavy lives in `pytest_vmvc.plugin.session` and is imported when ``--vmvc`` asks for it.
"""

from __future__ import annotations

import pytest

from pytest_vmvc.plugin import options
from pytest_vmvc.plugin.fixtures import (
    cold_start as cold_start,
)
from pytest_vmvc.plugin.fixtures import (
    kernel_facts as kernel_facts,
)
from pytest_vmvc.plugin.fixtures import (
    reading as reading,
)
from pytest_vmvc.plugin.fixtures import (
    record_start_up as record_start_up,
)
from pytest_vmvc.plugin.fixtures import (
    sizes as sizes,
)
from pytest_vmvc.plugin.fixtures import (
    vmvc_lab as vmvc_lab,
)
from pytest_vmvc.plugin.fixtures import (
    vmvc_load_pair as vmvc_load_pair,
)
from pytest_vmvc.plugin.fixtures import (
    vmvc_pair as vmvc_pair,
)

NEEDS_VMVC = "measures containers and machines: run it with --vmvc"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option group."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """With ``--vmvc`` open the session, and run the article where no path was given."""
    if options.active(config):
        from pytest_vmvc.plugin.session import Session

        config.pluginmanager.register(Session(config), Session.NAME)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each reading of a claim on each pair."""
    if "vmvc_pair" in metafunc.fixturenames:
        from pytest_vmvc.plugin import collection

        collection.parametrize(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``--vmvc`` nothing of ours runs."""
    if not options.active(config):
        for item in items:
            if "vmvc_pair" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=NEEDS_VMVC))
