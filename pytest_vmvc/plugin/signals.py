"""Signals that end a run, taken as Ctrl-C is: what is held is destroyed, and the report written."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
"""Linux's number for: send me this signal when my parent ends."""


class Ending:
    """The handlers that they had before, to be given back."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def take_over(self) -> None:
        """Have each interrupt the run, but for those that are ignored, as of `nohup`."""
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _interrupt)

    def give_back(self) -> None:
        """Restore them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def end_with_parent() -> None:
    """Have a worker told at once when its controller is gone: execnet takes five seconds."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
