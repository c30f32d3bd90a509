"""The action, the workflow and the snippets of docs/ci.md: by their schemas, and really run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pytest_vmvc import ledger

pytest.importorskip("check_jsonschema")
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
ACTION = ROOT / "action.yml"
PAGE = (ROOT / "docs" / "ci.md").read_text()
SNIPPETS = dict(
    zip(("github", "gitlab"), re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL), strict=True)
)
[JENKINS] = re.findall(r"```groovy\n(.*?)```", PAGE, re.DOTALL)
SMALL = "test_size or budget"
"""Claims that start nothing and ask the real engine."""


def yaml(text):
    return YAML(typ="safe").load(text)


def action_module():
    spec = importlib.util.spec_from_file_location("action", ROOT / ".ci" / "action.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STEPS = {step["name"]: step for step in yaml(ACTION.read_text())["runs"]["steps"] if "run" in step}
INPUTS = yaml(ACTION.read_text())["inputs"]


# --- what they say -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["github-actions", "github-workflows", "snippet", "gitlab-ci"])
def test_each_is_valid_by_its_schema(tmp_path, name):
    path = {"github-actions": ACTION, "github-workflows": ROOT / ".github/workflows/ci.yml"}.get(
        name, tmp_path / "snippet.yml"
    )
    if path.parent == tmp_path:
        path.write_text(SNIPPETS["gitlab" if name == "gitlab-ci" else "github"])
    schema = f"vendor.{name.replace('snippet', 'github-workflows')}"
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_no_input_is_read_by_a_shell():
    workflows = [yaml(SNIPPETS["github"]), yaml((ROOT / ".github/workflows/ci.yml").read_text())]
    scripts = [step["run"] for step in STEPS.values()]
    for workflow in workflows:
        for job in workflow["jobs"].values():
            scripts += [step["run"] for step in job["steps"] if "run" in step]
    assert len(scripts) > 5
    assert not [script for script in scripts if "${{" in script]


def test_every_input_is_used_and_described():
    text = ACTION.read_text()
    assert not [name for name in INPUTS if f"inputs.{name}" not in text]
    assert not [name for name in INPUTS if f"`{name}`" not in PAGE]
    source = (ROOT / ".ci" / "action.py").read_text()
    handed = {name for step in STEPS.values() for name in step.get("env", ())}
    assert not [name for name in handed if f'"{name.removeprefix("VMVC_ACTION_")}"' not in source]


def test_the_snippet_gives_what_the_action_knows():
    [step] = [
        step
        for step in yaml(SNIPPETS["github"])["jobs"]["vmvc"]["steps"]
        if "pytest-vmvc" in step.get("uses", "")
    ]
    assert set(step["with"]) <= set(INPUTS)
    told = set(re.findall(r"steps\.vmvc\.outputs\.([\w-]+)", SNIPPETS["github"]))
    assert told <= set(yaml(ACTION.read_text())["outputs"])


def test_each_input_becomes_arguments_and_none_is_split():
    action = action_module()
    given = {
        "PROFILE": "standard",
        "PAIRS": "minimal, debian",
        "SELECT": "boot or size; touch x",
        "ARGS": "own/claims\n\n  -x  \n$(touch x)\n",
        "GATE": "strict",
        "BASELINE": "a b.jsonl",
        "FAIL_ON": "startup:10%",
        "BUDGET": "container.cold_start<500ms\ncontainer.size < 20MB\n",
        "REQUIRE": "container,vm",
        "OUTPUT": "out",
        "REDACT": "true",
    }
    environ = {f"VMVC_ACTION_{name}": value for name, value in given.items()}
    assert action.run_arguments(environ) == [
        "--vmvc",
        "--vmvc-output=out",
        "--vmvc-profile=standard",
        "--vmvc-gate=strict",
        "--vmvc-baseline=a b.jsonl",
        "--vmvc-fail-on=startup:10%",
        "--vmvc-require=container,vm",
        "--vmvc-pair=minimal",
        "--vmvc-pair=debian",
        "--vmvc-budget=container.cold_start<500ms",
        "--vmvc-budget=container.size < 20MB",
        "--vmvc-redact",
        "-k",
        "boot or size; touch x",
        "own/claims",
        "-x",
        "$(touch x)",
    ]
    assert action.setup_arguments(environ) == ["setup", "--yes"]
    assert action.run_arguments({}) == ["--vmvc", "--vmvc-output=vmvc-results"]
    quick = {"VMVC_ACTION_PROFILE": "quick"}
    assert action.setup_arguments(quick) == ["setup", "--yes", "--only=minimal"]


# --- what they do --------------------------------------------------------------------------------


class Job:
    """A folder in which steps run as a CI system runs them."""

    def __init__(self, folder, temp):
        self.folder, self.temp = folder, temp
        self.environ = {
            **os.environ,
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(folder / "outputs"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "RUNNER_TEMP": str(temp),
            "PATH": f"{temp}/shims:{Path(sys.executable).parent}:{os.environ['PATH']}",
            # What the package needs is here: pip finds it, and installs the package alone.
            "PYTHONPATH": sysconfig.get_path("purelib"),
        }
        self.environ.pop("VMVC_TESTS_REQUIRE", None)

    def shell(self, script, **more):
        """The script's exit status and what it said, as `bash -e` runs it."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**self.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )
        return done.returncode, done.stdout

    def step(self, name, **inputs):
        """A step of the action with its inputs, those that are not named as it has them."""
        values = {key: str(one.get("default", "")) for key, one in INPUTS.items()} | inputs

        def value(expression):
            return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: values[m[1]], expression)

        env = {key: value(one) for key, one in STEPS[name].get("env", {}).items()}
        assert not [one for one in env.values() if "${{" in one]
        return self.shell(STEPS[name]["run"], **env)

    def outputs(self):
        path = self.folder / "outputs"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A runner's folder for temporary files, in which the action's first step has been run.

    Who makes another environment, with the python3 of ``shims``, is given that one.
    """
    temp = tmp_path_factory.mktemp("runner")
    status, said = Job(temp, temp).step("Install")
    assert status == 0, said
    program(temp / "vmvc" / "bin" / "pytest", '"${0%/*}/python" -P -m pytest "$@"')
    made = f'[ "$1 $2" = "-m venv" ] && exec ln -s "{temp}/vmvc" "$3"'
    program(temp / "shims" / "python3", f'{made}\nexec "{sys.executable}" "$@"')
    return temp


def program(path, script):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def job(tmp_path, installed):
    return Job(tmp_path, installed)


@pytest.mark.engine
@pytest.mark.machine
def test_the_actions_steps_measure_report_and_tell(job):
    status, said = job.step("Set up the host")
    assert status == 0, said
    status, said = job.step("Measure, judge, report", select="guest_per_vm or budget",
                            budget="container.size<20MB\n")  # fmt: skip
    assert status == 0, said
    told = job.outputs()
    log = ledger.read(job.folder / told["results"])
    assert {one.claim for one in log.results} == {"os.guest-per-vm", "budget.sizes"}
    verdicts = [one.judgement.verdict.value for one in log.results]
    assert told["supported"] == str(verdicts.count("SUPPORTED")) == str(len(verdicts))
    assert (told["refuted"], told["inconclusive"], told["not-testable"]) == ("0", "0", "0")
    assert (job.folder / told["report"]).stat().st_size > 10_000
    assert (job.folder / told["folder"] / "results.jsonl").samefile(job.folder / told["results"])
    assert "| `os.guest-per-vm` |" in (job.folder / "summary.md").read_text()


@pytest.mark.engine
def test_the_actions_gate_is_its_exit_status_and_it_tells_all_the_same(job):
    step, budget = "Measure, judge, report", "container.size<1kB"
    status, said = job.step(step, select="budget", budget=budget, require="container")
    assert (status, job.outputs()["refuted"]) == (1, "1"), said
    status, said = job.step(step, select="'; touch pwned; $(touch pwned) `touch pwned`")
    assert (status, job.outputs()) == (4, {}), said
    status, said = job.step(step, output="a\nreport=elsewhere")
    assert (status, job.outputs()) == (64, {}), said
    assert not (job.folder / "pwned").exists()


def scripts(name):
    if name == "jenkins":
        return re.findall(r"'''\n(.*?)'''", JENKINS, re.DOTALL)
    found = yaml(SNIPPETS["gitlab"])["containers-against-machines"]
    return ["\n".join(found[part]) for part in ("before_script", "script", "after_script")]


@pytest.mark.engine
@pytest.mark.machine
@pytest.mark.parametrize("name", ["gitlab", "jenkins"])
def test_the_snippets_scripts_measure_and_report(job, name):
    small = {"VMVC_PACKAGE": "pytest-vmvc", "PYTEST_ADDOPTS": f"-k '{SMALL}'"}
    for script in scripts(name):
        status, said = job.shell(script, **small)
        assert status == 0, said
    results = job.folder / "vmvc-results"
    assert {one.claim for one in ledger.read(results / "latest" / "results.jsonl").results} == {
        "table.size",
        "budget.sizes",
    }
    assert (results / "junit.xml").read_text().count('name="vmvc_verdict"') == 6
    assert "| `table.size` |" in (results / "summary.md").read_text()
    assert (results / "latest" / "report.html").exists()
