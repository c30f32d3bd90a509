"""What is granted: limits drawn at random, and what an inside shows of its own."""

from __future__ import annotations

import mmap
from collections.abc import Mapping

import hypothesis
import hypothesis.strategies as st
import msgspec

from pytest_vmvc.backends.base import Environment

MIB = 2**20
LEAST_BYTES, MOST_BYTES = 16 * MIB, 128 * MIB
"""Memory limits that are tried: an engine's runtime needs some of it to get in."""
LEAST_PROCESSES, MOST_PROCESSES = 24, 96
"""Limits of processes that are tried: the runtime has threads of its own while it gets in."""
LEAST_CPUS = 0.5
UNLIMITED = 2**60
"""Version 1 of cgroups writes a number of this size for no limit."""
CPU_STEP = 1e-4
"""The kernel counts microseconds in each 100 ms."""

READ = """grep MemTotal /proc/meminfo
echo "nproc $(nproc)"
cd /sys/fs/cgroup
for file in memory.max cpu.max pids.max memory/memory.limit_in_bytes pids/pids.max \\
    cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; do
    [ -r "$file" ] && echo "$file $(cat "$file")"
done
true"""
"""What the inside is shown, and the limits of its own cgroup in either version."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is granted, and two allocations on either side of its memory."""

    memory_bytes: int
    vcpus: float
    processes: int
    within_bytes: int
    beyond_bytes: int

    def __str__(self) -> str:
        return f"{self.memory_bytes} bytes, {self.vcpus:g} CPUs, {self.processes} processes"


EDGE = Limits(
    memory_bytes=LEAST_BYTES + 1,
    vcpus=LEAST_CPUS,
    processes=LEAST_PROCESSES,
    within_bytes=LEAST_BYTES // 2,
    beyond_bytes=LEAST_BYTES + 1,
)
"""Just above a page's border, with everything else as small as can be."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What an inside shows of its memory, its CPUs, and the limits of its cgroup (None: none)."""

    memory_bytes: int
    cpus: int
    memory_limit: int | None
    cpu_limit: float | None
    process_limit: int | None

    def memory_is(self, asked_bytes: int) -> bool:
        """The kernel counts memory in pages: a limit is rounded down to them."""
        return self.memory_limit == asked_bytes // mmap.PAGESIZE * mmap.PAGESIZE

    def cpus_are(self, asked: float) -> bool:
        """Quota over period is what was asked, to the kernel's step."""
        return self.cpu_limit is not None and abs(self.cpu_limit - asked) < CPU_STEP


def read(environment: Environment) -> Shown:
    """Ask an inside; what it does not say, or says wrongly, counts as 0 or as no limit."""
    said = environment.run(["sh", "-c", READ]).stdout.decode(errors="replace")
    words = {name: value for name, _, value in (line.partition(" ") for line in said.splitlines())}
    return Shown(
        memory_bytes=1024 * _number(words.get("MemTotal:", "").removesuffix("kB")),
        cpus=_number(words.get("nproc")),
        memory_limit=_limit(words.get("memory.max") or words.get("memory/memory.limit_in_bytes")),
        cpu_limit=_cpu_limit(words),
        process_limit=_limit(words.get("pids.max") or words.get("pids/pids.max")),
    )


def draw(count: int, *, seed: int, cpus: int) -> tuple[Limits, ...]:
    """One edge, then limits as Hypothesis draws them; the same seed gives the same ones.

    ``count`` different ones; none has more than ``cpus`` CPUs.
    """
    found: list[Limits] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=2 * count,  # it may draw some twice
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(_limits(cpus))
    @hypothesis.example(EDGE)
    def take(limits: Limits) -> None:
        found.append(limits)

    take()
    return tuple(dict.fromkeys(found))[:count]


@st.composite
def _limits(pick: st.DrawFn, cpus: int) -> Limits:
    memory_bytes = pick(
        st.one_of(
            st.integers(LEAST_BYTES, MOST_BYTES),  # any byte
            st.integers(LEAST_BYTES // MIB, MOST_BYTES // MIB).map(lambda n: n * MIB),
            st.integers(LEAST_BYTES // 10**6 + 1, MOST_BYTES // 10**6).map(lambda n: n * 10**6),
        )
    )
    return Limits(
        memory_bytes=memory_bytes,
        vcpus=pick(st.integers(round(100 * LEAST_CPUS), 100 * cpus)) / 100,
        processes=pick(st.integers(LEAST_PROCESSES, MOST_PROCESSES)),
        within_bytes=pick(st.integers(MIB, memory_bytes // 2)),
        beyond_bytes=memory_bytes + pick(st.integers(0, MOST_BYTES)),
    )


def _cpu_limit(words: Mapping[str, str]) -> float | None:
    version_1 = f"{words.get('cpu/cpu.cfs_quota_us', '')} {words.get('cpu/cpu.cfs_period_us', '')}"
    quota, _, period = (words.get("cpu.max") or version_1).partition(" ")
    granted = _limit(quota)
    return None if granted is None else granted / (_number(period) or 1)


def _limit(text: str | None) -> int | None:
    """A limit; None for what the kernel writes where there is none."""
    number = _number(text)
    return number if 0 < number < UNLIMITED else None


def _number(text: str | None) -> int:
    """A number that the inside has said; 0 for anything else."""
    try:
        return int(text or "")
    except ValueError:
        return 0
