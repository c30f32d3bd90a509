"""Every wait has a deadline: the source is searched for those that have none."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from tests.waits import SOCKETS, waits, waits_of

ROOT = Path(__file__).parent.parent

OURS = {
    "pytest_vmvc/backends/agent.py:AgentChannel._receive": "`_arm` has set what is left",
    "pytest_vmvc/backends/agent.py:AgentChannel._send": "its callers have armed the socket",
    "pytest_vmvc/backends/console.py:Console._read": "a thread of its own: QEMU's end, or `close`",
    "pytest_vmvc/backends/docker_forward.py:Forward._await_ready": "the selector says: readable",
    "pytest_vmvc/backends/docker_start.py:start": "its thread reads until the start's deadline",
    "pytest_vmvc/backends/docker_stream.py:Stream.send.write": "a daemon thread, ended by `shut`",
    "pytest_vmvc/backends/file_server.py:serving": "its loop looks every `POLL_S`",
    "pytest_vmvc/backends/qmp.py:Monitor._connect": "`ready` waits for it, with a deadline",
    "pytest_vmvc/backends/qmp.py:Monitor._watch_events": "a task, cancelled by `_disconnect`",
    "pytest_vmvc/backends/qmp.py:Monitor._watch_end": "a task, cancelled by `_disconnect`",
    "pytest_vmvc/backends/qmp.py:Monitor._disconnect": "`close` waits for it, with a deadline",
    "pytest_vmvc/backends/qmp.py:Monitor._give": "`_call` waits for it, with a deadline",
    "pytest_vmvc/backends/ready.py:_Attempt._answer": "its socket never waits",
    "pytest_vmvc/backends/ready.py:_Attempt._refused": "its socket never waits",
    "pytest_vmvc/backends/ready.py:await_service": "its thread makes sockets, and waits for nobody",
    "pytest_vmvc/backends/ssh_shell.py:KeptShell._exchange": "the selector says: readable",
    "pytest_vmvc/backends/vagrant_machine.py:SshMachine._watch.watch": "`close` ends it",
    "pytest_vmvc/backends/vagrant_start.py:VagrantStart._on_output": "the selector says: readable",
    "pytest_vmvc/backends/vagrant_start.py:VagrantStart._on_answer": "`_on_call` has set its time",
    "pytest_vmvc/backends/vagrant_start.py:VagrantStart._take_errors": "select says: readable",
    "pytest_vmvc/experiments/elasticity.py:_prepared": "snapshots have deadlines",
    "pytest_vmvc/experiments/fleet.py:_rank": "commands and requests have deadlines",
    "pytest_vmvc/experiments/replicas.py:side_by_side": "starts and ends have deadlines",
    "pytest_vmvc/experiments/web_load.py:_phase": "so many requests, each with a deadline",
    "pytest_vmvc/lab.py:Lab._survey": "an experiment's every start and command has a deadline",
    "pytest_vmvc/load.py:drive": "so many requests, each with a deadline",
    "pytest_vmvc/load.py:_get": "its caller gives it a deadline",
    "pytest_vmvc/ledger.py:_lines": "of a file",
    "pytest_vmvc/process.py:communicate": "the selector says: readable",
    "pytest_vmvc/resources.py:Owner.await_end": "the watchdog's only work: the run's end",
    "pytest_vmvc/plugin/host_list.py:probe": "each host is asked with a deadline",
    "pytest_vmvc/plugin/scheduling.py:HostScheduling.schedule": "a message, not a socket's",
    "pytest_vmvc/subjects/__init__.py:_gaps": "a probe has a deadline",
    "pytest_vmvc/subjects/__init__.py:Pair._stand": "a launch has a deadline",
    "pytest_vmvc/subjects/__init__.py:Pair.close": "a teardown has deadlines",
    "pytest_vmvc/voice.py:Voice.ask": "a person is asked, on a terminal only",
}
"""Those of the product that end all the same, and why."""

TESTS = {
    "tests/backends/test_engine_by_ssh.py:test_it_ends_with_a_process_that_was_killed": "killed",
    "tests/backends/test_qemu.py:"
    "TestTrouble.test_one_that_is_dead_has_no_figures_though_nobody_has_waited_for_it": "killed",
    "tests/backends/test_qemu.py:"
    "test_a_process_that_has_ended_holds_no_memory_of_zero": "`true` ends",
    "tests/backends/test_ready.py:served.serve": "its listener is shut down",
    "tests/backends/test_ready.py:test_it_asks_in_another_network_namespace": "`cat` ends",
    "tests/backends/test_remote_engine.py:tunnel.listen": "its listener is shut down",
    "tests/faults/test_host_faults.py:Place.started": "killed",
    "tests/faults/test_host_faults.py:"
    "test_measuring_runs_queue_and_functional_ones_go_on": "`wait_for` has a deadline",
    "tests/faults/test_machine_faults.py:Peer.request": "its wire is shut down",
    "tests/faults/test_machine_faults.py:flood": "its wire is shut down",
    "tests/backends/test_ssh_shell.py:test_a_busy_shell_takes_no_second_command": "it has begun",
    "tests/faults/test_ssh_faults.py:TestServer.test_commands_side_by_side": "commands end",
    "tests/faults/test_ssh_faults.py:flood": "its wire is shut down",
    "tests/faults/test_ssh_faults.py:listener.serve": "its listener is shut down",
    "tests/hostile/targets.py:replace": "goes one deeper each time",
    "tests/report/conftest.py:open_page": "a timer, cancelled",
    "tests/report/test_report_browser.py:test_copies_of_a_finding_and_of_a_command": "`WAIT_MS`",
    "tests/report/test_report_browser.py:"
    "test_where_copying_is_not_allowed_the_text_is_selected": "`WAIT_MS`",
    "tests/report/test_report_look.py:test_the_keyboard_reaches_everything": "`WAIT_MS`",
    "tests/torture/ended_runs.py:Bed._signal": "until the run has workers, or ends",
    "tests/test_hardening.py:door.serve": "its listener is shut down",
    "tests/test_load.py:serving.accept": "its listener is shut down",
    "tests/test_neighbours.py:test_a_stranger_on_this_host_is_seen": "ends within its 0.3 s of CPU",
    "tests/test_setup.py:test_a_daemon_started_by_hand_holds_only_its_log": "select says: readable",
}
FAR_SIDE = SOCKETS | {"shutdown", "readline"}
"""What a test's own far side does; the near side, which is tested, has the deadline."""


@pytest.mark.parametrize(
    ("folders", "excused", "ignored"),
    [(("pytest_vmvc", "claims"), OURS, set()), (("tests",), TESTS, FAR_SIDE)],
    ids=["product", "tests"],
)
def test_every_wait_has_a_deadline(folders, excused, ignored):
    found = [
        wait for folder in folders for wait in waits_of(ROOT / folder) if wait.what not in ignored
    ]
    bare = [
        f"{one.where.partition(':')[0]}:{one.line}: {one.what} waits without a deadline"
        for one in found
        if one.where not in excused
    ]
    assert bare == [], "give it a deadline, or say here why it ends"
    stale = excused.keys() - {one.where for one in found}
    assert stale == set(), "no such wait any more: take the entry away"


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("run", "subprocess.run(argv)"),
        ("check_output", "subprocess.check_output(argv)"),
        ("communicate", "child.communicate(b'')"),
        ("wait", "child.wait()"),
        ("wait", "event.wait()"),
        ("wait", "wait(futures)"),
        ("wait", "child.wait(timeout=None)"),
        ("wait", "client.wait('container')"),
        ("with", "with Popen(argv) as child: pass"),
        ("with", "with ThreadPoolExecutor(2) as pool: pass"),
        ("map", "pool.map(f, them)"),
        ("join", "thread.join()"),
        ("get", "queue.get()"),
        ("acquire", "lock.acquire()"),
        ("result", "future.result()"),
        ("as_completed", "as_completed(futures)"),
        ("wait_for", "condition.wait_for(f)"),
        ("recv", "channel.recv(10)"),
        ("connect", "channel.connect(path)"),
        ("accept", "listener.accept()"),
        ("create_connection", "socket.create_connection(address)"),
        ("select", "select.select([a], [], [])"),
        ("select", "selector.select()"),
        ("urlopen", "urllib.request.urlopen(url)"),
        ("HTTPConnection", "http.client.HTTPConnection(host)"),
        ("APIClient", "APIClient(base_url=url)"),
        ("FileLock", "with FileLock(path): pass"),
        ("read", "os.read(pipe, 10)"),
        ("waitpid", "os.waitpid(pid, 0)"),
        ("while", "while True: time.sleep(1)"),
        ("while", "while not done(): time.sleep(1)"),
        ("await", "async def g(): await reader.read()"),
        ("await", "async def g():\n  async for event in events: pass"),
        ("run", "asyncio.run(main())"),
        ("input", "input('yes?')"),
        ("serve_forever", "server.serve_forever()"),
        ("shutdown", "server.shutdown()"),
    ],
)
def test_each_kind_of_wait_is_found(what, statement):
    (found,) = waits(f"class C:\n def f(self):\n{indent(statement, '  ')}", "m.py")
    assert found.what == what
    assert found.where.startswith("m.py:C.f")


@pytest.mark.parametrize(
    "statement",
    [
        "subprocess.run(argv, timeout=3)",
        "child.wait(3)",
        "wait(futures, 3)",
        "wait(futures, timeout=3)",
        "', '.join(words)",
        "settings.get('x')",
        "lock.acquire(timeout=3)",
        "lock.acquire(blocking=False)",
        "channel.settimeout(3); channel.recv(10)",
        "with socket.create_connection(address, timeout=3) as c: c.recv(10)",
        "select.select([a], [], [], 3)",
        "with FileLock(path).acquire(timeout=3): pass",
        "while time.monotonic() < end: time.sleep(1)",
        "while work: work.pop()",
        "async def g():\n  async with asyncio.timeout(3): await reader.read()",
    ],
)
def test_what_has_a_deadline_is_not(statement):
    assert waits(f"def f():\n{indent(statement, '  ')}", "m.py") == []
