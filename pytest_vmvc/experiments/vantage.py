"""Where a probe stands: one and the same script, run on the host or inside an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pytest_vmvc import process
from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Shape, Shapeable
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

Shell = Callable[[str], str]
"""Runs a script of the POSIX shell and gives its output: hostile text, where a guest wrote it."""

VOID = "void: control did not fire"
"""Why a probe is no evidence: its positive or its negative control came out wrong."""

HOST = "host"
TIMEOUT_S = 60.0
KEPT_BYTES = 1 << 20
"""Most output that is looked at."""

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
"""Every kind of namespace that Linux has."""

KERNEL = "cat /proc/sys/kernel/random/boot_id\n"


def on_host(script: str) -> str:
    """Run it on the host."""
    done = process.run(["sh"], timeout_s=TIMEOUT_S, stdin=script.encode(), check=False)
    return _text(done.stdout)


def inside(environment: Environment) -> Shell:
    """Run it inside, as root."""
    # By standard input: what a script looks for must be on no command line.
    return lambda script: _text(
        environment.run(["sh"], timeout_s=TIMEOUT_S, stdin=script.encode()).stdout
    )


def kernel(shell: Shell) -> str:
    """The boot id: two places with the same one stand on the same kernel."""
    return shell(KERNEL).strip()


def namespaces(shell: Shell) -> Mapping[str, str]:
    """Namespaces of a process there, each as its kernel and inode, where the kernel has it.

    Kernels number their first namespaces alike, so an inode alone tells nothing across two.
    """
    looks = (f'echo "{name} $(readlink /proc/self/ns/{name})"\n' for name in NAMESPACES)
    boot_id, _, said = shell(KERNEL + "".join(looks)).partition("\n")
    found = (line.split() for line in said.splitlines())
    return {words[0]: f"{boot_id} {words[1]}" for words in found if len(words) == 2}


def shared(own: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Names under which both have the same."""
    return [name for name, identity in own.items() if others.get(name) == identity]


def reshaped(pair: Pair, subject: str, shape: Shape) -> Provider:
    """A subject of the pair in another shape; raises `Unavailable`."""
    provider = pair.subjects[subject]
    if not isinstance(provider, Shapeable):
        raise Unavailable("its provider starts it in one shape only")
    return provider.shaped(shape)


def isolation(name: str, label: str, definition: str, unit: str = "") -> Metric:
    """A metric where a yes, or a smaller figure, speaks for isolation."""
    return Metric(name=name, label=label, unit=unit, definition=definition, emulation="flatters")


def named(lines: Iterable[str]) -> dict[str, str]:
    """What a script said in lines of ``name=value``."""
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, sign, value in pairs if sign}


def _text(output: bytes) -> str:
    return output[:KEPT_BYTES].decode(errors="replace")
