"""A results file without what tells whose host it was: name, paths, addresses, MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import msgspec

from pytest_vmvc.ledger import RunLog

NAME, PATH, ADDRESS = "‹host›", "‹path›", "‹address›"

_PUBLIC: Final = ("/proc", "/sys", "/dev", "/bin", "/usr/bin", "/sbin", "/usr/sbin")
"""The same on every host."""
_PATH: Final = re.compile(r"(?<![\w.:/~-])~?(?:/[\w.@+,%=-]+){2,}/?|(?<![\w.:/-])~/[\w.@+,%=-]+")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_MAC: Final = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")


def redacted(log: RunLog) -> RunLog:
    """The same run; figures, verdicts and versions stay as they are."""
    host = log.run.host.name if log.run else ""
    name = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])") if len(host) > 1 else None

    def text(value: str) -> str:
        if name is not None:
            value = name.sub(NAME, value)
        value = _PATH.sub(lambda found: _path(found[0]), value)
        value = _MAC.sub(ADDRESS, value)
        for pattern in (_IPV4, _IPV6):
            value = pattern.sub(lambda found: _address(found[0]), value)
        return value

    return msgspec.convert(_everywhere(msgspec.to_builtins(log), text), RunLog)


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
