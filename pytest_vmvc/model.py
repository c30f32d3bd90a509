"""The nouns: plain frozen data, readable without us (msgspec to and from JSON)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, NoReturn

import msgspec

SCHEMA_VERSION = 3
"""Version of the results file; raised with every change that an old reader would not understand."""

Kind = Literal["container", "vm", "process"]
"""What runs: ``process`` is the host's own, neither contained nor virtualised."""

Tier = Literal["kvm-hw", "kvm-nested", "kvm-unusable", "tcg", "other", "none"]
"""Accelerator of a host or a machine. ``kvm-unusable``: /dev/kvm opens and guests do not run, so
machines are emulated; ``other``: a provider that does not tell; ``none``: not a machine."""

EMULATED: frozenset[Tier] = frozenset({"tcg", "kvm-unusable"})
MAYBE_EMULATED: frozenset[Tier] = EMULATED | {"other"}
"""Where nobody tells whether the CPU is emulated, a verdict has to hold in both cases."""
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Scalar = float | Whole | str | bool | None
"""An observed value: a whole number that no float could stand for is none."""


class Verdict(StrEnum):
    """What the evidence says of one reading. It has no truth value: compare it."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTABLE = "NOT TESTABLE"

    @property
    def decided(self) -> bool:
        """Whether it is a decision: SUPPORTED or REFUTED."""
        return self in (Verdict.SUPPORTED, Verdict.REFUTED)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"a verdict is not true or false; compare it: verdict is {self!r}")


# --- what runs -----------------------------------------------------------------------------------


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A command that ended, on the host or in an environment."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: bytes
    stderr: bytes
    duration_s: float


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one environment holds of the host at this moment, and how that is defined."""

    cpu_s: float
    memory_bytes: int
    definition: str


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """What a user must have before a start, in bytes; ``fetch`` is the compressed form."""

    name: str
    fetch_bytes: int
    kept_bytes: int
    virtual_bytes: int
    definition: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Provenance of an environment: what exactly was measured. All of it is mandatory."""

    provider: str
    """Backend that ran it: ``docker``, ``qemu``, ``vagrant``, ``fake``."""
    kind: Kind
    version: str
    """Engine or hypervisor with its version."""
    accelerator: Tier
    artefact: str
    """Digest of the image, kernel + initramfs, or box."""
    userland: str
    vcpus: float | None
    """Granted CPUs; None where nothing limits them."""
    memory_bytes: int | None
    """Granted memory; None where nothing limits it."""
    readiness: str
    """How the first answer reaches the host: the channel, and the poll interval if any."""
    usage_definition: str
    extra: dict[str, Scalar] = {}


# --- what was measured ---------------------------------------------------------------------------


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity: what it is, in which unit, and which way emulation would bend it."""

    name: str
    unit: str
    definition: str
    label: str = ""
    """What a person calls it, as in “the container's start-up time”."""
    dose: str = ""
    """Unit of the dose of its observations, where they have one."""
    emulation: Literal["inflates", "flatters", "none"] = "none"
    """``inflates``: emulating the CPU makes a machine's figure bigger, never smaller. ``flatters``:
    what speaks for an emulated machine's isolation (a yes, or a smaller figure) proves nothing, as
    QEMU disclaims isolation without hardware virtualisation; what speaks against it stands."""
    state: str = ""
    """State of artefacts and caches, where it matters: the same on all sides."""


class Series(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="series"):
    """The header of a row of observations: one metric of one subject of one pair."""

    experiment: str
    pair: str
    subject: str
    metric: Metric
    facts: Facts | None
    """None for the host itself."""
    looks: tuple[int, ...] = ()
    """Blocks after which it is looked at, declared before the first; empty: once, at its end."""


class Observation(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="record", tag="observation"
):
    """One measured value; a censored one is a lower bound (the deadline passed)."""

    experiment: str
    pair: str
    subject: str
    metric: str
    value: Scalar
    at: str
    """Host wall clock, ISO 8601 UTC; for the reader, never for arithmetic."""
    block: int = 0
    position: int = 0
    """Place within its block (0 ran first)."""
    marks: dict[str, float] = {}
    """Seconds from the request to each sub-mark, host's monotonic clock, ascending."""
    harness_cpu_s: float | None = None
    """CPU seconds of the harness's own process from the request to the first answer: what the
    measuring itself cost. It is in the value, and is never subtracted."""
    censored: bool = False
    instance: str = ""
    dose: float | None = None
    """What was varied on purpose (padding in bytes, instances alive): the x of a slope."""


class Missing(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="missing"):
    """A subject that could not take part, and why (a reason true of this host)."""

    experiment: str
    pair: str
    subject: str
    reason: str


class Retry(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="retry"):
    """An infrastructure error that was retried: it is counted, and it is no verdict."""

    experiment: str
    pair: str
    subject: str
    block: int
    error: str


class Allowance(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="allowance"):
    """What emulation may at most have cost the machines of an experiment, by a battery of work."""

    experiment: str
    pair: str
    figure: Annotated[float, msgspec.Meta(ge=1)]
    """By which a machine's times are divided: a fixed multiple of the worst slowdown."""
    worst: str
    """The part of the battery that was slowed down most."""
    n: int
    """Rounds of the battery, each in the guest and on the host."""
    parts: dict[str, float]
    """Median slowdown of each part, the guest's time over the host's."""


Spoils = Literal["time", "memory", "speed"]
"""Which figures a failed gate spoils: ``memory`` also those in bytes, ``time`` all but those.

``speed``: its figure is by how much, in per cent, the host was faster at one time than at another.
What holds for a host that much faster or slower is not spoilt.
"""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A validity gate that was looked at: a figure, its limit, and whether it kept to it."""

    name: str
    figure: Scalar
    """None where nothing could be told; a name for the clock source."""
    op: Literal["<=", ">=", "within", "not"]
    """``within``: between ``1 / limit`` and ``limit``; ``not``: none of the names in ``limit``."""
    limit: float | str
    unit: str
    passed: bool | None
    """None: not available, which is neither passed nor failed."""
    spoils: Spoils = "time"
    note: str = ""
    """Why it is not available, or the interval of its figure."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="conditions"):
    """The state of the host around a timed experiment, looked at before its outcome."""

    experiment: str
    pair: str
    checks: tuple[Check, ...]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The host manifest: what a reader needs to know whether this host is like theirs."""

    name: str
    os: str
    kernel: str
    boot_id: str
    architecture: str
    cpu_model: str
    cpus: int
    memory_bytes: int
    tier: Tier
    clock_source: str
    cgroup: str
    versions: dict[str, str] = {}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that one experiment found on one pair: what a reading is judged on."""

    experiment: str
    pair: str
    series: tuple[Series, ...] = ()
    observations: tuple[Observation, ...] = ()
    missing: tuple[Missing, ...] = ()
    retries: tuple[Retry, ...] = ()
    conditions: tuple[Conditions, ...] = ()
    """None of them: it timed nothing, or its record is older than they are."""
    host: Host | None = None
    allowance: Allowance | None = None
    """Measured in the same run on the same pair, where its machines were emulated and timed."""

    def find(self, subject: str, metric: str) -> Series | None:
        """The header of one row, or None where it was not measured."""
        return next(
            (s for s in self.series if s.subject == subject and s.metric.name == metric), None
        )

    def row(self, subject: str, metric: str) -> tuple[Observation, ...]:
        """The observations of one row, in the order in which they were made."""
        return tuple(o for o in self.observations if o.subject == subject and o.metric == metric)

    def reason_missing(self, subject: str) -> str | None:
        """Why a subject did not take part; without ``vm`` there is no ``vm-limited`` either."""
        of_kind = subject.partition("-")[0]
        reasons = {m.subject: m.reason for m in self.missing}
        return reasons.get(subject) or reasons.get(of_kind)


# --- what is claimed -----------------------------------------------------------------------------

Least = Annotated[int, msgspec.Meta(ge=1)]
"""Observations that a verdict takes."""
Confidence = Annotated[float, msgspec.Meta(gt=0.5, lt=1)]
"""Of an interval."""


class Bound(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bound"):
    """The median of one subject's metric against a number."""

    metric: str
    subject: str
    op: Literal["<", "<=", ">", ">="]
    threshold: float
    unit: str
    min_n: Least = 6
    confidence: Confidence = 0.95


class Ratio(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ratio"):
    """Paired ratio of one subject's metric over another's against the edge of a margin."""

    metric: str
    subject: str
    over: str
    op: Literal["<", ">"]
    threshold: float
    min_n: Least = 6
    confidence: Confidence = 0.95


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="fact"):
    """A relation that must hold for every observation; one counter-example refutes it.

    ``same`` / ``differs``: against every observation of ``other``; ``distinct``: all observations
    of the subject differ from each other; ``is``: equal to ``value``.
    """

    metric: str
    subject: str
    relation: Literal["same", "differs", "distinct", "is"]
    other: str = ""
    value: Scalar = None
    min_n: Least = 1


class Slope(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="slope"):
    """Growth of one subject's metric per unit of its dose, against a number.

    With ``over`` it is the quotient of two subjects' slopes, a plain ratio.
    """

    metric: str
    subject: str
    op: Literal["<", ">"]
    threshold: float
    unit: str
    over: str = ""
    min_n: Least = 6
    confidence: Confidence = 0.95


class Opinion(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="opinion"):
    """What no measurement can decide, and why: advice, taste, a forecast."""

    reason: str
    metric: str = ""
    subject: str = ""
    min_n: int = 0


Question = Bound | Ratio | Slope | Fact | Opinion


def subjects_of(question: Question) -> list[str]:
    """Whose observations a question asks for."""
    match question:
        case Ratio(over=other) | Slope(over=other) | Fact(other=other) if other:
            return [question.subject, other]
        case _:
            return [question.subject]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One pre-registered sense of a claim: the question, what we expect and why."""

    name: str
    question: Question
    expect: Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE"] = "SUPPORTED"
    why: str = ""
    """Why that is expected, by reasoning and not by what a host showed."""
    pairs: tuple[str, ...] = ()
    """Pairs that have the subjects it asks for; empty: all of them."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that others have published, of their own hosts and by their own stopwatch."""

    name: str
    """What was measured, in a word or two."""
    finding: str
    source: str
    metric: str = ""
    """Metric of ours that it is drawn beside; empty: it is told and not drawn."""
    value: float | None = None
    """In the unit of that metric."""

    def __str__(self) -> str:
        return f"{self.name}: {self.finding} ({self.source})"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of the article with every reading under which it can be true or false."""

    id: str
    quote: str
    readings: tuple[Reading, ...]
    method: str = ""
    source: str = ""
    published: tuple[Published, ...] = ()
    """Figures of others; never mixed with ours."""
    contradicts: tuple[str, ...] = ()
    """Ids of claims of the same article that cannot stand beside this one."""
    any_of: tuple[str, ...] = ()
    """Readings of which any one would do: their errors are corrected for being several."""

    def subjects(self) -> frozenset[str]:
        """Everything that its readings are about."""
        asked = [one.question for one in self.readings if not isinstance(one.question, Opinion)]
        return frozenset(subject for question in asked for subject in subjects_of(question))

    def family(self, reading: Reading) -> tuple[Reading, ...]:
        """The readings that this one is corrected together with; none where it stands alone."""
        if reading.name not in self.any_of:
            return ()
        return tuple(one for one in self.readings if one.name in self.any_of)


# --- what came out -------------------------------------------------------------------------------


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """An effect with its interval, in the unit of the metric or as a plain ratio.

    ``None`` stands for no bound on that side: too many samples ended at their deadline.
    """

    effect: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    unit: str
    method: str
    censored: int = 0
    most: int = 0
    """Samples that the plan allowed, where it could stop early; else 0."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with everything it rests on."""

    verdict: Verdict
    finding: str
    """The finding as a sentence with its number, interval and n."""
    reason: str = ""
    """Why it is not decided, or which rule decided it."""
    estimate: Estimate | None = None
    checks: tuple[Check, ...] = ()
    """Gates on its own samples; those on the host are in the experiment's `Conditions`."""
    scope: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="result"):
    """A judged reading of a claim on a pair."""

    claim: str
    quote: str
    method: str
    reading: Reading
    pair: str
    experiment: str
    judgement: Judgement
    nodeid: str
    duration_s: float = 0.0
    contradicts: tuple[str, ...] = ()
    """Claims of the same article that cannot stand beside this one."""
    family: tuple[Reading, ...] = ()
    """The readings that this one is corrected together with, itself among them."""
    published: tuple[Published, ...] = ()
    """Figures of others; never mixed with ours."""

    @property
    def agrees(self) -> bool | None:
        """Whether the verdict is the expected one; None where it is not a decision."""
        if not self.judgement.verdict.decided:
            return None
        return self.judgement.verdict == self.reading.expect


class Run(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="run"):
    """The first line of a results file."""

    schema: int
    run_id: str
    started: str
    command: tuple[str, ...]
    profile: str
    seed: int
    version: str
    readings_hash: str
    host: Host
    evidence_from: str = ""
    """Id of the run that measured the evidence, on ``host``; empty: this run did."""
    gateway: str = ""
    """What the host was called where several were measured at once; empty: it was alone."""

    @property
    def measured_by(self) -> str:
        """Id of the run that measured the evidence."""
        return self.evidence_from or self.run_id


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="end"):
    """The last line; a file without it belongs to a run that was cut short."""

    ended: str
    exit_status: int
    duration_s: float
    interrupted: bool = False


Record = Annotated[
    Run | Series | Observation | Missing | Retry | Allowance | Conditions | Result | End,
    msgspec.Meta(title="a line of results.jsonl"),
]
