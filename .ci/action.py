"""What action.yml runs: `vmvc setup`, `pytest --vmvc` with the action's inputs, then its outputs.

Inputs come as variables, ``VMVC_ACTION_GATE`` for ``gate``; each becomes one argument or several,
and none of them is read by a shell.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

PREFIX = "VMVC_ACTION_"
OPTIONS = {
    "PROFILE": "--vmvc-profile",
    "GATE": "--vmvc-gate",
    "BASELINE": "--vmvc-baseline",
    "FAIL_ON": "--vmvc-fail-on",
    "REQUIRE": "--vmvc-require",
}
OUTPUT = "vmvc-results"
EX_USAGE = 64
PYTHON = (sys.executable, "-P", "-m")
"""Without the folder that it is run in: packages of those names may be there, too."""


def given(name: str, environ: Mapping[str, str]) -> str:
    """An input, without blanks around it; empty where it is not given."""
    return environ.get(f"{PREFIX}{name}", "").strip()


def lines(name: str, environ: Mapping[str, str]) -> list[str]:
    """An input of one value a line."""
    found = (line.strip() for line in given(name, environ).splitlines())
    return [line for line in found if line]


def pairs(environ: Mapping[str, str]) -> list[str]:
    """The pairs that are named."""
    return given("PAIRS", environ).replace(",", " ").split()


def setup_arguments(environ: Mapping[str, str]) -> list[str]:
    """Of `vmvc setup`: without the Debian pair nobody needs Vagrant."""
    chosen = pairs(environ) or (["minimal"] if given("PROFILE", environ) == "quick" else [])
    return ["setup", "--yes", *(["--only=minimal"] if chosen == ["minimal"] else [])]


def run_arguments(environ: Mapping[str, str]) -> list[str]:
    """Of pytest."""
    words = ["--vmvc", f"--vmvc-output={given('OUTPUT', environ) or OUTPUT}"]
    words += [
        f"{option}={value}" for name, option in OPTIONS.items() if (value := given(name, environ))
    ]
    words += [f"--vmvc-pair={pair}" for pair in pairs(environ)]
    words += [f"--vmvc-budget={limit}" for limit in lines("BUDGET", environ)]
    if given("REDACT", environ) == "true":
        words.append("--vmvc-redact")
    if select := given("SELECT", environ):
        words += ["-k", select]
    return [*words, *lines("ARGS", environ)]


def outputs(folder: Path) -> dict[str, str]:
    """What the action says of a run: where it is, and how many verdicts of which kind."""
    from pytest_vmvc.errors import LedgerError
    from pytest_vmvc.ledger import read
    from pytest_vmvc.model import Verdict

    found = {
        "folder": folder,
        "results": folder / "results.jsonl",
        "report": folder / "report.html",
    }
    told = {name: str(path) for name, path in found.items() if path.exists()}
    try:
        counts = Counter(one.judgement.verdict for one in read(found["results"]).results)
    except LedgerError:
        return told
    return told | {one.name.lower().replace("_", "-"): str(counts[one]) for one in Verdict}


def run(environ: Mapping[str, str]) -> int:
    """Measure, write the outputs whatever the verdicts are, and return pytest's exit status."""
    output = Path(given("OUTPUT", environ) or OUTPUT)
    if "\n" in str(output):  # it would end its line in the file of outputs
        sys.stderr.write("action: output: name one folder\n")
        return EX_USAGE
    before = set(output.glob("2*"))
    done = subprocess.run([*PYTHON, "pytest", *run_arguments(environ)], check=False)
    new = sorted(set(output.glob("2*")) - before)
    if new and (target := environ.get("GITHUB_OUTPUT")):
        with Path(target).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in outputs(new[-1]).items())
    return done.returncode


def main() -> int:
    """Do what the one argument says."""
    if sys.argv[1:] == ["setup"]:
        argv = [*PYTHON, "pytest_vmvc", *setup_arguments(os.environ)]
        return subprocess.run(argv, check=False).returncode
    if sys.argv[1:] == ["run"]:
        return run(os.environ)
    sys.stderr.write("action.py setup | run\n")
    return EX_USAGE


if __name__ == "__main__":
    sys.exit(main())
