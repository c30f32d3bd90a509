"""Bare machines under QEMU: direct kernel boot, the answer on the serial console, an agent."""

from __future__ import annotations

import functools
import hashlib
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from pytest_vmvc import process
from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends.base import Stopwatch, new_nonce
from pytest_vmvc.backends.linked_disk import LinkedDisk
from pytest_vmvc.backends.machine import USAGE_DEFINITION, QemuMachine, running
from pytest_vmvc.backends.optional import (
    Acquire,
    Arrival,
    Balloon,
    Destination,
    Laden,
    Moved,
    Portable,
    Shape,
)
from pytest_vmvc.errors import BuildFailed, TeardownFailed, Unavailable
from pytest_vmvc.host import tsc_khz
from pytest_vmvc.model import Artefact, Facts, Kind, Scalar, Tier
from pytest_vmvc.resources import NAME, Resource, RunScope

if TYPE_CHECKING:
    from pytest_vmvc.backends.snapshot import RestoredProvider

HARDWARE: frozenset[Tier] = frozenset({"kvm-hw", "kvm-nested"})
"""Tiers whose machines run on KVM; all others are emulated."""

PROGRAMS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
QUERY_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 15.0
READINESS = "nonce on the serial console, pushed to the host; no polling"

MARKS = {"kernel": b"Booting from ROM", "init": b"vmvc:init"}
"""Texts that end a phase: the firmware hands over to the kernel, the kernel to init."""

DISK_MARKS = {"bootloader": b"Booting from Hard Disk"}
"""The same where the machine's own disk holds what boots."""

MACHINES: Mapping[str, str] = {
    "q35": "q35",
    "pc": "pc",
    # With the bus that its devices are on; without, it has none.
    "microvm": "microvm,acpi=on,pcie=on",
}
"""Types of machines, as QEMU wants them written."""

WITHOUT_TIMER = ("microvm",)
"""Types whose only timer of known frequency is the PIT, by which an emulated guest on a busy host
often cannot tell the frequency of its time stamp counter: it then waits for a tick for ever."""

KERNEL_PARAMETERS = " ".join(
    (
        "quiet panic=-1",
        "cryptomgr.notests",  # does not test all its ciphers at each boot
        "noreplace-smp",  # does not rewrite its locks for a single CPU
        "tsc=reliable no_timer_check",  # takes the hypervisor's clock and timer as they are
        "rcupdate.rcu_expedited=1",  # does not wait for grace periods
    )
)
"""All but the first two in the machine's favour, as those who boot machines by the thousand do."""


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A bare machine: what boots, on how much, by which accelerator."""

    kernel: Path | None = None
    """What QEMU itself loads; None: the firmware boots from the disk."""
    initrd: Path | None = None
    userland: str = ""
    memory_bytes: int = 256 * 2**20
    vcpus: int = 1
    machine: str = "q35"
    """A key of `MACHINES`, or QEMU's own name of another type."""
    accelerator: Tier = "tcg"
    digest: str = ""
    """What `artefact_digest` must say of them; empty: whatever it says."""
    fetch_bytes: int | None = None
    """Kernel and initramfs compressed; None where nobody has worked it out."""
    binary: str = ""
    """Path of QEMU; empty for the one that `binary` finds."""
    cpu: str = ""
    """Model of the CPU; empty for the one that fits the accelerator."""
    console: str = "ttyS0"
    """The kernel's name of the serial port."""
    cmdline: str = ""
    """Further words of the kernel's command line."""
    options: tuple[str, ...] = ()
    """Further options of QEMU."""
    ports: tuple[int, ...] = ()
    """TCP ports that are forwarded from the loopback, each from a number that QEMU picks."""
    balloon: Balloon = ""
    images: tuple[Path, ...] = ()
    """Raw images that it has as disks, read only."""
    disk: Path | None = None
    """An image, raw or qcow2: each machine has a linked clone of it for its disk. None: no disk."""
    holds_root: bool = False
    """Whether the root file system that commands see is on that disk."""
    ready: readiness.Ready | None = None
    """When it has answered; None: when the nonce is on its console."""
    agent: bool = True
    """Whether our agent runs in it; without, no command can be run inside."""

    @property
    def ports_reached(self) -> tuple[int, ...]:
        """Those of `ports`, and the one that it is asked at whether it is ready."""
        asked = (
            ()
            if self.ready is None or isinstance(self.ready, readiness.Line)
            else (self.ready.port,)
        )
        return tuple(dict.fromkeys((*asked, *self.ports)))

    @property
    def files(self) -> Mapping[str, Path]:
        """What it is made of, by the field that names it."""
        named = {"kernel": self.kernel, "initrd": self.initrd, "disk": self.disk}
        return {name: path for name, path in named.items() if path is not None}


def binary() -> str:
    """Path of QEMU for x86-64 machines; raises `Unavailable`."""
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    raise Unavailable("QEMU (qemu-system-x86_64) is not installed", hint="run `vmvc setup`")


@functools.cache
def qemu_version(program: str = "") -> str:
    """QEMU's version, ``7.2.22``; raises `Unavailable` and `CommandFailed`."""
    done = process.run([program or binary(), "--version"], timeout_s=QUERY_TIMEOUT_S)
    first = done.stdout.decode(errors="replace").partition("\n")[0]
    match = re.search(r"version (\S+)", first)
    return match[1] if match else first


@functools.cache
def has_device(program: str, device: str) -> bool:
    """Whether this QEMU can emulate the device."""
    done = process.run([program, "-device", "help"], timeout_s=QUERY_TIMEOUT_S, check=False)
    return f'name "{device}"'.encode() in done.stdout


class QemuProvider:
    """Starts fresh machines of one specification."""

    name = "qemu"
    kind: Kind = "vm"

    def __init__(self, spec: MachineSpec, scope: RunScope) -> None:
        self.spec = spec
        self._scope = scope
        self._digest = ""

    @property
    def facts(self) -> Facts:
        """Provenance of a machine of this specification."""
        spec = self.spec
        return Facts(
            provider=self.name,
            kind=self.kind,
            version=f"QEMU {qemu_version(self._program())}",
            accelerator=spec.accelerator,
            artefact=self._artefact_digest(),
            userland=spec.userland,
            vcpus=float(spec.vcpus),
            memory_bytes=spec.memory_bytes,
            readiness=readiness.words(spec.ready) if spec.ready else READINESS,
            usage_definition=USAGE_DEFINITION,
            extra={
                "machine": spec.machine,
                "cpu": self._cpu(),
                "accel": self._accel(),
                "balloon": spec.balloon or "none",
                **self._kernel_facts(),
                "disk": "linked clone (qcow2)" if spec.disk else "none",
                **({} if spec.agent else {"commands": False}),
            },
        )

    def probe(self) -> Unavailable | None:
        """Why no machine can be started here: QEMU, the architecture or the artefacts."""
        if platform.machine() not in ("x86_64", "AMD64"):
            return Unavailable(
                f"bare machines are built for x86-64 hosts only, this one is {platform.machine()}"
            )
        try:
            self._program()
        except Unavailable as gap:
            return gap
        for path in (*self.spec.files.values(), *self.spec.images):
            if not path.is_file():
                return Unavailable(f"{path} does not exist", hint="run `vmvc setup`")
        if self.spec.disk and not shutil.which("qemu-img"):
            return Unavailable("qemu-img is not installed", hint="run `vmvc setup`")
        return None

    def prepare(self) -> None:
        """Digest the artefacts, ask QEMU what it is and load what the first start would load.

        Raises `BuildFailed` where they are damaged, and `Unavailable`.
        """
        if gap := self.probe():
            raise gap
        import qemu.qmp  # noqa: F401 - loaded here so that no start pays for it

        has_device(self._program(), "pvpanic")
        _ = self.facts
        if self.spec.digest and self.spec.digest != self._artefact_digest():
            raise BuildFailed(
                f"{' or '.join(self.spec.files)} of the machine is damaged: "
                "its digest is not that of what was built",
                hint="run `vmvc setup`: it builds them anew",
            )

    def artefact(self) -> Artefact:
        """Its files; of a disk, what of it is allocated on the host's."""
        paths = self.spec.files.values()
        kept_bytes = sum(path.stat().st_blocks * 512 for path in paths)
        fetched = self.spec.fetch_bytes
        if fetched is None:
            fetched = sum(min(path.stat().st_size, path.stat().st_blocks * 512) for path in paths)
        return Artefact(
            name=self._artefact_digest(),
            fetch_bytes=fetched,
            kept_bytes=kept_bytes,
            virtual_bytes=sum(path.stat().st_size for path in paths),
            definition=" and ".join(self.spec.files) + ("" if self.spec.disk else "; no disk"),
        )

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[QemuMachine]:
        """Boot a fresh machine and wait for its answer."""
        nonce = new_nonce()
        argv = self.command(nonce)
        until = time.monotonic() + deadline_s
        ready = self.spec.ready
        answer = ready.text.encode() if isinstance(ready, readiness.Line) else answer_text(nonce)
        with running(
            self._scope,
            argv,
            texts={**(MARKS if self.spec.kernel else DISK_MARKS), "answer": answer},
            first_byte="firmware",
            facts=lambda: self.facts,
            disk=self.spec.disk,
            holds_root=self.spec.holds_root,
            has_agent=self.spec.agent,
        ) as machine:
            if isinstance(ready, readiness.Port | readiness.Http):
                machine.await_service(ready, until, deadline_s=deadline_s)
            else:
                machine.await_answer(until, deadline_s=deadline_s)
            _ = machine.monitor  # connects while the caller goes on
            yield machine

    @contextmanager
    def created(self) -> Iterator[float]:
        """Make the linked clone of its disk; the rest of a bare machine is a command line."""
        if self.spec.disk is None:
            raise Unavailable("a machine without a disk has nothing to create")
        clone = LinkedDisk(self.spec.disk, self._scope.workdir / f"{self._scope.new_name()}.qcow2")
        watch = Stopwatch()
        try:
            clone.create()
            yield watch.mark("created")
        finally:
            clone.remove()

    def offered(self) -> AbstractContextManager[Acquire]:
        """Put kernel and initramfs on a file server of our own."""
        from pytest_vmvc.backends.qemu_offer import offered

        return offered(self.spec, self._scope, QemuProvider)

    @contextmanager
    def migrated(
        self, source: QemuMachine, *, deadline_s: float
    ) -> Iterator[tuple[QemuMachine, Moved]]:
        """Move a machine of this specification to a QEMU of its own.

        Raises `InfrastructureError` where QEMU does not complete it.
        """
        from pytest_vmvc.backends.migration import migrated

        argv = self.command(new_nonce())  # of the same length, as QEMU wants it
        with migrated(
            self._scope, source, argv, facts=lambda: source.facts, deadline_s=deadline_s
        ) as arrived:
            yield arrived

    def restored(self) -> RestoredProvider:
        """A provider of machines that go on from a snapshot of such a machine's memory."""
        from pytest_vmvc.backends.snapshot import RestoredProvider

        return RestoredProvider(self, self._scope)

    def shaped(self, shape: Shape) -> QemuProvider:
        """The same kernel and initramfs in another shape; raises `Unavailable`."""
        shape.check_for_machine()
        spec = msgspec.structs.replace(
            self.spec,
            memory_bytes=shape.memory_bytes or self.spec.memory_bytes,
            vcpus=int(shape.vcpus or self.spec.vcpus),
            ports=shape.ports or self.spec.ports,
            balloon=shape.balloon or self.spec.balloon,
        )
        return QemuProvider(spec, self._scope)

    def destinations(self) -> Mapping[str, Callable[[], AbstractContextManager[Destination]]]:
        """A folder that the machine is unpacked to; its hypervisor is this host's."""
        return {"": lambda: nullcontext(Destination())}

    def ported(self, destination: Destination) -> AbstractContextManager[Arrival]:  # noqa: ARG002 - the protocol's signature
        """Pack kernel, initramfs and disks with tar, carry and unpack them.

        Raises `CommandFailed` and `CommandTimedOut`.
        """
        from pytest_vmvc.backends.qemu_port import ported_machine

        return ported_machine(self, self._scope)

    def laden(self, fill: Callable[[Path], None]) -> AbstractContextManager[Laden]:
        """The same machine with that tree on a disk; raises `BuildFailed` and `CommandFailed`."""
        from pytest_vmvc.backends.qemu_port import laden_machine

        return laden_machine(self, fill, self._scope)

    def padded(self, sizes: Sequence[int]) -> AbstractContextManager[Mapping[int, Portable]]:
        """The same machine with a disk of so many random bytes; raises `Unavailable`."""
        from pytest_vmvc.backends.qemu_port import padded_machines

        return padded_machines(self, sizes, self._scope)

    def bound(self, spec: MachineSpec) -> QemuProvider:
        """A provider of another specification in the same run."""
        return QemuProvider(spec, self._scope)

    def typed(self, machine: str) -> QemuProvider:
        """The same as a machine of another type."""
        return QemuProvider(msgspec.structs.replace(self.spec, machine=machine), self._scope)

    def linked(self, base: Path) -> QemuProvider:
        """The same machine with a disk: a linked clone of that raw image for each."""
        return QemuProvider(msgspec.structs.replace(self.spec, disk=base, digest=""), self._scope)

    def command(self, nonce: str) -> list[str]:
        """QEMU's command line but for its name and its wires to us."""
        spec = self.spec
        program = self._program()
        words = [
            program, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
            "-machine",
            f"{MACHINES.get(spec.machine, spec.machine)},accel={self._accel()},graphics=off",
            "-cpu", self._cpu(), "-smp", str(spec.vcpus), "-m", f"{spec.memory_bytes // 1024}k",
            "-no-reboot", *spec.options,
        ]  # fmt: skip
        if spec.kernel:
            said = f"console={spec.console} {self._parameters()} vmvc.nonce={nonce}"
            words += ["-kernel", str(spec.kernel), "-append", f"{said} {spec.cmdline}".strip()]
        if spec.initrd:
            words += ["-initrd", str(spec.initrd)]
        for image in spec.images:
            place = str(image).replace(",", ",,")
            words += ["-drive", f"file={place},format=raw,if=virtio,readonly=on"]
        if spec.ports_reached:
            # Restricted: nothing but these ports goes in or out, not even to the host.
            forwards = (f"hostfwd=tcp:127.0.0.1:0-:{port}" for port in spec.ports_reached)
            words += ["-netdev", ",".join(("user,id=net,restrict=on", *forwards))]
            words += ["-device", "virtio-net-pci,netdev=net,romfile="]
        if spec.balloon:
            reporting = "on" if spec.balloon == "reporting" else "off"
            words += ["-device", f"virtio-balloon-pci,free-page-reporting={reporting}"]
        if has_device(program, "pvpanic"):
            words += ["-device", "pvpanic"]
        return words

    def _program(self) -> str:
        return self.spec.binary or binary()

    def _accel(self) -> str:
        return "kvm" if self.spec.accelerator in HARDWARE else "tcg"

    def _cpu(self) -> str:
        return self.spec.cpu or ("host" if self._accel() == "kvm" else "qemu64")

    def _parameters(self) -> str:
        """The kernel's, but for those of the specification."""
        if self.spec.machine in WITHOUT_TIMER and self._accel() == "tcg" and (khz := tsc_khz()):
            # QEMU hands out the host's own counter.
            return f"{KERNEL_PARAMETERS} tsc_early_khz={khz}"
        return KERNEL_PARAMETERS

    def _kernel_facts(self) -> dict[str, Scalar]:
        spec = self.spec
        if spec.kernel is None:
            return {"kernel_parameters": "those of its disk"}
        return {
            "kernel_parameters": f"{self._parameters()} {spec.cmdline}".strip(),
            "kernel_bytes": spec.kernel.stat().st_size,
        }

    def _artefact_digest(self) -> str:
        if not self._digest:
            self._digest = artefact_digest(
                **{name: f"sha256:{sha256(path)}" for name, path in self.spec.files.items()}
            )
        return self._digest


class QemuReaper:
    """Finds QEMU processes of ours by their names; those of libvirt carry more in that word."""

    name = "qemu"

    def inventory(self) -> list[Resource]:
        """Every machine of any run."""
        return [
            Resource(kind=self.name, name=name, run_id=run_id) for _, name, run_id in _machines()
        ]

    def destroy(self, resource: Resource) -> None:
        """Kill it, unless its pid has got a new owner meanwhile, and see that it is gone."""
        found = [machine for machine, name, _ in _machines() if name == resource.name]
        for machine in found:
            with suppress(psutil.NoSuchProcess):
                machine.kill()  # checks pid and start time first
        _, left = psutil.wait_procs(found, timeout=KILL_TIMEOUT_S)
        left = [machine for machine in left if not _is_zombie(machine)]
        if left:
            raise TeardownFailed(
                f"{resource.name} (pid {left[0].pid}) is still there after it was killed",
                hint="you may lack the permission, or the kernel holds it",
            )


def artefact_digest(**digests: str) -> str:
    """Name what boots by the digest of each of its files (see `MachineSpec.files`)."""
    return " + ".join(f"{name} {digest}" for name, digest in digests.items())


def answer_text(nonce: str) -> bytes:
    """What is looked for on the console."""
    return b"vmvc:nonce " + nonce.encode()


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _machines() -> Iterator[tuple[psutil.Process, str, str]]:
    for machine in psutil.process_iter(["cmdline"]):
        words = machine.info["cmdline"] or []
        if not words or "qemu" not in Path(words[0]).name:
            continue
        for word in words:
            match = NAME.fullmatch(word.removeprefix("guest="))
            if match and word.startswith("guest="):
                yield machine, match[0], match[1]


def _is_zombie(machine: psutil.Process) -> bool:
    """Ended, and not yet waited for by its parent."""
    try:
        return bool(machine.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
