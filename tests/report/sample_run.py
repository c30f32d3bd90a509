"""A results file made up for tests: every number in it is invented, none was measured."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

from pytest_vmvc.ledger import RunLog, collect
from pytest_vmvc.model import (
    Allowance,
    Bound,
    Check,
    Claim,
    Conditions,
    End,
    Estimate,
    Fact,
    Facts,
    Host,
    Judgement,
    Kind,
    Metric,
    Missing,
    Observation,
    Ratio,
    Reading,
    Record,
    Result,
    Retry,
    Run,
    Scalar,
    Series,
    Tier,
    Verdict,
)

TITLE = "SAMPLE: made-up data, not a measurement"
PAIRS = ("minimal", "debian")
BLOCKS = 8
AT = "2025-01-02T03:04:05Z"
EXPERIMENT = "cold_start"

START = Metric(
    name="start_s",
    unit="s",
    definition="from the request to the payload's first answer, on the host's monotonic clock",
    emulation="inflates",
)
KERNEL = Metric(name="kernel_release", unit="", definition="uname -r, asked inside")
BOOT = Metric(name="boot_id", unit="", definition="/proc/sys/kernel/random/boot_id, read inside")
FETCH = Metric(name="fetch_bytes", unit="bytes", definition="bytes to download, compressed")
KEPT = Metric(name="kept_bytes", unit="bytes", definition="bytes on the disk once unpacked")

TYPICAL_S = {
    ("minimal", "container"): 0.31,
    ("minimal", "vm"): 4.2,
    ("minimal", "vm-restored"): 0.55,
    ("debian", "container"): 0.42,
    ("debian", "vm"): 71.0,
}
PHASES: dict[tuple[str, str], dict[str, float]] = {
    ("minimal", "container"): {"created": 0.12, "started": 0.7, "answer": 0.94, "ready": 1.0},
    ("minimal", "vm"): {
        "process": 0.03,
        "firmware": 0.17,
        "kernel": 0.72,
        "init": 0.91,
        "answer": 0.97,
        "ready": 1.0,
    },
    ("minimal", "vm-restored"): {"process": 0.2, "restored": 0.7, "answer": 0.95, "ready": 1.0},
    ("debian", "container"): {"created": 0.1, "started": 0.6, "answer": 0.95, "ready": 1.0},
    ("debian", "vm"): {
        "up": 0.12,
        "process": 0.14,
        "firmware": 0.17,
        "kernel": 0.38,
        "init": 0.82,
        "answer": 0.97,
        "ready": 1.0,
    },
}
SIZES = {
    ("minimal", "container"): (1_050_000, 2_010_000),
    ("minimal", "vm"): (9_800_000, 13_400_000),
    ("debian", "container"): (128_000_000, 351_000_000),
    ("debian", "vm"): (402_000_000, 1_260_000_000),
}

CHECKS = (
    Check(name="load", figure=2.1, op="<=", limit=10, unit="%", passed=True),
    Check(
        name="free memory",
        figure=18_400_000_000,
        op=">=",
        limit=536_870_912,
        unit="bytes",
        passed=True,
        spoils="memory",
    ),
    Check(name="clock source", figure="tsc", op="not", limit="hpet, pit", unit="", passed=True),
    Check(
        name="overheating",
        figure=None,
        op="<=",
        limit=0,
        unit="events",
        passed=None,
        note="this host does not tell",
    ),
)

CLAIMS = (
    Claim(
        id="table.boot-time",
        quote="Boots in minutes / Boots in seconds",
        method="One fresh container and one fresh machine per block, order by a seeded coin; one "
        "stopwatch on the host, from the request to the payload's first answer.",
        readings=(
            Reading(
                name="container-in-seconds",
                question=Bound(
                    metric="start_s", subject="container", op="<", threshold=60, unit="s"
                ),
            ),
            Reading(
                name="vm-in-minutes",
                question=Bound(metric="start_s", subject="vm", op=">=", threshold=60, unit="s"),
                expect="REFUTED",
                why="A small Linux guest has nothing to do that takes a minute.",
            ),
            Reading(
                name="vm-slower",
                question=Ratio(
                    metric="start_s", subject="vm", over="container", op=">", threshold=1.25
                ),
            ),
        ),
    ),
    Claim(
        id="perf.startup-faster",
        quote="containers can startup very fast compared to that of virtual machines",
        method="Paired fresh starts; the ratio of each pair, median with a bootstrap interval.",
        readings=(
            Reading(
                name="container-faster",
                question=Ratio(
                    metric="start_s", subject="container", over="vm", op="<", threshold=0.8
                ),
                why="A container has no firmware, kernel or init to start.",
            ),
            Reading(
                name="restored-no-slower",
                question=Ratio(
                    metric="start_s",
                    subject="vm-restored",
                    over="container",
                    op="<",
                    threshold=1.25,
                ),
                expect="INCONCLUSIVE",
                why="A restored machine skips its boot; nothing says by how much.",
            ),
        ),
    ),
    Claim(
        id="os.shared-kernel",
        quote="Docker containers share the host operating system",
        method="Kernel release and boot id, asked inside and on the host.",
        readings=(
            Reading(
                name="same-kernel",
                question=Fact(
                    metric="kernel_release", subject="container", relation="same", other="host"
                ),
            ),
            Reading(
                name="same-boot",
                question=Fact(metric="boot_id", subject="container", relation="same", other="host"),
            ),
        ),
    ),
    Claim(
        id="os.guest-per-vm",
        quote="each virtual machine has its guest operating system above the host operating system",
        method="Two machines at once: their boot ids against the host's.",
        readings=(
            Reading(
                name="own-boot",
                question=Fact(metric="boot_id", subject="vm", relation="differs", other="host"),
            ),
        ),
    ),
    Claim(
        id="table.os-per-instance",
        quote="Each VM has a separate OS / Each container can share OS",
        method="Boot ids of all instances that ran.",
        readings=(
            Reading(
                name="vm-distinct",
                question=Fact(metric="boot_id", subject="vm", relation="distinct", min_n=2),
            ),
        ),
    ),
    Claim(
        id="table.size",
        quote="VMs are of few GBs / Containers are lightweight (KBs/MBs)",
        method="Bytes to fetch and to keep, of one userland in both forms.",
        readings=(
            Reading(
                name="container-below-1-gb",
                question=Bound(
                    metric="kept_bytes",
                    subject="container",
                    op="<",
                    threshold=1e9,
                    unit="bytes",
                    min_n=1,
                ),
            ),
            Reading(
                name="vm-at-least-1-gb",
                question=Bound(
                    metric="kept_bytes", subject="vm", op=">=", threshold=1e9, unit="bytes", min_n=1
                ),
                expect="REFUTED",
                why="A kernel and an initramfs of one program are some megabytes.",
            ),
            Reading(
                name="container-fetch-below-1-gb",
                question=Bound(
                    metric="fetch_bytes",
                    subject="container",
                    op="<",
                    threshold=1e9,
                    unit="bytes",
                    min_n=1,
                ),
            ),
        ),
    ),
)

HOST = Host(
    name="sample-host",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-sample-amd64",
    boot_id="0c8f6a52-1111-4222-8333-944455566677",
    architecture="x86_64",
    cpu_model="Sample CPU @ 2.10GHz",
    cpus=2,
    memory_bytes=25_180_000_000,
    tier="tcg",
    clock_source="tsc",
    cgroup="v1 (hybrid)",
    versions={"docker": "20.10.24", "qemu": "7.2.9", "vagrant": "2.3.4", "python": "3.11.2"},
)


def facts(pair: str, subject: str) -> Facts | None:
    """Provenance of a subject; None for the host."""
    if subject == "host":
        return None
    kind: Kind = "container" if subject == "container" else "vm"
    provider = {"container": "docker"}.get(subject, "qemu" if pair == "minimal" else "vagrant")
    tier: Tier = "none" if kind == "container" else "tcg"
    version = {"docker": "Docker 20.10.24", "qemu": "QEMU 7.2.9"}.get(provider, "Vagrant 2.3.4")
    return Facts(
        provider=provider,
        kind=kind,
        version=version,
        accelerator=tier,
        artefact="sha256:" + f"{len(pair)}{len(subject)}" * 32,
        userland="busybox 1.35" if pair == "minimal" else "Debian 12",
        vcpus=1.0,
        memory_bytes=256_000_000 if pair == "minimal" else 1_024_000_000,
        readiness="attach stream, pushed" if kind == "container" else "serial console, pushed",
        usage_definition="cgroup figures" if kind == "container" else "PSS of the process",
        extra={"storage_driver": "overlay2"} if kind == "container" else {"machine": "q35"},
    )


def observations(rng: random.Random) -> Iterator[Series | Observation]:
    """All series and their observations."""
    for (pair, subject), typical in TYPICAL_S.items():
        yield _series(pair, subject, START)
        for block in range(BLOCKS):
            value = typical * rng.lognormvariate(0, 0.08)
            marks = {name: value * share for name, share in PHASES[pair, subject].items()}
            yield _observed(pair, subject, START, marks["answer"], block, marks)
    boots = {"host": HOST.boot_id, "container": HOST.boot_id}
    for pair in PAIRS:
        for subject in ("host", "container", "vm"):
            kernel = "6.1.0-guest-cloud-amd64" if subject == "vm" else HOST.kernel
            yield _series(pair, subject, KERNEL)
            yield _observed(pair, subject, KERNEL, kernel, 0)
            yield _series(pair, subject, BOOT)
            for block in range(1 if subject == "host" else 2):
                fresh = f"{rng.getrandbits(32):08x}-aaaa-4bbb-8ccc-{rng.getrandbits(48):012x}"
                yield _observed(pair, subject, BOOT, boots.get(subject, fresh), block)
    for (pair, subject), (fetch, kept) in SIZES.items():
        for metric, value in ((FETCH, fetch), (KEPT, kept)):
            yield _series(pair, subject, metric)
            yield _observed(pair, subject, metric, value, 0)


def _series(pair: str, subject: str, metric: Metric) -> Series:
    return Series(
        experiment=EXPERIMENT,
        pair=pair,
        subject=subject,
        metric=metric,
        facts=facts(pair, subject),
    )


def _observed(
    pair: str,
    subject: str,
    metric: Metric,
    value: Scalar,
    block: int,
    marks: dict[str, float] | None = None,
) -> Observation:
    return Observation(
        experiment=EXPERIMENT,
        pair=pair,
        subject=subject,
        metric=metric.name,
        value=value,
        at=AT,
        block=block,
        position=(block + (subject == "vm")) % 2,
        marks=marks or {},
        harness_cpu_s=0.005 * marks["answer"] if marks else None,
        instance=f"vmvc-r0123456789-{block}",
    )


def judgement(reading: Reading, pair: str, seen: list[Observation]) -> Judgement:
    """A verdict by shortcut: good enough to look at, never used to judge anything."""
    scope = f"sample-host, tier tcg, pair {pair}, 2 January 2025"
    question = reading.question
    values = {
        subject: [
            o.value
            for o in seen
            if (o.pair, o.subject, o.metric) == (pair, subject, question.metric)
        ]
        for subject in ("container", "vm", "vm-restored")
    }
    if isinstance(question, Fact):
        return Judgement(
            verdict=Verdict.SUPPORTED,
            finding=f"{question.metric} of {question.subject}: {question.relation} in all "
            f"{len(values[question.subject])} observations.",
            scope=scope,
        )
    data = [float(v) for v in values[question.subject] if isinstance(v, int | float)]
    unit = START.unit if question.metric == "start_s" else "bytes"
    if isinstance(question, Ratio):
        base = [float(v) for v in values[question.over] if isinstance(v, int | float)]
        data = [a / b for a, b in zip(data, base, strict=False)]
        unit = "ratio"
    if not data:
        return Judgement(
            verdict=Verdict.NOT_TESTABLE,
            finding="No machine restored from a snapshot took part.",
            reason="the Vagrant provider of this host has no memory snapshot",
            scope=scope,
        )
    estimate = Estimate(
        effect=statistics.median(data),
        low=min(data),
        high=max(data),
        confidence=0.95,
        n=len(data),
        unit=unit,
        method="median, order statistics" if unit != "ratio" else "paired bootstrap of the median",
    )
    verdict = _side(estimate, question.op, question.threshold)
    reason = ""
    if verdict == Verdict.SUPPORTED and question.subject == "vm" and question.op in (">=", ">"):
        verdict, reason = Verdict.INCONCLUSIVE, "emulated: slower hardware alone could explain it"
    return Judgement(
        verdict=verdict,
        finding=f"Median {estimate.effect:.3g} {unit}, 95 % interval {estimate.low:.3g} to "
        f"{estimate.high:.3g}, n = {estimate.n}.",
        reason=reason,
        estimate=estimate,
        scope=scope,
    )


def _side(estimate: Estimate, op: str, threshold: float) -> Verdict:
    assert estimate.low is not None
    assert estimate.high is not None
    below = estimate.high < threshold
    above = estimate.low >= threshold
    if not (below or above):
        return Verdict.INCONCLUSIVE
    return Verdict.SUPPORTED if below == op.startswith("<") else Verdict.REFUTED


def sample_records(*, seed: int = 1) -> tuple[Record, ...]:
    """Every record of the made-up run, in the order in which a run writes them."""
    rng = random.Random(seed)
    body: list[Record] = [
        Run(
            schema=1,
            run_id="r0123456789",
            started=AT,
            command=("pytest", "--vmvc"),
            profile="quick",
            seed=seed,
            version="0.1.0",
            readings_hash="sha256:" + "5a" * 32,
            host=HOST,
        ),
        *observations(rng),
        Missing(
            experiment=EXPERIMENT,
            pair="debian",
            subject="vm-restored",
            reason="the Vagrant provider of this host has no memory snapshot",
        ),
        Retry(
            experiment=EXPERIMENT,
            pair="minimal",
            subject="vm",
            block=3,
            error="the serial console closed before the answer",
        ),
        Allowance(
            experiment=EXPERIMENT,
            pair="minimal",
            figure=34.2,
            worst="fork + exec",
            n=3,
            parts={"arithmetic": 9.5, "fork + exec": 17.1, "timer": 1.1},
        ),
        Missing(
            experiment="battery",
            pair="minimal",
            subject="disk",
            reason="files of vm are in memory: there is no disk",
        ),
    ]
    body += [Conditions(experiment=EXPERIMENT, pair=pair, checks=CHECKS) for pair in PAIRS]
    seen = [record for record in body if isinstance(record, Observation)]
    for claim in CLAIMS:
        test = "test_" + claim.id.split(".")[1].replace("-", "_")
        body.extend(
            Result(
                claim=claim.id,
                quote=claim.quote,
                method=claim.method,
                reading=reading,
                pair=pair,
                experiment=EXPERIMENT,
                judgement=judgement(reading, pair, seen),
                nodeid=f"claims/test_sample.py::{test}[{pair}-{reading.name}]",
                duration_s=1.5,
            )
            for reading in claim.readings
            for pair in PAIRS
        )
    return (*body, End(ended="2025-01-02T03:10:05Z", exit_status=0, duration_s=360.0))


def sample_log(*, seed: int = 1) -> RunLog:
    """The made-up run as the ledger reads it."""
    return collect(sample_records(seed=seed))
