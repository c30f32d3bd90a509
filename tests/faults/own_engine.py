"""A container engine of the test's own, which may be stopped, hung, filled up and started again.

It is one of `pytest_vmvc.backends.second_engine`: in namespaces of its own, found by the reaper
where a test is killed. The host's own engine never notices it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pytest_vmvc.backends import second_engine
from pytest_vmvc.backends.docker_engine import Deadline, Engine, until
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.resources import RunScope
from tests.processes import below

START_S = 60.0
END_S = 20.0
IN_TMPFS = 'mkdir -p "$0" && mount -t tmpfs -o "size=$1" tmpfs "$0" || exit; shift; '
NO_HYBRID = "[ ! -d {0} ] || umount {0} || exit; ".format("/sys/fs/cgroup/unified")
"""crun starts nothing where control groups of both versions have controllers."""


class OwnEngine:
    """A Docker Engine in a folder; what it stores survives a stop, unless it is in memory."""

    def __init__(self, folder: Path, size: str = "", runtimes: Sequence[str] = ()) -> None:
        self.folder = folder
        self.address = f"unix://{folder / 's'}"
        self._size = size
        self._runtimes = runtimes
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its answer; what an earlier one left of its run is removed."""
        # Numbers of processes begin anew in there: those of the last time may be somebody else's.
        for name in ("pid", "s", "exec/containerd/containerd.pid"):
            (self.folder / name).unlink(missing_ok=True)
        engine = [
            *second_engine.COMMANDS["docker"](self.folder),
            "--cgroup-parent", f"/{self.folder.name}{second_engine.SUFFIX}",
            *(f"--add-runtime={one}={shutil.which(one)}" for one in self._runtimes),
        ]  # fmt: skip
        words = [second_engine.HIDE, "sh"]
        if self._size:
            words = [IN_TMPFS + second_engine.HIDE, str(self.folder / "data"), self._size]
        if self._runtimes:
            words[0] = NO_HYBRID + words[0]
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                [*second_engine.NAMESPACES, "sh", "-c", *words, *engine],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert until(self.answers, Deadline(START_S)), self.log()

    def answers(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self.log()
        with suppress(Unavailable):
            return bool(Engine(self.address).api_version)
        return False

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    @property
    def daemon(self) -> psutil.Process:
        """The engine's first process."""
        assert self._child is not None
        return next(iter(below(self._child.pid, second_engine.PROGRAMS["docker"])))

    def hang(self) -> None:
        """Stop it as SIGSTOP does: connections are taken, and nobody answers."""
        self.daemon.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.daemon.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and everything in it at once; its socket stays behind, as a crash leaves it."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait(END_S)
            self._child = None

    def mend(self) -> None:
        """Have it answer again, whatever was done to it."""
        if self._child is not None and psutil.pid_exists(self._child.pid):
            with suppress(StopIteration, psutil.Error):
                self.wake()
        try:
            running = self._child is not None and until(self.answers, Deadline(END_S))
        except AssertionError:
            running = False
        if not running:
            self.kill()
            self.start()

    def docker(self, *words: str) -> str:
        """Somebody else at the same engine."""
        done = subprocess.run(
            ["docker", "--host", self.address, *words], capture_output=True, timeout=30, check=True
        )
        return done.stdout.decode().strip()


@contextmanager
def own_engine(
    scope: RunScope, *, size: str = "", runtimes: Sequence[str] = ()
) -> Iterator[OwnEngine]:
    """Start one; ``size``: its storage is in memory, and so large.

    ``runtimes``: programs that it knows beside its default.
    """
    with scope.roomy_folder() as folder:
        resource = scope.hold(second_engine.KIND, folder.name)
        engine = OwnEngine(folder, size, runtimes)
        try:
            engine.start()
            yield engine
        finally:
            engine.kill()
            second_engine._end(folder.name)
            scope.release(resource)
