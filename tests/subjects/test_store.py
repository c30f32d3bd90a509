from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_vmvc.errors import BuildFailed, CommandFailed
from pytest_vmvc.subjects import store
from pytest_vmvc.subjects.store import built, require_space, stored

RECIPE = {"suite": "one", "size": "2"}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VMVC_CACHE_DIR", str(tmp_path))
    return tmp_path / "artefacts"


class Builder:
    """Writes one file, and counts."""

    def __init__(self, content: bytes = b"content") -> None:
        self.content = content
        self.count = 0

    def __call__(self, folder: Path) -> Mapping[str, str]:
        self.count += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(self.content)
        return {"words": "some"}


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_it_is_built_once_and_found_again(cache: Path) -> None:
    builder = Builder()
    assert stored("x", RECIPE) is None
    first = built("x", RECIPE, builder)
    assert built("x", dict(reversed(RECIPE.items())), builder) == first == stored("x", RECIPE)
    assert builder.count == 1
    assert first.metadata == {"words": "some"}
    assert (first.path / "sub" / "file").read_bytes() == b"content"
    assert left_in(cache) == [f"x-{first.key}"]


def test_the_recipe_decides_the_key_and_the_files_the_digest() -> None:
    one = built("x", RECIPE, Builder())
    other = built("x", RECIPE | {"size": "3"}, Builder())
    third = built("x", RECIPE | {"size": "4"}, Builder(b"changed"))
    assert len({one.key, other.key, third.key}) == 3
    assert one.digest == other.digest != third.digest


@pytest.mark.parametrize("damage", ["file gone", "file cut", "manifest cut", "manifest gone"])
def test_a_damaged_artefact_is_built_again(damage: str) -> None:
    builder = Builder()
    path = built("x", RECIPE, builder).path
    match damage:
        case "file gone":
            (path / "sub" / "file").unlink()
        case "file cut":
            (path / "sub" / "file").write_bytes(b"c")
        case "manifest cut":
            (path / store.MANIFEST).write_text("{")
        case "manifest gone":
            (path / store.MANIFEST).unlink()
    assert stored("x", RECIPE) is None
    assert (built("x", RECIPE, builder).path / "sub" / "file").read_bytes() == b"content"
    assert builder.count == 2


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_interrupted_build_leaves_nothing(cache: Path, error: BaseException) -> None:
    def build(folder: Path) -> Mapping[str, str]:
        (folder / "half").touch()
        raise error

    with pytest.raises(type(error)):
        built("x", RECIPE, build)
    assert left_in(cache) == []


def test_what_a_killed_build_left_is_removed(cache: Path) -> None:
    killed = cache / f".x-{store.recipe_key(RECIPE)}.abc.part"
    other = cache / ".y-0123456789ab.abc.part"
    for folder in (killed, other):
        (folder / "half").mkdir(parents=True)
    found = built("x", RECIPE, Builder())
    assert left_in(cache) == [other.name, found.path.name]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        CommandFailed("`tar` ended with 2", hint="write: No space left on device"),
    ],
)
def test_a_full_disk_is_one_clear_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def build(folder: Path) -> Mapping[str, str]:
        raise error

    monkeypatch.setattr(store, "_free_bytes", lambda _: 3 * 2**20)
    with pytest.raises(BuildFailed, match=r"disk is full.*3 MiB free") as caught:
        built("x", RECIPE, build)
    assert "VMVC_CACHE_DIR" in caught.value.hint
    assert left_in(cache) == []


def test_another_failure_of_a_command_stays_what_it_is() -> None:
    def build(folder: Path) -> Mapping[str, str]:
        raise CommandFailed("`tar` ended with 2", hint="not an archive")

    with pytest.raises(CommandFailed, match="not an archive"):
        built("x", RECIPE, build)


def test_a_cache_that_cannot_be_written_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BuildFailed, match="cannot be written"):
        built("x", RECIPE, Builder())


def test_two_at_once_build_once() -> None:
    builder = Builder()
    threads = [threading.Thread(target=built, args=("x", RECIPE, builder)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert builder.count == 1


def test_waiting_for_another_builder_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.01)

    def build(folder: Path) -> Mapping[str, str]:
        with pytest.raises(BuildFailed, match="another process"):
            built("x", RECIPE, Builder())
        return {}

    built("x", RECIPE, build)


def test_space_is_required(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    free_bytes = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(BuildFailed, match="not enough disk space"):
        require_space(tmp_path, free_bytes)
