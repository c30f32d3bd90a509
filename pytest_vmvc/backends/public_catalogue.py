"""What the public registries hold: images on Docker Hub, boxes in HashiCorp's catalogue.

Only asked where a run is allowed to go online. What comes back is a stranger's: it is read with a
deadline and a limit, and only numbers, dates and names of an expected shape are taken from it.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from pytest_vmvc.errors import Unavailable

HUB = "https://hub.docker.com"
BOXES = "https://vagrantcloud.com"

NAMES = ("alpine", "debian", "ubuntu", "nginx", "redis", "postgres", "python", "node")
"""What is looked for: three systems, three services, two languages; fixed before any look."""

REQUEST_TIMEOUT_S = 15.0
ANSWER_LIMIT_BYTES = 8 << 20
PAGE = 100
"""Boxes on one page, the most that the catalogue gives."""
PAGES = 3
"""Pages that are looked at: a longer list counts as one of that length, or more."""


class Offering(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be had under one name."""

    name: str
    count: int
    """Entries that a search for the name finds."""
    more: bool
    """There are more than were counted."""
    ready_made: bool
    """There is one to take: the image of that very name, or a box with a download."""
    pulls: int | None = None
    """Of the most wanted one; None without any."""
    age_days: float | None = None
    """Days since that one was last updated."""


class PublicCatalogue:
    """Both services; their addresses can be replaced."""

    def __init__(self, *, hub: str = HUB, boxes: str = BOXES) -> None:
        self._hub = hub
        self._boxes = boxes

    def images(self, name: str) -> Offering:
        """Images on Docker Hub, and the official one of that name; raises `Unavailable`."""
        query = urlencode({"query": name, "page_size": 1})
        count = _number(_get(f"{self._hub}/v2/search/repositories/?{query}"), "count")
        official = _get(f"{self._hub}/v2/repositories/library/{quote(name)}/", absent={})
        if not official:
            return Offering(name=name, count=count, more=False, ready_made=False)
        return Offering(
            name=name,
            count=count,
            more=False,
            ready_made=True,
            pulls=_number(official, "pull_count"),
            age_days=_age_days(official, "last_updated"),
        )

    def boxes(self, name: str) -> Offering:
        """Boxes for any provider with the word in owner, name or description.

        Raises `Unavailable`.
        """
        found: list[dict[str, Any]] = []
        more = True
        for page in range(1, PAGES + 1):
            listed = list(self._page(name, page))
            found += listed
            if len(listed) < PAGE:
                more = False
                break
        if not found:
            return Offering(name=name, count=0, more=False, ready_made=False)
        best = max(found, key=lambda box: _number(box, "downloads"))
        return Offering(
            name=name,
            count=len(found),
            more=more,
            ready_made=any(name in str(box.get("tag", "")).lower() for box in found),
            pulls=_number(best, "downloads") or None,
            age_days=_age_days(best, "updated_at"),
        )

    def _page(self, name: str, page: int) -> Iterator[dict[str, Any]]:
        query = urlencode(
            {"q": name, "sort": "downloads", "order": "desc", "limit": PAGE, "page": page}
        )
        listed = _get(f"{self._boxes}/api/v2/search?{query}").get("boxes")
        if not isinstance(listed, list) or not all(isinstance(box, dict) for box in listed):
            raise _misshapen("boxes")
        yield from listed


def _get(url: str, *, absent: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object, within a deadline and a size; ``absent`` is returned for a 404."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - https, or a test's own server
    until = time.monotonic() + REQUEST_TIMEOUT_S
    text = bytearray()
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310 - see above
            while piece := answer.read1(1 << 16):
                text += piece
                if len(text) > ANSWER_LIMIT_BYTES or time.monotonic() > until:
                    raise Unavailable(f"{url} sends too much, or too slowly")
    except urllib.error.HTTPError as error:
        if error.code == 404 and absent is not None:
            return absent
        raise Unavailable(f"{url} answers with {error.code}", hint="try again later") from error
    except (OSError, HTTPException) as error:
        raise Unavailable(
            f"{url} cannot be reached: {error}", hint="see that this host is online"
        ) from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _misshapen("JSON") from error
    if not isinstance(found, dict):
        raise _misshapen("a JSON object")
    return found


def _number(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _misshapen(key)
    return value


def _age_days(entry: dict[str, Any], key: str) -> float:
    try:
        updated = datetime.fromisoformat(str(entry.get(key)))
    except ValueError as error:
        raise _misshapen(key) from error
    if updated.tzinfo is None:
        updated = updated.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - updated).total_seconds() / 86400)


def _misshapen(what: str) -> Unavailable:
    return Unavailable(
        f"the public catalogue answers without {what}",
        hint="its interface may have changed; report it",
    )
