"""Connections to an engine's unix socket that are closed also where nobody listens.

The SDK forgets a socket that could not be connected, and Python then warns of it in whatever test
happens to run next.
"""

from __future__ import annotations

import socket
from typing import Any

from docker.transport.unixconn import (
    UnixHTTPAdapter,
    UnixHTTPConnection,
    UnixHTTPConnectionPool,
)

ENGINE = "http://localhost"
"""What stands for the engine's address in a request: the socket has none."""


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connecting.settimeout(self.timeout)
        try:
            connecting.connect(self.unix_socket)
        except BaseException:
            connecting.close()
            raise
        self.sock = connecting


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:  # noqa: ANN401 - as loose as the SDK
        return _Connection(self.base_url, self.socket_path)


class UnixAdapter(UnixHTTPAdapter):
    """What ``requests`` sends through; in the SDK's place for ``http+docker://``.

    All paths share one pool: the SDK makes one for each, and so a connection for each request.
    """

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:  # noqa: ANN401, ARG002 - as loose as the SDK
        """The engine's pool; each request brings its own time-out."""
        with self.pools.lock:
            if self.pools.get(ENGINE) is None:
                self.pools[ENGINE] = _Pool(ENGINE, self.socket_path, maxsize=self.max_pool_size)
            return self.pools[ENGINE]
