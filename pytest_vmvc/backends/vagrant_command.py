"""python-vagrant with what it lacks: deadlines, process groups, captured output, errors in words.

Imported only where Vagrant is about to be used.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vagrant import Vagrant

from pytest_vmvc import process
from pytest_vmvc.backends.vagrant_providers import LIBVIRT
from pytest_vmvc.errors import CommandFailed, Unavailable
from pytest_vmvc.resources import marked
from pytest_vmvc.text import last_line

COMMAND_TIMEOUT_S = 120.0


def meaningful_line(text: str) -> str:
    """Pick the last line of Vagrant's errors that tells something.

    It pads with blank lines; of a Ruby backtrace the first line tells.
    """
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    traced = next((at for at, line in enumerate(lines) if line.startswith("from ")), len(lines))
    lines = lines[:traced]
    telling = [line for line in lines if not line.startswith("==> ")]
    return last_line("\n".join(telling or lines))


class VagrantCommand(Vagrant):
    """Vagrant in one folder; what it prints is kept and no call waits for ever."""

    def __init__(
        self,
        root: Path,
        *,
        home: Path,
        timeout_s: float = COMMAND_TIMEOUT_S,
        provider: str = LIBVIRT,
    ) -> None:
        super().__init__(root=str(root))  # type: ignore[no-untyped-call] # library
        self._timeout_s = timeout_s
        self._settings = environment(home, root, provider)

    def _make_vagrant_command(self, args: Sequence[str | None]) -> list[str]:
        return ["vagrant", *(word for word in args if word is not None)]

    def _bounded(self, args: Sequence[str | None]) -> bytes:
        command = self._make_vagrant_command(args)
        done = process.run(
            command,
            timeout_s=self._timeout_s,
            env=self._settings,
            cwd=Path(self.root),
            check=False,
        )
        if done.exit_status != 0:
            said = (done.stderr or done.stdout).decode(errors="replace")
            raise CommandFailed(
                f"`{' '.join(command[:4])}` ended with {done.exit_status}",
                hint=meaningful_line(said),
            )
        return done.stdout

    def _call_vagrant_command(self, args: Sequence[str | None]) -> None:
        self._bounded(args)

    def _run_vagrant_command(self, args: Sequence[str | None]) -> str:
        return self._bounded(args).decode(errors="replace")

    def _stream_vagrant_command(self, args: Sequence[str | None]) -> Iterator[str]:
        yield from self._run_vagrant_command(args).splitlines(keepends=True)

    def version(self) -> str:
        """Vagrant's own version; raises `Unavailable` where it does not tell."""
        said = self._run_vagrant_command(["--version"])
        found = re.fullmatch(r"Vagrant (\S{1,80})", meaningful_line(said))
        if found is None:
            raise Unavailable(
                f"`vagrant --version` says what Vagrant does not: {meaningful_line(said)}",
                hint=f"is {shutil.which('vagrant')} Vagrant?",
            )
        return found[1]

    def state(self) -> str:
        """Vagrant's own word for its one machine, such as ``running`` or ``not_created``.

        Raises `CommandFailed` where it says none, and `CommandTimedOut`.
        """
        said = self._run_vagrant_command(["status", "--machine-readable"])
        found = re.search(r"^\d+,default,state,(\w{1,40})$", said, re.MULTILINE)
        if found is None:
            raise CommandFailed("`vagrant status` tells no state", hint=meaningful_line(said))
        return found[1]

    def plugin_versions(self) -> Mapping[str, str]:
        """Installed plugins; a line that tells of none, such as a warning of Ruby's, is skipped."""
        found, name = {}, ""
        said = self._run_vagrant_command(["plugin", "list", "--machine-readable"])
        for line in said.splitlines():
            words = line.split(",", 3)
            if words[2:3] == ["plugin-name"]:
                name = words[-1]
            elif words[2:3] == ["plugin-version"]:
                found[name] = words[-1].partition("%!(VAGRANT_COMMA)")[0]
        return found

    def start_up(self, *, provider: str) -> subprocess.Popen[bytes]:
        """Begin ``vagrant up`` in its own process group; its outputs are pipes, read live."""
        try:
            return subprocess.Popen(
                self._make_vagrant_command(["up", f"--provider={provider}"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=marked(self._settings),
                cwd=self.root,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Unavailable("vagrant is not installed", hint="run `vmvc setup`") from error


def environment(home: Path, folder: Path, provider: str = LIBVIRT) -> Mapping[str, str]:
    """Settings that keep the user's own Vagrant out of it, and Vagrant off the network."""
    return {
        "VAGRANT_HOME": str(home),
        "VAGRANT_CWD": str(folder),
        "VAGRANT_VAGRANTFILE": "Vagrantfile",
        "VAGRANT_DOTFILE_PATH": ".vagrant",
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_BOX_UPDATE_CHECK_DISABLE": "1",
        "VAGRANT_NO_COLOR": "1",
        "VAGRANT_NO_PARALLEL": "1",
        "VAGRANT_LOG": "fatal",
        "TMPDIR": str(folder),  # what it leaves there when it is ended goes with the folder
        "LC_ALL": "C.UTF-8",
    }
