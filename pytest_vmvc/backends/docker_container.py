"""A running container, and the commands in it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends import confinement, docker_checkpoint
from pytest_vmvc.backends.base import Stopwatch, Timed, new_nonce
from pytest_vmvc.backends.cgroup import cgroup_usage
from pytest_vmvc.backends.docker_account import account, daemons, memory, shim
from pytest_vmvc.backends.docker_call import Call
from pytest_vmvc.backends.docker_confinement import seccomp_profile
from pytest_vmvc.backends.docker_engine import (
    FLOOR_S,
    Deadline,
    Engine,
    api_errors,
    cause,
    one_line,
    status_of,
    until,
)
from pytest_vmvc.backends.docker_start import ending
from pytest_vmvc.backends.docker_stream import HANDED_OVER, Stream
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    NoCommands,
    NoUsage,
    Unavailable,
)
from pytest_vmvc.model import Completed, Facts, Usage

if TYPE_CHECKING:
    import psutil
    from docker import APIClient

USAGE_DEFINITION = (
    "the container's cgroup, read from this host's files or else as the engine reports it: CPU "
    "seconds, user and system; memory without inactive page cache"
)
SETTLE_S = 0.5
END_S = 10.0
WRITTEN = "/written"
"""The file that `Container.write` writes."""

# Its own command line holds the token too, but not its environment. A second sweep gets what was
# forked during the first.
_SWEEP = """for round in 1 2; do
    for file in $(grep -l -- "VMVC_COMMAND=$0" /proc/[0-9]*/environ 2>/dev/null); do
        pid=${file#/proc/}; kill -KILL "${pid%/environ}" 2>/dev/null
    done
done
exit 0"""


class Container(Timed):
    """A started container; made by `DockerProvider.launch`."""

    def __init__(self, engine: Engine, name: str, facts: Facts, watch: Stopwatch) -> None:
        self.name = name
        self._engine = engine
        self._facts = facts
        self._stopwatch = watch

    @cached_property
    def host_pid(self) -> int:
        """Process id of the payload on the engine's host; raises `EnvironmentDied`."""
        state = self._state()
        if state is None or not state["Running"]:
            self._died("no process any more")
        return int(state["Pid"])

    @cached_property
    def _id(self) -> str:
        with self._client() as client:
            return str(client.inspect_container(self.name)["Id"])

    @property
    def facts(self) -> Facts:
        """Provenance; ``extra["host_pid"]`` is there where it was asked for in its lifetime."""
        try:
            extra = {**self._facts.extra, "host_pid": self.host_pid}
        except InfrastructureError:
            return self._facts
        return msgspec.structs.replace(self._facts, extra=extra)

    def alive(self) -> bool:
        """Whether the engine says it runs."""
        state = self._state()
        return state is not None and bool(state["Running"])

    def usage(self) -> Usage:
        """Figures of its cgroup; raises `EnvironmentDied`, and `NoUsage` where it has none."""
        self._need_cgroup()
        # At once; the engine collects once a second, and makes its callers wait for that.
        if seen := cgroup_usage(self.host_pid, self._id):
            return Usage(
                cpu_s=seen.cpu_s, memory_bytes=seen.memory_bytes, definition=USAGE_DEFINITION
            )
        stats = self._stats()
        memory = stats.get("memory_stats") or {}
        cpu_ns = int(stats["cpu_stats"]["cpu_usage"]["total_usage"])
        if "usage" not in memory or not cpu_ns:
            self._died("its cgroup is gone")
        pages = memory.get("stats") or {}
        cache = int(pages.get("total_inactive_file", pages.get("inactive_file", 0)))
        return Usage(
            cpu_s=cpu_ns / 1e9,
            memory_bytes=max(0, int(memory["usage"]) - cache),
            definition=USAGE_DEFINITION,
        )

    def capabilities(self) -> int:
        """Those of its payload; raises `Unavailable` and `EnvironmentDied`."""
        self._shim()  # raises where that pid is not this host's
        return confinement.capabilities(self.host_pid)

    def system_calls(self) -> int:
        """Those of its payload; raises `Unavailable` and `EnvironmentDied`."""
        keeper = self._shim()
        return confinement.system_calls(self.host_pid, lambda: seccomp_profile(keeper))

    def account(self) -> Account:
        """Costs of the payload, its shim and the engine.

        Raises `Unavailable` where this host does not see them, and `EnvironmentDied`.
        """
        return account(*self._managers)

    @cached_property
    def _managers(self) -> tuple[psutil.Process, list[psutil.Process]]:
        keeper = self._shim()
        return keeper, daemons(self._engine.url, keeper)

    def _shim(self) -> psutil.Process:
        try:
            return shim(self.host_pid, self._id)
        except Unavailable:
            if not self.alive():
                self._died("no process any more")
            raise

    def memory(self) -> Memory:
        """Figures of its cgroup, page cache apart; raises as `usage` does."""
        self._need_cgroup()
        stats = self._stats().get("memory_stats") or {}
        if "usage" not in stats:
            self._died("its cgroup is gone")
        return memory(stats)

    def _stats(self) -> dict[str, Any]:
        with self._client() as client:
            one_shot = _version(client.api_version) >= (1, 41) or None
            return dict(client.stats(self.name, stream=False, one_shot=one_shot))

    def inspect(self) -> str:
        """The state by the engine: ``running``; raises `EnvironmentDied`."""
        with self._client() as client:
            return str(client.inspect_container(self.name)["State"]["Status"])

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """Have the engine kill it, and wait until it knows the end.

        Raises `CommandTimedOut` and `EnvironmentDied` (it had ended before).
        """
        from requests import Timeout

        with self._client() as client:
            client.kill(self.name)
            try:
                # The SDK writes int, and hands the number to a socket: fractions are fine.
                client.wait(self.name, timeout=timeout_s)  # type: ignore[arg-type]
            except Timeout:
                raise CommandTimedOut(
                    f"{self.name} was killed and runs after {timeout_s:g} s",
                    hint="the engine may be stuck; see its log",
                ) from None

    def write(self, data: bytes) -> None:
        """Put data in a file of its writable layer; raises `InfrastructureError`."""
        done = self.run(["dd", f"of={WRITTEN}", "bs=4k", "conv=fsync"], stdin=data)
        if done.exit_status != 0:
            raise InfrastructureError(
                f"{self.name} cannot write to its layer",
                hint=one_line(done.stderr.decode(errors="replace")),
            )

    def disk_bytes(self) -> int:
        """Bytes of its writable layer by the engine; raises `EnvironmentDied`."""
        with self._client() as client:
            found = client.containers(all=True, size=True, filters={"id": self._id})
        if not found:
            self._died("the engine has no such container any more")
        return int(found[0].get("SizeRw") or 0)

    def address(self, port: int) -> tuple[str, int]:
        """Where a published port is reached.

        Raises `InfrastructureError` for a port that is not published, and `EnvironmentDied`.
        """
        with self._client() as client:
            found = client.inspect_container(self.name)
        if not found["State"]["Running"]:
            self._died("it has no network any more")
        bindings = found["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        if not bindings:
            raise InfrastructureError(
                f"{self.name} does not publish port {port}", hint="name it in the shape"
            )
        return bindings[0]["HostIp"], int(bindings[0]["HostPort"])

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command inside as root; a non-zero exit status is data, not an error.

        Raises `CommandTimedOut` (the command and what it started are ended), `EnvironmentDied`, and
        `NoCommands` where the image has no shell.
        """
        if self._facts.extra.get("commands") is False:
            raise NoCommands(
                f"no command can be run in {self.name}: its image has no shell",
                hint="what is timed from outside and the sizes are measured all the same",
            )
        started = time.monotonic()
        deadline = Deadline(timeout_s)
        output = {1: bytearray(), 2: bytearray()}
        token = new_nonce()
        with self._client() as client:
            client.timeout = max(FLOOR_S, timeout_s)  # type: ignore[assignment] # see Engine.client
            command = client.exec_create(
                self.name,
                list(argv),
                stdin=bool(stdin),
                user="0",
                environment={"VMVC_COMMAND": token},
            )["Id"]
            try:
                try:
                    self._stream(client, command, stdin, output, deadline)
                except api_errors() as error:
                    # Newer engines refuse a program that is not there; older ones end with 126.
                    if status_of(error) != 400 or "exec failed" not in cause(error):
                        raise
                    output[2] += cause(error).encode()
                    status = 126
                else:
                    status = self._exit_status(client, command, deadline)
            except InfrastructureError:
                self._end(client, command, token)
                raise
            except TimeoutError:
                self._end(client, command, token)
                raise CommandTimedOut(
                    f"`{process.shown(argv)}` in {self.name} did not end within {timeout_s:g} s",
                    hint="it was ended; the host may be overloaded",
                ) from None
        duration_s = time.monotonic() - started
        if status != 0 and self._ended(status):
            self._died(f"it ended while `{process.shown(argv)}` ran in it")
        return Completed(
            argv=tuple(argv),
            exit_status=status,
            stdout=bytes(output[1]),
            stderr=bytes(output[2]),
            duration_s=duration_s,
        )

    def checkpoint(self, *, timeout_s: float) -> None:
        """Save its processes and end them; raises `Unavailable` and `CommandTimedOut`."""
        docker_checkpoint.save(self._engine, self.name, timeout_s=timeout_s)

    def restore(self, *, timeout_s: float) -> None:
        """Go on from the checkpoint; raises `Unavailable` and `CommandTimedOut`."""
        docker_checkpoint.restore(self._engine, self.name, timeout_s=timeout_s)
        for known in ("host_pid", "_managers"):  # its processes are new ones
            self.__dict__.pop(known, None)

    def _ended(self, status: int) -> bool:
        """The engine may hear of the command's end by SIGKILL just before the container's."""
        if status != 128 + signal.SIGKILL:
            return not self.alive()
        return until(lambda: not self.alive(), Deadline(SETTLE_S))

    def _stream(
        self,
        client: APIClient,
        command: str,
        stdin: bytes,
        output: Mapping[int, bytearray],
        deadline: Deadline,
    ) -> None:
        start = Call(
            client,
            f"/exec/{command}/start",
            json={"Detach": False, "Tty": False},
            headers=HANDED_OVER,
        )
        with Stream(start, timeout_s=max(FLOOR_S, deadline.left_s)) as stream:
            writer = stream.send(stdin) if stdin else None
            for number, piece in stream.frames(deadline):
                output[2 if number == 2 else 1].extend(piece)
                if sum(map(len, output.values())) > process.OUTPUT_LIMIT_BYTES:
                    raise InfrastructureError(
                        f"a command in {self.name} printed more than "
                        f"{process.OUTPUT_LIMIT_BYTES >> 20} MiB",
                        hint="let it write to a file inside instead",
                    )
        if writer is not None:
            # Leaving the stream has ended whatever it still wrote.
            writer.join(END_S)

    def _exit_status(self, client: APIClient, command: str, deadline: Deadline) -> int:
        """The stream may end a moment before the engine knows the status, and tells no one."""
        pause_s = 0.002
        while (found := client.exec_inspect(command))["Running"]:
            deadline.check()
            time.sleep(min(pause_s, deadline.left_s))
            pause_s = min(pause_s * 2, 0.1)
        return int(found["ExitCode"])

    def _end(self, client: APIClient, command: str, token: str) -> None:
        """End a command from the host where it can be seen there, and its children from inside."""
        client.timeout = END_S  # type: ignore[assignment] # see Engine.client
        pid = int(client.exec_inspect(command).get("Pid") or 0)
        # The pid is one of the engine's host, which need not be this one: compare the cgroup.
        with suppress(OSError):
            container = client.inspect_container(self.name)["Id"]
            if pid and container in Path(f"/proc/{pid}/cgroup").read_text():
                os.kill(pid, signal.SIGKILL)
        sweep = client.exec_create(self.name, ["sh", "-c", _SWEEP, token], user="0")["Id"]
        # A container without a shell, or one with no process to spare, cannot sweep itself.
        with suppress(TimeoutError, *api_errors()):
            self._stream(client, sweep, b"", {1: bytearray(), 2: bytearray()}, Deadline(END_S))
        try:
            self._exit_status(client, command, Deadline(END_S))
        except TimeoutError:
            raise InfrastructureError(
                f"a command in {self.name} does not end, not even by SIGKILL",
                hint="the engine may be stuck; see its log",
            ) from None

    def _state(self) -> dict[str, Any] | None:
        try:
            with self._engine.client() as client:
                return dict(client.inspect_container(self.name)["State"])
        except api_errors() as error:
            if status_of(error) == 404:
                return None
            raise InfrastructureError(
                f"the engine does not tell the state of {self.name}: {cause(error)}",
                hint="is it still running? see `vmvc doctor`",
            ) from error

    @contextmanager
    def _client(self) -> Iterator[APIClient]:
        """Give a client whose errors are told apart: the container's end, or the engine's fault."""
        try:
            with self._engine.client() as client:
                yield client
        except TimeoutError:
            raise
        except api_errors() as error:
            if status_of(error) in (404, 409, 500) and not self.alive():
                self._died(cause(error))
            raise InfrastructureError(
                f"the engine failed on {self.name}: {cause(error)}",
                hint="see the engine's log; was it restarted?",
            ) from error

    def _need_cgroup(self) -> None:
        """Else the engine would tell what the group counts that it is itself in."""
        if self._facts.extra.get(NoUsage.fact) is False:
            raise NoUsage(
                "the container has no control group of its own that would count what it uses",
                hint="a rootless engine gives it one on a host with control groups of version 2",
            )

    def _died(self, cause: str) -> NoReturn:
        with self._engine.client() as client:
            how = ending(client, self.name)
        raise EnvironmentDied(
            f"container {self.name} is gone{how and f' ({how})'}: {cause}",
            hint="give it more memory"
            if "memory" in how
            else "somebody else ended it, or its payload; see the engine's log and `dmesg`",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
