"""Pairs of a user's own: an image, and a machine made from it or named beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends import vagrant_providers
from pytest_vmvc.backends.base import PAYLOAD
from pytest_vmvc.errors import UsageError

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_NAME = 40
SIZES: Mapping[str, int] = {
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
LEAST_MEMORY_BYTES = 32 * 2**20
Kind = Literal["image", "box", "vagrantfile", "disk"]


class OwnPair(msgspec.Struct, frozen=True, kw_only=True):
    """What a user compares; made by `parse`."""

    name: str
    source: str
    """Where it is defined: ``pyproject.toml:12``, or the options."""
    image: str = ""
    """Reference of an image that the engine has; empty: there is no container."""
    command: tuple[str, ...] = ()
    """What is run in place of the image's own command."""
    ready: readiness.Ready | None = None
    """When a start is over, on both sides; None: at the nonce of our own payload."""
    box: str = ""
    """Name of a box that Vagrant has, or path of its file."""
    vagrantfile: Path | None = None
    """Folder with a Vagrantfile."""
    vagrant_provider: str = vagrant_providers.LIBVIRT
    """What runs the machine of a box or a Vagrantfile, by Vagrant's name for it."""
    disk: Path | None = None
    """A disk image that boots by itself, or by ``kernel``."""
    kernel: Path | None = None
    initrd: Path | None = None
    kernel_parameters: str = ""
    cpus: int | None = None
    """On both sides; None: all of them for the container, one for the machine."""
    memory_bytes: int | None = None
    """On both sides; None: no limit for the container, the backend's default for the machine."""

    @property
    def argv(self) -> tuple[str, ...]:
        """What is run on both sides; empty: the image's own command."""
        return self.command or (() if self.ready else PAYLOAD)

    @property
    def machine(self) -> Kind:
        """What the machine is made from."""
        if self.box:
            return "box"
        if self.vagrantfile:
            return "vagrantfile"
        return "disk" if self.disk else "image"

    def named_box(self) -> str:
        """The box that its Vagrantfile names; raises `UsageError`."""
        assert self.vagrantfile
        text = (self.vagrantfile / "Vagrantfile").read_text(errors="replace")
        if re.search(r"^[^#\n]*\.vm\.define\b", text, re.MULTILINE):
            raise self.wrong(
                f"the Vagrantfile in {self.vagrantfile} gives its machines names",
                "one machine is compared: take the `define` away, or name a box",
            )
        found = re.search(r"""^[^#\n]*\.vm\.box\s*=\s*(["'])([^"'#{}]+)\1""", text, re.MULTILINE)
        if found is None:
            raise self.wrong(
                f"the Vagrantfile in {self.vagrantfile} names no box",
                'write it out: config.vm.box = "..."',
            )
        return found[2]

    def wrong(self, message: str, hint: str = "") -> UsageError:
        """An error of this pair, with the place where it is defined."""
        return wrong(self.source, self.name, message, hint)


def wrong(source: str, name: str, message: str, hint: str = "") -> UsageError:
    """An error of a pair that is not shipped, with whose it is."""
    return UsageError(f"{source}: pair {name}: {message}", hint=hint)


def check_name(name: str, source: str) -> None:
    """Raise `UsageError` where no pair can be called so."""
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        hint = f"like web-1, {LONGEST_NAME} characters at most"
        raise wrong(source, name, "its name is malformed", hint)


def parse(
    name: str,
    table: Mapping[str, Any],
    *,
    source: str,
    folder: Path | None,
    taken: Sequence[str] = (),
) -> OwnPair:
    """Read a pair from the words of a user; paths are relative to ``folder``.

    None: they are another host's, and not looked at. Raises `UsageError`, with the source, for
    whatever is wrong in it.
    """
    blank = OwnPair(name=name, source=source)
    check_name(name, source)
    if name in taken:
        raise blank.wrong("there is such a pair already", "give it another name")
    if unknown := [key for key in table if key not in READERS]:
        raise blank.wrong(f"unknown key {unknown[0]!r}", f"one of {', '.join(READERS)}")
    fields: dict[str, Any] = {}
    for key, value in table.items():
        field, read = READERS[key]
        try:
            fields[field] = read(value, folder)
        except UsageError as error:
            raise blank.wrong(f"{key}: {error.message}", error.hint) from error
    pair = OwnPair(name=name, source=source, **fields)
    _check(pair)
    return pair


class Table(NamedTuple):
    """A pair as its user wrote it."""

    source: str
    words: dict[str, Any]


def read(file: Path, *, taken: Sequence[str] = ()) -> dict[str, OwnPair]:
    """The pairs that a ``pyproject.toml`` defines, by name; raises `UsageError`."""
    return parsed(tables(file), folder=file.absolute().parent, taken=taken)


def parsed(
    given: Mapping[str, Table], *, folder: Path | None, taken: Sequence[str] = ()
) -> dict[str, OwnPair]:
    """Each of them, as `parse` reads one."""
    return {
        name: parse(name, one.words, source=one.source, folder=folder, taken=taken)
        for name, one in given.items()
    }


def tables(file: Path) -> dict[str, Table]:
    """The pairs of a ``pyproject.toml`` as they are written, by name; raises `UsageError`."""
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        given = tomllib.loads(text).get("tool", {}).get("vmvc", {}).get("pairs", {})
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise UsageError(
            f"{file}: tool.vmvc.pairs is no table", hint="write [tool.vmvc.pairs.NAME]"
        )
    found = {}
    for name, table in given.items():
        header = re.search(
            rf"""^\s*\[\s*tool\.vmvc\.pairs\.["']?{re.escape(name)}["']?\s*\]""", text, re.MULTILINE
        )
        line = f":{text.count(chr(10), 0, header.end()) + 1}" if header else ""
        source = f"{file.name}{line}"
        if not isinstance(table, dict):
            raise UsageError(f"{source}: pair {name} is no table", hint="[tool.vmvc.pairs.NAME]")
        found[name] = Table(source, table)
    return found


def _check(pair: OwnPair) -> None:
    machines = [key for key in ("box", "vagrantfile", "disk") if getattr(pair, key)]
    if not pair.image and not machines:
        raise pair.wrong("it has neither an image nor a machine", "name an image")
    if len(machines) > 1:
        raise pair.wrong(f"it has {' and '.join(machines)}", "name one machine")
    if pair.command and not pair.image:
        raise pair.wrong("it has a command and no image to run it in", "name the image")
    if pair.command and not pair.ready:
        raise pair.wrong(
            "nobody knows when its command has started", f"give it ready: {readiness.SYNTAX}"
        )
    provider = pair.vagrant_provider
    if provider != vagrant_providers.LIBVIRT:
        if not pair.box and not pair.vagrantfile:
            raise pair.wrong(
                f"it has Vagrant's provider {provider} and nothing for Vagrant to start",
                "name a box or a Vagrantfile",
            )
        if isinstance(pair.ready, readiness.Line):
            raise pair.wrong(
                f"nobody sees the console of a machine of Vagrant's provider {provider}",
                "give it ready: port:NUMBER or http:NUMBER/PATH, or none",
            )
    if pair.disk and not pair.ready:
        raise pair.wrong(
            "nobody knows when its disk has booted", f"give it ready: {readiness.SYNTAX}"
        )
    if not pair.disk and (pair.kernel or pair.initrd or pair.kernel_parameters):
        raise pair.wrong("it has a kernel and no disk", "name the disk, or leave out the kernel")
    if pair.initrd and not pair.kernel:
        raise pair.wrong("it has an initrd and no kernel", "name the kernel, too")


def _text(value: Any, _: Path | None) -> str:  # noqa: ANN401 - as a user wrote it
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UsageError(f"{value!r:.80} is no text", hint='write it in quotes: "..."')
    return value


def _words(value: Any, folder: Path | None) -> tuple[str, ...]:  # noqa: ANN401 - as a user wrote it
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise UsageError(f"{value!r:.80}: {error}", hint="close the quotes") from error
    if not isinstance(value, list) or not value:
        raise UsageError(f"{value!r:.80} is no command", hint='like ["nginx", "-g", "daemon off;"]')
    return tuple(_text(word, folder) for word in value)


def _ready(value: Any, folder: Path | None) -> readiness.Ready:  # noqa: ANN401 - as a user wrote it
    return readiness.parse(_text(value, folder))


def _file(value: Any, folder: Path | None) -> Path:  # noqa: ANN401 - as a user wrote it
    text = _text(value, folder)
    if folder is None:
        return Path(text)
    path = folder / Path(text).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint=f"paths are relative to {folder}")
    return path


def _folder(value: Any, folder: Path | None) -> Path:  # noqa: ANN401 - as a user wrote it
    text = _text(value, folder)
    if folder is None:
        return Path(text)
    path = folder / Path(text).expanduser()
    place = path.parent if path.name == "Vagrantfile" else path
    if not (place / "Vagrantfile").is_file():
        raise UsageError(f"there is no Vagrantfile in {place}", hint="name its folder")
    return place


def _box(value: Any, folder: Path | None) -> str:  # noqa: ANN401 - as a user wrote it
    text = _text(value, folder)
    if folder is None:
        return text
    path = folder / Path(text).expanduser()
    if path.is_file():
        return str(path)
    if text.endswith(".box"):
        raise UsageError(f"there is no file {path}", hint=f"paths are relative to {folder}")
    return text


def _provider(value: Any, folder: Path | None) -> str:  # noqa: ANN401 - as a user wrote it
    name = _text(value, folder)
    vagrant_providers.check_name(name)
    return name


def _cpus(value: Any, _: Path | None) -> int:  # noqa: ANN401 - as a user wrote it
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 1024:
        raise UsageError(f"{value!r:.80} is no number of CPUs", hint="1 or more, without a unit")
    return number


def _memory(value: Any, _: Path | None) -> int:  # noqa: ANN401 - as a user wrote it
    found = re.fullmatch(
        r"(\d{1,9}(?:\.\d+)?) ?([kKMG]i?B)", value if isinstance(value, str) else ""
    )
    if found is None or found[2] not in SIZES:
        raise UsageError(
            f"{value!r:.80} is no size of memory", hint=f'like "512 MiB"; units {", ".join(SIZES)}'
        )
    size = int(float(found[1]) * SIZES[found[2]])
    if size < LEAST_MEMORY_BYTES:
        raise UsageError(
            f"{value} of memory boots nothing",
            hint=f"{LEAST_MEMORY_BYTES >> 20} MiB at the very least",
        )
    return size


READERS: Mapping[str, tuple[str, Any]] = {
    "image": ("image", _text),
    "command": ("command", _words),
    "ready": ("ready", _ready),
    "box": ("box", _box),
    "vagrantfile": ("vagrantfile", _folder),
    "vagrant-provider": ("vagrant_provider", _provider),
    "disk": ("disk", _file),
    "kernel": ("kernel", _file),
    "initrd": ("initrd", _file),
    "kernel-parameters": ("kernel_parameters", _text),
    "cpus": ("cpus", _cpus),
    "memory": ("memory_bytes", _memory),
}
"""The keys of a pair's table; each is an option too (``--vmvc-image``)."""


def lines(pair_name: str, table: Mapping[str, Any]) -> str:
    """The table as TOML, to be put into a ``pyproject.toml``."""
    body = "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
    return f"[tool.vmvc.pairs.{pair_name}]\n{body}"


def _toml(value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()  # a JSON string is a TOML basic string
    return f"[{', '.join(_toml(word) for word in value)}]"
