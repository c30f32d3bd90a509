"""One allocation, made and given up again in an environment, as the host sees it."""

from __future__ import annotations

import msgspec
import psutil

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError

MIB = 2**20
TAKEN_BYTES = 112 * MIB
COMMAND_TIMEOUT_S = 60.0

TAKE = """mkfifo /tmp/taken /tmp/give
(dd if=/dev/zero bs="$0" count=1 2>/dev/null |
    { head -c 1 >/dev/null; echo taken >/tmp/taken; read -r go </tmp/give; }
echo given >/tmp/taken) >/dev/null 2>&1 &
read -r word </tmp/taken; echo "$word" """
"""One block is read into memory, which goes when somebody says so: nobody reads it on."""
GIVE = 'echo go >/tmp/give; read -r word </tmp/taken; echo "$word"'


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """An allocation that was made and given up: the host before it and at its height, in bytes."""

    before: int
    height: int
    available_before: int

    def share(self, now: int) -> float:
        """What is still there of what it added."""
        return (now - self.before) / (self.height - self.before)


def take_and_give(environment: Environment) -> Episode:
    """Have a process take memory and give it up; raises `InfrastructureError` where it does not."""
    before, available_before = environment.usage().memory_bytes, available_bytes()
    _say(environment, TAKE, "taken")
    height = environment.usage().memory_bytes
    _say(environment, GIVE, "given")
    if height - before < TAKEN_BYTES // 2:
        raise InfrastructureError(
            f"a process in {environment.name} took {TAKEN_BYTES} bytes, and the host saw "
            f"{height - before} of them: what it gives back cannot be seen either"
        )
    return Episode(
        before=before,
        height=height,
        available_before=available_before,
    )


def available_bytes() -> int:
    """Memory that the host could give to a new process without swapping."""
    return int(psutil.virtual_memory().available)


def _say(environment: Environment, script: str, expected: str) -> None:
    done = environment.run(["sh", "-c", script, str(TAKEN_BYTES)], timeout_s=COMMAND_TIMEOUT_S)
    if done.stdout.decode(errors="replace").strip() != expected:
        raise InfrastructureError(
            f"the workload in {environment.name} did not say that it has {expected} its memory",
            hint=done.stderr.decode(errors="replace")[:200],
        )
