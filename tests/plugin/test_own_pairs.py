"""Pairs of one's own: where they are named, and what is said of a wrong one, before any start."""

import pytest

PAIR = """
[tool.vmvc.pairs.web]
image = "my/web:1"
ready = "port:80"
"""


def collected(bed, *args):
    result = bed.pytester.runpytest("--vmvc", "--collect-only", "-q", "test_own.py", *args)
    assert result.ret == 0, result.stderr.str()
    return {line.partition("[")[2].partition("-")[0] for line in result.outlines if "[" in line}


def test_a_pair_of_the_project_is_measured_where_it_is_named(bed):
    bed.pytester.makepyprojecttoml(PAIR)
    assert collected(bed, "--vmvc-pair=web") == {"web"}
    assert collected(bed, "--vmvc-pair=web", "--vmvc-pair=minimal") == {"web", "minimal"}
    assert collected(bed) == {"minimal", "debian"}


def test_the_pair_of_the_options_is_the_one_that_is_measured(bed):
    bed.pytester.makepyprojecttoml(PAIR)
    assert collected(bed, "--vmvc-image=a") == {"own"}
    assert collected(bed, "--vmvc-image=a", "--vmvc-pair=web") == {"web"}


def test_a_claim_that_asks_nothing_on_it_is_left_out(bed):
    bed.pytester.makepyfile(
        test_other="""
        from pytest_vmvc import claim, below

        @claim(
            "own.other",
            quote="q",
            readings={"r": below("vm", "start_s", 1, "s")},
            pairs=("debian",),
        )
        def test_other(reading, cold_start):
            '''Of the debian pair.'''
            reading.judge(cold_start)
        """
    )
    result = bed.run("test_other.py")
    result.assert_outcomes(passed=3, deselected=1)


@pytest.mark.parametrize(
    ("text", "args", "says"),
    [
        ("", ["--vmvc-ready=port:1"], "--vmvc-ready: pair own: it has neither an image nor*"),
        ("", ["--vmvc-image=a", "--vmvc-cpus=x"], "--vmvc-image --vmvc-cpus: pair own: cpus: 'x'*"),
        (
            "",
            ["--vmvc-box=a", "--vmvc-vagrant-provider=docker"],
            "--vmvc-box --vmvc-vagrant-provider: pair own: vagrant-provider: *starts containers*",
        ),
        (PAIR, ["--vmvc-pair=wob"], "--vmvc-pair=wob: unknown; choose one of minimal, debian, web"),
        (PAIR + PAIR, [], "*Cannot declare*web*twice*"),
        ("[tool.vmvc.pairs.minimal]\nimage = 'a'", [], "pyproject.toml:1: pair minimal: there is*"),
        ("\n[tool.vmvc.pairs.own]\nimag = 'a'", [], "pyproject.toml:2: pair own: unknown key*"),
    ],
)
def test_a_wrong_one_is_a_usage_error_with_its_place(bed, text, args, says):
    bed.pytester.path.joinpath("pyproject.toml").write_text(text)
    result = bed.run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}"])


@pytest.mark.engine
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ["--vmvc-image=vmvc/gone:1"],
            "--vmvc-image: pair own: the container engine has no image vmvc/gone:1*docker pull*",
        ),
        (
            ["--vmvc-image=vmvc/gone:1", "--vmvc-box=no/box"],
            "*the container engine has no image*",
        ),
        (
            ["--vmvc-box=no/box"],
            "--vmvc-box: pair own: Vagrant has no box no/box for libvirt*vagrant box add*",
        ),
        (
            ["--vmvc-box=no/box", "--vmvc-vagrant-provider=virtualbox"],
            "*pair own: Vagrant has no box no/box for virtualbox*--provider=virtualbox*",
        ),
        (
            ["--vmvc-pair=minimal", "--vmvc-runtime=vmvc-none"],
            "the engine has no runtime vmvc-none*runc*",
        ),
    ],
)
def test_what_the_host_does_not_have_is_told_before_anything_is_measured(bed, args, says):
    result = bed.pytester.runpytest("--vmvc", "test_own.py", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}"])
    assert not list(bed.pytester.path.glob("vmvc-results/*/*"))
