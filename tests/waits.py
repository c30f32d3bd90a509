"""Finds waits without a deadline in Python source: what may never return if nobody helps."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_FIRST = {"wait", "join", "result", "exception", "select"}
"""Methods that take a deadline as their first argument; with none they wait for ever."""
TIMEOUT_SECOND = {"wait_for", "create_connection"}
"""Calls that take it as their second."""
TIMEOUT_BY_NAME = {
    "communicate", "acquire", "urlopen", "HTTPConnection", "HTTPSConnection", "as_completed",
    "APIClient", "DockerClient", "from_env", "FileLock", "check_output", "check_call", "call",
}  # fmt: skip
"""Calls that take it by name, here by our custom."""
SOCKETS = {"accept", "connect", "recv", "recv_into", "recvfrom", "sendall", "sendfile", "read1"}
"""What a socket does until its timeout is over, which is set in the same function."""
OWNED = {
    ("subprocess", "run"),
    ("os", "read"),
    ("asyncio", "run"),
    ("client", "wait"),
    ("engine", "wait"),
}
"""What is such a wait of this owner only; the engine's takes its deadline by name."""
NEVER = {"waitpid", "waitid", "serve_forever", "input", "readline"}
"""What takes no deadline at all, so that somebody must say why it ends."""
POOLS = {"ThreadPoolExecutor", "ProcessPoolExecutor", "Popen"}
"""Contexts that wait on leaving."""
CLOCKS = {"monotonic", "left_s", "check", "timeout_at", "timeout", "deadline"}
"""What a loop looks at that ends in time."""
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Wait:
    """A wait without a deadline."""

    where: str
    """``module.py:Class.function``."""
    line: int
    what: str
    """A word of those above, or ``while``, ``await``, ``with``."""


def waits(source: str, name: str) -> list[Wait]:
    """Every one in a module's source."""
    return list(_Finder(name).of(ast.parse(source)))


def waits_of(folder: Path) -> list[Wait]:
    """Every one in a folder's modules."""
    return [
        found
        for path in sorted(folder.rglob("*.py"))
        for found in waits(path.read_text(), str(path.relative_to(folder.parent)))
    ]


class _Finder:
    def __init__(self, module: str) -> None:
        self.module = module

    def of(self, tree: ast.AST, scope: tuple[str, ...] = ()) -> Iterator[Wait]:
        """Those of one scope, then of those inside of it."""
        for node in _own(tree):
            if isinstance(node, SCOPES):
                yield from self.of(node, (*scope, node.name))
            elif what := _waits(node, tree):
                line = getattr(node, "lineno", 0)
                yield Wait(f"{self.module}:{'.'.join(scope) or '<module>'}", line, what)


def _own(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything below, down to where another function or class begins; those as a whole."""
    left = list(ast.iter_child_nodes(tree))
    while left:
        yield (node := left.pop())
        if not isinstance(node, SCOPES):
            left += ast.iter_child_nodes(node)


def _waits(node: ast.AST, scope: ast.AST) -> str:
    """What kind of a wait without a deadline this is; nothing where it is none."""
    if isinstance(node, ast.Call):
        return _call(node, scope)
    if isinstance(node, ast.While):
        return "while" if _polls(node) and not _names(node) & CLOCKS else ""
    if isinstance(node, ast.Await | ast.AsyncFor):
        return "" if _names(scope) & {"timeout", "timeout_at", "wait_for"} else "await"
    if isinstance(node, ast.With):
        return "with" if any(_is_pool(item.context_expr) for item in node.items) else ""
    return ""


def _call(call: ast.Call, scope: ast.AST) -> str:
    name = _name(call.func)
    owner = _name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if any(_is_deadline(keyword) for keyword in call.keywords):
        return ""
    if (owner, name) in OWNED or (name == "map" and "pool" in owner):
        return name
    if name in ("get", "shutdown"):  # of a queue, and of a server; what else has it has arguments
        return "" if call.args or call.keywords else name
    if name in TIMEOUT_FIRST:
        # `wait([...])` and `select(r, w, x)` are functions, with the deadline behind the rest.
        bare = isinstance(call.func, ast.Name) or owner == "select"
        most = 3 if name == "select" else 1
        return name if len(call.args) <= (most if bare else 0) and not _is_own(call, name) else ""
    if name in TIMEOUT_SECOND:
        return name if len(call.args) < 2 else ""
    if name in SOCKETS:
        return "" if _is_timed(scope) else name
    if name in TIMEOUT_BY_NAME:
        # A lock may get its deadline where it is taken; a bare `acquire` is a function of ours.
        elsewhere = name == "FileLock" and "acquire" in _names(scope)
        return "" if elsewhere or (name in ("acquire", "call") and not owner) else name
    return name if name in NEVER else ""


def _is_deadline(keyword: ast.keyword) -> bool:
    named = keyword.arg or ""
    given = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
    return given and ("timeout" in named or named in ("blocking", "deadline_s"))


def _is_own(call: ast.Call, name: str) -> bool:
    """A function of the same name that is none of the library's."""
    return isinstance(call.func, ast.Name) and name in ("join", "select", "result", "exception")


def _polls(loop: ast.While) -> bool:
    """Whether it goes round until something else happens, or for ever."""
    for_ever = isinstance(loop.test, ast.Constant)
    return for_ever or bool(_names(loop) & {"sleep"})


def _is_pool(context: ast.AST) -> bool:
    return isinstance(context, ast.Call) and _name(context.func) in POOLS


@functools.cache
def _is_timed(scope: ast.AST) -> bool:
    """Whether a socket gets a deadline here, or its connection is made with one."""
    made = (node for node in _own(scope) if isinstance(node, ast.keyword))
    return "settimeout" in _names(scope) or any(one.arg == "timeout" for one in made)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@functools.cache
def _names(tree: ast.AST) -> set[str]:
    return {_name(node) for node in ast.walk(tree)}
