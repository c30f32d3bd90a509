"""Open-loop load over HTTP: requests leave when they are due, whether or not others are answered.

Knows an address, no technology. Loopback only, and bounded in number and time.
"""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import suppress

import msgspec

from pytest_vmvc.errors import UsageError

MAX_REQUESTS = 20_000
"""Most requests of one call of `drive`."""
ANSWER_MAX_BYTES = 1 << 20
"""The server may be hostile: a longer answer counts as failed."""
LATE_S = 0.1
"""A request that leaves later than this after it was due was not sent open-loop."""


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests of one phase; ``sent == answered + failed``."""

    sent: int
    answered: int
    """Answered in time with status 200 and an orderly end."""
    failed: int
    """Refused, cut off, answered with another status, or not answered in time."""
    late: int
    """Sent more than `LATE_S` after they were due: the fault of this host, not of the server."""
    latencies_s: tuple[float, ...]
    """Seconds from the moment a request was due to the end of its answer, in order of arrival."""


def drive(
    address: tuple[str, int], path: str, *, rate_per_s: float, seconds: float, timeout_s: float
) -> Driven:
    """GET ``path`` at a fixed rate for so many seconds, then wait for the last answers.

    The first request is due at once, and each next one ``1 / rate_per_s`` later. Returns after at
    most ``seconds + timeout_s``. Raises `UsageError` for an address that is not the loopback's, and
    for a load without bounds.
    """
    host, port = address
    if not ipaddress.ip_address(host).is_loopback:
        raise UsageError(f"{host} is not a loopback address", hint="loads stay on this host")
    count = round(rate_per_s * seconds)
    if rate_per_s <= 0 or not 0 < count <= MAX_REQUESTS:
        raise UsageError(
            f"{rate_per_s:g} requests a second for {seconds:g} s are {count} requests",
            hint=f"1 to {MAX_REQUESTS} are allowed",
        )
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    return asyncio.run(_drive(host, port, request, count, 1 / rate_per_s, timeout_s))


async def _drive(
    host: str, port: int, request: bytes, count: int, gap_s: float, timeout_s: float
) -> Driven:
    clock = asyncio.get_running_loop().time
    start = clock()
    late = 0

    async def one(due: float) -> float | None:
        """Seconds from when it was due to its answer; None where it failed."""
        with suppress(OSError, TimeoutError, EOFError, ValueError):
            async with asyncio.timeout_at(due + timeout_s):
                await _get(host, port, request)
                return clock() - due
        return None

    tasks = []
    for number in range(count):
        due = start + number * gap_s
        await asyncio.sleep(due - clock())
        late += clock() - due > LATE_S
        tasks.append(asyncio.create_task(one(due)))
    latencies = [latency for latency in await asyncio.gather(*tasks) if latency is not None]
    return Driven(
        sent=count,
        answered=len(latencies),
        failed=count - len(latencies),
        late=late,
        latencies_s=tuple(latencies),
    )


async def _get(host: str, port: int, request: bytes) -> None:
    """One request on a connection of its own; raises OSError, EOFError and ValueError."""
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_MAX_BYTES)
    try:
        writer.write(request)
        status = await reader.readline()
        if status.split()[1:2] != [b"200"]:
            raise ValueError("not answered with status 200")
        left = ANSWER_MAX_BYTES
        while data := await reader.read(left):
            left -= len(data)
            if left <= 0:
                raise ValueError("a longer answer than anyone asked for")
    finally:
        writer.transport.abort()  # closed at once: nobody waits for a far side that reads no more
        with suppress(OSError):
            await writer.wait_closed()
