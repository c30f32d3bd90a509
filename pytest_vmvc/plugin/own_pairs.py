"""Pairs of a user's own: of the project's file, of the options, and sent to a host of many.

Imported by every pytest: nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vmvc.plugin import host_link

if TYPE_CHECKING:
    from pytest_vmvc.subjects.own import OwnPair, Table

Sent = tuple[str, dict[str, tuple[str, dict[str, object]]]]
"""What a host is sent: the folder that paths are relative to (empty: its own), and the pairs."""


def given(config: pytest.Config, words: Iterable[str]) -> bool:
    """Whether there may be any; ``words``: the options that describe one."""
    return bool(_table(config, words) or _sent(config) or _file(config).is_file())


def read(
    config: pytest.Config, words: Iterable[str], *, name: str, taken: tuple[str, ...]
) -> dict[str, OwnPair]:
    """All of them; ``name``: of the one that the options describe. Raises `pytest.UsageError`.

    Where hosts are to measure, paths are theirs and not looked at here. A host has the pairs that
    it was sent, and none of a file of its own.
    """
    from pytest_vmvc.errors import UsageError
    from pytest_vmvc.subjects import own

    elsewhere = host_link.has_hosts(config)
    here = config.invocation_params.dir
    try:
        if sent := _sent(config):
            tables = {pair: own.Table(*one) for pair, one in sent[1].items()}
            folder = Path(sent[0] or here)
        else:
            tables, folder = written(config), config.rootpath
        pairs = own.parsed(tables, folder=None if elsewhere else folder, taken=taken)
        if table := _table(config, words):
            pairs[name] = own.parse(
                name,
                table,
                source=" ".join(f"--vmvc-{word}" for word in table),
                folder=None if elsewhere else here,
                taken=(*taken, *pairs),
            )
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    return pairs


def written(config: pytest.Config) -> dict[str, Table]:
    """Those of the project's file, as they are written; raises `UsageError`."""
    from pytest_vmvc.subjects import own

    file = _file(config)
    return own.tables(file) if file.is_file() else {}


def to_send(config: pytest.Config, *, remote: bool) -> Sent:
    """Those of the project's file for a host; ``remote``: it has a working folder of its own."""
    tables = {pair: (one.source, one.words) for pair, one in written(config).items()}
    return ("" if remote else str(config.rootpath), tables)


def _table(config: pytest.Config, words: Iterable[str]) -> dict[str, str]:
    found = {word: config.getoption(f"vmvc_{word.replace('-', '_')}") for word in words}
    return {word: text for word, text in found.items() if text is not None}


def _sent(config: pytest.Config) -> Sent | None:
    told: Sent | None = getattr(config, "workerinput", {}).get(host_link.PAIRS)
    return told


def _file(config: pytest.Config) -> Path:
    return config.rootpath / "pyproject.toml"
