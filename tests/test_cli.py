"""The command line: exit statuses, one-line errors, and what each command does not offer."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vmvc import __main__ as cli
from pytest_vmvc.errors import BuildFailed, TeardownFailed, UsageError
from pytest_vmvc.resources import Resource


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path / "cache"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pytest-vmvc {importlib.metadata.version('pytest-vmvc')}\n"


@pytest.mark.parametrize(
    "argv",
    [[], ["compare"], ["setup", "--only", "nonsense"], ["report"], ["clean", "--force"]],
)
def test_a_wrong_request_is_a_usage_error(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)

    assert ended.value.code == 64
    assert "usage: vmvc" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["setup", "doctor", "report", "judge", "calibrate", "clean"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])

    assert ended.value.code == 0
    assert "--" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["vmvc", "rep"], {"report"}),
        (["vmvc", "pair", "--f"], {"--from"}),
        (["vmvc", "setup", "--only", ""], {"minimal", "debian"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(
    typed: list[str], offered: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", "bash"]) == 0
    words = " ".join(f"'{word}'" for word in typed)
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _shtab_vmvc; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "-s"], input=f"{capsys.readouterr().out}\n{ask}\n", text=True,
        capture_output=True, timeout=30, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BuildFailed("the disk is full", hint="free some space"), 1),
        (UsageError("that makes no sense", hint="say it otherwise"), 64),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_with_its_remedy(
    error: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def inspect() -> None:
        raise error

    monkeypatch.setattr("pytest_vmvc.doctor.inspect", inspect)

    assert cli.main(["doctor"]) == status
    said = capsys.readouterr().err
    assert said.startswith("vmvc: ")
    assert said.count("\n") == 1
    assert str(error) in said


def test_a_report_of_no_results_file_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err


class OneThing:
    name = "one"

    def __init__(self, *, stubborn: bool) -> None:
        self.things = [Resource(kind="thing", name="a", run_id="r0000000001")]
        self.stubborn = stubborn

    def inventory(self) -> list[Resource]:
        return list(self.things)

    def destroy(self, resource: Resource) -> None:
        if self.stubborn:
            raise TeardownFailed("it holds on", hint="unplug it")
        self.things.remove(resource)


def test_clean_says_each_thing_and_then_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = OneThing(stubborn=False)
    monkeypatch.setattr("pytest_vmvc.clean.reapers", lambda: (one,))

    statuses = [cli.main(["clean", *words]) for words in (["--dry-run"], [], [])]

    assert statuses == [0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "clean: would destroy thing a",
        "clean: destroyed thing a",
        "clean: nothing to clean",
    ]


def test_clean_fails_and_names_what_will_not_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pytest_vmvc.clean.reapers", lambda: (OneThing(stubborn=True),))

    assert cli.main(["clean"]) == 1
    assert capsys.readouterr().out == ("clean: still there: thing a: it holds on — unplug it\n")


def test_clean_all_is_not_done_unasked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never() -> list[str]:
        raise AssertionError

    monkeypatch.setattr("pytest_vmvc.clean.reapers", lambda: ())
    monkeypatch.setattr("pytest_vmvc.clean.clean_all", never)

    assert cli.main(["clean", "--all"]) == 1
    assert "--yes" in capsys.readouterr().out
    assert cli.main(["clean", "--all", "--dry-run"]) == 0


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from pytest_vmvc.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'docker', 'scipy', 'vagrant', 'jinja2', 'rich', 'pytest'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_vmvc", "doctor", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)

    assert "Traceback" not in done.stderr
