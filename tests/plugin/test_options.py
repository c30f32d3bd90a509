"""Options and their ini twins: each wrong value is one line and exit code 4."""

import pytest

from pytest_vmvc.backends.qemu import MACHINES
from pytest_vmvc.plugin import options


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--vmvc-profile=fast",
            "--vmvc-profile=fast: unknown; choose one of standard, quick, thorough",
        ),
        ("--vmvc-pair=alpine", "--vmvc-pair=alpine: unknown; choose one of minimal, debian"),
        ("--vmvc-blocks=5", "--vmvc-blocks=5: must be at least 6"),
        ("--vmvc-blocks=six", "--vmvc-blocks=six: not a number"),
        ("--vmvc-seed=-1", "--vmvc-seed=-1: must be at least 0"),
        ("--vmvc-deadline=nan", "--vmvc-deadline=nan: must be at least 1"),
        ("--vmvc-machine=virt", "--vmvc-machine=virt: unknown; choose one of q35, pc, microvm"),
        ("--vmvc-gate=maybe", "--vmvc-gate=maybe: unknown; choose one of*"),
        ("--vmvc-require=vm,cloud", "--vmvc-require=cloud: unknown; choose one of*"),
    ],
)
def test_a_wrong_value_is_a_usage_error(bed, option, says):
    result = bed.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}"])


def test_machine_types_are_those_of_the_backend():
    assert tuple(MACHINES) == options.MACHINES


def test_the_ini_file_has_them_too(bed):
    bed.pytester.makeini(
        "[pytest]\nvmvc = true\nvmvc_pair = minimal\nvmvc_blocks = 7\nvmvc_output = out"
    )
    bed.pytester.runpytest("test_own.py").assert_outcomes(passed=3)
    assert (bed.pytester.path / "out" / "latest" / "results.jsonl").exists()


def test_an_output_that_cannot_be_is_refused_before_anything_is_measured(bed):
    bed.pytester.path.joinpath("taken").write_text("a file")
    result = bed.run("--vmvc-output=taken/results")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vmvc-output=*taken/results: Not a directory; choose another*"])


def test_the_quick_profile_samples_the_minimal_pair_only(bed):
    lines = bed.pytester.runpytest(
        "--vmvc", "--vmvc-profile=quick", "--collect-only", "-q", "test_own.py"
    ).stdout.str()
    assert "minimal-vm-late" in lines
    assert "debian-" not in lines


def test_the_help_has_one_group(bed):
    bed.pytester.runpytest("--help").stdout.fnmatch_lines(
        ["containers and virtual machines, measured (pytest-vmvc):", "*--vmvc *"]
    )
