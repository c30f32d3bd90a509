"""What README and documentation tell a reader to type is something that the commands understand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pytest_vmvc.__main__ import _parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Words of each command line, a line that goes on in the next one as one."""
    text = "".join(CONSOLE.findall(page.read_text())).replace("\\\n", " ")
    lines = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


TOLD = {
    " ".join(words): words
    for page in PAGES
    for words in commands(page)
    if words[:1] == ["vmvc"]
}  # fmt: skip


@pytest.mark.parametrize("line", sorted(TOLD))
def test_every_command_is_one_that_vmvc_takes(line: str) -> None:
    _parser().parse_args(TOLD[line][1:])


def test_there_are_such_commands() -> None:
    verbs = {words[1] for words in TOLD.values()}
    assert {"setup", "doctor", "report", "judge", "compare", "pair"} <= verbs
