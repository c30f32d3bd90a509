"""``vmvc new claim``: what it writes is a claim that runs, and it overwrites nothing."""

import pytest

from pytest_vmvc.__main__ import EX_USAGE, main


def test_what_it_writes_runs_at_once(bed, capsys):
    assert main(["new", "claim", "own.start-time"]) == 0
    said = capsys.readouterr().out
    assert "test_own_start_time.py has the claim own.start-time" in said
    command = said.splitlines()[-1].removeprefix("Measure it: pytest ").split()
    result = bed.pytester.runpytest(*command, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert bed.verdicts() == {"container-under-a-second": "SUPPORTED"}
    assert {found.claim for found in bed.log().results} == {"own.start-time"}


def test_it_is_short_and_says_what_to_change(tmp_path):
    assert main(["new", "claim", "own.start", "-o", str(tmp_path / "claims")]) == 0
    text = (tmp_path / "claims" / "test_own_start.py").read_text()
    assert len(text.splitlines()) <= 18
    assert text.count("# ") == 3


def test_it_overwrites_nothing(tmp_path, capsys):
    (tmp_path / "test_own_start.py").write_text("mine")
    assert main(["new", "claim", "own.start", "-o", str(tmp_path)]) == EX_USAGE
    assert "test_own_start.py is there already — give the claim another" in capsys.readouterr().err
    assert (tmp_path / "test_own_start.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["Own.Start", "../own", "own..start", "own start", "", "a" * 101])
def test_a_name_that_no_claim_can_have_is_refused(tmp_path, capsys, name):
    assert main(["new", "claim", name, "-o", str(tmp_path)]) == EX_USAGE
    assert "is malformed — like table.boot-time" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path, capsys):
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        assert main(["new", "claim", "own.start", "-o", str(tmp_path / folder)]) == EX_USAGE
        assert "choose another folder with -o" in capsys.readouterr().err
