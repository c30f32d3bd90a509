"""What root in one place tries on another: harmless, read only; the scripts and their targets.

Each probe is one line of a script that runs in three places: at the target's home, where it must
reach it; there again for a target that does not exist, where it must not; and in the attacker.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.experiments.vantage import Shell, kernel, named, namespaces

PORT = 8099
"""TCP port that a sibling listens on."""

SIBLING = ("file", "process", "signal", "memory", "ipc", "tcp")
OF_HOST = ("file", "process", "signal", "memory", "ipc", "segment", "socket")
OF_KERNEL = ("disk", "engine", "modules", "cgroup")
ONLY_SEEN = frozenset({"process", "socket", "tcp"})
"""Seen or talked to, which is no control over it: no file, no signal, no memory of it is had."""

LIVES_S = 120
"""The target process ends by itself after that, whatever becomes of us; attacks take seconds."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is planted somewhere to be reached, under names that nothing else has."""

    name: str = msgspec.field(default_factory=lambda: f"vmvc-canary-{secrets.token_hex(8)}")
    """Of its file and its abstract socket; what its port answers."""
    folder: str = "/tmp"  # noqa: S108 - of an environment of ours
    marker: str = msgspec.field(
        default_factory=lambda: f"{LIVES_S}.{secrets.randbelow(10**12):012d}"
    )
    """A duration that no other process sleeps for."""
    address: str = "127.0.0.1"
    kernel: str = "none"
    """Its boot id."""
    ipc: str = "none"
    """Its namespace of System V memory, with the kernel."""
    segment_bytes: int = -1
    """Size of its piece of System V memory."""
    disk: str = "none 0 0"
    """Name, major and minor number."""
    engine: str = "/none"
    """Path of the container engine's socket."""


def probe(target: Target) -> str:
    """A script that says ``<probe>=reached`` for each that reaches its target."""
    path, (disk, *number) = f"{target.folder}/{target.name}", target.disk.split()
    return f"""for file in '{path}' '/shared/{target.name}' /proc/[0-9]*/root'{path}'; do
    [ -e "$file" ] && [ "$(cat "$file" 2>/dev/null)" = '{target.name}' ] && {_yes("file")} && break
done
pid=
for process in /proc/[0-9]*; do
    line=
    read -r line < "$process/cmdline"
    case "$line" in *'{target.marker}'*) pid=${{process#/proc/}}; break ;; esac
done 2>/dev/null
if [ -n "$pid" ]; then
    {_yes("process")}
    kill -0 "$pid" 2>/dev/null && {_yes("signal")}
    # Whoever may open it may attach to the process; nothing is read.
    {{ true < "/proc/$pid/mem"; }} 2>/dev/null && {_yes("memory")}
fi
boot_id=$(cat /proc/sys/kernel/random/boot_id)
[ "$boot_id $(readlink /proc/self/ns/ipc)" = '{target.ipc}' ] && {_yes("ipc")}
answer=$(nc -w 2 {target.address} {PORT} </dev/null 2>/dev/null)
[ "$answer" = '{target.name}' ] && {_yes("tcp")}
awk '$4 == {target.segment_bytes} {{ print "segment=reached" }}' /proc/sysvipc/shm 2>/dev/null
grep -q '@{target.name}$' /proc/net/unix 2>/dev/null && {_yes("socket")}
[ -S '{target.engine}' ] && {_yes("engine")}
# On another kernel these would be another disk, other modules and other groups.
[ "$boot_id" = '{target.kernel}' ] || exit 0
node=/tmp/{target.name}.disk
if {{ true < /dev/{disk}; }} 2>/dev/null; then
    {_yes("disk")}
elif mknod "$node" b {" ".join(number)} 2>/dev/null; then
    {{ true < "$node"; }} 2>/dev/null && {_yes("disk")}
    rm -f "$node"
fi
capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
[ "$(cat /proc/sys/kernel/modules_disabled 2>/dev/null)" = 0 ] \
    && [ $((0x$capabilities >> 16 & 1)) = 1 ] && {_yes("modules")}
for file in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
    # Opened for writing, and nothing is written.
    [ -e "$file" ] && {{ true >> "$file"; }} 2>/dev/null && {_yes("cgroup")} && break
done
exit 0
"""


def _yes(name: str) -> str:
    return f"echo {name}=reached"


def reached(shell: Shell, script: str) -> frozenset[str]:
    """Names of the probes that reached their target from there."""
    said = named(shell(script).splitlines())
    return frozenset(name for name, word in said.items() if word == "reached")


@contextmanager
def planted(shell: Shell, target: Target, *, listens: bool) -> Iterator[frozenset[str]]:
    """Plant a target; gives the probes whose controls came out right at its home.

    Leaving raises `InfrastructureError` where the target's process may have ended before.
    """
    pids: list[str] = []
    until = time.monotonic() + LIVES_S
    try:
        # In one shell: some kernels let a process look only at those that it has started.
        said = shell(_plant(target, listens=listens) + probe(target))
        pids = [pid for pid in named(said.splitlines()).get("pids", "").split() if pid.isdecimal()]
        fired = reached(lambda _: said, "")
        nothing = Target(folder=target.folder, address=target.address)
        yield fired - reached(shell, probe(nothing))
        if time.monotonic() > until:  # whoever did not reach it then proves nothing
            raise InfrastructureError(
                f"the probes were not done in the {LIVES_S} s that their target lives",
                hint="is the host busy?",
            )
    finally:
        words = " ".join(pids)
        with suppress(Exception):  # it may be gone, and all of this with it
            shell(f"rm -f '{target.folder}/{target.name}'\n{f'kill {words}' if words else ''}\n")


def _plant(target: Target, *, listens: bool) -> str:
    listener = f"nc -ll -p {PORT} -e echo '{target.name}' >/dev/null 2>&1 </dev/null &\n"
    return f"""echo '{target.name}' > '{target.folder}/{target.name}'
sleep {target.marker} >/dev/null 2>&1 </dev/null &
pids=$!
{listener + 'pids="$pids $!"; sleep 0.2' if listens else ""}
echo "pids=$pids"
"""


def at_home(target: Target, shell: Shell) -> Target:
    """The target with what it has of its home: the kernel and a namespace."""
    own = namespaces(shell).get("ipc", "none")
    return msgspec.structs.replace(target, kernel=kernel(shell), ipc=own)
