"""The requests of a container's start, and what a test has happen around one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_vmvc.backends.docker_call import Call

Happening = Callable[[str], object]
"""Called with the container's name."""


def around(
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    *,
    before: Happening = lambda _: None,
    after: Happening = lambda _: None,
) -> None:
    """Have something happen before and after the request ``create`` or ``start``."""
    send = Call.send

    def watched(call: Call, **more: Any) -> Any:
        parts = urlsplit(call.path)
        if not re.search(rf"/containers/([^/]+/)?{step}$", parts.path):
            return send(call, **more)
        name = parse_qs(parts.query).get("name", parts.path.split("/")[-2:-1])[0]
        before(name)
        answer = send(call, **more)
        after(name)
        return answer

    monkeypatch.setattr(Call, "send", watched)
