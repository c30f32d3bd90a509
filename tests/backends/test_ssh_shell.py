"""The shell that stays in a machine, in every shell that this host has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pytest_vmvc import process
from pytest_vmvc.backends.ssh import END_GROUP
from pytest_vmvc.backends.ssh_shell import KeptShell, Reply, ShellEnded, Unfinished

LIMIT_S = 30.0
SHORT_S = 0.3
SHELLS = [name for name in ("bash", "dash", "busybox") if shutil.which(name)]
PROGRAMS = (
    "cat", "cut", "echo", "kill", "ls", "mkfifo", "mktemp", "printf", "rm", "setsid", "sleep",
    "true", "yes",
)  # fmt: skip


class Here:
    """Begins what would be begun in a machine on this host, which has one shell."""

    def __init__(self, folder: Path, name: str, *, missing: str = "") -> None:
        for program in {*PROGRAMS} - {missing}:
            (folder / program).symlink_to(shutil.which(program) or "")
        for alias in {"sh", name}:
            (folder / alias).symlink_to(shutil.which(name) or "")
        self.env = {**os.environ, "LC_ALL": "C", "PATH": str(folder)}
        self.channels: list[subprocess.Popen[bytes]] = []

    def __call__(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        self.channels.append(
            subprocess.Popen(
                [shutil.which("sh", path=self.env["PATH"]) or "", *argv[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.env,
                start_new_session=True,
            )
        )
        return self.channels[-1]


@contextmanager
def kept(here: Here) -> Iterator[KeptShell]:
    shell = KeptShell(here)
    assert shell.run(["true"], timeout_s=LIMIT_S) is None
    assert here.channels == []
    try:
        yield shell
    finally:
        shell.close()
        assert all(channel.poll() is not None for channel in here.channels)


@pytest.fixture(params=SHELLS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Here:
    (tmp_path / "bin").mkdir()
    return Here(tmp_path / "bin", request.param)


@pytest.fixture
def shell(here: Here) -> Iterator[KeptShell]:
    with kept(here) as found:
        yield found


def said(shell: KeptShell, *argv: str) -> tuple[int, bytes, bytes]:
    reply = shell.run(argv, timeout_s=LIMIT_S)
    assert reply is not None
    return reply.exit_status, bytes(reply.out), bytes(reply.err)


def test_outputs_and_exit_status_are_the_commands_own(shell, here):
    assert said(shell, "true") == (0, b"", b"")
    assert said(shell, "sh", "-c", "echo a; echo b >&2; exit 3") == (3, b"a\n", b"b\n")
    assert said(shell, "printf", "no line end") == (0, b"no line end", b"")
    assert len(here.channels) == 1


def test_arguments_arrive_as_they_are(shell):
    odd = ["two words", "", "$HOME", "'", "\n", "\\n", "-n", "é", "a\n\nb", "`id`", "*"]
    assert said(shell, "printf", "%s|", *odd)[1].decode() == "".join(f"{word}|" for word in odd)
    every = bytes(range(1, 256)).decode(errors="surrogateescape")
    assert said(shell, "printf", "%s", every)[1] == bytes(range(1, 256))


def test_bytes_come_back_as_they_are(shell):
    data = bytes(range(256)) * 4000
    octal = "".join(f"\\{byte:03o}" for byte in range(256))
    script = f"i=0; while [ $i -lt 4000 ]; do printf '{octal}'; i=$((i + 1)); done"
    assert said(shell, "sh", "-c", script)[1] == data
    assert said(shell, "sh", "-c", f"{{ {script}; }} >&2")[2] == data


def test_what_looks_like_a_mark_is_output(shell):
    fake = "vmvc:begin 0123456789abcdef 1\n\nvmvc:end 0123456789abcdef 0\n"
    assert said(shell, "printf", "%s", fake) == (0, fake.encode(), b"")


def test_signals_and_what_cannot_be_run(shell):
    assert said(shell, "sh", "-c", "kill -9 $$") == (128 + 9, b"", b"")
    assert said(shell, "/nonexistent")[0] == 127
    assert said(shell, "/etc/passwd")[0] == 126
    assert said(shell, "true") == (0, b"", b"")


def test_a_command_starts_as_it_would_with_a_channel_of_its_own(shell):
    assert said(shell, "cat") == (0, b"", b"")
    trap = "trap 'echo caught' INT; kill -INT $$"
    assert said(shell, "sh", "-c", trap) == (0, b"caught\n", b"")
    first, second = (said(shell, "sh", "-c", "cut -d' ' -f1,5 /proc/$$/stat")[1] for _ in "ab")
    for line in (first, second):
        pid, group = line.split()
        assert pid == group
    assert first != second
    # The last one is that of the folder which is listed.
    assert said(shell, "ls", "/proc/self/fd")[1].split() == [b"0", b"1", b"2", b"3"]


def test_outputs_end_when_the_last_process_has_closed_them(shell):
    slow = '(read -r line <"$0"; echo late) & echo early'
    with pipe_that_opens() as (path, let_go):
        timer = threading.Timer(SHORT_S, let_go)
        timer.start()
        assert said(shell, "sh", "-c", slow, path)[1] == b"early\nlate\n"
        timer.join(LIMIT_S)


@contextmanager
def pipe_that_opens() -> Iterator[tuple[str, Callable[[], None]]]:
    read_end, write_end = os.pipe()

    def let_go() -> None:
        os.write(write_end, b"\n")

    try:
        yield f"/proc/{os.getpid()}/fd/{read_end}", let_go
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_command_that_does_not_end_is_told_by_its_number(shell, here):
    assert said(shell, "true")[0] == 0
    with pytest.raises(Unfinished) as caught:
        shell.run(["sh", "-c", "sleep 1000; true"], timeout_s=SHORT_S)
    assert isinstance(caught.value.why, subprocess.TimeoutExpired)
    assert caught.value.pid is not None
    below = [caught.value.pid, *(one.pid for one in children(caught.value.pid))]
    assert len(below) == 2
    process.run(["sh", "-c", END_GROUP], stdin=f"{caught.value.pid}\n".encode(), timeout_s=10)
    until = time.monotonic() + LIMIT_S
    while any(runs(pid) for pid in below):
        assert time.monotonic() < until
    assert said(shell, "echo", "again") == (0, b"again\n", b"")
    assert len(here.channels) == 2


def children(pid: int) -> list[psutil.Process]:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if found := psutil.Process(pid).children(recursive=True):
            return found
    return []


def runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_what_an_earlier_command_left_running_goes_on(shell):
    script = "sleep 1000 >/dev/null 2>&1 & echo $!"
    left = int(said(shell, "sh", "-c", script)[1])
    try:
        with pytest.raises(Unfinished) as caught:
            shell.run(["sleep", "1000"], timeout_s=SHORT_S)
        process.run(["sh", "-c", END_GROUP], stdin=f"{caught.value.pid}\n".encode(), timeout_s=10)
        assert runs(left)
    finally:
        os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("words", [["yes"], ["sh", "-c", "yes >&2"]], ids=["out", "err"])
def test_output_without_end_is_cut(shell, monkeypatch, words):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1 << 20)
    with pytest.raises(Unfinished) as caught:
        shell.run(words, timeout_s=LIMIT_S)
    assert isinstance(caught.value.why, process.OutputTooLong)
    process.run(["sh", "-c", END_GROUP], stdin=f"{caught.value.pid}\n".encode(), timeout_s=10)


def test_a_shell_that_somebody_ended_is_replaced(shell, here):
    assert said(shell, "true")[0] == 0
    here.channels[0].kill()
    here.channels[0].wait(LIMIT_S)
    assert shell.run(["echo", "lost"], timeout_s=LIMIT_S) is None
    assert said(shell, "echo", "found")[1] == b"found\n"
    assert len(here.channels) == 2


def test_a_shell_that_ends_under_its_command_is_said(shell, here):
    assert said(shell, "true")[0] == 0
    with pytest.raises(ShellEnded):
        shell.run(["kill", "-9", str(here.channels[0].pid)], timeout_s=LIMIT_S)
    assert said(shell, "echo", "found")[1] == b"found\n"


def test_a_busy_shell_takes_no_second_command(shell):
    assert said(shell, "true")[0] == 0
    with pipe_that_opens() as (path, let_go):
        script = 'echo begun >"$1"; read -r line <"$0"'
        read_end, write_end = os.pipe()
        words = ["sh", "-c", script, path, f"/proc/{os.getpid()}/fd/{write_end}"]
        replies: list[tuple[int, bytes, bytes]] = []
        thread = threading.Thread(target=lambda: replies.append(said(shell, *words)))
        thread.start()
        assert os.read(read_end, 5) == b"begun"
        assert shell.run(["true"], timeout_s=LIMIT_S) is None
        let_go()
        thread.join(LIMIT_S)
        assert replies == [(0, b"", b"")]
        os.close(read_end)
        os.close(write_end)


def test_a_long_command_is_not_for_it(shell, here):
    assert shell.run(["true", "x" * 4096], timeout_s=LIMIT_S) is None
    assert here.channels == []
    assert said(shell, "true")[0] == 0


@pytest.mark.parametrize("missing", ["cat", "mkfifo", "mktemp", "setsid"])
def test_a_machine_without_its_programs_has_none(tmp_path, missing):
    here = Here(tmp_path, "dash", missing=missing)
    with kept(here) as shell:
        assert shell.run(["true"], timeout_s=LIMIT_S) is None
        assert shell.run(["true"], timeout_s=LIMIT_S) is None
        assert len(here.channels) == 1


@pytest.mark.skipif("bash" not in SHELLS, reason="bash is not installed")
def test_job_control_takes_no_program(tmp_path):
    with kept(Here(tmp_path, "bash", missing="setsid")) as shell:
        assert said(shell, "true") == (0, b"", b"")


def test_its_folder_goes_with_it(tmp_path, here):
    place = tmp_path / "temporary"
    place.mkdir()
    here.env["TMPDIR"] = str(place)
    with kept(here) as shell:
        assert said(shell, "true")[0] == 0
        assert len(list(place.iterdir())) == 1
        channel = here.channels[0]
        assert channel.stdin is not None
        channel.stdin.close()
        channel.wait(LIMIT_S)
        assert list(place.iterdir()) == []


def test_what_a_login_says_is_no_output():
    reply = Reply(b"1d")
    assert not reply.add_output(b"Welcome\n" * 100_000)
    assert len(reply.out) < 1000
    assert not reply.add_output(b"\nvmvc:end 1d 0\n")
    assert not reply.add_output(b"vmvc:begin 1d 42\nfine")
    assert not reply.add_output(b"\nvmvc:end 1d 256\n")
    assert reply.add_output(b"\nvmvc:end 1d 7\n")
    assert (reply.pid, reply.exit_status) == (42, 7)
    assert reply.out == b"fine\nvmvc:end 1d 256\n"
