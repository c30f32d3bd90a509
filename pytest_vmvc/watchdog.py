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

_wires: set[int] = set()
"""The run's ends of the pipes. A child that is forked without exec would hold them open."""


def _hang_up() -> None:
    for wire in _wires:
        with suppress(OSError):
            os.close(wire)
    _wires.clear()


os.register_at_fork(after_in_child=_hang_up)


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
        _wires.add(self._wire)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def dismiss(self) -> None:
        """Nothing is left to do: end it, and see it gone."""
        with suppress(OSError):  # somebody has ended it before
            os.write(self._wire, DONE)
        self._let_go()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(END_S)

    def leave_it_the_rest(self) -> None:
        """Have it tidy up now; nobody waits for it."""
        self._let_go()
        self._child.returncode = 0  # else an end of this process before its own is warned of

    def _let_go(self) -> None:
        if self._wire in _wires:
            _wires.discard(self._wire)
            os.close(self._wire)
