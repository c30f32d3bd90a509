"""docs/tutorial.md works as it stands there: its files and commands, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import minimal_pair_or_skip

from pytest_vmvc import ledger
from pytest_vmvc.subjects import image_machine, store

PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
ONCE = ("python3 -m venv .venv && . .venv/bin/activate", "pip install pytest-vmvc")
"""What is not run: these tests run in an environment that has the plugin."""
IMAGE = "tutorial-shop:1"
WAIT_S = 600
"""Another run may be measuring on this host, and is waited for."""
OPEN = {"SUPPORTED", "INCONCLUSIVE"}
"""A host that others use at the same time leaves open what is timed."""


class Reader:
    """Somebody who does what the page says, in a folder that was empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        self.environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "80",
        }
        self.environ.pop("VMVC_TESTS_REQUIRE", None)

    def does(self, language: str, title: str, text: str) -> None:
        if title:
            path = self.folder / title
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif language == "console":
            for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                if line not in ONCE:
                    self.said[line] = self._runs(line)

    def _runs(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        return done.stdout

    def verdicts(self, run: Path) -> dict[str, str]:
        return {
            one.reading.name: one.judgement.verdict.value
            for one in ledger.read(run / "results.jsonl").results
        }


def _forget_the_image() -> None:
    """Take the image away, and the disk that was made of it."""
    image_id = image_machine.config(IMAGE).image_id
    recipe = {
        "image": image_id,
        "label": image_machine.LABEL,
        "spare_bytes": str(image_machine.SPARE_BYTES),
    }
    if found := store.stored(f"{image_machine.NAME}-disk", recipe):
        store.remove(found.path)
    subprocess.run(["docker", "rmi", "--force", IMAGE], capture_output=True, check=True, timeout=60)


@pytest.mark.engine
@pytest.mark.machine
def test_the_tutorial_from_an_empty_folder_to_a_verdict(tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("there is no docker command")
    minimal_pair_or_skip()
    reader = Reader(tmp_path)
    try:
        for language, title, text in BLOCK.findall(PAGE):
            reader.does(language, title, text)
    finally:
        _forget_the_image()

    [pair] = [text for kind, title, text in BLOCK.findall(PAGE) if kind == "toml" and not title]
    assert pair in (tmp_path / "pyproject.toml").read_text()

    first = (tmp_path / "vmvc-results" / "latest").resolve()
    found = reader.verdicts(first)
    assert set(found) == {"container-under-a-second", "vm-slower"}
    assert set(found.values()) <= OPEN
    [shown] = [text for kind, _, text in BLOCK.findall(PAGE) if kind == "text"]
    output = reader.said["pytest --vmvc --vmvc-pair=shop test_shop.py"]
    said = " ".join(output.split())
    for line in re.findall(r"^  SUPPORTED +(.*)$", shown, re.MULTILINE):
        words = re.escape(" ".join(line.split()))
        pattern = words.replace("…", r"[\d.]+").replace("ms", "m?s")
        assert re.search(f"({'|'.join(OPEN)}) {pattern}", said), output

    assert (first / "report.html").stat().st_size > 10_000
    assert "`shop.start`" in (tmp_path / "summary.md").read_text()
    [other] = {path.parent for path in (tmp_path / "vmvc-results").glob("*/results.jsonl")} - {
        first, tmp_path / "vmvc-results" / "latest"
    }  # fmt: skip
    again = reader.verdicts(other)
    assert set(again) == {"vm-within-a-minute", "container-within-a-minute"}
    assert set(again.values()) <= OPEN
