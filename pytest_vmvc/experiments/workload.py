"""One small web workload, the same in a container, in a machine and as bare processes."""

from __future__ import annotations

import secrets
import socket
import time

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import HasArtefact, HasDisk
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import minimal

REQUESTS = 12
INTERVAL_S = 0.025
LEAD_S = 0.25
"""Between the end of the command that starts it all and the first request."""
TAIL_S = 0.15
SCHEDULE_S = LEAD_S + REQUESTS * INTERVAL_S + TAIL_S
FINISH_S = 15.0
"""How long a machine that falls behind the schedule may take to catch up."""

FOLDER = "${TMPDIR:-/tmp}/vmvc-workload"
NO_BUSYBOX = 3

# Open loop: each request leaves when it is due, whether or not others are answered. All of it runs
# inside and by itself, so that no command of the harness falls into the time that is counted.
SERVE = f"""
mkdir -p "{FOLDER}/www" && cd "{FOLDER}" || exit 1
busybox=$(command -v busybox || command -v ./busybox) || exit {NO_BUSYBOX}
ip link set lo up 2>/dev/null
echo "$1" >www/index.html
$busybox httpd -f -p "127.0.0.1:$2" -h www </dev/null >/dev/null 2>&1 &
echo $! >server
(
    $busybox usleep "$4"
    i=0
    while [ $i -lt "$3" ]; do
        $busybox wget -q -O "answer.$i" "http://127.0.0.1:$2/" &
        $busybox usleep "$5"
        i=$((i + 1))
    done
    wait
    $busybox cat answer.* | $busybox grep -cx "$1" >counting
    $busybox mv counting done
) </dev/null >/dev/null 2>&1 &
"""
CARRY = f'cat >"{FOLDER}/busybox" && chmod 755 "{FOLDER}/busybox"'
DONE = f'cat "{FOLDER}/done" 2>/dev/null'
END = f'kill $(cat "{FOLDER}/server"); rm -r "{FOLDER}"'


class Workload:
    """Rides in fresh starts, after they are measured; the bare processes are started for it alone.

    Server and client are the minimal pair's busybox everywhere: where a userland has none, it is
    carried in before anything is counted.
    """

    name = "workload"
    beside = ("bare",)
    metrics = (
        Metric(
            name="cpu_s",
            label="CPU time of the workload",
            unit="s",
            definition=f"host CPU seconds of the whole instance while {REQUESTS} requests, one "
            f"every {INTERVAL_S * 1000:g} ms, are made by wget and answered by httpd inside it; "
            "from before the first to after the last, the harness's own commands left out",
            emulation="inflates",
        ),
        Metric(
            name="memory_bytes",
            label="memory of the workload",
            unit="bytes",
            definition="host memory of the instance when the last request has been answered and "
            "the server still runs; of what, each backend's facts say",
            emulation="inflates",
        ),
        Metric(
            name="disk_bytes",
            label="disk of the workload",
            unit="bytes",
            definition="the artefact as it is kept on disk, and what the instance has written "
            "beyond it where that can be told; of bare processes the program alone",
        ),
        Metric(
            name="answered",
            label="requests answered",
            unit="count",
            definition=f"answers with the right body, of {REQUESTS} requests; an instance that "
            "left one out did not do the same work, so it gives no other figure",
        ),
    )

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}

    def meet(self, subject: str, provider: Provider) -> None:
        """Look up what its artefact takes on disk; a restored machine is none of the three."""
        if isinstance(provider, HasArtefact):
            self._kept[subject] = provider.artefact().kept_bytes

    def ride(self, environment: Environment, subject: str) -> dict[str, Scalar]:
        """Serve, drive, and read what it took."""
        if subject not in self._kept:
            return {}
        _begin(environment)
        before = environment.usage()
        time.sleep(SCHEDULE_S)
        after = environment.usage()
        answered = _answered(environment)
        until = time.monotonic() + FINISH_S
        while answered is None and time.monotonic() < until:
            # It has fallen behind: go on counting until it is through.
            time.sleep(TAIL_S)
            after = environment.usage()
            answered = _answered(environment)
        written = environment.disk_bytes() if isinstance(environment, HasDisk) else 0
        environment.run(["sh", "-c", END])
        if answered != REQUESTS:
            return {"answered": answered or 0}
        return {
            "answered": answered,
            "cpu_s": after.cpu_s - before.cpu_s,
            "memory_bytes": after.memory_bytes,
            "disk_bytes": self._kept[subject] + written,
        }


def _begin(environment: Environment) -> None:
    """Start server and client; the client waits a little before its first request."""
    words = [
        secrets.token_hex(16),
        _free_port(),
        REQUESTS,
        round(LEAD_S * 1e6),
        round(INTERVAL_S * 1e6),
    ]
    argv = ["sh", "-c", SERVE, "sh", *map(str, words)]
    done = environment.run(argv)
    if done.exit_status == NO_BUSYBOX:
        environment.run(["sh", "-c", CARRY], stdin=minimal.program().read_bytes())
        done = environment.run(argv)
    if done.exit_status != 0:
        raise InfrastructureError(
            f"the workload did not start in {environment.name}",
            hint=done.stderr.decode(errors="replace").strip()[:200],
        )


def _answered(environment: Environment) -> int | None:
    """How many requests were answered rightly; None while some are still on their way."""
    said = environment.run(["sh", "-c", DONE]).stdout.strip()
    return int(said) if said.isdigit() and len(said) < 6 else None


def _free_port() -> int:
    """One that is free on the host, where the bare processes listen; the others follow suit."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])
