"""From nothing local to ready: an image from a registry, a machine from a catalogue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial

from pytest_vmvc.backends.optional import Acquirable, Acquire
from pytest_vmvc.backends.public_catalogue import NAMES, Offering, PublicCatalogue
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

PUBLIC = {"public-images": "images", "public-boxes": "boxes"}
OFFLINE = "offline: public registries are asked only by a run with --vmvc-online"
NOTHING_LOCAL = "nothing local; the servers and their caches warm"


class Acquisition:
    """Both sides are fetched from a real server on the loopback, so the wire costs next to nothing.

    “Nothing local” means: the engine has neither the image nor a layer of it, Vagrant has no box,
    no file of the machine is there. Servers and page cache are warm, and one acquisition of the
    image is thrown away before the first block, as an engine's first one is not like the others.
    """

    name = "acquisition"
    metrics = (
        Metric(
            name="present_s",
            label="time until it is there",
            unit="s",
            definition="from the request, with nothing local, to fetched and unpacked",
            state=NOTHING_LOCAL,
        ),
        Metric(
            name="ready_s",
            label="time from nothing local to the first answer",
            unit="s",
            definition="the time until it is there, and that of a start up to its first answer",
            emulation="inflates",
            state=NOTHING_LOCAL,
        ),
        Metric(
            name="fetched_bytes",
            label="bytes fetched",
            unit="bytes",
            definition="what the server has to send to somebody who has nothing, as it sends it",
        ),
        Metric(
            name="steps",
            label="commands until it is there",
            unit="commands",
            definition="commands of the operator, counted from those that were carried out",
        ),
        Metric(
            name="ready_made",
            label="a ready-made one is to be had",
            unit="",
            definition="images: the official one of that name; boxes: one with the name in its tag",
        ),
        Metric(
            name="entries",
            label="public entries for a name",
            unit="entries",
            definition="what a search for the name finds",
        ),
        Metric(
            name="pulls",
            label="downloads of the most wanted one",
            unit="downloads",
            definition="as the public service states them",
        ),
        Metric(
            name="age_days",
            label="days since it was updated",
            unit="days",
            definition="of that one, as the public service states it",
        ),
    )

    def __init__(self, public: PublicCatalogue | None = None) -> None:
        """``public``: the services that are asked online; the real ones where None."""
        self._public = public

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Acquire each side anew in every block; then, online only, look at the public shelves."""
        with ExitStack() as shelves:
            takers: dict[str, Callable[[], Sample]] = {}
            facts = {}
            for subject in ("container", "vm"):
                try:
                    acquire = _acquire(pair, subject, shelves)
                    if subject == "container":
                        with acquire(settings.deadline_s):
                            pass
                except Unavailable as gap:
                    record.missing(subject, str(gap))
                    continue
                takers[subject] = partial(_take, acquire, settings.deadline_s)
                facts[subject] = pair.subjects[subject].facts
            if takers:
                record.blocks(takers, facts.get, settings)
        self._look_around(record, settings)

    def _look_around(self, record: Recorder, settings: Settings) -> None:
        for subject, kind in PUBLIC.items():
            if not settings.online:
                record.missing(subject, OFFLINE)
                continue
            try:
                found = _found(self._public or _services(), kind)
            except Unavailable as gap:
                record.missing(subject, str(gap))
                continue
            for block, offering in enumerate(found):
                _observe(subject, offering, block, record)


def _acquire(pair: Pair, subject: str, shelves: ExitStack) -> Acquire:
    if gap := pair.missing.get(subject):
        raise gap
    provider = pair.subjects[subject]
    if not isinstance(provider, Acquirable):
        raise Unavailable(f"{provider.name} cannot put its artefact on a server")
    provider.prepare()
    return shelves.enter_context(provider.offered())


def _take(acquire: Acquire, deadline_s: float) -> Sample:
    with acquire(deadline_s) as acquired:
        values: dict[str, Scalar] = {
            "present_s": acquired.present_s,
            "fetched_bytes": acquired.fetched_bytes,
            "steps": len(acquired.steps),
        }
        if acquired.provider is None:
            return Sample(values=values)
        with acquired.provider.launch(deadline_s=deadline_s) as environment:
            values["ready_s"] = acquired.present_s + environment.marks["answer"]
            return Sample(values=values, instance=environment.name)


@cache
def _services() -> PublicCatalogue:
    return PublicCatalogue()


@cache
def _found(services: PublicCatalogue, kind: str) -> tuple[Offering, ...]:
    """What the services have, asked once in a run however many pairs there are."""
    return tuple(getattr(services, kind)(name) for name in NAMES)


def _observe(subject: str, offering: Offering, block: int, record: Recorder) -> None:
    values: dict[str, Scalar] = {
        "ready_made": offering.ready_made,
        "entries": offering.count,
        "pulls": offering.pulls,
        "age_days": offering.age_days,
    }
    for metric, value in values.items():
        if value is not None:
            record.observe(
                subject,
                metric,
                value,
                facts=None,
                block=block,
                instance=offering.name,
                censored=metric == "entries" and offering.more,
            )
