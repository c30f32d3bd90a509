"""Open-loop load that rises and falls, and what a web server under it takes of the host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Serves, Shape, Shapeable
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.load import Driven, drive
from pytest_vmvc.measure import Sample, Taken
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

PORT = 8080
PATH = "/cgi-bin/work"
PHASES: Mapping[str, float] = {"idle": 0.0, "low": 10.0, "high": 40.0, "after": 0.0}
"""Requests a second in each phase, in order."""
PHASE_S = 0.3
ANSWER_TIMEOUT_S = 5.0
SAMPLE_S = 0.02
WAIT_S = 20.0

WORK = """#!/bin/sh
echo Content-Type: text/plain
echo
dd if=/dev/zero bs=2M count=1 2>/dev/null | { head -c 1 >/dev/null; sleep 0.1; echo done; }
"""
"""What a request does: a few processes, and 2 MiB of memory for a tenth of a second."""
SERVE = f"""mkdir -p /tmp/www/cgi-bin && cat >/tmp/www{PATH} && chmod +x /tmp/www{PATH} &&
httpd -p {PORT} -h /tmp/www"""
ASKED = f"{PHASES['low']:g} and then {PHASES['high']:g} requests a second"


SUBJECT = "container"


class Load:
    """A fresh web server in a container each time: idle, low and high load, idle again."""

    name = "load"
    metrics = (
        Metric(
            name="cpu_s",
            label="CPU time",
            unit="s",
            definition=f"user and system, in a phase of {PHASE_S:g} s and until its last answer; "
            f"{ASKED}",
            emulation="inflates",
        ),
        Metric(
            name="memory_bytes",
            label="memory",
            unit="bytes",
            definition="mean over a phase, seen from the host; each request holds 2 MiB for 0.1 s",
            emulation="inflates",
        ),
        Metric(
            name="cpu_kept_share",
            label="share of the CPU time's rise that stays",
            unit="ratio",
            definition="of what the high load added to the CPU time of a phase, what is still "
            "there when it is idle again",
            emulation="inflates",
        ),
        Metric(
            name="memory_kept_share",
            label="share of the memory's rise that stays",
            unit="ratio",
            definition="of what the high load added to the memory, what is still there when it is "
            "idle again",
            emulation="inflates",
        ),
        Metric(
            name="failed",
            label="requests that failed",
            unit="",
            definition=f"without an answer of status 200 within {ANSWER_TIMEOUT_S:g} s",
        ),
        Metric(
            name="late",
            label="requests that left late",
            unit="",
            definition="sent too late by this host: the load was lower than it should be",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record every phase of fresh containers."""
        try:
            if gap := pair.missing.get(SUBJECT):
                raise gap
            provider = _serving(pair.subjects[SUBJECT])
        except Unavailable as lacks:
            record.missing(SUBJECT, str(lacks))
            return

        def down(taken: Taken, looks: tuple[int, ...]) -> None:
            """Each phase is a subject of its own."""
            for key, value in taken.sample.values.items():
                phase, _, metric = key.rpartition(" ")
                record.observe(
                    f"{SUBJECT}-{phase}" if phase else SUBJECT,
                    metric,
                    value,
                    facts=provider.facts,
                    block=taken.block,
                    instance=taken.sample.instance,
                    looks=looks,
                )

        record.blocks(
            {SUBJECT: partial(_sample, provider, settings.deadline_s)},
            lambda _: provider.facts,
            settings,
            down=down,
        )


def _serving(provider: Provider) -> Provider:
    if not isinstance(provider, Shapeable):
        raise Unavailable(f"{provider.name} cannot open a port to the host's loopback")
    shaped = provider.shaped(Shape(ports=(PORT,)))
    shaped.prepare()
    return shaped


def _sample(provider: Provider, deadline_s: float) -> Sample:
    """One fresh server through all phases; values by ``phase metric``, or ``metric`` for all."""
    with provider.launch(deadline_s=deadline_s) as environment:
        address = _serve(environment)
        phases = {
            phase: _phase(environment, address, rate_per_s) for phase, rate_per_s in PHASES.items()
        }
        values: dict[str, Scalar] = {
            f"{phase} {metric}": value
            for phase, found in phases.items()
            for metric, value in found.items()
        }
        values |= {
            "cpu_kept_share": _kept_share(phases, "cpu_s"),
            "memory_kept_share": _kept_share(phases, "memory_bytes"),
        }
        return Sample(values=values, instance=environment.name)


def _serve(environment: Environment) -> tuple[str, int]:
    """Start the server and wait for its first answer; raises `InfrastructureError`."""
    if not isinstance(environment, Serves):
        raise InfrastructureError(f"{environment.name} has no address, as it was asked for")
    started = environment.run(["sh", "-c", SERVE], stdin=WORK.encode())
    if started.exit_status != 0:
        raise InfrastructureError(
            f"the web server in {environment.name} did not start",
            hint=started.stderr.decode(errors="replace")[:200],
        )
    address = environment.address(PORT)
    first = drive(address, PATH, rate_per_s=1, seconds=1, timeout_s=WAIT_S)
    if first.answered != 1:
        raise InfrastructureError(f"the web server in {environment.name} does not answer")
    return address


def _phase(
    environment: Environment, address: tuple[str, int], rate_per_s: float
) -> dict[str, float]:
    """Its CPU time and memory while requests come at that rate, until the last is answered."""

    def drive_or_rest() -> Driven | None:
        if not rate_per_s:
            time.sleep(PHASE_S)
            return None
        return drive(
            address, PATH, rate_per_s=rate_per_s, seconds=PHASE_S, timeout_s=ANSWER_TIMEOUT_S
        )

    with ThreadPoolExecutor(1) as pool:
        before = environment.usage()
        driving = pool.submit(drive_or_rest)
        memory = [environment.usage().memory_bytes]
        while not driving.done():
            time.sleep(SAMPLE_S)
            memory.append(environment.usage().memory_bytes)
        after = environment.usage()
    found: dict[str, float] = {
        "cpu_s": after.cpu_s - before.cpu_s,
        "memory_bytes": statistics.fmean(memory),
    }
    if driven := driving.result():
        found |= {"failed": driven.failed, "late": driven.late}
    return found


def _kept_share(phases: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """Share of the rise from idle to high that is left afterwards; all of it where none rose."""
    idle, high, after = (phases[phase][metric] for phase in ("idle", "high", "after"))
    return (after - idle) / (high - idle) if high > idle else 1.0
