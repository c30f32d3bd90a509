"""QEMU's monitor for synchronous callers: one small event loop in a thread, a deadline per call."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TypeVar

from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied, InfrastructureError

ANSWER_TIMEOUT_S = 10.0
EVENTS_KEPT = 256
WORDS_KEPT = 200
T = TypeVar("T")


class Monitor:
    """A monitor connection over ``channel``, its end of a socket pair with QEMU.

    It is being made in the background when the constructor returns; the first call waits for it.
    """

    def __init__(self, channel: socket.socket, *, name: str) -> None:
        from qemu.qmp import QMPClient

        self._name = name
        self._events: list[str] = []
        self._moments: dict[str, float] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._client = QMPClient(name)
        self._client.logger.setLevel("CRITICAL")  # it logs what it also raises
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"monitor of {name}", daemon=True
        )
        self._thread.start()
        self._connecting = asyncio.run_coroutine_threadsafe(self._connect(channel), self._loop)

    def ready(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Wait until QEMU has answered; events are noted from then on."""
        with self._errors("the greeting", timeout_s):
            self._connecting.result(timeout_s)

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> object:
        """Run a monitor command and return its answer.

        Raises `InfrastructureError` when QEMU refuses it, `CommandTimedOut` and `EnvironmentDied`.
        """
        self.ready(timeout_s=timeout_s)
        return self._call(
            self._client.execute(command, dict(arguments) if arguments else None),
            timeout_s=timeout_s,
            what=command,
        )

    def give(self, fd: int, *, fd_name: str) -> None:
        """Hand a file descriptor to QEMU, to be used as ``fd:<fd_name>``."""
        self.ready()
        self._call(self._give(fd, fd_name), timeout_s=ANSWER_TIMEOUT_S, what="getfd")

    @property
    def events(self) -> tuple[str, ...]:
        """Names of the latest events, in order."""
        with self._changed:
            return tuple(self._events)

    def moment(self, event: str) -> float | None:
        """When the latest such event was received, on the host's monotonic clock."""
        with self._changed:
            return self._moments.get(event)

    def wait_for(self, *names: str, timeout_s: float) -> str | None:
        """Wait until one of the events has come, now or earlier; None when the time is up.

        Raises `EnvironmentDied` when QEMU ends without having sent any of them.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or any(name in self._events for name in names), timeout_s
            )
            for name in names:
                if name in self._events:
                    return name
            if self._ended:
                raise EnvironmentDied(f"QEMU of {self._name} ended")
            return None

    def close(self) -> None:
        """Disconnect and end the thread; whatever QEMU does then is not seen any more."""
        if self._loop.is_closed():
            return
        parting = asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop)
        with suppress(TimeoutError):
            parting.result(ANSWER_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _connect(self, channel: socket.socket) -> None:
        try:
            await self._client.connect(channel)
        except BaseException:
            channel.close()
            self._end()
            raise
        self._tasks = [
            asyncio.create_task(self._watch_events()),
            asyncio.create_task(self._watch_end()),
        ]

    async def _watch_events(self) -> None:
        async for event in self._client.events:
            self._note(str(event["event"]))

    async def _watch_end(self) -> None:
        from qemu.qmp import Runstate

        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        for event in self._client.events.clear():
            self._note(str(event["event"]))
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def _disconnect(self) -> None:
        """Part from QEMU, then let every other task of this loop end."""
        self._connecting.cancel()
        with suppress(Exception):  # a peer that has gone makes every way of parting raise
            await self._client.disconnect()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _note(self, event: str) -> None:
        with self._changed:
            self._events = [*self._events[-EVENTS_KEPT + 1 :], event]
            self._moments[event] = time.monotonic()
            self._changed.notify_all()

    async def _give(self, fd: int, fd_name: str) -> None:
        copy = os.dup(fd)
        try:
            self._client.send_fd_scm(copy)
            await self._client.execute("getfd", {"fdname": fd_name})
        finally:
            os.close(copy)

    def _call(self, work: Coroutine[object, object, T], *, timeout_s: float, what: str) -> T:
        if self._loop.is_closed():
            work.close()
            raise EnvironmentDied(f"the monitor of {self._name} is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with self._errors(what, timeout_s):
            try:
                return future.result(timeout_s)
            finally:
                future.cancel()

    @contextmanager
    def _errors(self, what: str, timeout_s: float) -> Iterator[None]:
        from qemu.qmp import ExecuteError, QMPError

        try:
            yield
        except TimeoutError:
            raise CommandTimedOut(
                f"QEMU of {self._name} did not answer `{what}` within {timeout_s:g} s",
                hint="it may be stopped or hung; ending its machine ends it by force",
            ) from None
        except ExecuteError as error:
            raise InfrastructureError(f"QEMU of {self._name} refused `{what}`: {error}") from error
        except (QMPError, AssertionError, CancelledError, OSError, EOFError) as error:
            # The library asserts what a peer that hangs up at once does not keep to.
            words = " ".join(str(error).split())[:WORDS_KEPT] or type(error).__name__
            raise EnvironmentDied(
                f"QEMU of {self._name} ended, or its monitor broke off during `{what}`", hint=words
            ) from error
