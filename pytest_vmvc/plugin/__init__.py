"""The pytest plugin: hooks, options, fixtures; no logic.

Everything heavy lives in `pytest_vmvc.plugin.session` and is imported when ``--vmvc`` asks for it.
"""

from __future__ import annotations

import pytest

from pytest_vmvc.plugin import hooks, host_link, options

pytest_plugins = ("pytest_vmvc.plugin.fixtures",)

pytest.register_assert_rewrite("pytest_vmvc.testing")  # for those who import it: we do not

NEEDS_VMVC = "measures containers and machines: run it with --vmvc"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that others may implement."""
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option group."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """With ``--vmvc`` open the session, and run the article where no path was given."""
    host_link.take_over(config)
    if not options.active(config):
        return
    from pytest_vmvc.plugin import extending

    extending.register(config)
    if host_link.has_hosts(config):
        from pytest_vmvc.plugin.hosts import HostsSession

        config.pluginmanager.register(HostsSession(config), HostsSession.NAME)
    else:
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
