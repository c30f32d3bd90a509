"""The hooks that a ``conftest.py``, or another plugin, may implement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_vmvc.subjects import Offer


@pytest.hookspec
def pytest_vmvc_pairs(config: pytest.Config) -> Mapping[str, Mapping[str, Offer]] | None:
    """Give pairs of your own, by the name that ``--vmvc-pair`` takes.

    A pair is a mapping of offers by subject, such as ``container`` and ``vm``; ``offer(scope)``
    makes a `pytest_vmvc.backends.base.Provider` for the run of that scope, or raises `Unavailable`
    with the reason why this host cannot. Called once, with ``--vmvc`` only, before anything is
    collected: a ``conftest.py`` has to be that of the root folder, or of a folder given to pytest.
    """
