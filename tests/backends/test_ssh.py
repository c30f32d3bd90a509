from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.backends.ssh import END_COMMAND, WRAPPER, SshConnection
from pytest_vmvc.backends.ssh_config import SshConfig, parse_ssh_config
from pytest_vmvc.errors import LaunchFailed
from pytest_vmvc.process import run

PRINTED = """Host default
  HostName 192.168.122.68
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/tmp/a folder/private_key"
  IdentityFile /tmp/other
  IdentitiesOnly yes
  LogLevel FATAL

"""


def test_what_vagrant_prints_is_read():
    assert parse_ssh_config(PRINTED) == SshConfig(
        host="192.168.122.68",
        port=22,
        user="vagrant",
        identity_files=("/tmp/a folder/private_key", "/tmp/other"),
    )


def test_noise_and_further_hosts_are_passed_over():
    text = f"[fog] WARNING: something\n\n{PRINTED}\nHost evil\n  HostName evil\n  User root\n"
    assert parse_ssh_config(text).user == "vagrant"


def test_equals_signs_and_case_are_ssh_syntax_too():
    text = "host x\nhostname=127.0.0.1\nUSER = me\nidentityfile=/k\n"
    assert parse_ssh_config(text) == SshConfig(
        host="127.0.0.1", port=22, user="me", identity_files=("/k",)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.168.122.68", "-oProxyCommand=touch /tmp/x"),
        ("192.168.122.68", "$(id)"),
        ("User vagrant", "User -l"),
        ("User vagrant", "User a;b"),
        ("Port 22", "Port 99999"),
        ("Port 22", "Port 0"),
        ("Port 22", "Port twenty"),
        ('"/tmp/a folder/private_key"', "relative"),
        ('"/tmp/a folder/private_key"', "/tmp/\x1b[31m"),
    ],
)
def test_a_hostile_value_is_refused_with_its_line(old, new):
    with pytest.raises(LaunchFailed) as caught:
        parse_ssh_config(PRINTED.replace(old, new))
    assert len(str(caught.value).splitlines()) == 1
    assert "odd line" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "nonsense", "Host x\n", PRINTED.split("Identity", maxsplit=1)[0]]
)
def test_a_missing_login_is_a_failed_launch(text):
    with pytest.raises(LaunchFailed, match="no login"):
        parse_ssh_config(text)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with suppress(LaunchFailed):
        assert parse_ssh_config(text).identity_files


@given(st.text(), st.sampled_from(["HostName", "User", "Port", "IdentityFile", "ProxyCommand"]))
def test_nothing_but_plain_words_comes_out(value, name):
    try:
        found = parse_ssh_config(f"Host x\n  {name} {value}\n{PRINTED.split('default')[1]}")
    except LaunchFailed:
        return
    assert not found.host.startswith("-")
    assert not found.user.startswith("-")
    assert 0 < found.port < 65536
    assert all(path.startswith("/") for path in found.identity_files)


def test_the_wrapper_keeps_arguments_and_tells_signals_from_statuses():
    odd = ["two words", "", "$HOME", "'", "\n"]
    shown = run(["sh", "-c", WRAPPER, "token", "printf", "%s|", *odd], timeout_s=10)
    assert shown.stdout.decode() == "".join(f"{word}|" for word in odd)
    killed = run(["sh", "-c", WRAPPER, "t", "sh", "-c", "kill -9 $$"], timeout_s=10, check=False)
    assert killed.exit_status == 128 + 9


def test_ending_a_command_that_is_gone_is_no_error():
    done = run(["sh", "-c", END_COMMAND], stdin=b"vmvc-no-such-token-5f1c\n", timeout_s=10)
    assert (done.exit_status, done.stdout, done.stderr) == (0, b"", b"")


def test_a_refused_login_says_what_ssh_said(tmp_path: Path):
    config = SshConfig(host="127.0.0.1", port=1, user="nobody", identity_files=("/nonexistent",))
    connection = SshConnection(config, tmp_path)
    with pytest.raises(LaunchFailed, match=r"ssh login failed: .*(refused|onnect)"):
        connection.open(timeout_s=10)
    assert not connection.connected()
    connection.close()
    connection.close()
