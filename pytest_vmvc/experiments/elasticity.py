"""Memory that a workload has taken and given up again: what the host still holds of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Balloons, Shape, Shapeable
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.allocation import (
    MIB,
    TAKEN_BYTES,
    Episode,
    available_bytes,
    take_and_give,
)
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Facts, Metric
from pytest_vmvc.subjects import Pair

GRANT_BYTES = 192 * MIB
UNTOUCHED_BYTES = 2048 * MIB
REPORTED_S = 5.0
"""A guest reports its free pages every two seconds, a part of them each time."""
KSM = Path("/sys/kernel/mm/ksm/run")
SHAPES = {
    "container": ("container", Shape(memory_bytes=GRANT_BYTES)),
    "vm": ("vm-restored", Shape(memory_bytes=GRANT_BYTES, balloon="plain")),
    "vm-reporting": ("vm-restored", Shape(memory_bytes=GRANT_BYTES, balloon="reporting")),
    "vm-untouched": ("vm", Shape(memory_bytes=UNTOUCHED_BYTES)),
}
"""What is started for each subject: which one of the pair, in which shape."""


Started = tuple[Environment, Episode, float]
"""With its allocation, and the moment at which it has had time to report."""


class Elasticity:
    """The same allocation, made and given up again, in containers and in machines.

    The machines go on from a snapshot, so that there are enough of them: once without a driver for
    their balloon, which is loaded and inflated afterwards; once reporting their free pages.
    """

    name = "elasticity"
    metrics = (
        Metric(
            name="held_share",
            label="share of freed memory that the host still holds",
            unit="ratio",
            definition="of the memory that the allocation added on the host, what is still there "
            f"just after it was freed, or {REPORTED_S:g} s after where the guest reports; "
            f"{TAKEN_BYTES // MIB} MiB of a grant of {GRANT_BYTES // MIB} MiB",
            emulation="inflates",
        ),
        Metric(
            name="available_less_bytes",
            label="memory that the host has less available afterwards",
            unit="bytes",
            definition="the host's MemAvailable before the allocation less after it was freed; "
            "a cross-check that everything on the host moves",
            emulation="inflates",
        ),
        Metric(
            name="inflated_share",
            label="share of freed memory that the host holds once the balloon is inflated",
            unit="ratio",
            definition="the same share, once the balloon has taken as much as was freed",
            emulation="inflates",
        ),
        Metric(
            name="touched_bytes",
            label="memory that the allocation added",
            unit="bytes",
            definition="on the host, while the workload holds it",
            emulation="inflates",
        ),
        Metric(
            name="held_bytes",
            label="memory held afterwards",
            unit="bytes",
            definition="on the host, of the whole container or machine, once all was freed",
            emulation="inflates",
        ),
        Metric(
            name="configured_bytes",
            label="configured memory",
            unit="bytes",
            definition="what it was granted",
        ),
        Metric(
            name="used_bytes",
            label="memory used inside",
            unit="bytes",
            definition="MemTotal less MemAvailable inside",
        ),
        Metric(
            name="untouched_share",
            label="share of its configured memory that the host holds",
            unit="ratio",
            definition="of a machine that has booted and done nothing, its hypervisor included",
            emulation="inflates",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record each subject's shares and bytes, and those of one large machine left untouched."""
        providers = _prepared(pair, record)
        if provider := providers.pop("vm-untouched", None):
            _untouched(provider, record, settings)
        record.progress(0, settings.blocks)
        with ExitStack() as stack:
            reporting = []
            if provider := providers.get("vm-reporting"):
                # They report while the others are measured.
                reporting = [
                    _started(provider, stack, settings.deadline_s) for _ in range(settings.blocks)
                ]
            takers: dict[str, Callable[[Provider, float], Sample]] = {
                "container": _container,
                "vm": _machine,
                "vm-reporting": partial(_reporting, reporting),
            }
            record.blocks(
                {
                    subject: partial(takers[subject], provider, settings.deadline_s)
                    for subject, provider in providers.items()
                },
                lambda subject: _with_ksm(providers[subject].facts),
                settings,
            )


def _prepared(pair: Pair, record: Recorder) -> dict[str, Provider]:
    """Providers of the subjects that can take part; snapshots are taken side by side."""
    providers: dict[str, Provider] = {}
    for subject, (source, shape) in SHAPES.items():
        if gap := pair.missing.get(source):
            record.missing(subject, str(gap))
        elif source in pair.subjects:
            try:
                providers[subject] = _shaped(pair.subjects[source], shape)
            except Unavailable as lacks:
                record.missing(subject, str(lacks))
    with ThreadPoolExecutor() as pool:
        prepared = {name: pool.submit(provider.prepare) for name, provider in providers.items()}
    for subject, done in prepared.items():
        try:
            done.result()
        except Unavailable as lacks:
            record.missing(subject, str(lacks))
            del providers[subject]
    return providers


def _shaped(provider: Provider, shape: Shape) -> Provider:
    if not isinstance(provider, Shapeable):
        raise Unavailable(f"{provider.name} can grant nothing but its default")
    return provider.shaped(shape)


def _untouched(provider: Provider, record: Recorder, settings: Settings) -> None:
    with provider.launch(deadline_s=settings.deadline_s) as environment:
        held = environment.usage().memory_bytes
        for metric, value in (
            ("untouched_share", held / UNTOUCHED_BYTES),
            ("configured_bytes", UNTOUCHED_BYTES),
            ("used_bytes", _used_bytes(environment)),
            ("held_bytes", held),
        ):
            record.observe(
                "vm-untouched",
                metric,
                value,
                facts=_with_ksm(environment.facts),
                instance=environment.name,
            )


def _container(provider: Provider, deadline_s: float) -> Sample:
    with provider.launch(deadline_s=deadline_s) as environment:
        return _sample(environment, take_and_give(environment))


def _machine(provider: Provider, deadline_s: float) -> Sample:
    with provider.launch(deadline_s=deadline_s) as environment:
        episode = take_and_give(environment)
        sample = _sample(environment, episode)
        balloon = _balloon(environment)
        balloon.start_balloon()
        balloon.inflate(GRANT_BYTES - TAKEN_BYTES)
        inflated = episode.share(environment.usage().memory_bytes)
        return msgspec.structs.replace(sample, values={**sample.values, "inflated_share": inflated})


def _started(provider: Provider, stack: ExitStack, deadline_s: float) -> Started:
    """One that reports from now on, and has had its allocation."""
    environment = stack.enter_context(provider.launch(deadline_s=deadline_s))
    _balloon(environment).start_balloon()
    return environment, take_and_give(environment), time.monotonic() + REPORTED_S


def _reporting(started: list[Started], provider: Provider, deadline_s: float) -> Sample:
    """The next one that was started, or else a fresh one, once it has had time to report."""
    with ExitStack() as stack:
        environment, episode, due = (
            started.pop(0) if started else _started(provider, stack, deadline_s)
        )
        time.sleep(max(0.0, due - time.monotonic()))
        sample = _sample(environment, episode)
        del sample.values["available_less_bytes"]  # others were started meanwhile
        return sample


def _sample(environment: Environment, episode: Episode) -> Sample:
    held = environment.usage().memory_bytes
    return Sample(
        values={
            "held_share": episode.share(held),
            "available_less_bytes": episode.available_before - available_bytes(),
            "touched_bytes": episode.height - episode.before,
            "held_bytes": held,
            "configured_bytes": GRANT_BYTES,
        },
        instance=environment.name,
    )


def _balloon(environment: Environment) -> Balloons:
    if not isinstance(environment, Balloons):
        raise InfrastructureError(f"{environment.name} has no balloon, as it was asked for")
    return environment


def _used_bytes(environment: Environment) -> int:
    """By the guest's own kernel; raises `InfrastructureError` where it does not tell."""
    said = environment.run(["cat", "/proc/meminfo"]).stdout.decode(errors="replace")
    words = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    try:
        total, available = (int(words[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        raise InfrastructureError(f"{environment.name} does not tell its memory") from None
    return 1024 * (total - available)


def _with_ksm(facts: Facts) -> Facts:
    """Pages that the host's kernel merges would be missing from what it holds."""
    try:
        ksm = KSM.read_text().strip()
    except OSError:
        ksm = "absent"
    return msgspec.structs.replace(facts, extra={**facts.extra, "ksm": ksm})
