"""The connection to a container engine: its address, its errors, what it is."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_vmvc import text
from pytest_vmvc.backends.docker_forward import forward
from pytest_vmvc.errors import InfrastructureError, Unavailable

if TYPE_CHECKING:
    from docker import APIClient

PROBE_S = 5.0
API_S = 60.0
FLOOR_S = 15.0
"""Least time for create and start: cut off earlier, nobody would know what the engine made."""
RESTART_S = 10.0
"""How long an engine that has answered before, and then refuses, may take to be back."""
CHUNK_BYTES = 1 << 16

one_line = partial(text.one_line, most=400)
"""The start of what an engine says, printable and without line breaks."""


class Deadline:
    """A moment on the monotonic clock, and what is left until then."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds, never negative."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise TimeoutError when it has passed."""
        if self.left_s <= 0:
            raise TimeoutError


def until(condition: Callable[[], bool], deadline: Deadline) -> bool:
    """Whether the condition came true before the deadline; asks at growing intervals."""
    pause_s = 0.01
    while not condition():
        if deadline.left_s <= 0:
            return False
        time.sleep(min(pause_s, deadline.left_s))
        pause_s = min(pause_s * 2, 0.5)
    return True


class Engine:
    """An engine's address, resolved as the ``docker`` command does: DOCKER_HOST, then context."""

    def __init__(self, base_url: str | None = None) -> None:
        """Ask nothing yet; ``base_url`` wins over the caller's environment."""
        self._base_url = base_url
        self._lost = False

    @cached_property
    def _address(self) -> dict[str, Any]:
        from docker.context import ContextAPI
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env, parse_host

        try:
            found: dict[str, Any] = dict(kwargs_from_env())
            if self._base_url:
                found["base_url"] = self._base_url
            if "base_url" not in found:
                context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
                if context is None:
                    raise Unavailable(
                        "the selected docker context does not exist",
                        hint="see `docker context ls`, or correct DOCKER_CONTEXT",
                    )
                found["base_url"] = context.Host
                if context.TLSConfig is not None:
                    found["tls"] = context.TLSConfig
            if found["base_url"].startswith("ssh://"):
                forward(found["base_url"])
            else:
                found["base_url"] = parse_host(found["base_url"], tls=bool(found.get("tls")))
        except (DockerException, ValueError, OSError) as error:
            raise Unavailable(
                f"the address of the container engine is wrong: {cause(error)}",
                hint="correct or unset DOCKER_HOST and DOCKER_CONTEXT",
            ) from error
        return found

    @property
    def url(self) -> str:
        """Its address; raises `Unavailable` where that makes no sense."""
        return str(self._address["base_url"]).removeprefix("http+")

    def _near(self) -> str:
        """Where to connect, on this host or by TCP: the address but for one behind ssh."""
        return forward(self.url).url() if self.url.startswith("ssh://") else self.url

    @cached_property
    def api_version(self) -> str:
        """The version of the API to speak; asks the engine once. Raises `Unavailable`."""
        from docker.constants import MINIMUM_DOCKER_API_VERSION

        _reach(self._near())
        with unavailable(), closing(self._made(MINIMUM_DOCKER_API_VERSION, PROBE_S)) as client:
            return str(client.version(api_version=False)["ApiVersion"])

    @cached_property
    def _headers(self) -> dict[str, str]:
        """Those that the user's configuration adds to every request."""
        from docker.utils.config import load_general_config

        return dict(load_general_config().get("HttpHeaders") or {})

    def _made(self, version: str, timeout_s: float) -> APIClient:
        from docker import APIClient

        from pytest_vmvc.backends.docker_transport import UnixAdapter

        near = self._near()
        # The SDK writes int, and hands the number to a socket: fractions are fine.
        client = APIClient(
            **{**self._address, "base_url": near},
            version=version,
            timeout=timeout_s,  # type: ignore[arg-type]
        )
        # What the environment says of the web's certificates is not the engine's, and no proxy
        # leads to a socket: asking for it would be a good part of our own time in a start.
        local = near.startswith("unix://")
        client.trust_env = client.trust_env and not local and not self._address.get("tls")
        if local:
            client.mount("http+docker://", UnixAdapter(f"http+{near}"))
        client.headers.update(self._headers)
        return client

    @contextmanager
    def client(self, timeout_s: float = API_S) -> Iterator[APIClient]:
        """Give a client of one's own (they cost microseconds, and are not for two threads).

        Whatever breaks inside without the engine having said why, the engine itself is asked: where
        it has gone meanwhile, leaving raises `Unavailable` in place of the error.
        """
        broken: tuple[type[Exception], ...] = (InfrastructureError, *api_errors())
        version = self.api_version
        if self._lost:
            self.check()  # else every call would wait for its own deadline
        client = self._made(version, timeout_s)
        try:
            yield client
        except broken as error:
            if status_of(error) is not None:
                raise
            try:
                self.check()
            except Unavailable as gone:
                raise gone from None
            raise
        finally:
            client.close()

    def check(self) -> None:
        """Raise `Unavailable` where it does not answer any more.

        One that refuses, and did not when it was last asked, is given time to be started again.
        """
        deadline = Deadline(0.0 if self._lost else RESTART_S)
        self._lost = True
        until(self._listens, deadline)
        _reach(self._near())
        self._ping()
        self._lost = False

    def _listens(self) -> bool:
        try:
            _reach(self._near())
        except Unavailable:
            return False
        return True

    def _ping(self) -> None:
        with unavailable(), closing(self._made(self.api_version, PROBE_S)) as client:
            client.ping()


def _reach(url: str) -> None:
    """Connect and hang up: the system's own error tells the causes apart."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(PROBE_S)
                probe.connect(parts.path)
        elif parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), PROBE_S).close()
    except PermissionError:
        raise Unavailable(
            f"no permission on the container engine's socket {parts.path}",
            hint="add yourself to its group (`sudo usermod -aG docker $USER`) and log in again",
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        if parts.scheme != "unix":
            message, hint = f"no container engine at {url}", "start it, or correct DOCKER_HOST"
        elif any(map(shutil.which, ("dockerd", "podman"))):
            message = f"the container engine is not running (nobody answers on {parts.path})"
            hint = "run `vmvc setup`, or start its service"
        else:
            message, hint = "no container engine is installed", "run `vmvc setup`"
        raise Unavailable(message, hint=hint) from None
    except OSError as error:
        raise Unavailable(
            f"the container engine at {url} cannot be reached: {cause(error)}",
            hint="see `vmvc doctor`, or correct DOCKER_HOST",
        ) from None


def api_errors() -> tuple[type[Exception], ...]:
    """Whatever a call of the SDK may raise."""
    from docker.errors import DockerException
    from requests import RequestException

    # requests lets an error of the socket through where a body is streamed.
    return (DockerException, RequestException, OSError)


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn an error of the API into `Unavailable`."""
    from requests import Timeout

    try:
        yield
    except api_errors() as wrapped:
        error = _first(wrapped)
        if isinstance(error, Timeout):
            raise Unavailable(
                "the container engine takes connections and does not answer",
                hint="it hangs: restart it, then run `vmvc clean`",
            ) from None
        answers = "answers with an error" if status_of(error) else "does not answer"
        raise Unavailable(
            f"the container engine {answers}: {cause(error)}",
            hint="see its log, and `vmvc doctor`",
        ) from None


def _first(error: Exception) -> Exception:
    """What broke: the SDK tells in words alone that asking for the API's version failed."""
    first = error.__cause__
    if isinstance(first, Exception) and isinstance(first, api_errors()) and not status_of(error):
        return first
    return error


def status_of(error: Exception) -> int | None:
    """The HTTP status of the engine's answer, where there was one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def cause(error: Exception) -> str:
    """The cause on one line, without the wrapping of three libraries."""
    from requests import ConnectionError as Broken
    from requests import Timeout

    if isinstance(error, Timeout):
        return "it gave no answer in time"
    if isinstance(error, Broken):
        return f"the connection broke off ({_innermost(error)})"
    return one_line(str(getattr(error, "explanation", None) or error))


def _innermost(error: BaseException) -> str:
    """The system's own words, which libraries wrap."""
    while inner := next((part for part in error.args if isinstance(part, BaseException)), None):
        error = inner
    return one_line(str(getattr(error, "strerror", None) or error))


def engine_summary(base_url: str | None = None) -> dict[str, Any]:
    """What the engine is, for `vmvc doctor`; raises `Unavailable` with cause and remedy.

    Keys: ``name`` (Docker or Podman), ``version``, ``api_version``, ``url``, ``storage_driver``,
    ``cgroup_version``, ``cgroup_driver``, ``runtimes``, ``default_runtime``, ``security_options``,
    ``operating_system``, ``kernel``, ``cpus``, ``memory_bytes``, ``rootless``, and ``cgroups``:
    whether a container has control groups of its own, that limit it and count what it uses.
    """
    engine = Engine(base_url)
    with engine.client(PROBE_S) as client, unavailable():
        version, info = client.version(), client.info()
    components = " ".join(str(part.get("Name")) for part in version.get("Components") or ())
    podman = "podman" in components.lower()
    cgroup_version, driver = str(info.get("CgroupVersion") or "1"), info.get("CgroupDriver")
    security, runtime = list(info.get("SecurityOptions") or ()), info.get("DefaultRuntime")
    rootless = bool(info.get("Rootless")) or "name=rootless" in security
    return {
        "name": "Podman" if podman else "Docker",
        "version": re.split(r"[+~]", str(version["Version"]))[0],
        "api_version": engine.api_version,
        "url": engine.url,
        "storage_driver": str(info.get("Driver") or "unknown"),
        "cgroup_version": cgroup_version,
        "cgroup_driver": str(driver or "unknown"),
        # Podman takes any name for a container's runtime and runs it under that of its settings.
        "runtimes": [runtime] if podman else sorted(info.get("Runtimes") or ()),
        "default_runtime": str(runtime or "unknown"),
        "security_options": security,
        "operating_system": str(info.get("OperatingSystem") or "unknown"),
        "kernel": str(info.get("KernelVersion") or "unknown"),
        "cpus": int(info.get("NCPU") or 0),
        "memory_bytes": int(info.get("MemTotal") or 0),
        "rootless": rootless,
        "cgroups": not rootless or (cgroup_version != "1" and driver != "none"),
    }


def runtime_gap(summary: Mapping[str, Any], runtime: str | None) -> Unavailable | None:
    """Why the engine runs no container under that runtime, or None; None is its default."""
    if runtime is None or runtime in summary["runtimes"]:
        return None
    return Unavailable(
        f"the engine has no runtime {runtime}",
        hint=f"one of {', '.join(summary['runtimes'])}; "
        + (
            "Podman's is `runtime` in its containers.conf, for all of its containers"
            if summary["name"] == "Podman"
            else "others are made known to it in its settings"
        ),
    )
