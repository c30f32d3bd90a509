"""An experiment that times nothing: how many processes are visible."""

from __future__ import annotations

import psutil

from pytest_vmvc.errors import EnvironmentDied
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

COUNT = ("sh", "-c", "set -- /proc/[0-9]*; echo $#")


class VisibleProcesses:
    """How many processes a command sees inside, and on the host."""

    name = "visible_processes"
    timed = False
    adds = ("host",)
    metrics = (
        Metric(
            name="visible",
            label="number of visible processes",
            unit="",
            definition="numbered folders in /proc, the command that counts them among them",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record ``visible`` of each subject and of the host."""
        for subject, gap in pair.missing.items():
            record.missing(subject, str(gap))
        for subject in pair.subjects:
            (environment,) = pair.standing(subject, deadline_s=settings.deadline_s)
            done = environment.run(COUNT)
            if done.exit_status != 0:
                raise EnvironmentDied(f"nothing could be counted in {environment.name}")
            record.observe(
                subject,
                "visible",
                int(done.stdout),
                facts=environment.facts,
                instance=environment.name,
            )
        record.observe("host", "visible", len(psutil.pids()), facts=None, instance="host")
