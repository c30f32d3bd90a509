"""The requests of a container's start, and what a test has happen around one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_vmvc.backends import docker_start

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
    sent = docker_start.sent

    def watched(client: Any, request: Any, **more: Any) -> Any:
        parts = urlsplit(request.url)
        if not parts.path.endswith(f"/{step}"):
            return sent(client, request, **more)
        name = parse_qs(parts.query).get("name", parts.path.split("/")[-2:-1])[0]
        before(name)
        answer = sent(client, request, **more)
        after(name)
        return answer

    monkeypatch.setattr(docker_start, "sent", watched)
