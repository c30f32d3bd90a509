"""Whose CPU time it was: planted processes at two moments, and a real stranger."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quiet_host import plant

from pytest_vmvc import neighbours
from pytest_vmvc.neighbours import INITIAL_NAMESPACE, Process, cpu_s

ME = 500


def process(pid, name="editor", *, parent=1, cpu=0.0, started=1):
    return Process(pid=pid, parent=parent, name=name, started=started, cpu_s=cpu)


def used(before, after):
    """CPU seconds of others; the first process, the kernel's and ours are always there."""
    always = [
        process(1, "init"),
        process(2, "kthreadd", parent=0),
        process(ME, "pytest", parent=400),
        process(400, "bash"),
    ]
    first, second = ({one.pid: one for one in (*always, *some)} for some in (before, after))
    return cpu_s(first, second, own=ME)


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        ([process(9, cpu=3)], [process(9, cpu=8)], 5),
        ([], [process(9, cpu=8)], 8),
        ([process(9, cpu=3)], [process(9, cpu=1, started=7)], 1),
        ([process(9, cpu=3)], [], 0),
        ([], [process(9, parent=ME, cpu=8)], 0),
        ([], [process(9, parent=10, cpu=8), process(10, parent=ME)], 0),
        ([process(9, "kworker/0:1", parent=2)], [process(9, "kworker/0:1", parent=2, cpu=8)], 0),
        ([process(9, "dockerd")], [process(9, "dockerd", cpu=8)], 0),
        ([], [process(9, "qemu-system-x86", cpu=8)], 0),
        ([process(9, "qemu-system-x86")], [process(9, "qemu-system-x86", cpu=8)], 8),
        ([process(9)], [process(9), process(10, "qemu-system-x86", parent=9, cpu=8)], 8),
    ],
    ids=[
        "a neighbour", "a new one", "a pid that was used again", "one that ended",
        "a child of ours",
        "a grandchild", "the kernel", "the engine", "a machine of ours", "somebody's machine",
        "a new machine of somebody",
    ],
)  # fmt: skip
def test_whose_time_it_was(before, after, seconds):
    assert used(before, after) == pytest.approx(seconds)


def test_our_containers_are_ours_and_those_that_ran_before_are_not():
    shim = process(20, "containerd-shim")
    theirs = process(21, "nginx", parent=20)
    before = [shim, theirs]
    after = [
        shim,
        process(21, "nginx", parent=20, cpu=4),
        process(22, "php", parent=21, cpu=2, started=9),
        process(30, "containerd-shim", cpu=1, started=9),
        process(31, "busybox", parent=30, cpu=50, started=9),
    ]
    assert used(before, after) == pytest.approx(6)


def test_a_child_that_ended_is_found_in_its_parent_and_only_what_it_used_in_between():
    before = [process(10, "make", cpu=1), process(11, "cc", parent=10, cpu=100)]
    after = [process(10, "make", cpu=1 + 104)]
    assert used(before, after) == pytest.approx(4)


def test_orphans_that_the_first_process_has_waited_for_are_nobodys():
    before = [process(11, "cc", cpu=100)]
    after = [process(1, "init", cpu=104)]
    assert used(before, after) == 0


def test_a_ring_of_parents_ends():
    ring = [process(10, parent=11, cpu=1), process(11, parent=10, cpu=1)]
    assert used([], ring) == pytest.approx(2)


STRANGER = """
import os, sys, time
if os.fork():
    os._exit(0)
sys.stdin.readline()
while time.process_time() < 0.3:
    pass
print("tired", flush=True)
sys.stdin.readline()
"""


def test_a_stranger_on_this_host_is_seen():
    """An orphan: a child of ours would be ours."""
    with subprocess.Popen(
        [sys.executable, "-c", STRANGER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        before = neighbours.alive()
        parent.stdin.write("burn\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "tired\n"
        after = neighbours.alive()
        parent.stdin.close()
    if before is None or after is None:
        pytest.skip("not every process of this host can be seen")
    assert cpu_s(before, after) > 0.2


LINE = "{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 {cpu} 0 0 0 20 0 1 0 77 1 1"


def planted(root, namespace=INITIAL_NAMESPACE, **lines):
    (root / "proc/self/ns").mkdir(parents=True)
    (root / "proc/self/ns/pid").symlink_to(namespace)
    return plant(root, {f"proc/{name.lstrip('p')}/stat": line for name, line in lines.items()})


def test_a_name_may_have_anything_in_it(tmp_path):
    lines = {
        "p1": LINE.format(pid=1, name="init", parent=0, cpu=0),
        "p7": LINE.format(pid=7, name="a) S 1 (\n", parent=1, cpu=100),
        "p8": "nonsense",
    }
    found = neighbours.alive(root=planted(tmp_path, **lines))
    assert found is not None
    assert sorted(found) == [1, 7]
    assert found[7].name == "a) S 1 (\n"
    assert found[7].cpu_s == pytest.approx(100 * neighbours.TICK_S)


def test_who_sees_only_part_of_the_host_sees_nothing(tmp_path):
    first = LINE.format(pid=1, name="init", parent=0, cpu=0)
    inside = planted(tmp_path / "a", namespace="pid:[4026532000]", p1=first)
    assert neighbours.alive(root=inside) is None
    hidden = planted(tmp_path / "b", p7=first.replace("1", "7", 1))
    assert neighbours.alive(root=hidden) is None
    assert neighbours.alive(root=tmp_path / "none") is None


@given(st.text(max_size=300) | st.lists(st.integers(-5, 10**25)).map(str))
def test_no_line_is_a_trace(line):
    found = neighbours._parsed(line)
    assert found is None or found.cpu_s >= 0
