"""A small process that sees a run end, however it ends, and then tidies up after it.

It is a shell that reads from a pipe whose other end only the run holds: it sleeps in the kernel,
holds little more than a megabyte and nothing of the run's (no output, no folder, no session), so
that no closed terminal ends it and no reader of the run's output waits for it. One word ends it:
the run took everything down itself. Without the word, the pipe's end turns it into
``vmvc clean --run``, which writes its log into the run's folder; that goes with the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_vmvc.paths import cache_dir, state_dir

DONE = b"done\n"
END_S = 5.0
"""How long the shell may take to read one word and end."""

WAIT = """trap '' HUP INT QUIT TERM
read -r word
[ "$word" != done ] || exit 0
if (: >>"$1") 2>/dev/null; then exec >>"$1" 2>&1; fi
shift
exec "$@"
"""
"""What a terminal or a job's end sends to everyone is ignored, also by what it turns into."""
CLEAN = """import sys
root = sys.argv.pop(1)
root in sys.path or sys.path.insert(0, root)
from pytest_vmvc.__main__ import main
sys.exit(main())
"""
"""``vmvc``, of the very package that the run has."""

_private: set[int] = set()
"""Files by whose end others see that this process has ended."""


def keep_private(fd: int) -> int:
    """Close the file in each child that is forked without exec; else it would hold it open."""
    _private.add(fd)
    return fd


def close_private(fd: int) -> None:
    """Close it here; nothing happens where that was done before."""
    if fd in _private:
        _private.discard(fd)
        os.close(fd)


def _close_all() -> None:
    for fd in tuple(_private):
        with suppress(OSError):
            close_private(fd)


os.register_at_fork(after_in_child=_close_all)


class Watchdog:
    """Watches this process on behalf of one run; raises OSError where it cannot be started."""

    def __init__(self, run_id: str, folder: Path, environment: Mapping[str, str]) -> None:
        root = str(Path(__file__).parents[1])
        log = str(folder.absolute() / "watchdog.log")
        clean = [log, sys.executable, "-P", "-c", CLEAN, root, "clean", "--run", run_id]
        theirs, self._wire = os.pipe()  # both are closed by any exec
        try:
            self._child = subprocess.Popen(
                ["sh", "-c", WAIT, f"vmvc-watchdog-{run_id}", *clean],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={
                    **environment,
                    # It looks where the run has put its things, from another folder.
                    "VMVC_STATE_DIR": str(state_dir().absolute()),
                    "VMVC_CACHE_DIR": str(cache_dir().absolute()),
                    "TMPDIR": str(Path(tempfile.gettempdir()).absolute()),
                },
                start_new_session=True,
            )
        except OSError:
            os.close(self._wire)
            raise
        finally:
            os.close(theirs)
        keep_private(self._wire)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def dismiss(self) -> None:
        """Nothing is left to do: end it, and see it gone."""
        with suppress(OSError):  # somebody has ended it before
            os.write(self._wire, DONE)
        close_private(self._wire)
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(END_S)

    def leave_it_the_rest(self) -> None:
        """Have it tidy up now; nobody waits for it."""
        close_private(self._wire)
        self._child.returncode = 0  # else an end of this process before its own is warned of
