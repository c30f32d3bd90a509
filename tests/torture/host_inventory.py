"""What is on this host, asked of everything but the product: command lines, /proc, the file system.

Two inventories are equal where nothing was left behind. What others do meanwhile in the shared
temporary folders is told apart by name; everything else is taken as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

ASK_S = 30.0
POLL_S = 0.1
SHARED = (Path("/var/tmp"), Path("/dev/shm"))
"""Beside the temporary folder of the runs, which is theirs alone."""
OURS = "vmvc-r"
RUN_ID = re.compile("r[0-9a-f]{10}")
DAEMONS = Path("/var/log/libvirt/qemu")
LAZY = "/run/docker/netns"
"""Where Docker removes what it no longer needs once a minute."""
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "container": ("docker", "ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}"),
    "image": ("docker", "images", "-a", "--no-trunc", "--format",
              "{{.ID}} {{.Repository}}:{{.Tag}}"),
    "network": ("docker", "network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"),
    "volume": ("docker", "volume", "ls", "--format", "{{.Name}}"),
    "domain": ("virsh", "-q", "-c", "qemu:///system", "list", "--all", "--name"),
    "disk": ("virsh", "-q", "-c", "qemu:///system", "vol-list", "default"),
    "libvirt network": ("virsh", "-q", "-c", "qemu:///system", "net-list", "--all"),
    "network namespace": ("ip", "netns", "list"),
}  # fmt: skip

Inventory = frozenset[tuple[str, str]]


def take(token: str, *, folders: tuple[Path, ...]) -> Inventory:
    """Kind and name of everything; ``token``: in the environment of the processes that count.

    ``folders`` belong to the runs alone: all that is in them counts.
    """
    found: set[tuple[str, str]] = set()
    for kind, argv in COMMANDS.items():
        if shutil.which(argv[0]):
            said = subprocess.run(argv, capture_output=True, check=False, timeout=ASK_S, text=True)
            found |= {(kind, " ".join(line.split())) for line in said.stdout.splitlines() if line}
    found |= {("process", name) for name in _processes(token)}
    found |= {("mount", line.split()[4]) for line in _lines("/proc/self/mountinfo")}
    found |= {("control group", str(path)) for path in _control_groups()}
    found |= {("file", str(path)) for path in _shared()}
    found |= {("file", str(path)) for folder in folders for path in folder.rglob("*")}
    found |= {("file", str(path)) for path in _run_folders()}
    # By name: others may have added to theirs.
    found |= {("file", str(path)) for path in DAEMONS.glob(f"{OURS}*")}
    cache = Path(os.environ.get("VMVC_CACHE_DIR") or Path.home() / ".cache/pytest-vmvc")
    index = cache / "vagrant/data/machine-index/index"
    if index.exists():
        machines = json.loads(index.read_bytes())["machines"].values()
        found |= {("vagrant machine", one["vagrantfile_path"]) for one in machines}
    for pattern in (
        f"{OURS}*",
        f"*/{OURS}*",
        f"*/*/{OURS}*",
        "artefacts/.*.part",
        "vagrant/data/lock.machine*",
    ):
        found |= {("file", str(path)) for path in cache.glob(pattern)}
    return frozenset(found)


def left(
    before: Inventory, token: str, *, folders: tuple[Path, ...], within_s: float
) -> tuple[Inventory, float]:
    """What is there and was not before, once nothing is or the time is over; and the seconds."""
    began = time.monotonic()
    while True:
        asked = time.monotonic() - began
        more = take(token, folders=folders) - before
        if not more or asked > within_s:
            return more, asked
        time.sleep(POLL_S)


def _processes(token: str) -> Iterator[str]:
    """Those with the token, and every machine, whoever has started it."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            name = (folder / "comm").read_text().strip()
            marked = token.encode() in (folder / "environ").read_bytes()
            if marked or name.startswith("qemu-system"):
                yield f"{folder.name} {name}"


def _control_groups() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    for pattern in (f"*{OURS}*", f"*/*{OURS}*", "docker/*/", "*/docker/*/", "machine/*/",
                    "*/machine/*/", "*/machine.slice/*/"):  # fmt: skip
        yield from root.glob(pattern)


def _shared() -> Iterator[Path]:
    """Folders of runs where everybody's are, but for those of somebody who is alive."""
    sockets = " ".join(line.split()[-1] for line in _lines("/proc/net/unix"))
    for place in SHARED:
        for path in place.glob(f"*{OURS}*"):
            named = RUN_ID.search(path.name)
            if named is None or named[0] not in sockets:
                yield path


def _run_folders() -> Iterator[Path]:
    """Of daemons, too: their sockets, shims and bundles."""
    for place, folders, files in os.walk("/run"):
        if place != LAZY:
            yield from (Path(place, name) for name in (*folders, *files))


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()
