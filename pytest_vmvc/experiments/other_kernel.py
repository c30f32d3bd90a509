"""Another kernel and another architecture: a machine boots them, a container is refused."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.host import host_facts
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

HOST, FOREIGN = "host", "vm-foreign"
PLAIN, EMULATED = "container-without-emulator", "container-with-emulator"
"""A container on a host that runs programs for its own CPU only, or also for the foreign one."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
CONTROLS = ("register", "status")
RELEASE = ["cat", "/proc/sys/kernel/osrelease"]
# The machine's kernel has taken the first module there is, which is printed.
TAKE_MODULE = """set -- /lib/modules/*.ko
name=${1##*/}
insmod "$1" 2>/dev/null
grep -q "^${name%.ko} " /proc/modules && cat "$1"
"""
LOAD_MODULE = 'cat >"$0" && insmod "$0"'
KEEP_PROGRAM = 'cat >"$0" && chmod 755 "$0"'
MODULE_FILE, PROGRAM_FILE = "/tmp/vmvc.ko", "/tmp/vmvc-foreign"  # noqa: S108 - inside
FOREIGN_PROGRAM = "/bin/busybox"


class OtherKernel:
    """Both sides are asked for a kernel, a module and a CPU that the host does not have.

    The container is given what a machine has just used: a module that the machine's kernel took,
    and the program that a machine of another architecture runs on. Both are known to be good, so
    what refuses them is the container's kernel.
    """

    name = "other_kernel"
    metrics = (
        Metric(
            name="kernel_release",
            label="kernel release",
            unit="",
            definition="/proc/sys/kernel/osrelease",
        ),
        Metric(
            name="architecture", label="architecture of the CPU", unit="", definition="uname -m"
        ),
        Metric(
            name="module_loaded",
            label="its kernel takes a module",
            unit="",
            definition="insmod inside, as root, of a module that the machine's own kernel took",
        ),
        Metric(
            name="module_refused",
            label="the module is refused with a clear error",
            unit="",
            definition="insmod fails and says: operation not permitted",
        ),
        Metric(
            name="program_ran",
            label="a program for another CPU runs",
            unit="",
            definition="`uname -m` of the foreign machine's own busybox prints something",
        ),
        Metric(
            name="program_refused",
            label="the foreign program is refused with a clear error",
            unit="",
            definition="running it fails and says: exec format error",
        ),
        Metric(
            name="refusal", label="what the refusal says", unit="", definition="the error's text"
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record kernel and architecture everywhere, and what the container is refused."""
        record.observe(
            HOST, "kernel_release", host_facts()["kernel_release"], facts=None, instance=HOST
        )
        record.observe(HOST, "architecture", platform.machine(), facts=None, instance=HOST)
        for subject in ("container", "vm"):
            if gap := pair.missing.get(subject):
                record.missing(subject, str(gap))
        standing = {
            subject: pair.standing(subject, deadline_s=settings.deadline_s)[0]
            for subject in ("container", "vm")
            if subject in pair.subjects
        }
        for subject, environment in standing.items():
            _look(environment, subject, record)
        _look_at_userlands(pair, record, settings)
        record.progress(1, 3, "part")
        if "vm" in standing:
            _offer_module(standing["vm"], standing.get("container"), record)
        record.progress(2, 3, "part")
        _offer_program(pair, standing.get("container"), record, settings)
        record.progress(3, 3, "part")


def _look(environment: Environment, subject: str, record: Recorder) -> None:
    _observe(
        environment,
        subject,
        record,
        kernel_release=_text(environment, RELEASE),
        architecture=_text(environment, ["uname", "-m"]),
    )


def _look_at_userlands(pair: Pair, record: Recorder, settings: Settings) -> None:
    """Whatever the image, which kernel does it get?"""
    if pair.missing_userland is not None:
        record.missing("userlands", str(pair.missing_userland))
    for provider in pair.userlands:
        provider.prepare()
        with provider.launch(deadline_s=settings.deadline_s) as environment:
            _look(environment, "userlands", record)


def _offer_module(machine: Environment, container: Environment | None, record: Recorder) -> None:
    module = machine.run(["sh", "-c", TAKE_MODULE]).stdout
    _observe(machine, "vm", record, module_loaded=bool(module))
    if container is None:
        return
    if not module:
        raise InfrastructureError(f"{machine.name} has no module that its kernel takes")
    done = container.run(["sh", "-c", LOAD_MODULE, MODULE_FILE], stdin=module)
    said = done.stderr.decode(errors="replace").strip()
    loaded = done.exit_status == 0
    container.run(["rm", "-f", MODULE_FILE])
    _observe(
        container,
        "container",
        record,
        module_loaded=loaded,
        module_refused=not loaded and "operation not permitted" in said.lower(),
        refusal=said,
    )


def _offer_program(
    pair: Pair, container: Environment | None, record: Recorder, settings: Settings
) -> None:
    """Boot the other architecture; then run its program in the container, which has not got it."""
    try:
        provider = pair.other("foreign")
    except Unavailable as gap:
        for subject in (FOREIGN, PLAIN):
            record.missing(subject, str(gap))
        return
    provider.prepare()
    with provider.launch(deadline_s=settings.deadline_s) as machine:
        _look(machine, FOREIGN, record)
        said = _text(machine, [FOREIGN_PROGRAM, "uname", "-m"])
        _observe(machine, FOREIGN, record, program_ran=bool(said))
        program = machine.run(["cat", FOREIGN_PROGRAM]).stdout
    if container is None:
        return
    subject = PLAIN
    if emulator := handler(program):
        record.missing(PLAIN, f"this host hands such programs to an emulator ({emulator})")
        subject = EMULATED
    container.run(["sh", "-c", KEEP_PROGRAM, PROGRAM_FILE], stdin=program)
    # By the engine itself: a shell would take what it cannot execute for a script.
    done = container.run([PROGRAM_FILE, "uname", "-m"])
    container.run(["rm", "-f", PROGRAM_FILE])
    ran = done.exit_status == 0
    # Some engines report their own failure on standard output.
    said = (done.stderr + done.stdout).decode(errors="replace").strip()
    values: dict[str, Scalar] = {
        "program_ran": ran,
        "program_refused": not ran and "exec format error" in said.lower(),
    }
    if not ran:
        values["refusal"] = said
    _observe(container, subject, record, **values)


def handler(program: bytes) -> str:
    """Name of what this host's kernel runs such a program by; empty where it has nothing."""
    for entry in sorted(BINFMT.iterdir()) if BINFMT.is_dir() else ():
        text = entry.read_text(errors="replace") if entry.name not in CONTROLS else ""
        fields = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        magic = bytes.fromhex(fields.get("magic", ""))
        mask = bytes.fromhex(fields.get("mask", "ff" * len(magic)))
        head = program[int(fields.get("offset", "0")) :][: len(magic)]
        if (
            text.startswith("enabled")
            and 0 < len(magic) == len(head)
            and all(a & m == b & m for a, b, m in zip(head, magic, mask, strict=True))
        ):
            return entry.name
    return ""


def _text(environment: Environment, argv: Sequence[str]) -> str:
    return environment.run(argv).stdout.decode(errors="replace").strip()


def _observe(environment: Environment, subject: str, record: Recorder, **values: Scalar) -> None:
    for metric, value in values.items():
        record.observe(subject, metric, value, facts=environment.facts, instance=environment.name)
