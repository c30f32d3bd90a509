"""Where the host's own packages come from: its distribution, its mirror, nobody else's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pytest_vmvc import host, process
from pytest_vmvc.errors import Unavailable

KERNELS = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
"""The distribution's kernel for virtual machines."""

ETC_APT = Path("/etc/apt")
UPDATE_TIMEOUT_S = 300.0


class AptSource(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution's own entries of the host's apt sources."""

    distribution: str
    """``debian`` or ``ubuntu``."""
    suite: str
    text: str
    """Stanzas or lines as apt reads them, third parties left out."""
    kernel: str
    title: str
    """Name and version of the distribution, for people."""


def host_source(
    *, etc_apt: Path = ETC_APT, os_release: Mapping[str, str] | None = None
) -> AptSource:
    """Read the host's distribution and its sources; raises `Unavailable` where that is no use."""
    release = os_release if os_release is not None else host.os_release()
    distribution = release.get("ID", "")
    suite = release.get("VERSION_CODENAME", "")
    if distribution not in KERNELS or not suite:
        raise Unavailable(
            "the debian pair can be built on Debian and Ubuntu only",
            hint="use a pair of your own image and box",
        )
    stanzas = etc_apt / "sources.list.d" / f"{distribution}.sources"
    lines = etc_apt / "sources.list"
    for path, select in ((stanzas, own_stanzas), (lines, own_lines)):
        text = select(path.read_text(errors="replace"), suite) if path.is_file() else ""
        if text:
            return AptSource(
                distribution=distribution,
                suite=suite,
                text=text,
                kernel=KERNELS[distribution],
                title=release.get("PRETTY_NAME", f"{distribution} {suite}"),
            )
    raise Unavailable(
        f"no apt source of {distribution} {suite} was found on this host",
        hint=f"{stanzas} and {lines} were looked at",
    )


def private_apt(folder: Path, architecture: str, source: AptSource) -> dict[str, str]:
    """Set an apt up in ``folder`` for another architecture; the system's own stays as it is.

    Returns the environment in which apt's programs know that architecture's packages. Raises
    `CommandFailed` and `CommandTimedOut`.
    """
    # The host's entries may be for its own architecture only.
    text = re.sub(r"^Architectures:.*\n|\barch=[\w,-]+", "", source.text, flags=re.MULTILINE)
    sources = folder / f"host.{'sources' if 'Types:' in text else 'list'}"
    sources.write_text(text)
    for place in ("lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    (folder / "status").touch()
    config = folder / "apt.conf"
    config.write_text(
        f"""APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{sources}";
Dir::Etc::sourceparts "{os.devnull}";
Acquire::Languages "none";
"""
    )
    env = {"APT_CONFIG": str(config)}
    process.run(["apt-get", "update"], timeout_s=UPDATE_TIMEOUT_S, env=env)
    return env


def own_stanzas(text: str, suite: str) -> str:
    """Keep the binary stanzas of the suite and its pockets (``-updates``, ``-security``)."""
    kept = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = {
            match[1].lower(): match[2].split()
            for match in re.finditer(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE)
        }
        suites = fields.get("suites", [])
        if (
            "deb" in fields.get("types", [])
            and fields.get("enabled", ["yes"]) != ["no"]
            and suites
            and all(_is_pocket(word, suite) for word in suites)
        ):
            kept.append(re.sub(r"^Types:.*$", "Types: deb", stanza.strip("\n"), flags=re.MULTILINE))
    return "".join(f"{stanza}\n\n" for stanza in kept)


def own_lines(text: str, suite: str) -> str:
    """Keep the binary lines of the suite and its pockets, as `own_stanzas` does."""
    kept = []
    for line in text.splitlines():
        match = re.match(r"deb[ \t]+(?:\[[^]]*\][ \t]+)?(\S+)[ \t]+(\S+)[ \t]+main\b", line)
        if match and not match[1].startswith("cdrom:") and _is_pocket(match[2], suite):
            kept.append(line.strip())
    return "".join(f"{line}\n" for line in kept)


def _is_pocket(word: str, suite: str) -> bool:
    return word == suite or word.startswith((f"{suite}-", f"{suite}/"))
