"""Containers without an engine: a busybox in namespaces of its own, on a root in memory."""

from __future__ import annotations

import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import msgspec
import psutil

from pytest_vmvc import process
from pytest_vmvc.backends import control_group
from pytest_vmvc.backends.base import ANSWER, PAYLOAD, Provider, Stopwatch, Timed, new_nonce
from pytest_vmvc.errors import (
    CommandFailed,
    EnvironmentDied,
    LaunchFailed,
    LaunchTimedOut,
    TeardownFailed,
    Unavailable,
)
from pytest_vmvc.model import Artefact, Completed, Facts, Kind, Usage
from pytest_vmvc.resources import NAME, Resource, RunScope, marked

BUSYBOX = Path("/bin/busybox")
ROOT_SIZE = "16m"
KIND = "unshare-root"
"""What a run writes down before it mounts a root, and what the reaper looks for."""
STEP_S = 30.0
"""For a mount, and for whatever else the host does at once."""
SETTLE_S = 1.0
"""From the end of a command that was killed to that of its container, if that is why."""
USAGE = (
    "the control group of the container, read from the host: CPU seconds, user and system; memory "
    "without inactive page cache"
)
UNSHARE = ("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child")
INSIDE = ("/bin/env", "-i", "PATH=/bin", "HOME=/")
"""Nothing of the host's environment is seen inside."""


class UnshareContainer(Timed):
    """A first process in namespaces of its own; made by `UnshareProvider.launch`."""

    def __init__(
        self, name: str, facts: Facts, watch: Stopwatch, group: control_group.Cgroup, pid: int
    ) -> None:
        self.name = name
        self.facts = facts
        self._stopwatch = watch
        self._group = group
        self._pid = pid
        self._end = os.pidfd_open(pid)

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command in the namespaces of the first process.

        Raises `CommandTimedOut` (the command is ended) and `EnvironmentDied`.
        """
        if not self.alive():
            raise EnvironmentDied(f"the container {self.name} is gone")
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
        done = process.run(
            self._group.entered("nsenter", "--target", str(self._pid), *spaces, *INSIDE, *argv),
            timeout_s=timeout_s,
            stdin=stdin,
            check=False,
        )
        status = done.exit_status if done.exit_status >= 0 else 128 - done.exit_status
        if status == 128 + signal.SIGKILL and self._ended(SETTLE_S):
            raise EnvironmentDied(f"the container {self.name} ended during `{argv[0]}`")
        return msgspec.structs.replace(done, argv=tuple(argv), exit_status=status)

    def usage(self) -> Usage:
        """Figures of its control group; raises `EnvironmentDied`."""
        try:
            held = self._group.held()
        except (OSError, KeyError) as error:
            raise EnvironmentDied(f"the container {self.name} is gone: {error}") from error
        return Usage(cpu_s=held.cpu_s, memory_bytes=held.memory_bytes, definition=USAGE)

    def alive(self) -> bool:
        """Whether its first process lives: without it no other does."""
        return not self._ended(0)

    def kill(self) -> None:
        """End the first process, and the kernel ends the others."""
        signal.pidfd_send_signal(self._end, signal.SIGKILL)

    def _ended(self, within_s: float) -> bool:
        return bool(select.select([self._end], [], [], within_s)[0])


class UnshareProvider:
    """Starts containers of the host's busybox; ``payload`` is their first process."""

    name = "unshare"
    kind: Kind = "container"

    def __init__(self, scope: RunScope, payload: Sequence[str] = PAYLOAD) -> None:
        self._scope = scope
        self._payload = tuple(payload)

    @cached_property
    def facts(self) -> Facts:
        """Provenance: util-linux by its version, the busybox by its digest."""
        said = process.run(["unshare", "--version"], timeout_s=STEP_S).stdout.decode().strip()
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=said,
            accelerator="none",
            artefact=f"sha256:{hashlib.sha256(BUSYBOX.read_bytes()).hexdigest()}",
            userland="the host's busybox",
            vcpus=None,
            memory_bytes=None,
            readiness="the nonce on the standard output of the first process; no polling",
            usage_definition=USAGE,
        )

    def probe(self) -> Unavailable | None:
        """Why this host cannot, or None."""
        if os.geteuid() != 0:
            return Unavailable("namespaces and mounts are root's", hint="run as root")
        for program in ("unshare", "nsenter"):
            if shutil.which(program) is None:
                return Unavailable(f"{program} is not installed", hint="install util-linux")
        if not BUSYBOX.exists():
            return Unavailable(f"there is no {BUSYBOX}", hint="install busybox-static")
        return control_group.obstacle()

    def prepare(self) -> None:
        """Digest the busybox; raises `Unavailable`."""
        if gap := self.probe():
            raise gap
        _ = self.facts, self._applets

    def artefact(self) -> Artefact:
        """The busybox; `HasArtefact` is one of the optional protocols."""
        size_bytes = BUSYBOX.stat().st_size
        return Artefact(
            name=self.facts.artefact,
            fetch_bytes=size_bytes,
            kept_bytes=size_bytes,
            virtual_bytes=size_bytes,
            definition="the program's file, as it is",
        )

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[UnshareContainer]:
        """Make a root, unshare, and wait for the nonce; leaving ends and removes all of it.

        Raises `LaunchFailed` and `LaunchTimedOut`, and `TeardownFailed` on leaving.
        """
        self.prepare()
        until = time.monotonic() + deadline_s
        name, nonce, watch = self._scope.new_name(), new_nonce(), Stopwatch()
        with self._root(name) as root, control_group.made(self._scope, name) as group:
            first = (*INSIDE, f"VMVC_NONCE={nonce}", *self._payload)
            child = subprocess.Popen(
                group.entered(*UNSHARE, f"--root={root}", "--wd=/", *first),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=marked(),
                start_new_session=True,
            )
            try:
                await_answer(child, nonce, name, until, deadline_s=deadline_s)
                watch.mark("answer")
                (pid,) = (one.pid for one in psutil.Process(child.pid).children())
                container = UnshareContainer(name, self.facts, watch, group, pid)
                if container.run(["mount", "-t", "proc", "proc", "/proc"]).exit_status != 0:
                    raise LaunchFailed(f"{name} got no /proc")
                yield container
            finally:
                group.remove()  # with all that runs in it
                child.wait(STEP_S)
                process.close_pipes(child)

    @cached_property
    def _applets(self) -> list[str]:
        return process.run([BUSYBOX, "--list"], timeout_s=STEP_S).stdout.decode().split()

    @contextmanager
    def _root(self, name: str) -> Iterator[Path]:
        """A file system in memory, which a killed run leaves mounted: hence the reaper."""
        root = self._scope.workdir / name
        resource = self._scope.hold(KIND, str(root))
        try:
            root.mkdir()
            sized = ["-o", f"size={ROOT_SIZE},mode=755"]
            process.run(["mount", "-t", "tmpfs", *sized, "vmvc", root], timeout_s=STEP_S)
            for folder in ("bin", "proc", "tmp"):
                (root / folder).mkdir()
            shutil.copy(BUSYBOX, root / "bin")
            for applet in self._applets:
                if applet != "busybox":
                    (root / "bin" / applet).symlink_to("busybox")
            yield root
        except CommandFailed as error:
            raise LaunchFailed(f"{name} got no root", hint=str(error)) from error
        finally:
            RootReaper().destroy(resource)
            self._scope.release(resource)


class RootReaper:
    """Finds the roots that runs have left mounted, and unmounts them."""

    name = KIND

    def inventory(self) -> list[Resource]:
        """Every root of ours that is mounted, of whatever run."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        places = [Path(line.split()[1]) for line in lines]
        return [
            Resource(kind=self.name, name=str(place), run_id=match[1])
            for place in places
            if (match := NAME.fullmatch(place.name))
        ]

    def destroy(self, resource: Resource) -> None:
        """Unmount it and remove its folder; raises `TeardownFailed`."""
        root = Path(resource.name)
        try:
            if root.is_mount():
                process.run(["umount", root], timeout_s=STEP_S)
            if root.exists():
                root.rmdir()
        except (CommandFailed, OSError) as error:
            raise TeardownFailed(f"{root} is still there", hint=str(error)) from error


def await_answer(
    child: subprocess.Popen[bytes], nonce: str, name: str, until: float, *, deadline_s: float
) -> None:
    """Read what the first process prints until it has said the nonce; ``until`` is monotonic.

    Raises `LaunchTimedOut`, and `LaunchFailed` where it ends instead.
    """
    assert child.stdout
    assert child.stderr
    said = b""
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0 or not select.select([child.stdout], [], [], left_s)[0]:
            raise LaunchTimedOut(f"{name} gave no answer within {deadline_s:g} s")
        data = os.read(child.stdout.fileno(), 4096)
        said += data
        if (found := re.search(ANSWER, said)) and found[1] == nonce.encode():
            return
        if not data:
            ready = select.select([child.stderr], [], [], SETTLE_S)[0]
            reason = os.read(child.stderr.fileno(), 400).decode(errors="replace") if ready else ""
            raise LaunchFailed(
                f"{name} ended before its first answer", hint=" ".join(reason.split())
            )


def container(scope: RunScope) -> Provider:
    """The pair's container, for the run of that scope."""
    return UnshareProvider(scope)


PAIR = {"container": container}
"""Add ``"vm": catalog.PAIRS["minimal"]["vm"]`` to have the shipped machine beside it."""
