"""Measure real containers and real virtual machines side by side; judge claims about them.

The public API: what a claim file needs. Everything here is loaded when it is first used, so that a
pytest run without ``--vmvc`` pays next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_vmvc.declaration import (
        at_least as at_least,
    )
    from pytest_vmvc.declaration import (
        at_most as at_most,
    )
    from pytest_vmvc.declaration import (
        below as below,
    )
    from pytest_vmvc.declaration import (
        claim as claim,
    )
    from pytest_vmvc.declaration import (
        differs as differs,
    )
    from pytest_vmvc.declaration import (
        distinct as distinct,
    )
    from pytest_vmvc.declaration import (
        holds as holds,
    )
    from pytest_vmvc.declaration import (
        opinion as opinion,
    )
    from pytest_vmvc.declaration import (
        ratio as ratio,
    )
    from pytest_vmvc.declaration import (
        same as same,
    )
    from pytest_vmvc.declaration import (
        slope as slope,
    )
    from pytest_vmvc.model import Evidence as Evidence
    from pytest_vmvc.model import Verdict as Verdict
    from pytest_vmvc.plugin.gate import BoundReading as BoundReading

_HOME = {
    **dict.fromkeys(
        (
            "at_least",
            "at_most",
            "below",
            "claim",
            "differs",
            "distinct",
            "holds",
            "opinion",
            "ratio",
            "same",
            "slope",
        ),
        "pytest_vmvc.declaration",
    ),
    "Evidence": "pytest_vmvc.model",
    "Verdict": "pytest_vmvc.model",
    "BoundReading": "pytest_vmvc.plugin.gate",
}
__all__ = sorted(_HOME)  # noqa: PLE0605 - a sorted list of names


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
