"""How long an overview of a thousand hosts takes, start of Python included, and how much memory.

    python benchmarks/overview.py -o benchmarks/overview.json

Makes up a results file for each host in a temporary folder: the readings, series headers and host
of the recorded run, with verdicts, figures and samples drawn from a seeded coin. Renders all of
them with ``vmvc report`` as page and as summary, and writes down what that took on this host.
``--keep DIR`` makes the files there, for looking at the page.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pytest_vmvc import doctor, host, ledger
from pytest_vmvc.model import Observation, Result, Run, Verdict

RECORDED = Path(__file__).parent.parent / "docs" / "runs" / "2026-11-29-kvm-unusable"
TURNS = {
    Verdict.SUPPORTED: Verdict.REFUTED,
    Verdict.REFUTED: Verdict.SUPPORTED,
    Verdict.INCONCLUSIVE: Verdict.SUPPORTED,
}
TIERS = ("kvm-hw", "kvm-hw", "kvm-hw", "kvm-nested", "tcg")
NO_VAGRANT = "no Vagrant on this host — `vmvc setup` installs it"
ROUNDS = 3


def files(folder: Path, *, hosts: int, samples: int, seed: int = 1) -> list[Path]:
    """A results file for each of so many hosts, with so many samples each."""
    log = ledger.read(RECORDED / "results.jsonl")
    coin = random.Random(seed)
    turning = {key: _turning(coin) for key in ledger.by_reading(log)}
    series = b"".join(ledger.encode(one) + b"\n" for one in log.series)
    found = []
    for number in range(hosts):
        path = folder / f"host-{number:04}.jsonl"
        with path.open("wb") as file:
            file.write(ledger.encode(_run(log.run, number, coin)) + b"\n" + series)
            file.writelines(_samples(log, samples, coin))
            speed, vagrant = coin.lognormvariate(0, 0.4), coin.random() < 0.9
            for key, one in ledger.by_reading(log).items():
                file.write(ledger.encode(_result(one, turning[key], speed, vagrant, coin)) + b"\n")
            file.write(ledger.encode(log.end) + b"\n")
        found.append(path)
    return found


def _turning(coin: random.Random) -> float:
    """How often hosts see a reading otherwise: most never, some rarely, a few on every other."""
    return coin.choice([0.0] * 12 + [0.002] * 4 + [0.03, 0.1, 0.4])


def _run(run: Run, number: int, coin: random.Random) -> Run:
    manifest = msgspec.structs.replace(
        run.host,
        name=f"node-{number:04}.example",
        tier=coin.choice(TIERS),
        boot_id=f"{coin.getrandbits(128):032x}",
        cpus=coin.choice((2, 4, 8, 16)),
    )
    return msgspec.structs.replace(run, run_id=f"r{coin.getrandbits(40):010x}", host=manifest)


def _samples(log: ledger.RunLog, samples: int, coin: random.Random):
    rows = [one for one in log.series if one.metric.unit in ("s", "bytes")]
    for number in range(samples):
        row = rows[number % len(rows)]
        yield (
            ledger.encode(
                Observation(
                    experiment=row.experiment,
                    pair=row.pair,
                    subject=row.subject,
                    metric=row.metric.name,
                    value=coin.lognormvariate(0, 0.2),
                    at="2026-11-25T00:00:00.000+00:00",
                    block=number // len(rows),
                    marks={"answer": coin.random()},
                )
            )
            + b"\n"
        )


def _result(
    one: Result, turning: float, speed: float, vagrant: bool, coin: random.Random
) -> Result:
    said = one.judgement
    if one.pair == "debian" and not vagrant:
        said = msgspec.structs.replace(
            said,
            verdict=Verdict.NOT_TESTABLE,
            finding="Not measured.",
            reason=NO_VAGRANT,
            estimate=None,
        )
    elif coin.random() < turning:
        said = msgspec.structs.replace(
            said, verdict=TURNS.get(said.verdict, said.verdict), finding="Turned by a coin."
        )
    if said.estimate is not None:
        factor = speed * coin.lognormvariate(0, 0.1)
        ends = {
            end: value if value is None else value * factor
            for end in ("effect", "low", "high")
            for value in [getattr(said.estimate, end)]
        }
        said = msgspec.structs.replace(
            said, estimate=msgspec.structs.replace(said.estimate, **ends)
        )
    return msgspec.structs.replace(one, judgement=said)


def rendered(paths: list[Path], target: Path) -> dict[str, float]:
    """Wall and CPU time and largest resident set of one ``vmvc report``."""
    return used_by(["report", *map(str, paths), "-o", str(target)])


def used_by(words: Sequence[str]) -> dict[str, float]:
    """The same of any command of ``vmvc``; 1 is a verdict of its own, and no failure."""
    command = [sys.executable, "-m", "pytest_vmvc", *words]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise SystemExit(f"vmvc {words[0]} ended with {code}")
    child.returncode = 0  # waited for above
    cpu_s = used.ru_utime + used.ru_stime
    return {
        "wall_s": round(took, 2),
        "cpu_s": round(cpu_s, 2),
        "largest_resident_bytes": 1024 * used.ru_maxrss,
    }


def measured(folder: Path, *, hosts: int, samples: int) -> dict[str, object]:
    """The record: what was rendered, on which host, and what it took."""
    paths = files(folder, hosts=hosts, samples=samples)
    log = ledger.read(paths[0])
    page, summary = folder / "overview.html", folder / "overview.md"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": msgspec.to_builtins(host.manifest(doctor.known_tier())),
        "load": host.load_snapshot(),
        "hosts": hosts,
        "claims": len({r.claim for r in log.results if not r.claim.startswith("opinion.")}),
        "readings": len(log.results),
        "samples": hosts * samples,
        "read_bytes": sum(path.stat().st_size for path in paths),
        "page": [rendered(paths, page) for _ in range(ROUNDS)],
        "page_bytes": page.stat().st_size,
        "summary": [rendered(paths, summary)],
        "summary_bytes": summary.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="time an overview of many hosts")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000, help="of each host")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the results files there")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vmvc-overview-") as own:
        folder = asked.keep or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        found = measured(folder, hosts=asked.hosts, samples=asked.samples)
    text = json.dumps(found, indent=2) + "\n"
    if asked.output:
        asked.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
