"""For authors of backends: the contract that every one keeps, as a test-suite to subclass.

Ours is run against the fake and against the real backends of this project. It is no part of the
plugin: a test-suite has its two fixtures by a line in its ``conftest.py``::

    from pytest_vmvc.testing import run_scope, shared_env

A backend's test module then has two fixtures of its own, both of ``scope="module"``:

``provider``
    takes ``run_scope``, skips where the host lacks the backend, and returns a prepared provider of
    that scope.
``broken_provider``
    a provider of the same scope whose launch fails by itself (its payload ends, its image is
    empty).

and one subclass, ``class TestContract(ProviderContract)``, with:

``kill(env)``
    end the environment from outside, as an out-of-memory killer would: without its help.
``leftovers()``
    the resources on the host, of whatever run, as the backend's reaper finds them.

Attributes that slow backends change: ``launch_s``, ``command_s``, ``deadline_launch_s``,
``bound_s``, ``kill_after_s``. Launches that succeed: three in all (``shared_env``, the one that is
stopped, the one that dies); launches that do not: two.

Commands used inside: sh, cat, echo, head, id, printf, seq, sleep, grep: busybox has them all.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    LaunchFailed,
    LaunchTimedOut,
    NoUsage,
)
from pytest_vmvc.resources import Resource, RunScope

SHARED_LAUNCH_S = 300.0
"""Deadline of the launch of ``shared_env``."""

SHOW_ARGUMENTS = 'for word in "$@"; do printf "%s\\000" "$word"; done'

# Reads the mark from its standard input, so that its own command line does not have it.
FIND_MARK = 'read -r mark; grep -l -- "$mark" /proc/[0-9]*/cmdline 2>/dev/null; exit 0'

ODD_ARGUMENTS = (
    "two words",
    "",
    "'single' \"double\" `back`",
    "$HOME $(id) ${x} ; & | > < * ?",
    "first line\nsecond line\n",
    "\ttab \\ backslash \\n",
    "-n",
    "--",
    "größer ≥ 漢字 🐋",
    " leading and trailing ",
)


@contextmanager
def scratch_run(folders: pytest.TempPathFactory) -> Iterator[RunScope]:
    """A run whose ledger stands in a temporary folder; at its end it holds nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMVC_STATE_DIR", str(folders.mktemp("state")))
        with RunScope() as scope:
            yield scope
            assert not scope.held


@pytest.fixture(scope="module")
def run_scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunScope]:
    """A run of the module's own, whose ledger stands in a temporary folder."""
    with scratch_run(tmp_path_factory) as scope:
        yield scope


@pytest.fixture(scope="module")
def shared_env(provider: Provider) -> Iterator[Environment]:
    """One environment of the module's ``provider``, for every check that leaves it as it was."""
    with provider.launch(deadline_s=SHARED_LAUNCH_S) as env:
        yield env


class ProviderContract:
    """What `pytest_vmvc.backends.base` promises, checked from outside."""

    launch_s = 60.0
    """Deadline of a launch that should succeed (that of ``shared_env`` is `SHARED_LAUNCH_S`)."""
    command_s = 30.0
    """Deadline of a command that should end."""
    deadline_launch_s = 1e-6
    """A deadline that no launch can meet."""
    bound_s = 30.0
    """Within this, anything that goes wrong is over: the failed launch, the ended command."""
    kill_after_s = 0.5
    """From the start of a long command to its environment's death."""
    runs_as_root = True
    """Whether commands run inside as root: only the fake's do not."""

    def kill(self, env: Environment) -> None:
        """End it from outside; to be written by the subclass."""
        raise NotImplementedError

    def leftovers(self) -> Sequence[Resource]:
        """What the backend's reaper finds; to be written by the subclass."""
        raise NotImplementedError

    # --- what it is ------------------------------------------------------------------------------

    def test_is_available_here(self, provider: Provider) -> None:
        assert provider.probe() is None

    def test_prepare_is_idempotent(self, provider: Provider) -> None:
        provider.prepare()
        provider.prepare()

    def test_marks_ascend_to_the_answer(self, shared_env: Environment) -> None:
        marks = dict(shared_env.marks)
        seconds = list(marks.values())
        assert "answer" in marks
        assert seconds == sorted(seconds)
        assert seconds[0] > 0

    def test_what_the_measuring_itself_costs_is_known(self, shared_env: Environment) -> None:
        assert shared_env.harness_cpu_s >= 0
        before = shared_env.harness_cpu_s
        shared_env.mark("later")
        assert shared_env.harness_cpu_s == before  # of the start alone

    def test_a_mark_can_be_added_once(self, shared_env: Environment) -> None:
        first = shared_env.mark("contract")
        assert first >= shared_env.marks["answer"]
        assert shared_env.mark("contract") == first == shared_env.marks["contract"]

    def test_facts_are_complete(self, provider: Provider, shared_env: Environment) -> None:
        for facts in (provider.facts, shared_env.facts):
            assert facts.provider == provider.name
            assert facts.kind == provider.kind
            for text in (
                facts.version,
                facts.artefact,
                facts.userland,
                facts.readiness,
                facts.usage_definition,
            ):
                assert text.strip()
            assert (facts.accelerator == "none") == (facts.kind != "vm")
        assert shared_env.facts.artefact == provider.facts.artefact
        assert shared_env.facts.version == provider.facts.version

    # --- commands --------------------------------------------------------------------------------

    def test_streams_and_status_are_kept_apart(self, shared_env: Environment) -> None:
        argv = ["sh", "-c", "echo out; echo err >&2; exit 7"]
        done = shared_env.run(argv, timeout_s=self.command_s)
        assert done.argv == tuple(argv)
        assert (done.stdout, done.stderr, done.exit_status) == (b"out\n", b"err\n", 7)
        assert done.duration_s > 0

    def test_commands_run_as_root(self, shared_env: Environment) -> None:
        if not self.runs_as_root:
            pytest.skip("this backend runs commands as the user of the test")
        assert shared_env.run(["id", "-u"], timeout_s=self.command_s).stdout.strip() == b"0"

    def test_a_missing_program_is_data(self, shared_env: Environment) -> None:
        done = shared_env.run(["vmvc-no-such-program"], timeout_s=self.command_s)
        assert done.exit_status in (126, 127)

    def test_arguments_arrive_verbatim(self, shared_env: Environment) -> None:
        argv = ["sh", "-c", SHOW_ARGUMENTS, "sh", *ODD_ARGUMENTS]
        done = shared_env.run(argv, timeout_s=self.command_s)
        assert done.stdout.decode().split("\0")[:-1] == list(ODD_ARGUMENTS)

    def test_standard_input_arrives_and_ends(self, shared_env: Environment) -> None:
        # Big enough to fill every pipe on the way there and on the way back.
        sent = bytes(range(256)) * 4096
        done = shared_env.run(["cat"], stdin=sent, timeout_s=self.command_s)
        assert done.stdout == sent

    def test_no_standard_input_is_an_empty_one(self, shared_env: Environment) -> None:
        done = shared_env.run(["cat"], timeout_s=self.command_s)
        assert (done.exit_status, done.stdout) == (0, b"")

    def test_unread_standard_input_is_no_error(self, shared_env: Environment) -> None:
        done = shared_env.run(["echo", "done"], stdin=b"x" * 500_000, timeout_s=self.command_s)
        assert (done.exit_status, done.stdout) == (0, b"done\n")

    def test_output_is_binary(self, shared_env: Environment) -> None:
        text = "".join(f"\\{value:03o}" for value in range(256))
        done = shared_env.run(["printf", text], timeout_s=self.command_s)
        assert done.stdout == bytes(range(256))

    def test_ten_megabytes_of_output_are_exact(self, shared_env: Environment) -> None:
        size = 10_485_760
        expected = b"".join(b"%d\n" % number for number in range(1, 1_500_000))[:size]
        argv = ["sh", "-c", f"seq 1 1500000 | head -c {size}"]
        done = shared_env.run(argv, timeout_s=4 * self.command_s)
        assert len(done.stdout) == size
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected).digest()

    def test_a_late_command_is_ended(self, shared_env: Environment) -> None:
        mark = f"vmvc-mark-{secrets.token_hex(8)}"
        started = time.monotonic()
        with pytest.raises(CommandTimedOut):
            shared_env.run(["sh", "-c", "sleep 600; echo late", mark], timeout_s=1.0)
        assert time.monotonic() - started < 1 + self.bound_s
        found = shared_env.run(
            ["sh", "-c", FIND_MARK], stdin=mark.encode() + b"\n", timeout_s=self.command_s
        )
        assert (found.exit_status, found.stdout) == (0, b"")
        assert shared_env.run(["echo", "fine"], timeout_s=self.command_s).stdout == b"fine\n"

    # --- what it holds ---------------------------------------------------------------------------

    def test_usage_is_real_and_grows(self, shared_env: Environment) -> None:
        if shared_env.facts.extra.get(NoUsage.fact) is False:
            with pytest.raises(NoUsage):
                shared_env.usage()
            return
        before = shared_env.usage()
        work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
        shared_env.run(["sh", "-c", work], timeout_s=self.command_s)
        after = shared_env.usage()
        assert before.cpu_s > 0
        assert after.cpu_s > before.cpu_s
        assert min(before.memory_bytes, after.memory_bytes) > 0
        assert before.definition == after.definition == shared_env.facts.usage_definition

    # --- its end ---------------------------------------------------------------------------------

    def test_two_at_once_are_two_and_a_stop_is_verified(
        self, provider: Provider, shared_env: Environment, run_scope: RunScope
    ) -> None:
        before, found = set(run_scope.held), self.ours(run_scope)
        with provider.launch(deadline_s=self.launch_s) as second:
            assert second.name != shared_env.name
            assert shared_env.alive()
            assert second.alive()
            assert second.run(["echo", "2"], timeout_s=self.command_s).stdout == b"2\n"
            assert shared_env.run(["echo", "1"], timeout_s=self.command_s).stdout == b"1\n"
            assert set(run_scope.held) > before
            assert self.ours(run_scope) > found
        assert not second.alive()
        assert shared_env.alive()
        assert (set(run_scope.held), self.ours(run_scope)) == (before, found)

    def test_death_in_mid_command_is_noticed(self, provider: Provider, run_scope: RunScope) -> None:
        before = set(run_scope.held), self.ours(run_scope)
        with provider.launch(deadline_s=self.launch_s) as env:
            reaper = threading.Timer(self.kill_after_s, self.kill, [env])
            reaper.start()
            started = time.monotonic()
            with pytest.raises(EnvironmentDied):
                env.run(["sleep", "600"], timeout_s=300.0)
            assert time.monotonic() - started < self.kill_after_s + self.bound_s
            reaper.join(60)
            assert not env.alive()
            with pytest.raises(EnvironmentDied):
                env.run(["echo", "anybody?"], timeout_s=self.command_s)
        assert (set(run_scope.held), self.ours(run_scope)) == before

    def test_a_launch_that_fails_says_why_and_leaves_nothing(
        self, broken_provider: Provider, run_scope: RunScope
    ) -> None:
        before = set(run_scope.held), self.ours(run_scope)
        with (
            pytest.raises(LaunchFailed) as caught,
            broken_provider.launch(deadline_s=self.launch_s),
        ):
            pytest.fail("it came up")
        assert not isinstance(caught.value, LaunchTimedOut)
        assert len(str(caught.value).splitlines()) == 1
        assert (set(run_scope.held), self.ours(run_scope)) == before

    def test_a_launch_past_its_deadline_leaves_nothing(
        self, provider: Provider, run_scope: RunScope
    ) -> None:
        before = set(run_scope.held), self.ours(run_scope)
        started = time.monotonic()
        with (
            pytest.raises(LaunchTimedOut) as caught,
            provider.launch(deadline_s=self.deadline_launch_s),
        ):
            pytest.fail("it came up")
        assert time.monotonic() - started < self.deadline_launch_s + self.bound_s
        assert len(str(caught.value).splitlines()) == 1
        assert (set(run_scope.held), self.ours(run_scope)) == before

    def ours(self, scope: RunScope) -> set[tuple[str, str]]:
        """What the reaper finds of this run."""
        return {
            (found.kind, found.name) for found in self.leftovers() if found.run_id == scope.run_id
        }
