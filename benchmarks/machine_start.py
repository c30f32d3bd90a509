"""A bare machine's start: our fixture against the same command line, a snapshot, and by variants.

    python benchmarks/machine_start.py -o benchmarks/machine_start.json

`by hand` is the fixture's own QEMU command line, started and read by nothing but this file. The
variants change one thing after another, from what somebody types who has a kernel and an initramfs
to the machine that our pair has, and on to the least that this kernel boots on; marks tell the
phases (the kernel's mark is when the firmware hands over; microvm's firmware says nothing).
Emulated or by KVM: the tier is in the record.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import contest
import msgspec
from contest import Aim, entering

from pytest_vmvc.backends.base import Stopwatch, new_nonce
from pytest_vmvc.backends.qemu import QemuProvider, answer_text
from pytest_vmvc.measure import Sample
from pytest_vmvc.resources import RunScope, marked
from pytest_vmvc.subjects import catalog
from pytest_vmvc.subjects.kernel import distribution_kernel

LIMIT_S = 120.0
MARKS = {"firmware": b"", "init": b"vmvc:init"}
SAME_DEVICES = (
    "-serial", "stdio", "-device", "virtio-serial-pci,id=ports",
    "-chardev", "null,id=a", "-chardev", "null,id=b", "-chardev", "null,id=c",
    "-device", "virtserialport,bus=ports.0,nr=1,chardev=a,name=org.vmvc.requests",
    "-device", "virtserialport,bus=ports.0,nr=2,chardev=b,name=org.vmvc.kills",
    "-mon", "chardev=c,mode=control",
)  # fmt: skip
FEWEST = "acpi=off lsm=capability audit=0 mitigations=off"
"""Of what a kernel does at boot, what a machine for one service can be without."""


@contextmanager
def by_hand(words: list[str], nonce: str) -> Iterator[Stopwatch]:
    """QEMU with its console on a pipe, read until the nonce is there."""
    watch, heard, sought = Stopwatch(), b"", {**MARKS, "answer": answer_text(nonce)}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=marked(), bufsize=0
    ) as child:
        try:
            assert child.stdout is not None
            while "answer" not in watch.marks:
                data = child.stdout.read(1 << 16)
                assert data, heard[-1000:]
                heard += data
                for name, text in sought.items():
                    if text in heard:
                        watch.mark(name)
            yield watch
        finally:
            child.kill()


def typed(provider: QemuProvider, kernel: Path) -> Iterator[Any]:
    """What somebody types who has a kernel and an initramfs: QEMU's own defaults for the rest."""
    nonce = new_nonce()
    spec = provider.spec
    return by_hand(
        [
            provider.command(nonce)[0], "-m", f"{spec.memory_bytes // 2**20}", "-nographic",
            "-no-reboot", "-accel", provider.facts.extra["accel"],
            "-kernel", str(kernel), "-initrd", str(spec.initrd),
            "-append", f"console=ttyS0 panic=-1 vmvc.nonce={nonce}",
        ],
        nonce,
    )  # fmt: skip


def variants(ours: QemuProvider, kernel: Path) -> Mapping[str, QemuProvider]:
    """From the distribution's boot image on QEMU's usual machine to the least; ours is one."""

    def of(**changes: object) -> QemuProvider:
        return ours.bound(msgspec.structs.replace(ours.spec, digest="", **changes))

    return {
        "boot image, our parameters": of(kernel=kernel),
        "pc": of(machine="pc"),
        "microvm": of(machine="microvm"),
        "least": of(machine="pc", cmdline=FEWEST),
    }


def measured(rounds: int) -> dict[str, Any]:
    with RunScope() as scope:
        scratch = scope.workdir / "kernel"
        scratch.mkdir()
        image = scope.workdir / "vmlinuz"
        shutil.copy(distribution_kernel(scratch, lambda *_: None).image, image)
        shutil.rmtree(scratch)
        pair = catalog.load("minimal", scope)
        ours, restored = pair.subjects["vm"], pair.subjects["vm-restored"]
        rivals = {"fixture": ours, "restored": restored, **variants(ours, image)}
        for provider in rivals.values():
            provider.prepare()

        def same() -> Any:
            nonce = new_nonce()
            return by_hand([*ours.command(nonce), *SAME_DEVICES], nonce)

        def command() -> Sample:
            """A machine for whoever times no boot, and the first command in it."""
            began = time.monotonic()
            with restored.launch() as machine:
                machine.run(["true"])
                return Sample(values={"seconds": time.monotonic() - began})

        takers = {name: entering(provider.launch) for name, provider in rivals.items()}
        takers |= {
            "by hand": entering(same),
            "as typed": entering(lambda: typed(ours, image)),
            "restored, to a command": command,
        }
        aims = [
            Aim(subject="fixture", over="by hand", below=1.02),
            Aim(subject="restored", over="as typed", below=1 / 6),
            Aim(subject="restored", over="fixture", below=1 / 6),
            Aim(subject="boot image, our parameters", over="as typed"),
            Aim(subject="fixture", over="as typed"),
            *(Aim(subject=name, over="fixture") for name in ("pc", "microvm", "least")),
        ]
        return contest.run("machine_start", takers, aims, rounds=rounds)


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=30)
