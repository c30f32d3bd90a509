"""Small works in an emulated guest and on its host: by how much the emulator slows each down.

The allowance of METHOD rule 9 is made of it, see `pytest_vmvc.allowance`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from time import monotonic

import msgspec

from pytest_vmvc.allowance import METRIC, SUBJECT
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Plan
from pytest_vmvc.model import MAYBE_EMULATED, Metric
from pytest_vmvc.subjects import Pair, minimal

ROUNDS = 3
HOST = "bare"
MEMORY_ONLY = ("tmpfs", "ramfs")
"""What busybox calls file systems that write to no disk."""
WORK_TIMEOUT_S = 60.0

FOLDER = "${TMPDIR:-/var/tmp}/vmvc-battery"
CARRY = f"""mkdir -p "{FOLDER}" && cd "{FOLDER}" && cat >busybox && chmod 755 busybox &&
./busybox mkfifo there back && ./busybox stat -f -c %T ."""
"""Takes the program from standard input; says on which kind of file system."""
END = f'rm -r "{FOLDER}"'

# On one CPU on both sides, so that two processes which wait for each other really switch.
WORK = f'cd "{FOLDER}" && exec ./busybox taskset "$1" ./busybox sh -c "$2"'
MARK = "read -r now idle </proc/uptime; echo $now"
DRIFT = 0.1
"""Most by which a clock inside may differ from the host's, over all rounds; the allowance's margin
is ten times that."""


def _loop(body: str) -> str:
    return f'i=0; while [ $i -lt "$1" ]; do {body}; i=$((i + 1)); done'


def _reads(block: str) -> str:
    return _loop(f"./busybox dd if=/dev/zero of=/dev/null bs={block} count=1 2>/dev/null")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work: a script for busybox's shell that does it ``$1`` times."""

    name: str
    script: str
    times: int
    """So many take a guest some tenths of a second."""
    host_factor: int = 16
    """The host does it so many times as often, or it would be over too soon to be timed."""
    base: str = ""
    """The same without that which counts; its time is taken off."""

    def segments(self, factor: int) -> list[str]:
        """The base, where there is one, and the work; each in a shell of its own."""
        scripts = [self.base] * bool(self.base) + [self.script]
        return [f"(set -- {self.times * factor}; {script}) || exit 1" for script in scripts]


PARTS = (
    Part(name="arithmetic", script=_loop(":"), times=4_000),
    Part(name="fork + exec", script=_loop("./busybox true"), times=15),
    # Below 2 MiB no huge page fits, which would be one fault instead of 512.
    Part(name="page faults", script=_reads("1900k"), base=_reads("1"), times=12),
    Part(
        name="system calls",
        script='./busybox dd if=/dev/zero of=/dev/null bs=1 count="$1" 2>/dev/null',
        times=40_000,
    ),
    Part(
        name="context switches",
        script="(while read -r x; do echo; done <there >back) & exec 3>there 4<back; "
        f"{_loop('echo >&3; read -r x <&4')}; exec 3>&-; wait",
        times=300,
    ),
    Part(
        name="timer",
        script=f"exec 3<>there; {_loop('read -t 0.001 -r x <&3')}",
        times=150,
        host_factor=1,
    ),
    Part(
        name="disk",
        script='./busybox dd if=/dev/zero of=durable bs=64k count="$1" conv=fsync 2>/dev/null',
        times=256,
        host_factor=1,
    ),
)


class Battery:
    """Every part in a machine and as plain processes of the host, one after the other in turns.

    The same program on both sides, carried in. A round is one command on each side, for to send one
    to a Vagrant machine takes longer than most parts, and never the same. So the parts of a round
    are told from each other by the clock of the kernel that they run on, and no guest's clock is
    trusted: over all rounds the host's stopwatch must agree with it, or nothing is recorded. What
    runs on the CPU itself is not emulated, so there is nothing to allow for.
    """

    name = "battery"
    metrics = (
        Metric(
            name=METRIC,
            label="slowdown by emulation",
            unit="ratio",
            definition="the guest's time over the host's for the same work, once in every round; "
            "the instance names the work",
        ),
        Metric(
            name="work_s",
            label="time for a part of the battery",
            unit="s",
            definition="seconds between two readings of /proc/uptime, of a clock that the host has "
            "checked; the host's for as much work as the guest's",
            emulation="inflates",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Time all parts on both sides, round by round; raises `InfrastructureError`."""
        if gap := _obstacle(pair):
            record.missing(SUBJECT, gap)
            return
        try:
            host = pair.other(HOST)
            program = minimal.program().read_bytes()
            host.prepare()
        except Unavailable as unavailable:
            record.missing(HOST, str(unavailable))
            return
        with ExitStack() as stack:
            (machine,) = pair.standing(SUBJECT, 1, deadline_s=settings.deadline_s)
            sides = {
                SUBJECT: machine,
                HOST: stack.enter_context(host.launch(deadline_s=settings.deadline_s)),
            }
            systems = {
                side: stack.enter_context(_carried(environment, program))
                for side, environment in sides.items()
            }
            parts = _possible(systems, record)
            plan = Plan(blocks=ROUNDS, seed=settings.seed)
            rounds = []
            for block, order in enumerate(plan.orders(list(sides))):
                record.progress(block, ROUNDS, "round")
                rounds.append({side: _round(parts, sides[side], side == HOST) for side in order})
            for side in sides:
                _check_clock(side, [one[side] for one in rounds])
            for block, one in enumerate(rounds):
                _take(parts, one, sides, block, record)
            record.progress(ROUNDS, ROUNDS, "round")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One side's round."""

    sent_s: float
    """The host's monotonic clock when the command was sent."""
    began_s: float
    """The inside's clock when the first part began."""
    seconds: dict[str, float]
    """Each part's time for as much work as the guest does."""


def _obstacle(pair: Pair) -> str:
    """Why there is nothing to measure on this pair; empty where there is."""
    if gap := pair.missing.get(SUBJECT):
        return str(gap)
    if SUBJECT not in pair.subjects:
        return f"the pair {pair.name} has no machine"
    emulated = pair.subjects[SUBJECT].facts.accelerator in MAYBE_EMULATED
    return "" if emulated else "machines run on the CPU itself"


@contextmanager
def _carried(environment: Environment, program: bytes) -> Iterator[str]:
    """Have the program inside; gives the kind of file system that it is on."""
    done = environment.run(["sh", "-c", CARRY], stdin=program, timeout_s=WORK_TIMEOUT_S)
    try:
        if done.exit_status != 0:
            raise InfrastructureError(
                f"the battery cannot be carried into {environment.name}",
                hint=done.stderr.decode(errors="replace").strip()[:200],
            )
        yield done.stdout.decode(errors="replace").strip()
    finally:
        environment.run(["sh", "-c", END])


def _possible(systems: Mapping[str, str], record: Recorder) -> Sequence[Part]:
    """All parts but the disk, where one of the sides has none; that is missing, with the reason."""
    diskless = [side for side, system in systems.items() if system in MEMORY_ONLY]
    if not diskless:
        return PARTS
    record.missing("disk", f"files of {' and '.join(diskless)} are in memory: there is no disk")
    return [part for part in PARTS if part.name != "disk"]


def _round(parts: Sequence[Part], environment: Environment, is_host: bool) -> Round:  # noqa: FBT001 - which of the two sides
    """Do every part once, in one command."""
    factors = {part.name: part.host_factor if is_host else 1 for part in parts}
    work = [segment for part in parts for segment in part.segments(factors[part.name])]
    script = "\n".join([MARK, *(f"{segment}\n{MARK}" for segment in work)])
    sent_s = monotonic()
    done = environment.run(
        ["sh", "-c", WORK, "sh", _cpu(environment), script], timeout_s=WORK_TIMEOUT_S
    )
    if done.exit_status != 0:
        raise InfrastructureError(
            f"a part of the battery ended with {done.exit_status} in {environment.name}",
            hint=done.stderr.decode(errors="replace").strip()[:200],
        )
    marks = [float(word) for word in done.stdout.split()]
    spans = iter([after - before for before, after in pairwise(marks)])
    seconds = {}
    for part in parts:
        base_s = next(spans) if part.base else 0.0
        net_s = next(spans) - base_s
        if net_s <= 0:
            raise InfrastructureError(
                f"{part.name} took no longer than nothing in {environment.name}",
                hint="is the host overloaded?",
            )
        seconds[part.name] = net_s / factors[part.name]
    return Round(sent_s=sent_s, began_s=marks[0], seconds=seconds)


def _check_clock(side: str, rounds: Sequence[Round]) -> None:
    """Raise `InfrastructureError` where the inside's clock goes at another speed than the host's.

    From the first round's beginning to the last one's: what sending takes is in both of them.
    """
    first, last = rounds[0], rounds[-1]
    speed = (last.began_s - first.began_s) / (last.sent_s - first.sent_s)
    if abs(speed - 1) > DRIFT:
        raise InfrastructureError(
            f"the clock of {side} goes {speed:.2f} times as fast as the host's",
            hint="nothing can be timed by it",
        )


def _take(
    parts: Sequence[Part],
    one: Mapping[str, Round],
    sides: Mapping[str, Environment],
    block: int,
    record: Recorder,
) -> None:
    """Take down a round of both sides, in the order in which they were."""
    for part in parts:
        for position, (side, done) in enumerate(one.items()):
            record.observe(
                side,
                "work_s",
                done.seconds[part.name],
                facts=sides[side].facts,
                block=block,
                position=position,
                instance=part.name,
            )
        record.observe(
            SUBJECT,
            METRIC,
            one[SUBJECT].seconds[part.name] / one[HOST].seconds[part.name],
            facts=sides[SUBJECT].facts,
            block=block,
            instance=part.name,
        )


def _cpu(environment: Environment) -> str:
    """The mask of one CPU: a machine's first, and the first that we may use of the host's."""
    first = 0 if environment.facts.kind == "vm" else min(os.sched_getaffinity(0))
    return f"{1 << first:x}"
