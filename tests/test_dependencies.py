"""What the package rests on: lower bounds, and licences that its users can live with.

Known vulnerabilities are looked up in CI only, as that needs a network.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|MPL|Mozilla|0BSD|Zlib|CC0|HPND",
    re.IGNORECASE,
)
PARTLY = {"qemu.qmp": "LGPL; its module legacy is GPL, and the linter forbids to import it"}


def tree() -> dict[str, str]:
    """Every installed distribution that the package needs, with what it says of its licence."""
    found: dict[str, str] = {}
    todo = [NAME.match(line)[0] for line in PROJECT["dependencies"]]
    while todo:
        name = todo.pop().lower()
        if name in found:
            continue
        try:
            meta = distribution(name).metadata
        except PackageNotFoundError:  # another platform's, or another Python's
            continue
        licences = [meta.get("License-Expression") or "", (meta.get("License") or "")[:200]]
        licences += [line for line in meta.get_all("Classifier", []) if "License ::" in line]
        found[name] = "; ".join(filter(None, licences))
        needs = [line for line in meta.get_all("Requires-Dist") or [] if "extra ==" not in line]
        todo += [NAME.match(line)[0] for line in needs]
    return found


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_every_dependency_has_a_lower_bound_and_no_upper_one(line: str) -> None:
    assert re.fullmatch(r"[\w.-]+>=[\d.]+", line)


def test_licences_are_permissive_all_the_way_down() -> None:
    found = tree()
    assert len(found) > len(PROJECT["dependencies"])
    odd = {name: said for name, said in found.items() if not PERMISSIVE.search(said)}
    assert odd.keys() <= PARTLY.keys(), odd


def test_the_gpl_module_is_loaded_by_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys, qemu.qmp, pytest_vmvc.backends.qmp; sys.exit('qemu.qmp.legacy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
