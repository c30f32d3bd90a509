"""The start of a container: what is asked for, and the wait for its first answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends.base import ANSWER, PAYLOAD, Stopwatch, new_nonce
from pytest_vmvc.backends.docker_call import Call
from pytest_vmvc.backends.docker_engine import (
    FLOOR_S,
    Deadline,
    api_errors,
    cause,
    one_line,
    status_of,
)
from pytest_vmvc.backends.docker_stream import HANDED_OVER, Stream
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, Unavailable

if TYPE_CHECKING:
    from docker import APIClient

READINESS = "push: attached stream, read by a thread of its own from before the start request on"
ATTACHED = {"stdout": 1, "stderr": 1, "stream": 1}
KEPT_BYTES = 1 << 16
"""Of what a container prints before it is ready, which need never end."""

SIGNALLED = 128
"""An exit status above it is that of a process which a signal has ended."""

HANG_UP_S = 10.0
"""How long the thread may take to notice that its stream has been shut."""


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """What to start: an image, and what it is granted."""

    image: str
    """Reference or id of an image that the engine has."""
    userland: str
    """Name of the userland in it, for people."""
    argv: tuple[str, ...] = PAYLOAD
    """The payload, which goes on running; empty: the image's own command."""
    ready: readiness.Ready | None = None
    """When it has answered; None: when it has printed ``vmvc:nonce $VMVC_NONCE``."""
    has_shell: bool = True
    """Whether the image has one; without, no command can be run inside."""
    memory_bytes: int | None = None
    """Limit of memory, swap included; None: no limit."""
    vcpus: float | None = None
    """Limit of CPU time in CPUs; None: no limit."""
    processes: int | None = None
    """Limit of processes and threads; None: no limit."""
    ports: tuple[int, ...] = ()
    """TCP ports that are published on the loopback, each under a number that the engine picks."""
    host_options: Mapping[str, Any] = field(default_factory=dict)
    """Further words of the SDK's ``create_host_config``; none of them may be ``privileged``."""
    registry: str = "docker-registry"
    """Program of the registry (Distribution) that the image is offered on."""
    runtime: str | None = None
    """The engine's runtime to use; None: its default."""
    base_url: str | None = None
    """Address of the engine; None: DOCKER_HOST, then the current context."""
    network: Path | None = None
    """The network namespace in which its containers can be reached; None: the host's own."""


def start(
    client: APIClient,
    spec: ContainerSpec,
    *,
    name: str,
    labels: Mapping[str, str],
    deadline_s: float,
) -> Stopwatch:
    """Create and start a container and wait for its first answer.

    Marks: created, started (the start request has returned) and answer, which may come before it.
    Raises `LaunchFailed`, `LaunchTimedOut`, and `Unavailable` without the image; whatever exists by
    then stays.
    """
    from requests import Timeout

    nonce, output = new_nonce(), bytearray()
    config = _config(client, spec, nonce=nonce, labels=labels)
    # Whole before the stopwatch starts: what is timed is the engine, and not our own words.
    create = Call(client, "/containers/create", json=config, params={"name": name})
    attach = Call(client, f"/containers/{name}/attach", params=ATTACHED, headers=HANDED_OVER)
    begin = Call(client, f"/containers/{name}/start")
    with ThreadPoolExecutor(1) as helper:
        helper.submit(int)  # makes the thread, so that this is not in the measured time
        watch, deadline = Stopwatch(), Deadline(deadline_s)

        said = _in_its_output(spec.ready, nonce)

        def hear() -> bool:
            for _, piece in stream.frames(deadline):
                output.extend(piece)
                if said(output):
                    watch.mark("answer")
                    return True
                del output[:-KEPT_BYTES]
            return False

        try:
            create.send(timeout_s=_allowed_s(deadline))
            watch.mark("created")
            with Stream(attach, timeout_s=_allowed_s(deadline)) as stream:
                deadline.check()
                heard = helper.submit(hear)
                try:
                    begin.send(timeout_s=_allowed_s(deadline))
                    watch.mark("started")
                    if isinstance(spec.ready, readiness.Port | readiness.Http):
                        answered = _serves(client, name, spec, spec.ready, deadline, heard)
                        watch.mark("answer")
                    else:
                        answered = heard.result(deadline.left_s + HANG_UP_S)
                finally:
                    # The thread must be gone from the stream before that is closed.
                    stream.shut()
                    wait([heard], HANG_UP_S)
        except (TimeoutError, Timeout) as late:
            seen = f" to {spec.ready}: {late}" if isinstance(late, NotReady) else ""
            raise LaunchTimedOut(
                f"container {name} gave no answer{seen} within {deadline_s:g} s{_said(output)}",
                hint="the host may be overloaded",
            ) from None
        except api_errors() as error:
            if status_of(error) == 404 and "no such image" in cause(error).lower():
                raise no_image(spec.image) from None
            raise LaunchFailed(
                f"container {name} of {spec.image} was not started: {cause(error)}",
                hint=f"does its runtime {spec.runtime} work on this host? see the engine's log"
                if spec.runtime
                else "see the engine's log",
            ) from error
    if not answered:
        how = ending(client, name)
        raise LaunchFailed(
            f"container {name} of {spec.image} ended before its first answer"
            f"{how and f' ({how})'}{_said(output)}",
            hint="its payload must go on running"
            if spec.ready
            else "its payload must print the nonce and go on running",
        )
    return watch


def limits_gap(summary: Mapping[str, Any], spec: ContainerSpec) -> Unavailable | None:
    """Why what is asked for is not granted by this engine, or None."""
    if summary["cgroups"] or (spec.memory_bytes, spec.vcpus, spec.processes) == (None, None, None):
        return None
    return Unavailable(
        f"a rootless {summary['name']} holds no container to a limit here",
        hint="that takes control groups of version 2, with controllers delegated to its user",
    )


def no_image(ref: str) -> Unavailable:
    """The engine does not have it, or not any more."""
    return Unavailable(f"the container engine has no image {ref}", hint="run `vmvc setup`")


def ending(client: APIClient, name: str) -> str:
    """How a container came to its end, as far as the engine knows; empty where it does not."""
    try:
        state = client.inspect_container(name)["State"]
    except api_errors() as error:
        return "somebody has removed it" if status_of(error) == 404 else ""
    if state.get("Running"):
        return ""
    if state.get("OOMKilled"):
        return "killed for want of memory"
    status = int(state.get("ExitCode") or 0)
    if status > SIGNALLED:
        return f"killed by signal {status - SIGNALLED}"
    return f"exit status {status}"


class NotReady(TimeoutError):
    """The deadline is over; what was seen last."""


def _in_its_output(ready: readiness.Ready | None, nonce: str) -> Callable[[bytearray], bool]:
    if ready is None:
        return lambda output: any(found[1].decode() == nonce for found in ANSWER.finditer(output))
    if isinstance(ready, readiness.Line):
        text = ready.text.encode()
        return lambda output: text in output
    return lambda _: False


def _serves(
    client: APIClient,
    name: str,
    spec: ContainerSpec,
    service: readiness.Port | readiness.Http,
    deadline: Deadline,
    heard: Future[bool],
) -> bool:
    """Wait until it serves; False when it has ended before. Raises `Unavailable`, TimeoutError."""
    networks = client.inspect_container(name)["NetworkSettings"]["Networks"] or {}
    address = next((str(one["IPAddress"]) for one in networks.values() if one["IPAddress"]), "")
    if not address and not heard.done():
        raise Unavailable(
            f"container {name} has no address that this host could ask for {service}",
            hint="take another ready probe: line:TEXT",
        )
    seen = address and readiness.await_service(
        service,
        (address, service.port),
        until=time.monotonic() + deadline.left_s,
        over=heard.done,
        namespace=spec.network,
    )
    if seen and deadline.left_s <= 0:
        raise NotReady(seen)
    return seen is None or heard.result(HANG_UP_S)


def _allowed_s(deadline: Deadline) -> float:
    return max(FLOOR_S, deadline.left_s)


def _config(
    client: APIClient, spec: ContainerSpec, *, nonce: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    host = client.create_host_config(
        mem_limit=spec.memory_bytes,
        # Without swap: the grant is the limit.
        memswap_limit=spec.memory_bytes,
        nano_cpus=None if spec.vcpus is None else round(spec.vcpus * 1e9),
        pids_limit=spec.processes,
        port_bindings=dict.fromkeys(spec.ports, ("127.0.0.1",)),
        runtime=spec.runtime,
        **spec.host_options,
    )
    return dict(
        client.create_container_config(
            spec.image,
            list(spec.argv[1:]),
            # Also overrides an entry point of the image.
            entrypoint=list(spec.argv[:1]) or None,
            environment={"VMVC_NONCE": nonce},
            ports=list(spec.ports),
            labels=dict(labels),
            host_config=host,
        )
    )


def _said(output: bytearray) -> str:
    text = one_line(bytes(output[-400:]).decode(errors="replace"))
    return f"; its last output: {text}" if text else "; it printed nothing"
