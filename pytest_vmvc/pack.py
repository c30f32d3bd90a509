"""A pack of claims: a package, a folder or a file, whose test files are imported as pytest does."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pytest_vmvc.errors import UsageError

FILES = re.compile(r"test_.*\.py|.*_test\.py")
"""pytest's own choice, where a project does not change it."""
PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def modules(pack: str) -> tuple[ModuleType, ...]:
    """Every test file of a pack, imported, in the order of their paths.

    A name that could be a package's is one where there is such a package; anything else is a path.
    Raises `UsageError` where there is neither, and with file and line for whatever a file raises.
    """
    if PACKAGE.fullmatch(pack) and (places := _places(pack)):
        found = [file for place in places for file in _files(Path(place))]
    elif (path := Path(pack)).is_dir():
        found = list(_files(path.resolve()))
        if not found:
            raise UsageError(f"{path} has no test file", hint="call it test_*.py or *_test.py")
    elif path.is_file():
        found = [path.resolve()]
    else:
        raise UsageError(
            f"there is no package {pack}, nor a folder or file",
            hint="install it, put its folder on PYTHONPATH, or give a path",
        )
    return tuple(map(_imported, found))


def _places(package: str) -> list[str]:
    """The folders of an installed package; none where there is no such package."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # nor what it would be in
        return []
    except Exception as error:
        raise UsageError(
            f"the package {package} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if spec is not None and spec.submodule_search_locations is None:
        raise UsageError(f"{package} is a module", hint="name the package that it is in, or a path")
    return list(spec.submodule_search_locations or ()) if spec else []


def _files(folder: Path) -> Iterator[Path]:
    """Its test files, and those of the folders in it but the hidden ones."""
    for path in sorted(folder.rglob("*.py")):
        within = path.relative_to(folder).parts[:-1]
        if FILES.fullmatch(path.name) and not any(part.startswith(".") for part in within):
            yield path


def _imported(file: Path) -> ModuleType:
    """Import it from the first folder above it that is no package's."""
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    name = ".".join(parts)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest's skip and exit are no Exception
        raise _broken(file, error) from error
    if (other := Path(module.__file__ or "").resolve()) != file.resolve():
        raise UsageError(
            f"{file} and {other} are both called {name}",
            hint="give one another name, or each folder an __init__.py",
        )
    return module


def _broken(file: Path, error: BaseException) -> UsageError:
    """What a file raised when it was imported, with the line of it that did."""
    if isinstance(error, SyntaxError):
        return UsageError(f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    place = f"{file}:{lines[-1]}" if lines else f"{file}"
    if isinstance(error, UsageError):
        return UsageError(f"{place}: {error.message}", hint=error.hint)
    return UsageError(f"{place}: {type(error).__name__}: {error}")
