"""The simulation study that shows whether the judge is right: worlds whose truth is known.

`worlds` makes the samples, `twin` judges them as shipped, `rivals` as others would, `study` counts,
`requirements` says what must hold, `tables` prints.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from pathlib import Path

import msgspec

from pytest_vmvc import ledger
from pytest_vmvc.calibration.requirements import required
from pytest_vmvc.calibration.study import EXPERIMENTS, QUICK, simulate
from pytest_vmvc.calibration.tables import markdown
from pytest_vmvc.errors import UsageError

__all__ = ["EXPERIMENTS", "QUICK", "calibrate", "host_noise"]


def calibrate(
    *, experiments: int, seed: int, recorded: Path | None, output: Path | None, command: str
) -> tuple[str, bool]:
    """Run the study; what to print of it, and whether everything holds that must.

    The page, or all figures as JSON, goes into ``output`` by its suffix. ``recorded`` is the
    results file of a run, whose noise is then tried too. Raises `UsageError` on another suffix, a
    run without cold starts, or no experiments.
    """
    if output and output.suffix not in (".md", ".json"):
        raise UsageError(f"no such format: {output.name}", hint="name it .md or .json")
    if experiments < 1 or seed < 0:
        raise UsageError(
            "nothing to simulate", hint="at least one experiment, and a seed that is not negative"
        )
    found = simulate(
        experiments=experiments, seed=seed, noise=host_noise(recorded) if recorded else None
    )
    date = dt.datetime.now(dt.UTC).date().isoformat()
    page = markdown(found, made_by=f"{date}, `{command}`")
    checked = required(found)
    holds = all(one.holds for one in checked)
    if not output:
        return page, holds
    if output.suffix == ".md":
        output.write_text(page)
    else:
        whole = {"study": found, "requirements": checked}
        output.write_bytes(msgspec.json.format(msgspec.json.encode(whole)) + b"\n")
    lines = [
        f"{'holds' if one.holds else 'BROKEN'}: {one.name}: {one.found}; {one.limit}"
        for one in checked
    ]
    return "\n".join([*lines, str(output), ""]), holds


def host_noise(recorded: Path) -> float:
    """Standard deviation of the logarithms of a run's paired cold starts, machine over container.

    The largest of all pairs. Raises `UsageError` where the run has fewer than two of them.
    """
    log = ledger.read(recorded)
    found = []
    for pair in {o.pair for o in log.observations}:
        rows = {
            subject: {
                o.block: math.log(float(o.value))
                for o in log.observations
                if (o.experiment, o.pair, o.subject, o.metric)
                == ("cold_start", pair, subject, "start_s")
                and isinstance(o.value, int | float)
                and o.value > 0
                and not o.censored
            }
            for subject in ("vm", "container")
        }
        both = rows["vm"].keys() & rows["container"].keys()
        if len(both) > 1:
            found.append(statistics.stdev(rows["vm"][b] - rows["container"][b] for b in both))
    if not found:
        raise UsageError(
            f"{recorded} has no paired cold starts", hint="take the results file of a whole run"
        )
    return max(found)
