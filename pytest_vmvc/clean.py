"""Destroy what runs have left behind, verify it, and name what would not go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_vmvc import extensions
from pytest_vmvc.backends.base import Reaper
from pytest_vmvc.errors import TeardownFailed, Unavailable, UsageError, VmvcError
from pytest_vmvc.paths import cache_dir, state_dir
from pytest_vmvc.resources import (
    ChildReaper,
    FolderReaper,
    Resource,
    RunScope,
    beacons,
    dead_runs,
    forget,
    live_runs,
    owner_of,
    runs_of,
    written_down,
)

APPEAR_S = 2.0
"""How long an engine may still be at work on a request whose sender was killed."""
RETRY_S = 0.5
REAP_S = 120.0
"""For all that one run has left."""
REAP_GRACE_S = 60
"""For the last step of it, which has a deadline of its own."""


class Leftover(msgspec.Struct, frozen=True):
    """Something that is still there, and why."""

    resource: Resource
    reason: str


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep found and did."""

    destroyed: tuple[Resource, ...] = ()
    """Destroyed and gone; with ``dry_run`` what would be."""
    left: tuple[Leftover, ...] = ()
    untouched: tuple[Resource, ...] = ()
    """Belongs to a live run, or to one that this sweep must not judge."""
    skipped: tuple[str, ...] = ()
    """Backends that could not be asked, with the reason."""
    forgotten: tuple[str, ...] = ()
    """Dead runs of which nothing is left."""


def reapers() -> tuple[Reaper, ...]:
    """One for each technology; folders last, since machines live in them.

    Processes go before what they could still be making. Those of other distributions are among
    them, and none of these can keep the rest from their work.
    """
    from pytest_vmvc.backends.control_group import CgroupReaper
    from pytest_vmvc.backends.docker import DockerReaper
    from pytest_vmvc.backends.qemu import QemuReaper
    from pytest_vmvc.backends.registry import RegistryReaper
    from pytest_vmvc.backends.second_engine import EngineReaper
    from pytest_vmvc.backends.vagrant import VagrantReaper
    from pytest_vmvc.backends.vagrant_offer import HomeReaper

    return (
        QemuReaper(),
        EngineReaper(),
        RegistryReaper(),
        ChildReaper(),
        DockerReaper(),
        VagrantReaper(),
        HomeReaper(),
        *(_OtherReaper(one) for one in extensions.all_of(extensions.REAPERS)),
        CgroupReaper(),
        FolderReaper(),
    )


class _OtherReaper:
    """That of another distribution: what is wrong with it is told as its not being there."""

    def __init__(self, extension: extensions.Extension) -> None:
        self.name = extension.name
        self._extension = extension
        self._made: Any = None

    def inventory(self) -> list[Resource]:
        """What it finds; raises `Unavailable`, also where it cannot be imported."""
        try:
            if self._made is None:
                self._made = self._extension.load()()
            return [one for one in self._made.inventory() if _is_resource(one)]
        except VmvcError as error:
            raise Unavailable(error.message, hint=error.hint) from error
        except Exception as error:  # a stranger's class may do anything
            raise Unavailable(f"{self._extension}: {_said(error)}") from error

    def destroy(self, resource: Resource) -> None:
        """Have it destroy what it has found; raises `TeardownFailed`."""
        try:
            self._made.destroy(resource)
        except VmvcError:
            raise
        except Exception as error:  # as above
            raise TeardownFailed(f"{self._extension}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _is_resource(found: object) -> bool:
    if isinstance(found, Resource):
        return True
    raise TypeError(f"its inventory holds {type(found).__name__}, not Resource")


def sweep(
    *,
    dry_run: bool = False,
    strangers: bool = False,
    use: Sequence[Reaper] | None = None,
) -> SweepReport:
    """Destroy what belongs to runs that ended without tidying up; a live run is never touched.

    Things of runs that this state folder does not know are touched only with ``strangers``: a run
    in another network namespace may be alive and out of sight. ``use`` replaces this host's own.
    """
    known_dead = dead_runs()

    def doomed(found: Iterable[Resource]) -> frozenset[str]:
        # Asked after the inventory: a run registers itself before it makes anything, so whatever
        # was in the inventory and is not of a live run now belongs to none.
        alive = live_runs() | beacons()
        ids = {resource.run_id for resource in found} - alive
        return frozenset(ids if strangers else ids & dead_runs())

    report = _reap(use if use is not None else reapers(), doomed, dry_run=dry_run)
    if dry_run:
        return report
    remaining = {item.resource.run_id for item in report.left}
    # Twice dead, with an inventory in between: a run that is just registering itself has a folder
    # and, for an instant, no owner.
    gone = sorted((known_dead & dead_runs()) - remaining)
    if report.skipped:  # what could not be asked may still have what the run has made
        gone = [run_id for run_id in gone if not written_down(run_id)]
    for run_id in gone:
        forget(run_id)
    return msgspec.structs.replace(report, forgotten=tuple(gone))


def reap(
    run_id: str, *, use: Sequence[Reaper] | None = None, deadline_s: float = REAP_S
) -> SweepReport:
    """Destroy all of a run that has ended, until nothing more appears.

    Other runs of the same process go with it; a live run is never touched.
    """
    owner = owner_of(run_id)
    mine = frozenset({run_id}) | (runs_of(owner) if owner else frozenset())
    mine -= live_runs() | beacons()
    until = time.monotonic() + deadline_s
    settled = time.monotonic() + APPEAR_S
    destroyed: list[Resource] = []
    while True:
        began = time.monotonic()
        report = _reap(use if use is not None else reapers(), lambda _: mine, dry_run=False)
        destroyed += report.destroyed
        if not (report.destroyed or report.left) and began >= settled:
            break
        if time.monotonic() > until:
            break
        time.sleep(RETRY_S if report.left else max(0.0, settled - time.monotonic()))
    gone = sorted(mine) if not (report.left or report.skipped) else []
    for dead in gone:
        forget(dead)
    return msgspec.structs.replace(
        report, destroyed=tuple(destroyed), untouched=(), forgotten=tuple(gone)
    )


def destroy_run(scope: RunScope, *, use: Sequence[Reaper] | None = None) -> SweepReport:
    """Destroy everything of one's own run; the last resort of a run that is being ended."""
    report = _reap(
        use if use is not None else reapers(), lambda _: frozenset({scope.run_id}), dry_run=False
    )
    # Where a backend could not be asked, only what was seen to go is gone.
    gone = set(report.destroyed)
    if not report.skipped:
        gone |= set(scope.held) - {item.resource for item in report.left}
    for resource in gone:
        scope.release(resource)
    return report


def clean_all() -> list[str]:
    """Remove images, boxes, cache and state too; returns a line for each thing removed.

    Raises `UsageError` while a run lives, and what a backend raises that will not let go.
    """
    if live_runs() | beacons():
        raise UsageError(
            "a run is going on: its images and its state cannot be removed",
            hint="wait for it to end, then run `vmvc clean --all` again",
        )
    lines = [*_remove_images(), *_remove_boxes()]
    for folder in (cache_dir(), state_dir()):
        if folder.exists():
            _remove_folder(folder)
            lines.append(f"removed {folder}")
    return lines


def _reap(
    use: Sequence[Reaper], choose: Callable[[Iterable[Resource]], frozenset[str]], *, dry_run: bool
) -> SweepReport:
    destroyed: list[Resource] = []
    left: list[Leftover] = []
    untouched: list[Resource] = []
    skipped: list[str] = []
    for reaper in use:
        try:
            found = reaper.inventory()
            chosen = choose(found)
            victims = [resource for resource in found if resource.run_id in chosen]
            kept = {one: inside for one in victims if (inside := _left_in(one, left))}
            victims = [resource for resource in victims if resource not in kept]
            left += [Leftover(one, f"it still has {inside}") for one, inside in kept.items()]
            untouched += [resource for resource in found if resource.run_id not in chosen]
            reasons = {} if dry_run else _destroy(reaper, victims)
        except Unavailable as error:
            skipped.append(f"{reaper.name}: {error}")
            continue
        for resource in victims:
            if (reason := reasons.get(resource)) is None:
                destroyed.append(resource)
            else:
                left.append(Leftover(resource, reason))
    return SweepReport(
        destroyed=tuple(destroyed),
        left=tuple(left),
        untouched=tuple(untouched),
        skipped=tuple(skipped),
    )


def _left_in(folder: Resource, left: Sequence[Leftover]) -> str:
    """What would lose its only handle with the folder; empty where it is no such folder."""
    if folder.kind != FolderReaper.name:
        return ""
    names = (one.resource.name for one in left)
    return next((name for name in names if Path(name).is_relative_to(folder.name)), "")


def _destroy(reaper: Reaper, victims: Sequence[Resource]) -> dict[Resource, str]:
    """Destroy each and look again; returns what is still there with the reason."""
    reasons = {}
    for resource in victims:
        try:
            reaper.destroy(resource)
        except VmvcError as error:
            reasons[resource] = str(error)
    if not victims:
        return {}
    still = set(reaper.inventory())
    return {
        resource: reasons.get(resource, "it was destroyed and is still listed")
        for resource in victims
        if resource in still
    }


def _remove_images() -> list[str]:
    from pytest_vmvc.backends import docker
    from pytest_vmvc.subjects import apps, debian, klibc, minimal

    lines = []
    # Asked of the engine, not of the cache: earlier recipes have left theirs there, too.
    for part in (minimal, klibc, debian, apps):
        try:
            names = docker.tags_of(part.REPOSITORY)
        except Unavailable:
            break
        for name in names:
            docker.remove_image(name)
            lines.append(f"removed image {name}")
    return lines


def _remove_boxes() -> list[str]:
    from pytest_vmvc.backends import vagrant

    vagrant.remove_boxes()
    return ["removed our boxes and their disks in libvirt's pool"]


def _remove_folder(folder: Path) -> None:
    """Everything in it but the logs that daemons started by setup still write to."""
    for entry in folder.iterdir():
        if entry.name == "daemons":
            continue
        try:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        except OSError as error:
            raise TeardownFailed(f"{entry} cannot be removed", hint=str(error)) from error
