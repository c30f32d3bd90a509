"""Which packages a root file system holds, and that one root contains another."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from pytest_vmvc.errors import BuildFailed

STATUS = "var/lib/dpkg/status"


def parse_status(text: str) -> dict[str, str]:
    """Read name and version of every installed package from dpkg's status file."""
    packages = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            packages[fields["Package"]] = fields["Version"]
    return packages


def read_packages(archive: Path) -> dict[str, str]:
    """Read the packages of a root that is kept as a tar; raises `BuildFailed` without any."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.removeprefix("./") == STATUS and (file := tar.extractfile(member)):
                return parse_status(file.read().decode(errors="replace"))
    raise BuildFailed(f"{archive.name} holds no Debian root: {STATUS} is not in it")


def extra_packages(base: Mapping[str, str], machine: Mapping[str, str]) -> dict[str, str]:
    """List what the machine has beyond the base; all of the base must be in it, unchanged.

    Raises `BuildFailed` when they differ: then the pair is no pair.
    """
    differing = [name for name, version in base.items() if machine.get(name) != version]
    if differing:
        raise BuildFailed(
            f"image and machine differ in {', '.join(sorted(differing)[:5])}",
            hint="the mirror changed between the two builds; run `vmvc setup` again",
        )
    return {name: version for name, version in machine.items() if name not in base}
