"""Whatever ends a run, nothing is left of it, nothing hangs, and no result is lost.

The short form is part of the suite. The long one is `tox run -e torture`, which adds to a file of
recorded runs (VMVC_TORTURE_RECORD); VMVC_TORTURE_RUNS, _SEED, _SCENE and _SECONDS choose.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ended_runs import CLOSERS, END_S, ENDINGS, Bed, Ended, record

from pytest_vmvc.subjects import catalog
from tests.scratch import minimal_pair_or_skip

RUNS = int(os.environ.get("VMVC_TORTURE_RUNS", len(ENDINGS)))
SEED = int(os.environ.get("VMVC_TORTURE_SEED", "0"))
SCENE = os.environ.get("VMVC_TORTURE_SCENE", "starts")
FILE = os.environ.get("VMVC_TORTURE_RECORD")
ENOUGH_S = float(os.environ.get("VMVC_TORTURE_SECONDS", "inf"))
BEGAN = time.monotonic()

pytestmark = [pytest.mark.engine, pytest.mark.machine]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    if shutil.which("docker") is None:
        pytest.skip("the command docker is not installed, which looks at what is left")
    minimal_pair_or_skip()
    catalog.tier()  # found once a boot of the host; it is not what is looked at here
    bed = Bed(tmp_path_factory.mktemp("torture"), SCENE)
    yield bed
    bed.close()


@pytest.mark.parametrize("number", range(RUNS))
def test_an_ended_run_leaves_nothing(bed: Bed, number: int) -> None:
    if time.monotonic() - BEGAN > ENOUGH_S:
        pytest.skip("the time is over: VMVC_TORTURE_SECONDS")
    ending = ENDINGS[number % len(ENDINGS)]
    closer = CLOSERS[(number + number // len(ENDINGS) + SEED) % len(CLOSERS)]
    ended = bed.end(ending, closer, SEED + number)
    if FILE:
        record(ended, Path(FILE), host())
    assert problems(ended) == []


@pytest.mark.skipif(SCENE != "starts", reason="one scene is enough")
def test_a_run_beside_one_that_is_killed_goes_on_undisturbed(bed: Bed) -> None:
    assert bed.beside(SEED) == (0, 4, frozenset())


def problems(ended: Ended) -> list[str]:
    """What is wrong with it, in words."""
    found = [f"left behind: {one}" for one in ended.left]
    found += [f"lost: {one}" for one in ended.lost]
    if ended.hangs:
        found.append(f"not ended {END_S:g} s after {ended.ending}")
    if ended.unreadable:
        found.append(f"{ended.unreadable} lines of the results file are no JSON")
    if ended.exit_status not in statuses(ended):
        found.append(f"exit status {ended.exit_status}")
    return found


def statuses(ended: Ended) -> tuple[int, ...]:
    """Those that make sense: pytest's 2 is "interrupted"; -N is the signal itself."""
    if ended.ending == "SIGKILL of a worker":
        # Its test has failed, or another worker has done it. Of one that dies before it has said
        # its first word, pytest-xdist makes an internal error; nothing has been measured then.
        return (0, 1) if ended.begun else (0, 1, 3)
    late = (0,) if ended.ended_before else ()  # it was ending by itself
    if ended.ending.startswith("SIGKILL"):
        return (-9, *late)
    # Until pytest and the plugin are there, the system's own answer to the signal stands.
    # Either of them is an interrupt to the plugin: outside of pytest's loop, Python's own -2.
    own = {"SIGTERM": (2, -2, -15), "SIGHUP": (2, -2, -1)}.get(ended.ending, (1, 2, -2, 130))
    return (*own, *late)


def host() -> dict[str, str]:
    """Where and when."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "tier": catalog.tier(),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
    }
