"""System packages: what is there, what apt could install, and installing it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.errors import CommandFailed, Unavailable
from pytest_vmvc.setup import superuser
from pytest_vmvc.setup.requirements import Requirement

QUERY_S = 30.0
UPDATE_S = 600.0
INSTALL_S = 1800.0
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120")
"""Another package manager at work is waited for, up to two minutes."""

Say = Callable[[str], None]


def is_debian_like() -> bool:
    """Whether packages come by apt and dpkg."""
    return bool(program("apt-get") and program("dpkg-query"))


def program(name: str) -> str:
    """Where a program is, or empty; system folders count even if PATH leaves them out."""
    return shutil.which(name, path=search_path()) or ""


def search_path() -> str:
    """PATH and the system folders behind it."""
    places = [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    return os.pathsep.join(places)


def present(needs: Iterable[Requirement]) -> frozenset[str]:
    """The packages that are met: installed, or the program is there in another form."""
    needs = tuple(needs)
    found = {need.package for need in needs if need.program and program(need.program)}
    found |= _installed([need.package for need in needs if need.package not in found])
    if vagrant_is_vendors():
        # The vendor's build does not see the plugins of the distribution's packages.
        found.discard("vagrant-libvirt")
    if _static_busybox():
        found.add("busybox-static")
    if _vagrant_plugin():
        found.add("vagrant-libvirt")
    return frozenset(found)


def without_candidate(needs: Iterable[Requirement], met: frozenset[str]) -> frozenset[str]:
    """Missing packages that apt cannot install; empty while apt has no package lists."""
    missing = [need.package for need in needs if need.package not in met]
    unknown = candidates_missing(missing) if missing else frozenset()
    if vagrant_is_vendors() and "vagrant-libvirt" in missing:
        unknown |= {"vagrant-libvirt"}
    return unknown


def candidates_missing(packages: Sequence[str]) -> frozenset[str]:
    """Those of the packages for which apt has no candidate; empty without package lists."""
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        return frozenset()
    done = process.run(["apt-cache", "policy", *packages], timeout_s=QUERY_S, env=QUIET)
    return frozenset(packages) - _with_candidate(done.stdout.decode())


def install(
    packages: Sequence[str],
    *,
    log: Path,
    say: Say,
    optional: frozenset[str],
    extra: frozenset[str] = frozenset(),
) -> None:
    """Refresh the package lists and install what has a candidate.

    Of ``optional`` packages all are left out where one lacks it, of ``extra`` ones only that one.

    Raises `CommandFailed` with apt's last lines, `CommandTimedOut`, and `Unavailable` where apt
    knows no such package or this user may not install.
    """
    status = superuser.run([*APT, "update"], log=log, timeout_s=UPDATE_S, env=QUIET, check=False)
    warning = "" if status == 0 else f"`apt-get update` ended with {status}: {superuser.tail(log)}"
    if warning:
        say(f"{warning} — going on with the package lists that are there")
    unknown = candidates_missing(packages)
    packages = [name for name in packages if name not in unknown & extra]
    unknown -= extra
    if unknown - optional:
        raise Unavailable(
            f"apt knows no package {', '.join(sorted(unknown - optional))}",
            hint=warning or "look at the package sources of this host",
        )
    if unknown:
        # Half of a chain is of no use: without Vagrant, libvirt would only take space.
        packages = [name for name in packages if name not in optional]
    if packages:
        superuser.run(install_argv(packages), log=log, timeout_s=INSTALL_S, env=QUIET)


def install_argv(packages: Sequence[str]) -> list[str]:
    """The exact apt command."""
    return [*APT, "install", "-y", "--no-install-recommends", *packages]


def vagrant_is_vendors() -> bool:
    """Whether the Vagrant here is its vendor's build, with a Ruby of its own."""
    return Path("/opt/vagrant/bin/vagrant").exists()


def _installed(packages: Sequence[str]) -> set[str]:
    if not packages:
        return set()
    argv = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]
    with suppress(Unavailable, CommandFailed):
        done = process.run(argv, timeout_s=QUERY_S, check=False)
        rows = (line.split() for line in done.stdout.decode().splitlines())
        return {row[0] for row in rows if row[-1] == "installed"}
    return set()


def _with_candidate(policy: str) -> set[str]:
    """Package names of an ``apt-cache policy`` answer that have a candidate."""
    found = re.findall(r"^(\S+):\n(?:\s+.*\n)*?\s+Candidate: (\S+)", policy, flags=re.MULTILINE)
    return {name for name, candidate in found if candidate != "(none)"}


def _static_busybox() -> bool:
    """Whether the busybox on PATH needs no shared library (no interpreter in its ELF header)."""
    path = program("busybox")
    if not path:
        return False
    with suppress(OSError), Path(path).open("rb") as file:
        return b"/ld-" not in file.read(4096)
    return False


def _vagrant_plugin() -> bool:
    """Whether the plugin is installed in the user's Vagrant folder."""
    home = Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d")
    return any(home.glob("gems/*/gems/vagrant-libvirt-*"))
