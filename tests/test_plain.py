"""``vmvc judge`` on plain numbers: every verdict, every exit status, no decision on nonsense."""

import json
import subprocess
import sys

import pytest

from pytest_vmvc import __main__ as cli

SLOW, FAST = "4.0\n4.1\n4.2\n4.4\n4.3\n4.9\n4.25\n", "0.3\n0.31\n0.33\n0.3\n0.29\n0.28\n0.32\n"


@pytest.fixture
def judge(tmp_path, monkeypatch, capsys):
    """Run ``vmvc judge`` on files of these contents; gives exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, **files):
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        status = cli.main(["judge", *argv])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("bound", "status"),
    [
        (("--below", "60"), 0),
        (("--at-most", "5.2"), 0),
        (("--above", "3.9"), 0),
        (("--at-least", "3.9"), 0),
        (("--below", "3.9"), 1),
        (("--at-least", "60"), 1),
        (("--below", "4.2"), 2),
    ],
)
def test_a_bound_and_its_exit_status(judge, bound, status):
    found, out, _ = judge(*bound, "--a", "a", a=SLOW)
    assert found == status
    assert out.split()[0] == ("SUPPORTED", "REFUTED", "INCONCLUSIVE")[status]


@pytest.mark.parametrize(
    ("bound", "status"),
    [
        (("--ratio-above", "1"), 0),
        (("--ratio-below", "1"), 1),
        (("--ratio-above", "13.5"), 2),
        (("--ratio-above", "1", "--paired"), 0),
        (("--ratio-below", "1", "--paired"), 1),
    ],
)
def test_a_ratio_and_its_exit_status(judge, bound, status):
    assert judge(*bound, "--a", "a", "--b", "b", a=SLOW, b=FAST)[0] == status


def test_swapping_the_sides_mirrors_the_verdict(judge):
    for more in ((), ("--paired",)):
        there = judge("--ratio-above", "1.25", "--a", "a", "--b", "b", *more, a=SLOW, b=FAST)
        back = judge("--ratio-below", "0.8", "--a", "b", "--b", "a", *more)
        assert there[0] == back[0] == 0


def test_it_says_what_it_rests_on(judge):
    _, out, _ = judge("--below", "60", "--unit", "s", "--a", "a", a=SLOW)
    verdict, scope = out.replace("\u00a0", " ").splitlines()
    assert verdict == (
        "SUPPORTED     a: median 4.25 s (95% interval 3.91 s to 5.14 s, n = 7); the bound is below "
        "60 s."
    )
    assert scope.strip().startswith("scope: one sample, median, order statistics")
    _, out, _ = judge("--ratio-above", "1", "--a", "a", "--b", "b", "--paired", b=FAST)
    assert "7 pairs, line by line" in out


def test_what_does_not_pair_is_judged_as_two_samples_and_says_so(judge):
    status, out, _ = judge(
        "--ratio-above", "1", "--a", "a", "--b", "b", "--paired", a=SLOW, b=FAST + "0.3\n"
    )
    assert status == 0
    assert "two independent samples of 7 and 8, which do not pair" in out


def test_json_is_the_same_verdict(judge):
    _, out, _ = judge("--below", "60", "--a", "a", "--json", a="[4, 4, 4, 4, 4, 4]")
    found = json.loads(out)
    assert found["verdict"] == "SUPPORTED"
    assert (found["estimate"]["low"], found["estimate"]["n"]) == (4, 6)


@pytest.mark.parametrize("more", [(), ("--paired",)])
def test_a_lower_bound_counts_as_slow_and_never_as_fast(judge, more):
    late = ">300\n" * 8
    assert judge("--at-least", "60", "--a", "a", a=late)[0] == 0
    assert judge("--below", "60", "--a", "a", a=late)[0] == 1
    assert judge("--at-least", "400", "--a", "a", a=late)[0] == 2
    two = ("--a", "a", "--b", "b", *more)
    ones = "1\n" * 8
    assert judge("--ratio-above", "2", *two, a=late, b=ones)[0] == 0
    assert judge("--ratio-below", "400", *two, a=late, b=ones)[0] == 2
    assert judge("--ratio-below", "0.5", *two, a=ones, b=late)[0] == 0


@pytest.mark.parametrize("n", range(1, 6))
def test_five_samples_decide_nothing(judge, n):
    few = "1\n" * n
    for argv in (
        ("--below", "60", "--a", "a"),
        ("--ratio-above", "0.5", "--a", "a", "--b", "b"),
        ("--ratio-above", "0.5", "--a", "a", "--b", "b", "--paired"),
    ):
        status, out, _ = judge(*argv, a=few, b=few)
        assert status == 2
        assert f"too few samples: {n} of at least 6" in out


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("1\n-2\n" * 6, "1\n" * 12, "a, line 2: -2: a ratio needs positive samples"),
        ("1\n" * 6, "1\n0\n" * 3, "b, line 2: 0: a ratio needs positive samples"),
        ("t (s)\n" + "1\n" * 6, "t (ms)\n" + "1\n" * 6, "units differ: s, ms"),
        ("1\n" * 6, "", "b holds no sample"),
    ],
)
def test_samples_that_make_no_ratio_are_refused(judge, a, b, says):
    status, out, err = judge("--ratio-above", "1", "--a", "a", "--b", "b", a=a, b=b)
    assert (status, out) == (65, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_negative_duration_is_refused_and_a_temperature_is_not(judge):
    status, _, err = judge("--below", "60", "--a", "a", a="t\n1\n-2\n" * 1)
    assert status == 65
    assert "a, line 3: -2: no duration or size is negative" in err
    assert judge("--below", "0", "--unit", "°C", "--a", "a", a="-2\n" * 6)[0] == 0


def test_a_unit_that_is_not_the_files_is_refused(judge):
    status, _, err = judge("--below", "60", "--unit", "s", "--a", "a", a="t (ms)\n" + "1\n" * 6)
    assert status == 65
    assert "units differ: s, ms" in err


def test_extremes_of_arithmetic_decide_nothing(judge):
    status, out, _ = judge(
        "--ratio-above", "1", "--a", "a", "--b", "b", "--paired", a="1e300\n" * 8, b="1e-300\n" * 8
    )
    assert status == 2
    assert "interval none" in out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--a", "a"],
        ["--below", "1"],
        ["--below", "1", "--a", "a", "--b", "a"],
        ["--below", "1", "--a", "a", "--paired"],
        ["--ratio-above", "1", "--a", "a"],
        ["--ratio-above", "0", "--a", "a", "--b", "a"],
        ["--below", "1", "--a", "a", "--claim", "x"],
        ["r.jsonl", "--below", "1", "--a", "a"],
    ],
)
def test_a_request_that_makes_no_sense_is_64(judge, argv):
    status, out, err = judge(*argv, a=SLOW)
    assert (status, out) == (64, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "argv", [["--below", "soon"], ["--below", "nan"], ["--below", "1", "--above", "2"], ["--no"]]
)
def test_a_wrong_option_is_64_too(judge, argv, capsys):
    with pytest.raises(SystemExit) as ended:
        judge(*argv, "--a", "a")
    assert ended.value.code == 64


def test_a_file_that_is_not_there_is_66(judge):
    assert judge("--below", "1", "--a", "none")[0] == 66


def test_from_a_shell(tmp_path):
    (tmp_path / "t.txt").write_text(SLOW)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_vmvc", "judge", "--below", "60", "--a", "t.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("SUPPORTED     t.txt: median 4.25")
