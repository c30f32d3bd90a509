"""What doctor found, as data, and its three forms: for a terminal, for an issue, for a program."""

from __future__ import annotations

from typing import Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_vmvc.model import Host
from pytest_vmvc.text import visible, visible_line

State = Literal["OK", "missing", "problem"]
STYLES = {"OK": "green", "missing": "yellow", "problem": "red"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that measuring needs."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    main: bool = False
    """Without it not even a container and a bare machine can be compared."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, and whether the main job can run."""

    version: str
    host: Host
    rows: tuple[Row, ...]

    @property
    def ready(self) -> bool:
        """Engine, QEMU and the minimal pair are there."""
        return all(row.state == "OK" for row in self.rows if row.main)


def show(diagnosis: Diagnosis, console: Console) -> None:
    """A table on a terminal, plain aligned lines everywhere else."""
    if not console.is_terminal:
        console.print(as_text(diagnosis), markup=False, soft_wrap=True)
        return
    console.print(_title(diagnosis), markup=False)
    table = Table(box=SIMPLE_HEAD)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    for row in diagnosis.rows:
        found = Text(visible(row.detail))
        if row.remedy:
            found.append(f"\nremedy: {visible(row.remedy)}", style="bold")
        table.add_row(Text(row.state, style=STYLES[row.state]), row.name, found)
    console.print(table)
    console.print(_conclusion(diagnosis), markup=False)


def as_text(diagnosis: Diagnosis) -> str:
    """Aligned lines, to be pasted into an issue."""
    width = max(len(row.name) for row in diagnosis.rows)
    lines = [_title(diagnosis)]
    for row in diagnosis.rows:
        lines.append(f"{row.state:<7}  {row.name:<{width}}  {row.detail}")
        if row.remedy:
            lines.append(f"{'':<7}  {'':<{width}}  remedy: {row.remedy}")
    return "\n".join(map(visible_line, [*lines, _conclusion(diagnosis)]))


def as_json(diagnosis: Diagnosis) -> str:
    """The whole of it with ``ready``, for programs."""
    document = {**msgspec.to_builtins(diagnosis), "ready": diagnosis.ready}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _title(diagnosis: Diagnosis) -> str:
    own = diagnosis.host
    return visible_line(
        f"pytest-vmvc {diagnosis.version} on {own.os}, kernel {own.kernel}, {own.architecture}, "
        f"{own.cpus} CPUs ({own.cpu_model}), {own.memory_bytes / (1 << 30):.1f} GiB, "
        f"Python {own.versions.get('python', 'unknown')}"
    )


def _conclusion(diagnosis: Diagnosis) -> str:
    if diagnosis.ready:
        return "ready: `pytest --vmvc` can compare a container with a machine"
    lacking = ", ".join(row.name for row in diagnosis.rows if row.main and row.state != "OK")
    return f"not ready: {lacking} — run `vmvc setup`"
