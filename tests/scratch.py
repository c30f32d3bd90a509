"""What tests need of the host."""

from __future__ import annotations

import pytest

from pytest_vmvc.backends.docker import image_id
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.subjects import minimal


def minimal_pair_or_skip() -> minimal.MinimalArtefacts:
    """The minimal pair, whose image the engine has; without it the test is skipped."""
    artefacts = minimal.load()
    try:
        present = artefacts is not None and image_id(artefacts.image_ref) is not None
    except Unavailable as reason:
        pytest.skip(str(reason))
    if artefacts is None or not present:
        pytest.skip("the minimal pair is not built: run `vmvc setup`")
    return artefacts
