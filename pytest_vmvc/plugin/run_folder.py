"""The folder of a run's results, and what is written there alike by all runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

JOB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which a CI system names the file that its job's page shows, in Markdown."""


def check_folder(folder: Path) -> None:
    """Better now than after the first experiment; raises `pytest.UsageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "no permission to write there"
    except OSError as error:
        writable, reason = False, error.strerror or str(error)
    if not writable:
        raise pytest.UsageError(f"--vmvc-output={folder}: {reason}; choose another folder")


def point_latest_at(folder: Path) -> None:
    """Make ``latest`` beside a run's folder lead to it; raises OSError."""
    link = folder.parent / "latest"
    fresh = folder.parent / f".latest-{os.getpid()}"
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def now() -> str:
    """This moment, as results have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def tell_the_job(summary: Callable[[], str]) -> str:
    """Add a summary to the page of the job that runs this, where one does; says what went wrong."""
    if not (job := os.environ.get(JOB_SUMMARY)):
        return ""
    try:
        with Path(job).open("a", encoding="utf-8") as file:
            file.write(summary())
    except OSError as error:
        return f"{job} could not be written: {error.strerror or error}"
    return ""
