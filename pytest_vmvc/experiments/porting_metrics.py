"""What is recorded of a journey."""

from __future__ import annotations

from pytest_vmvc.model import Metric

KERNEL = "kernel_release"

METRICS = (
    Metric(
        name="port_s",
        label="time of the whole journey",
        unit="s",
        definition="package, carry, import, and the start at the destination up to the first "
        "answer; the carrying is a copy on the host's own disk",
        emulation="inflates",
    ),
    Metric(
        name="transfer_s",
        label="time to package, carry and import",
        unit="s",
        definition="the journey without any start; all of it is done by the host's own programs",
        dose="bytes",
    ),
    Metric(
        name="first_start_s",
        label="first start at the destination",
        unit="s",
        definition="from just before the request to the host receiving the payload's nonce",
        emulation="inflates",
    ),
    Metric(
        name="origin_start_s",
        label="start at the origin",
        unit="s",
        definition="a fresh start just before the journey, on the same stopwatch",
        emulation="inflates",
    ),
    Metric(
        name="start_ratio",
        label="start at the destination over that at the origin",
        unit="ratio",
        definition="paired within each block",
    ),
    Metric(
        name="carried_bytes",
        label="size of what is carried",
        unit="bytes",
        definition="the archive: docker save; tar of kernel and initramfs; or box (gzip level 1)",
    ),
    Metric(
        name="operator_steps",
        label="commands that an operator types",
        unit="commands",
        definition="counted from those that were carried out, up to the start at the destination; "
        "the series' facts hold them",
    ),
    Metric(
        name="host_prerequisites",
        label="programs that the destination must have",
        unit="programs",
        definition="those that the technology starts and this host has; the series' facts hold "
        "them",
    ),
    Metric(
        name="runs_unchanged",
        label="the same artefact runs at the destination",
        unit="",
        definition="the digest is the same, and the payload answers with its nonce",
    ),
    Metric(
        name="content_intact",
        label="content arrives bit for bit",
        unit="",
        definition="image: its id, which names the digest of each layer; machine: every byte of "
        "kernel, initramfs and disk",
    ),
    Metric(name=KERNEL, label="kernel release", unit="", definition="asked inside"),
    Metric(
        name="unexplained_share",
        label="share of the machine's extra time that its size does not explain",
        unit="ratio",
        definition="derived in each block: 1 - slope of transfer_s over padding x bytes carried / "
        "(port_s of the machine - port_s of the container); no value where it was not slower",
        emulation="inflates",
    ),
)
