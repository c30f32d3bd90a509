"""The hosts that ``--tx`` names: what each is called, and whether it can measure at all.

Each is asked before anything is started, with a deadline: pytest-xdist gives up the whole session
for one gateway that cannot be made, and waits for ever for one that does not answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from pytest_vmvc import process
from pytest_vmvc.errors import CommandTimedOut, UsageError, VmvcError

PROBE_S = 30.0
"""Seconds that a host may take to start a Python and to say what it has."""
AT_ONCE: Final = 32
NEEDED: Final = ("pytest-vmvc", "pytest", "pytest-xdist")
OLDEST: Final = (3, 11)
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
KEYS: Final = frozenset(
    ("chdir", "dont_write_bytecode", "execmodel", "id", "installvia", "nice", "popen", "python",
     "socket", "ssh", "ssh_config", "vagrant_ssh", "via")
)  # fmt: skip
"""What execnet knows in a specification; ``env:NAME`` besides."""

ASK: Final = """import json, sys
path = channel.receive()
if path:
    sys.path[:] = path
found = {"python": list(sys.version_info[:3]), "program": sys.executable, "versions": {}}
try:
    import importlib.metadata as metadata
    for name in NEEDED:
        try:
            found["versions"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    if len(found["versions"]) == len(NEEDED):
        import execnet, pytest, pytest_vmvc.model
except Exception as error:
    found["broken"] = type(error).__name__ + ": " + str(error)
channel.send(json.dumps(found))
"""
"""Runs in the host's Python, of whatever version that is."""
CHILD: Final = """import sys
_, spec, ask, *path = sys.argv
sys.path[:] = path
import execnet
group = execnet.Group()
try:
    channel = group.makegateway(spec).remote_exec(ask)
    # A local worker is given our own packages by pytest-xdist, whatever its interpreter has.
    channel.send(path if spec.startswith("popen") else [])
    said = channel.receive()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}".strip().splitlines()[-1])
sys.stdout.write(said)
group.terminate(1)
"""
"""Asks one host. A process of its own, which can be ended, and has no terminal to ask at."""
SSH_REMEDIES: Final[Mapping[str, str]] = {
    "Permission denied": "`ssh {where} true` must work without a question: have a key accepted "
    "there, and its owner's agent or ssh_config name it",
    "Host key verification failed": "connect once by hand and accept the host's key, or put it "
    "into known_hosts",
    "Connection refused": "does an ssh server run there, at that port?",
    "Could not resolve": "is the name right? `ssh {where} true` must work",
    "not found": "name the Python there: //python=/path/to/venv/bin/python",
    "No such file": "name the Python there: //python=/path/to/venv/bin/python",
}
"""What is done about what ssh, or the shell behind it, says last."""


class Spec(NamedTuple):
    """A host of the list."""

    id: str
    """Of its gateway: the folder of its results is called so."""
    tx: str
    """As execnet is given it."""
    env: Mapping[str, str]
    """Variables whose values execnet cannot be given: it ends them at ``//``."""
    remote: bool
    """Whether it has a folder, and mostly also packages, of its own."""
    shown: str
    """How a person would call it: what is reached, and no more."""

    @property
    def label(self) -> str:
        """Both names."""
        return f"{self.id} ({self.shown})"


def parse(given: Sequence[str]) -> tuple[Spec, ...]:
    """The hosts of all ``--tx``; raises `UsageError` naming the one that cannot be meant."""
    texts: list[str] = []
    for text in given:
        times, star, rest = text.partition("*")
        texts += [rest] * int(times) if star and times.isdecimal() else [text]
    specs = [_spec(text, f"gw{number}") for number, text in enumerate(texts)]
    names = [spec.id for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--tx: two hosts are called {name}", hint="give each an id: //id=NAME"
            )
    return tuple(specs)


def _spec(text: str, fallback: str) -> Spec:
    tokens: list[str] = []
    for token in text.split("//"):
        known = token.partition("=")[0] in KEYS or token.startswith("env:")
        if not known and tokens and tokens[-1].startswith("env:"):
            tokens[-1] += f"//{token}"  # DOCKER_HOST=unix:///run/docker.sock
        elif known:
            tokens.append(token)
        else:
            raise UsageError(
                f"--tx={text}: {token or 'nothing'} is no part of a host's specification",
                hint="write ssh=HOST//python=/path/to/python, or popen//env:DOCKER_HOST=unix:///...",
            )
    told = dict(token.partition("=")[::2] for token in tokens)
    name = told.get("id") or fallback
    if not NAME.fullmatch(name):
        raise UsageError(f"--tx={text}: {name} cannot name a folder", hint="use letters and digits")
    by_us = {key: value for key, value in told.items() if key.startswith("env:") and "//" in value}
    plain = [token for token in tokens if token.partition("=")[0] not in by_us]
    where = next((key for key in ("ssh", "vagrant_ssh", "socket", "popen") if key in told), "")
    return Spec(
        id=name,
        tx="//".join([*plain, *(() if "id" in told else (f"id={name}",))]),
        env={key.removeprefix("env:"): value for key, value in by_us.items()},
        remote="popen" not in told or "chdir" in told,
        shown=f"{where}={told[where]}" if told.get(where) else where or text,
    )


def probe(specs: Sequence[Spec]) -> dict[str, str]:
    """Why hosts of these cannot measure, by their ids; none: they can, as far as can be told."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        gaps = pool.map(_gap, specs)
        return {spec.id: gap for spec, gap in zip(specs, gaps, strict=True) if gap}


def _gap(spec: Spec) -> str:
    if "via=" in spec.tx:
        return ""  # what it is reached through is started by pytest-xdist only
    ask = f"NEEDED = {NEEDED!r}\n{ASK}"
    try:
        done = process.run(
            [sys.executable, "-c", CHILD, spec.tx, ask, *sys.path],
            timeout_s=PROBE_S,
            env={"SSH_ASKPASS_REQUIRE": "never"},
            check=False,
        )
    except CommandTimedOut:
        return f"it did not answer within {PROBE_S:g} s; {_remedy(spec, '')}"
    except VmvcError as error:
        return str(error)
    if done.exit_status:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        # Behind what execnet makes of it stands what ssh or the shell there said.
        words = [line for line in said if not line.startswith(("HostNotFound", "EOFError"))]
        cause = " ".join((words or said or ["it ended without a word"])[-2:])[-300:]
        return f"{cause}; {_remedy(spec, cause)}"
    try:
        return lacking(json.loads(done.stdout), importlib.metadata.version("pytest-vmvc"))
    except ValueError:
        return (
            f"it says {done.stdout[:80]!r} before any Python does; is its shell's profile silent?"
        )


def _remedy(spec: Spec, cause: str) -> str:
    where = spec.shown.partition("=")[2]
    if not where:
        return "can its interpreter be started by hand?"
    known = (remedy for words, remedy in SSH_REMEDIES.items() if words in cause)
    return next(known, "`ssh {where} true` must work without a question").format(where=where)


def lacking(found: Mapping[str, Any], here: str) -> str:
    """What a host does not have that is needed, with the remedy; empty: it has everything."""
    versions, program = found["versions"], found["program"]
    python = ".".join(str(part) for part in found["python"])
    if tuple(found["python"][:2]) < OLDEST:
        return f"{program} is Python {python}; name one of 3.11 or newer: //python=/path/to/python"
    there = versions.get("pytest-vmvc")
    if there is not None and there != here:
        return f"it has pytest-vmvc {there}, and here is {here}; install the same on both"
    if gone := [name for name in NEEDED if name not in versions]:
        return (
            f"{program} (Python {python}) has no {' and no '.join(gone)}; there, run `{program} -m "
            f"pip install pytest-vmvc=={here} pytest-xdist`, or name another: //python=..."
        )
    if "broken" in found:
        return f"{program} (Python {python}) cannot load them: {found['broken']}; install them anew"
    return ""
