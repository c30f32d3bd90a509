"""Dose and response: the same machine, carried with more and more bytes that it does not use."""

from __future__ import annotations

import random

from pytest_vmvc.backends.optional import Destination, Paddable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.stats import slope_interval

PADDED = "vm-padded"
DOSES_BYTES = tuple(mib * 2**20 for mib in (0, 64, 256, 1024))
ROUNDS = (DOSES_BYTES, DOSES_BYTES[:-1])
"""The largest once: it takes as long as all others together, three times over."""


def padded_transfers(machine: Paddable, record: Recorder, settings: Settings) -> float:
    """Record the transfer of each dose, in a random order each round; returns seconds per byte.

    A machine does not read its padding when it boots, so its start is left out.
    """
    coin = random.Random(f"{settings.seed}")  # noqa: S311 - an experiment's order, no secret
    doses: list[float] = []
    seconds: list[float] = []
    with machine.padded(DOSES_BYTES) as machines:
        for done, sizes in enumerate(ROUNDS):
            record.progress(done, len(ROUNDS), "round of padding")
            for position, size in enumerate(coin.sample(sizes, len(sizes))):
                with machines[size].ported(Destination()) as arrival:
                    facts, transfer_s = arrival.provider.facts, arrival.marks["imported"]
                    values: dict[str, float | bool] = {
                        "transfer_s": transfer_s,
                        "content_intact": arrival.intact,
                    }
                for metric, value in values.items():
                    record.observe(
                        PADDED,
                        metric,
                        value,
                        facts=facts,
                        block=done,
                        position=position,
                        dose=float(size),
                    )
                doses.append(float(size))
                seconds.append(transfer_s)
    slope = slope_interval(doses, seconds, unit="s/byte").effect
    return slope or 0.0
