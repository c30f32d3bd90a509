from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from pytest_vmvc import process
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable


def test_output_status_and_duration_are_kept():
    argv = ["sh", "-c", "printf 'a\\000b'; echo err >&2; exit 3"]
    done = process.run(argv, timeout_s=10, check=False)
    assert done.argv == tuple(argv)
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"a\0b", b"err\n")
    assert 0 < done.duration_s < 10


def test_standard_input_arrives_and_without_one_it_is_empty():
    sent = bytes(range(256)) * 4096
    assert process.run(["cat"], timeout_s=10, stdin=sent).stdout == sent
    assert process.run(["cat"], timeout_s=10).stdout == b""


def test_environment_is_added_to_and_folder_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("VMVC_TEST_KEPT", "kept")
    argv = ["sh", "-c", "echo $VMVC_TEST_KEPT $VMVC_TEST_ADDED; pwd"]
    done = process.run(argv, timeout_s=10, env={"VMVC_TEST_ADDED": "added"}, cwd=tmp_path)
    assert done.stdout.decode().splitlines() == ["kept added", str(tmp_path.resolve())]


def test_arguments_are_not_for_a_shell(tmp_path):
    done = process.run(["echo", "$HOME; id > stolen", "*"], timeout_s=10, cwd=tmp_path)
    assert done.stdout == b"$HOME; id > stolen *\n"
    assert list(tmp_path.iterdir()) == []


def test_a_failure_shows_the_end_of_what_was_said():
    argv = ["sh", "-c", f"echo {'x' * 2000} >&2; echo the cause >&2; exit 9"]
    with pytest.raises(CommandFailed, match="ended with 9") as caught:
        process.run(argv, timeout_s=10)
    assert caught.value.hint.endswith("the cause")
    assert len(caught.value.hint) <= 800


def test_a_missing_program_has_a_remedy():
    with pytest.raises(Unavailable, match="vmvc-no-such-program is not installed") as caught:
        process.run(["vmvc-no-such-program"], timeout_s=10)
    assert "vmvc setup" in caught.value.hint


def test_a_program_that_may_not_be_run(tmp_path):
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(Unavailable, match="may not be run"):
        process.run([tmp_path / "plain"], timeout_s=10)


def test_a_folder_that_is_gone_is_no_missing_program(tmp_path):
    with pytest.raises(CommandFailed, match=r"`true` has no folder to run in: .*/gone"):
        process.run(["true"], timeout_s=10, cwd=tmp_path / "gone")


def test_a_command_line_that_is_too_long_is_told_shortly_on_one_line():
    with pytest.raises(CommandFailed) as caught:
        process.run(["echo", "a\nb", "x" * 3_000_000], timeout_s=10)
    assert str(caught.value).startswith("`echo a b xxx")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_the_deadline_ends_the_whole_group(tmp_path, monkeypatch, trap):
    monkeypatch.setattr(process, "KILL_GRACE_S", 0.3)
    pids = tmp_path / "pids"
    script = f"{trap} sleep 600 & echo $! $$ > {pids}; wait; sleep 600"
    started = time.monotonic()
    with pytest.raises(CommandTimedOut, match=r"within 0\.5 s"):
        process.run(["sh", "-c", script], timeout_s=0.5)
    assert time.monotonic() - started < 10
    for pid in map(int, pids.read_text().split()):
        assert _ends(pid)


def test_a_member_that_ignores_the_request_does_not_outlive_the_child():
    # It has left the pipes too, so that nobody who waits for their end waits for it.
    member = "trap '' TERM; exec sh -c 'echo $$; exec sleep 600 >&-'"
    child = subprocess.Popen(
        ["sh", "-c", f"({member}) & wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    process.end_group(child)
    assert child.returncode == -signal.SIGTERM
    assert _ends(pid)


def test_an_interrupt_ends_the_group_too(tmp_path):
    pids = tmp_path / "pids"
    # The command itself interrupts the one who waits for it, as Ctrl-C would.
    # Its input comes only when the wait has begun.
    script = f"echo $$ > {pids}; cat; kill -INT $PPID; sleep 600"
    code = f"""
import signal
from pytest_vmvc import process
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
try:
    process.run(["sh", "-c", {script!r}], stdin=b"go", timeout_s=20)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = process.run([sys.executable, "-c", code], timeout_s=60)
    assert done.stdout == b"interrupted\n"
    assert _ends(int(pids.read_text()))


def _ends(pid: int) -> bool:
    """Whether it has ended, or does so at once: it closes its pipes a moment before."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5.0)[0])
    finally:
        os.close(descriptor)


def test_output_without_end_is_cut_and_its_maker_ended(monkeypatch):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1 << 20)
    for script in ("yes", "yes >&2", "trap '' PIPE; yes; yes"):
        with pytest.raises(CommandFailed, match="printed more than 1 MiB"):
            process.run(["sh", "-c", script], timeout_s=60)


def test_output_in_reach_of_the_bound_is_whole(monkeypatch):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1 << 20)
    script = "head -c 500000 /dev/zero; head -c 500000 /dev/zero >&2"
    done = process.run(["sh", "-c", script], timeout_s=60)
    assert (len(done.stdout), len(done.stderr)) == (500_000, 500_000)


def test_input_goes_in_while_output_comes_out():
    data = os.urandom(3_000_000)
    assert process.run(["cat"], stdin=data, timeout_s=60).stdout == data
    # Nobody reads it to its end: no error, as for a pipe of a shell.
    assert process.run(["head", "-c", "3"], stdin=data, timeout_s=60).stdout == data[:3]


def test_who_closes_its_output_is_waited_for():
    assert process.run(["sh", "-c", "exec >&- 2>&-; sleep 0.1"], timeout_s=60).exit_status == 0
    with pytest.raises(CommandTimedOut):
        process.run(["sh", "-c", "exec >&- 2>&-; sleep 600"], timeout_s=0.2)


def test_a_title_is_one_short_line():
    assert process.shown(["sh", "-c", "echo a\n  echo b\x1b[2J"]) == "sh -c echo a echo b [2J"
    assert len(process.shown(["x" * 1000])) == process.TEXT_KEPT
