"""Bare processes of the host, in a control group of their own: the floor under both kinds."""

from __future__ import annotations

import hashlib
import platform
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends import control_group
from pytest_vmvc.backends.base import Stopwatch, Timed, new_nonce
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    LaunchFailed,
    LaunchTimedOut,
    Unavailable,
)
from pytest_vmvc.host import os_release
from pytest_vmvc.model import Artefact, Completed, Facts, Kind, Usage
from pytest_vmvc.resources import RunScope

USAGE_DEFINITION = (
    "the control group of the processes, read from the host: CPU seconds, user and system; memory "
    "without inactive page cache"
)

SETTLE_S = 0.5
POLL_S = 0.005


class BareProcesses(Timed):
    """A control group and a folder; made by `BareProvider.launch`."""

    def __init__(self, name: str, folder: Path, group: control_group.Cgroup, facts: Facts) -> None:
        self.name = name
        self.facts = facts
        self._folder = folder
        self._group = group
        self._stopwatch = Stopwatch()

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command in the group, in its folder, which is TMPDIR too.

        Raises `CommandTimedOut` (the command is ended) and `EnvironmentDied`.
        """
        if not self.alive():
            raise EnvironmentDied(f"the control group {self.name} is gone")
        done = process.run(
            self._group.entered(*argv),
            timeout_s=timeout_s,
            stdin=stdin,
            env={"TMPDIR": str(self._folder)},
            cwd=self._folder,
            check=False,
        )
        if done.exit_status == -signal.SIGKILL and self._removed():
            raise EnvironmentDied(f"the control group {self.name} ended during `{argv[0]}`")
        status = done.exit_status if done.exit_status >= 0 else 128 - done.exit_status
        return msgspec.structs.replace(done, argv=tuple(argv), exit_status=status)

    def _removed(self) -> bool:
        """Whether the group goes too: whoever removes it kills what is in it first."""
        until = time.monotonic() + SETTLE_S
        while self.alive() and time.monotonic() < until:
            time.sleep(POLL_S)
        return not self.alive()

    def usage(self) -> Usage:
        """Figures of its control group; raises `EnvironmentDied`."""
        try:
            held = self._group.held()
        except (OSError, KeyError) as error:
            raise EnvironmentDied(f"the control group {self.name} is gone: {error}") from error
        return Usage(cpu_s=held.cpu_s, memory_bytes=held.memory_bytes, definition=USAGE_DEFINITION)

    def alive(self) -> bool:
        """Whether its control group exists; it may be empty."""
        return self._group.cpu.is_dir()


class BareProvider:
    """Runs one program of the host as it is, neither contained nor virtualised."""

    name = "bare"
    kind: Kind = "process"

    def __init__(self, program: Path, userland: str, scope: RunScope) -> None:
        self._program = program
        self._userland = userland
        self._scope = scope

    @cached_property
    def facts(self) -> Facts:
        """Provenance: the host's kernel, and the program by its digest."""
        with self._program.open("rb") as program:
            digest = hashlib.file_digest(program, "sha256").hexdigest()
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=f"Linux {platform.release()}",
            accelerator="none",
            artefact=f"sha256:{digest}",
            userland=self._userland,
            vcpus=None,
            memory_bytes=None,
            readiness="the end of its first command; no polling",
            usage_definition=USAGE_DEFINITION,
            extra={"host": os_release().get("PRETTY_NAME", "Linux")},
        )

    def probe(self) -> Unavailable | None:
        """Why nothing can be counted here, or None."""
        return control_group.obstacle()

    def prepare(self) -> None:
        """Digest the program; raises `Unavailable`."""
        if gap := self.probe():
            raise gap
        _ = self.facts

    def artefact(self) -> Artefact:
        """The program itself, which a host mostly has anyway."""
        size_bytes = self._program.stat().st_size
        return Artefact(
            name=self.facts.artefact,
            fetch_bytes=size_bytes,
            kept_bytes=size_bytes,
            virtual_bytes=size_bytes,
            definition="the program's file",
        )

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[BareProcesses]:
        """Make the group and run a first command in it; leaving ends all that is in it.

        Raises `LaunchFailed` and `LaunchTimedOut`, and `TeardownFailed` on leaving.
        """
        name, nonce = self._scope.new_name(), new_nonce()
        with (
            tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self._scope.workdir) as folder,
            control_group.made(self._scope, name) as group,
        ):
            bare = BareProcesses(name, Path(folder), group, self.facts)
            try:
                done = bare.run(["echo", f"vmvc:nonce {nonce}"], timeout_s=deadline_s)
            except CommandTimedOut as late:
                raise LaunchTimedOut(
                    f"{name} gave no answer within {deadline_s:g} s", hint="is the host overloaded?"
                ) from late
            if nonce.encode() not in done.stdout:
                raise LaunchFailed(
                    f"{name} gave no answer", hint=done.stderr.decode(errors="replace").strip()
                )
            bare.mark("answer")
            yield bare
