"""Carry a plan out, step by step, and say what happens."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

import msgspec

from pytest_vmvc.backends.base import Progress
from pytest_vmvc.errors import BuildFailed, VmvcError
from pytest_vmvc.paths import cache_dir, state_dir
from pytest_vmvc.setup import daemons, packages, superuser
from pytest_vmvc.setup.observe import observe
from pytest_vmvc.setup.plan import (
    Build,
    Detect,
    Install,
    JoinGroups,
    Options,
    PermitKvm,
    Plan,
    StartDaemon,
    StartNetwork,
    Step,
    describe,
    make_plan,
)
from pytest_vmvc.setup.requirements import REQUIREMENTS
from pytest_vmvc.subjects import store
from pytest_vmvc.voice import Voice

EXTRA = frozenset(need.package for need in REQUIREMENTS if need.area == "extra")
"""Without one of them its own experiments are left out."""

OPTIONAL = frozenset(need.package for need in REQUIREMENTS if need.area in ("disk", "vagrant"))
"""Without them the debian pair is left out, and the minimal one still runs."""


def setup(options: Options, *, voice: Voice, dry_run: bool = False) -> int:
    """Bring this host to the point where the claims can run; idempotent.

    Returns the exit status: 0 when all that was asked for is there.
    """
    started = time.monotonic()
    plan = make_plan(observe(), options)
    show(plan, voice)
    if plan.blocked:
        return 1
    if dry_run:
        return 0
    if not agreed(plan, voice):
        return 1
    if plan.steps and isinstance(plan.steps[0], Install):
        perform(plan.steps[0], voice)
        # What apt could not give changes the rest.
        plan = make_plan(observe(), msgspec.structs.replace(options, extras=False))
        if plan.blocked or any(isinstance(step, Install) for step in plan.steps):
            voice.say(f"still missing after the installation: see {_log()}")
            show(plan, voice)
            return 1
        for note in plan.notes:
            voice.say(f"note: {note}")
    for step in plan.steps:
        perform(step, voice)
    seconds = f"{time.monotonic() - started:.1f} s"
    if plan.log_in_again:
        voice.say(f"log out and in again, so that the new groups count, then run setup ({seconds})")
        return 1
    voice.say(f"ready in {seconds}")
    return 0


def show(plan: Plan, voice: Voice) -> None:
    """Say what is about to be done, with the exact command for packages."""
    if plan.blocked:
        voice.say(plan.blocked)
        return
    for note in plan.notes:
        voice.say(f"note: {note}")
    for number, step in enumerate(plan.steps, 1):
        voice.say(f"{number}. {describe(step)}")
        if isinstance(step, Install):
            for argv in ([*packages.APT, "update"], packages.install_argv(step.packages)):
                voice.say(f"     {superuser.shown(superuser.command(argv, packages.QUIET))}")
        if isinstance(step, JoinGroups):
            voice.say(f"     {superuser.shown(superuser.command(_join_argv(step)))}")


def agreed(plan: Plan, voice: Voice) -> bool:
    """Whether the steps may be done: asked for, not needed, or answered on the terminal."""
    if not plan.changes:
        return True
    if voice.can_ask or voice.yes:
        return voice.ask("go on?")
    if plan.privileged:
        voice.say("this changes the system and nobody is there to ask — pass --yes to do it")
        return False
    return True


def perform(step: Step, voice: Voice) -> None:
    """Do one step. Raises `VmvcError` with cause and remedy."""
    match step:
        case StartDaemon(name):
            with voice.long(f"starting {name}"):
                daemons.start(name)
        case PermitKvm():
            _permit_kvm(voice)
        case StartNetwork():
            daemons.start_network()
        case JoinGroups(user, _):
            superuser.run(_join_argv(step), log=_log(), timeout_s=60.0)
            voice.say(f"{user} is now in {', '.join(step.groups)}")
        case Build():
            _build(step, voice)
        case Detect():
            _detect(voice)
        case Install():
            _install(step, voice)


def _install(step: Install, voice: Voice) -> None:
    with voice.long(f"installing {len(step.packages)} with apt (log: {_log()})"):
        packages.install(step.packages, log=_log(), say=voice.say, optional=OPTIONAL, extra=EXTRA)


def _build(step: Build, voice: Voice) -> None:
    from pytest_vmvc.subjects import (
        apps,
        builders,
        debian,
        foreign,
        klibc,
        minimal,
        platforms,
        registry,
    )

    # The third userland is built with the pair that every host can have.
    parts = (minimal, klibc) if step.pair == "minimal" else (debian,)
    extras = (foreign, registry, builders) if step.pair == "minimal" else (apps, platforms)
    if step.how == "check":
        for part in parts:
            part.build(lambda text, _fraction: voice.say(text))
        for extra in extras:
            _try_to_build(extra, lambda text, _fraction: voice.say(text), voice)
        return
    if step.how == "build again":
        for part in (*parts, *extras):
            for folder in (cache_dir() / "artefacts").glob(f"{part.NAME}-*"):
                store.remove(folder)
    started = time.monotonic()
    with voice.long(f"building the {step.pair} pair") as progress:
        for part in parts:
            part.build(progress)
        for extra in extras:
            _try_to_build(extra, progress, voice)
    voice.say(f"{step.pair} pair built in {time.monotonic() - started:.1f} s")


def _try_to_build(extra: ModuleType, progress: Progress, voice: Voice) -> None:
    """Build what only single claims need: without it they are NOT TESTABLE, and that is all."""
    try:
        extra.build(progress)
    except VmvcError as error:
        voice.say(f"note: {extra.NAME} is not built: {error}")


def _permit_kvm(voice: Voice) -> None:
    from pytest_vmvc.backends import libvirt

    for argv in (["chgrp", "kvm", str(libvirt.KVM)], ["chmod", "0660", str(libvirt.KVM)]):
        superuser.run(argv, log=_log(), timeout_s=60.0)
    voice.say(f"{libvirt.KVM} is now for the group kvm")


def _detect(voice: Voice) -> None:
    from pytest_vmvc.backends import accelerator
    from pytest_vmvc.subjects import minimal

    artefacts = minimal.load()
    if artefacts is None:
        raise BuildFailed("the accelerator is not known", hint="build the minimal pair first")
    with voice.long("finding the accelerator"):
        found = accelerator.detect(artefacts.kernel, artefacts.initrd)
    voice.say(f"accelerator: {found.tier} ({found.reason})")


def _join_argv(step: JoinGroups) -> list[str]:
    return ["usermod", "--append", "--groups", ",".join(step.groups), step.user]


def _log() -> Path:
    return state_dir() / "setup.log"
