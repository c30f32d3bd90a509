"""Processes below one, by name: any of them may end while it is looked at."""

from __future__ import annotations

from contextlib import suppress

import psutil


def below(pid: int, name: str) -> list[psutil.Process]:
    """Those of a program that one process, or a child of it, has started."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for one in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if one.name() == name:
                    found.append(one)
    return found
