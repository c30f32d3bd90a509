"""A results file without what tells whose host it was: name, paths, addresses, MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Run
from pytest_vmvc.report.texts import changed

NAME, PATH, ADDRESS = "‹host›", "‹path›", "‹address›"
NUMBERED = "‹host {}›"

_PUBLIC: Final = ("/proc", "/sys", "/dev", "/bin", "/usr/bin", "/sbin", "/usr/sbin")
"""The same on every host."""
_PATH: Final = re.compile(
    r"(?:(?<![\w/~-])|(?<=file://)|(?<=\s-\w))(?:/[\w.@+,%=-]+){2,}/?"
    r"|(?<![\w/-])~[\w.-]*(?:/[\w.@+,%=-]+)+"
)
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6: Final = re.compile(r"(?<!\w)(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?!\w)")
_MAC: Final = re.compile(r"(?<!\w)(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?!\w)")


def redacted(log: RunLog, *, stand_in: str = NAME) -> RunLog:
    """The same run; figures, verdicts and versions stay as they are.

    ``stand_in`` is put in place of the host's name.
    """
    host = _names(log.run.host.name, {one.subject for one in log.series}) if log.run else None

    def text(value: str) -> str:
        return _bare(value if host is None else host.sub(stand_in, value))

    hidden = changed(log, text, kept=KEPT)
    results = tuple(
        msgspec.structs.replace(one, nodeid=text(_test(one.nodeid))) for one in hidden.results
    )
    return msgspec.structs.replace(hidden, results=results, run=_nameless(hidden.run, stand_in))


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


KEPT: Final = frozenset(
    {"claim", "contradicts", "nodeid", "at", "started", "ended", "kind", "subject", "over", "other"}
)
"""Fields that hold no text of the host: ids of claims and subjects, and times. Of a node id the
folders are left out."""


def _nameless(run: Run | None, stand_in: str) -> Run | None:
    if run is None:
        return None
    host = msgspec.structs.replace(run.host, name=stand_in)
    return msgspec.structs.replace(run, host=host, gateway="")


def _names(host: str, words: Collection[str]) -> re.Pattern[str] | None:
    """The host's name, long or short, with whatever domain follows.

    ``words`` are those of every run: a host that is called ``vm`` is not found by that.
    """
    names = {host, host.partition(".")[0]}.difference(words)
    known = [re.escape(name) for name in sorted(names, key=len, reverse=True) if len(name) > 1]
    if not known:
        return None
    return re.compile(rf"(?<![\w-])(?:{'|'.join(known)})(?:\.[\w-]+)*(?![\w-])", re.IGNORECASE)


def _test(nodeid: str) -> str:
    """The test without the folders of its file."""
    file, sign, name = nodeid.partition("::")
    return f"{file.rpartition('/')[2]}{sign}{name}"


def _path(text: str) -> str:
    bare = text.rstrip("/")
    public = any(bare == place or bare.startswith(f"{place}/") for place in _PUBLIC)
    return text if public and ".." not in bare else PATH


def _address(text: str) -> str:
    for bare in (text, text.removesuffix(":")):
        try:
            found = ipaddress.ip_address(bare)
        except ValueError:
            continue  # a version, or a time of day; or what a colon follows
        end = text[len(bare) :]
        return text if found.is_loopback or found.is_unspecified else f"{ADDRESS}{end}"
    return text
