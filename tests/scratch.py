"""Runs of the tests' own, and what they need of the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_vmvc.backends.docker import image_id
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import minimal


@contextmanager
def scratch_run(folders: pytest.TempPathFactory) -> Iterator[RunScope]:
    """A run whose ledger stands in a temporary folder; at its end it holds nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMVC_STATE_DIR", str(folders.mktemp("state")))
        with RunScope() as scope:
            yield scope
            assert not scope.held


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
