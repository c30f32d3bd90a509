"""Small works in an emulated guest and on its host: by how much the emulator slows each down.

The allowance of METHOD rule 9 is made of it, see `pytest_vmvc.allowance`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from pytest_vmvc.allowance import METRIC, SUBJECT
from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Plan
from pytest_vmvc.model import EMULATED, Metric
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
WORK = f'cd "{FOLDER}" && exec ./busybox taskset "$1" ./busybox sh -c "$2" sh "$3"'
EMPTY = ":"


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
    host_factor: int = 8
    """The host does it so many times as often, or it would be over too soon to be timed."""
    base: str = EMPTY
    """The same without that which counts; its time is taken off."""


PARTS = (
    Part(name="arithmetic", script=_loop(":"), times=40_000),
    Part(name="fork + exec", script=_loop("./busybox true"), times=50),
    # Below 2 MiB no huge page fits, which would be one fault instead of 512.
    Part(name="page faults", script=_reads("1900k"), base=_reads("1"), times=30),
    Part(
        name="system calls",
        script='./busybox dd if=/dev/zero of=/dev/null bs=1 count="$1" 2>/dev/null',
        times=60_000,
    ),
    Part(
        name="context switches",
        script="(while read -r x; do echo; done <there >back) & exec 3>there 4<back; "
        f"{_loop('echo >&3; read -r x <&4')}; exec 3>&-; wait",
        times=2_000,
    ),
    Part(
        name="timer",
        script=f"exec 3<>there; {_loop('read -t 0.001 -r x <&3')}",
        times=200,
        host_factor=1,
    ),
    Part(
        name="disk",
        script='./busybox dd if=/dev/zero of=durable bs=64k count="$1" conv=fsync 2>/dev/null',
        times=128,
        host_factor=1,
    ),
)


class Battery:
    """Every part in a machine and as plain processes of the host, one after the other in turns.

    The same program on both sides, carried in. Timed by the host: from sending the command to its
    end, less the same for a command that does nothing. An emulated machine's own clock is a device
    of its emulator. What runs on the CPU itself is not emulated, so there is nothing to allow for.
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
            definition="from sending the command to its end on the host's clock, less the same "
            "for a command that does nothing; the host's for as much work as the guest's",
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
            for block, order in enumerate(plan.orders(list(sides))):
                record.progress(block, ROUNDS, "round")
                for part in parts:
                    _round(part, {side: sides[side] for side in order}, block, record)
            record.progress(ROUNDS, ROUNDS, "round")


def _obstacle(pair: Pair) -> str:
    """Why there is nothing to measure on this pair; empty where there is."""
    if gap := pair.missing.get(SUBJECT):
        return str(gap)
    if SUBJECT not in pair.subjects:
        return f"the pair {pair.name} has no machine"
    emulated = pair.subjects[SUBJECT].facts.accelerator in EMULATED
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


def _round(part: Part, sides: Mapping[str, Environment], block: int, record: Recorder) -> None:
    """Time one part once on each side, in the order of the sides."""
    seconds = {
        side: _seconds(part, environment, 1 if side == SUBJECT else part.host_factor)
        for side, environment in sides.items()
    }
    for position, (side, environment) in enumerate(sides.items()):
        record.observe(
            side,
            "work_s",
            seconds[side],
            facts=environment.facts,
            block=block,
            position=position,
            instance=part.name,
        )
    record.observe(
        SUBJECT,
        METRIC,
        seconds[SUBJECT] / seconds[HOST],
        facts=sides[SUBJECT].facts,
        block=block,
        instance=part.name,
    )


def _seconds(part: Part, environment: Environment, factor: int) -> float:
    """Time of the part's work; that of ``factor`` times as much is divided by it."""
    whole, base = (
        _round_trip_s(environment, script, part.times * factor)
        for script in (part.script, part.base)
    )
    if whole <= base:
        raise InfrastructureError(
            f"{part.name} took no longer than nothing in {environment.name}",
            hint="is the host overloaded?",
        )
    return (whole - base) / factor


def _round_trip_s(environment: Environment, script: str, times: int) -> float:
    done = environment.run(
        ["sh", "-c", WORK, "sh", _cpu(environment), script, str(times)], timeout_s=WORK_TIMEOUT_S
    )
    if done.exit_status != 0:
        raise InfrastructureError(
            f"a part of the battery ended with {done.exit_status} in {environment.name}",
            hint=done.stderr.decode(errors="replace").strip()[:200],
        )
    return done.duration_s


def _cpu(environment: Environment) -> str:
    """The mask of one CPU: a machine's first, and the first that we may use of the host's."""
    first = 0 if environment.facts.kind == "vm" else min(os.sched_getaffinity(0))
    return f"{1 << first:x}"
