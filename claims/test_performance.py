"""Section "Performance"."""

from collections.abc import Callable

import pytest

from pytest_vmvc import BoundReading, Evidence, claim, ratio


@claim(
    "perf.startup-faster",
    quote="containers can startup very fast compared to that of virtual machines",
    readings={
        "vm-over-container": ratio("vm", "start_s", over="container", above=1.25).because(
            "a machine runs firmware, a kernel and an init that a container does not have"
        ),
        "vm-over-container-usable": ratio("vm", "ready_s", over="container", above=1.25).because(
            "the same, up to the first command answered inside"
        ),
        "restored-vm-over-container": ratio("vm-restored", "start_s", over="container", above=1.25)
        .on("minimal")
        .expecting(
            "INCONCLUSIVE",
            why="a restored machine skips firmware, kernel and init: which side is faster depends "
            "on the host's storage and memory, so nothing is expected of it",
        ),
    },
)
def test_startup_faster(reading: BoundReading, cold_start: Evidence) -> None:
    """Paired, interleaved fresh starts: from the request to the host receiving the nonce."""
    reading.judge(cold_start)


@pytest.mark.parametrize("subject", ["container", "vm", "vm-restored"])
def test_start_up_path(
    subject: str, cold_start: Evidence, record_start_up: Callable[[Evidence, str], None]
) -> None:
    """The same samples as rows of pytest-benchmark's table; no claim of its own."""
    record_start_up(cold_start, subject)
