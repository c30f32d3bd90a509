"""Bytes that a user must fetch and keep: exact figures, nothing is started."""

from __future__ import annotations

from pytest_vmvc.backends.optional import HasArtefact
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair


class Sizes:
    """The artefact of each side of a pair: image; kernel with initramfs, or box."""

    name = "sizes"
    metrics = (
        Metric(
            name="fetch_bytes",
            label="size to fetch",
            unit="bytes",
            definition="compressed, as it is downloaded",
        ),
        Metric(
            name="kept_bytes",
            label="size on disk",
            unit="bytes",
            definition="on disk, once it is unpacked",
        ),
        Metric(
            name="virtual_bytes",
            label="size seen inside",
            unit="bytes",
            definition="the size that the inside sees: a disk's virtual size",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:  # noqa: ARG002 - the protocol's signature
        """Record the three sizes of each subject that has an artefact of its own."""
        for subject, gap in pair.missing.items():
            record.missing(subject, str(gap))
        for subject, provider in pair.subjects.items():
            if not isinstance(provider, HasArtefact):
                record.missing(subject, f"{provider.name} does not tell what this one takes")
                continue
            provider.prepare()
            artefact = provider.artefact()
            for metric, value in (
                ("fetch_bytes", artefact.fetch_bytes),
                ("kept_bytes", artefact.kept_bytes),
                ("virtual_bytes", artefact.virtual_bytes),
            ):
                record.observe(subject, metric, value, facts=provider.facts, instance=artefact.name)
