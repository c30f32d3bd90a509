"""Very large input: read in bounded memory, in a process of its own that the kernel would stop."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from targets import LINES

MIB = 1 << 20
ROOM = 700 * MIB
"""Address space of the process: an interpreter with its libraries takes a part of that itself."""
SECONDS = 120
"""Generous: what it does takes seconds; what hangs does not end."""


def vmvc(*words: str | Path, room: int = ROOM) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (room, room))

    return subprocess.run(
        [sys.executable, "-m", "pytest_vmvc", *map(str, words)],
        capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit, check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


BEGIN = {
    "zeros": b"0",
    "a list": b'{"record":"run","schema":3,"x":[' + b"0," * 8,
    "a text": b'{"record":"missing","experiment":"' + b"a" * 8,
    "nested": b"[" * 64,
}


@pytest.mark.parametrize("begin", BEGIN)
def test_a_line_of_200_mb_takes_a_part_of_that(begin: str, tmp_path: Path) -> None:
    source = tmp_path / "results.jsonl"
    with source.open("wb") as file:
        file.writelines(LINES)
        file.write(BEGIN[begin])
        piece = (b"0," if begin == "a list" else b"[" if begin == "nested" else b"0") * MIB
        for _ in range(200 * MIB // len(piece)):
            file.write(piece)
        file.write(b"\n")
        file.writelines(LINES[-1:])
    done = vmvc("report", source, "-o", tmp_path / "out.md")
    assert done.returncode == 0, done.stderr[-2000:]
    said = (tmp_path / "out.md").read_text()
    assert "longer than 16 MiB" in said
    assert "table.boot-time" in said


@pytest.mark.parametrize("kind", ["a line", "an item", "a name"])
def test_samples_of_10_mb_in_one_piece_are_told_of(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "samples.txt"
    source.write_bytes(
        {
            "a line": b"1" * (10 * MIB),
            "an item": b"[" + b"1" * (10 * MIB) + b"]",
            "a name": b"t" * (10 * MIB) + b"\n1\n2\n3\n",
        }[kind]
    )
    done = vmvc("judge", "--below", "1", "--a", source)
    assert done.returncode == 65
    assert done.stderr.startswith("vmvc: error: ")
    assert len(done.stderr) < 5000


def test_texts_of_10_mb_are_shown_in_part(tmp_path: Path) -> None:
    source, long = tmp_path / "results.jsonl", b"\xc3\xa9\\u0007" * (10 * MIB // 8)
    lines = [line.replace(b'"finding":"', b'"finding":"' + long, 1) for line in LINES[-3:-1]]
    source.write_bytes(b"".join([*LINES[:-3], *lines, LINES[-1]]))
    for ending in ("md", "csv", "svg"):
        target = tmp_path / f"out.{ending}"
        done = vmvc("report", source, "-o", target, room=1500 * MIB)
        assert done.returncode == 0, done.stderr[-2000:]
        assert target.stat().st_size < MIB
    done = vmvc("judge", source, room=1500 * MIB)
    assert done.returncode == 0, done.stderr[-500:]
