"""A results file without what tells whose host it was: name, paths, addresses, MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from pytest_vmvc.ledger import RunLog

NAME, PATH, ADDRESS = "‹host›", "‹path›", "‹address›"
NUMBERED = "‹host {}›"

_PUBLIC: Final = ("/proc", "/sys", "/dev", "/bin", "/usr/bin", "/sbin", "/usr/sbin")
"""The same on every host."""
_PATH: Final = re.compile(r"(?<![\w.:/~-])~?(?:/[\w.@+,%=-]+){2,}/?|(?<![\w.:/-])~/[\w.@+,%=-]+")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_MAC: Final = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")


def redacted(log: RunLog, *, stand_in: str = NAME) -> RunLog:
    """The same run; figures, verdicts and versions stay as they are.

    ``stand_in`` is put in place of the host's name. A host that is called by a word of ours (`vm`)
    keeps it where it is no name: in texts it tells nothing.
    """
    host = log.run.host.name if log.run else ""
    word = len(host) < 2 or host in {series.subject for series in log.series}
    name = None if word else re.compile(rf"(?<![\w.-]){re.escape(host)}(?!\.?[\w-])")

    def text(value: str) -> str:
        if name is not None and host in value:
            value = name.sub(stand_in, value)
        return _bare(value)

    found = msgspec.convert(_everywhere(msgspec.to_builtins(log), text), RunLog)
    if found.run is None:
        return found
    manifest = msgspec.structs.replace(found.run.host, name=stand_in)
    return msgspec.structs.replace(found, run=msgspec.structs.replace(found.run, host=manifest))


def numbered(log: RunLog, number: int) -> RunLog:
    """The same run, its host told from those of other runs by a number."""
    return redacted(log, stand_in=NUMBERED.format(number))


@lru_cache(maxsize=8192)
def _bare(value: str) -> str:
    """Without paths and addresses. Most texts of a run are those of every other run, too."""
    value = _PATH.sub(lambda found: _path(found[0]), value)
    value = _MAC.sub(ADDRESS, value)
    for pattern in (_IPV4, _IPV6):
        value = pattern.sub(lambda found: _address(found[0]), value)
    return value


KEPT: Final = frozenset({"record", "type", "claim", "id", "nodeid", "at", "started", "ended"})
"""Fields that hold no text of the host."""


def _everywhere(value: Any, change: Any, field: str = "") -> Any:  # noqa: ANN401 - plain data
    if isinstance(value, str):
        return value if field in KEPT else change(value)
    if isinstance(value, dict):
        return {key: _everywhere(child, change, key) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_everywhere(child, change, field) for child in value]
    return value


def _path(text: str) -> str:
    bare = text.rstrip("/")
    public = any(bare == place or bare.startswith(f"{place}/") for place in _PUBLIC)
    return text if public else PATH


def _address(text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text  # a version, or a time of day
    return text if found.is_loopback or found.is_unspecified else ADDRESS
