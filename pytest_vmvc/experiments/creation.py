"""How long it takes until something is created, and not yet started."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_vmvc.backends.base import Environment
from pytest_vmvc.experiments.base import WARM
from pytest_vmvc.model import Metric, Scalar

CREATE = Metric(
    name="create_s",
    label="time to create it",
    unit="s",
    definition="from just before the request until it exists and could be started: the engine's "
    "answer to `create`; `vagrant up` about to start the domain; the linked clone of a bare "
    "machine's disk. Nothing of it runs on an emulated CPU",
    state=WARM,
)


class Creation:
    """Rides in fresh starts: a start that creates something first has marked when that was done.

    A container is created by the engine from a local image; a Vagrant machine when its disk is
    cloned and its domain defined. A bare machine without a disk is only a command line.
    """

    name = "creation"
    metrics = (CREATE,)

    def ride(self, environment: Environment, subject: str) -> dict[str, Scalar]:  # noqa: ARG002 - the protocol's signature
        """Seconds to the mark."""
        return created(environment.marks)


def created(marks: Mapping[str, float]) -> dict[str, Scalar]:
    """Seconds to the mark; nothing where a start creates nothing of its own."""
    return {CREATE.name: marks["created"]} if "created" in marks else {}
