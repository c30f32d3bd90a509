"""Where and as whom to log in to a machine, as Vagrant prints it."""

from __future__ import annotations

import re

import msgspec

from pytest_vmvc.errors import LaunchFailed


class SshConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where and as whom to log in, as ``vagrant ssh-config`` prints it."""

    host: str
    port: int
    user: str
    identity_files: tuple[str, ...]


_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*")


def parse_ssh_config(text: str) -> SshConfig:
    """Read the first host of an ssh configuration; raises `LaunchFailed` with the line at fault.

    Only four settings are taken from it, so nothing else in it can run a command on this host.
    """
    found: dict[str, str] = {}
    keys: list[str] = []
    hosts = 0
    for line in text.splitlines():
        match = re.fullmatch(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(\S.*?)\s*", line)
        if match is None:
            continue
        name, value = match[1].lower(), match[2]
        if name == "host":
            hosts += 1
        elif hosts == 1 and name == "identityfile":
            keys.append(_path(value, line))
        elif hosts == 1 and name in ("hostname", "port", "user"):
            if not _WORD.fullmatch(value):
                raise _odd(line)
            found.setdefault(name, value)
    missing = {"hostname", "user"} - found.keys()
    if missing or not keys:
        first = next((line for line in text.splitlines() if line.strip()), "")
        raise LaunchFailed(
            f"no login in the ssh configuration: {', '.join(sorted(missing)) or 'IdentityFile'} "
            f"missing; it begins {first[:80]!r}",
            hint="see `vagrant ssh-config` of such a machine",
        )
    port = found.get("port", "22")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise _odd(f"Port {port}")
    return SshConfig(
        host=found["hostname"], port=int(port), user=found["user"], identity_files=tuple(keys)
    )


def _path(value: str, line: str) -> str:
    path = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if not path.startswith("/") or not path.isprintable():
        raise _odd(line)
    return path


def _odd(line: str) -> LaunchFailed:
    return LaunchFailed(
        f"odd line in the ssh configuration: {line.strip()[:120]!r}",
        hint="see `vagrant ssh-config` of such a machine",
    )
