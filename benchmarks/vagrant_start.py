"""A Vagrant machine's start, commands and end: our fixture against Vagrant's own command line.

    python benchmarks/vagrant_start.py -o benchmarks/vagrant_start.json

Both start the same box by the same description on the same network, in turn. `up` is the return of
`vagrant up`; `login` the end of the first command inside, by `vagrant ssh -c` where Vagrant is
driven by hand; `end` from the request to destroy to the verified absence, by `vagrant destroy -f`
alone where by hand. Commands are timed in one machine, one after another.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import contest
from contest import Aim

from pytest_vmvc.backends import libvirt, vagrant_boxes, vagrant_index
from pytest_vmvc.backends.vagrant_command import environment
from pytest_vmvc.backends.vagrantfile import vagrantfile
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Metric
from pytest_vmvc.resources import RunScope, marked
from pytest_vmvc.subjects import catalog

LIMIT_S = 300.0
COMMANDS = 60
METRICS = (
    Metric(name="up", unit="s", definition="from the request to the return of `vagrant up`"),
    Metric(name="login", unit="s", definition="from it to the end of the first command inside"),
    Metric(name="end", unit="s", definition="from the request to destroy it to its end"),
    contest.SHARE,
)


class ByHand:
    """Vagrant's command line in a folder of its own."""

    def __init__(self, spec: Any, scope: RunScope) -> None:
        self._folder = scope.workdir / scope.new_name()
        self._folder.mkdir()
        self.domain = f"{self._folder.name}-default"
        self._home = vagrant_boxes.prepare_home()
        text = vagrantfile(
            spec,
            name=self._folder.name,
            boot_timeout_s=LIMIT_S,
            network=libvirt.network(),
            answer_address=None,
        )
        (self._folder / "Vagrantfile").write_text(text)

    def __call__(self, *words: str) -> None:
        settings = marked(environment(self._home, self._folder))
        subprocess.run(
            ["vagrant", *words], cwd=self._folder, env=settings,
            check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S,
        )  # fmt: skip

    def forget(self) -> None:
        libvirt.remove_log(self.domain)
        vagrant_index.forget(self._folder)


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def measured(rounds: int) -> dict[str, Any]:
    with RunScope() as scope:
        ours = catalog.load("debian", scope).subjects["vm"]
        ours.prepare()

        def fixture() -> Sample:
            with ours.launch(deadline_s=LIMIT_S) as machine:
                machine.run(["true"])
                login = machine.mark("first command")  # Vagrant has a mark called login
                marks = dict(machine.marks)
                began = time.monotonic()
            values = {"up": marks["up"], "login": login, "end": time.monotonic() - began}
            share = machine.harness_cpu_s / marks["answer"]
            return Sample(values={**values, "harness_share": share}, marks=marks)

        def by_hand() -> Sample:
            vagrant = ByHand(ours.spec, scope)
            resource = scope.hold("domain", vagrant.domain)
            began = time.monotonic()
            vagrant("up", "--provider", "libvirt")
            up = time.monotonic() - began
            vagrant("ssh", "-c", "true")
            login = time.monotonic() - began
            end = seconds(lambda: vagrant("destroy", "-f"))
            vagrant.forget()
            scope.release(resource)
            return Sample(values={"up": up, "login": login, "end": end})

        def aims(*names: str) -> list[Aim]:
            return [
                Aim(subject="fixture", over="by hand", metric=name, below=1.02) for name in names
            ]

        starts = contest.run(
            "vagrant_start",
            {"fixture": fixture, "by hand": by_hand},
            [*aims("up", "login"), Aim(subject="fixture", over="by hand", metric="end", below=1.0)],
            rounds=rounds,
            metrics=METRICS,
        )
        vagrant = ByHand(ours.spec, scope)
        resource = scope.hold("domain", vagrant.domain)
        vagrant("up", "--provider", "libvirt")
        with ours.launch(deadline_s=LIMIT_S) as machine:
            commands = contest.run(
                "vagrant_commands",
                {
                    "our command": lambda: Sample(
                        values={"seconds": seconds(lambda: machine.run(["true"]))}
                    ),
                    "vagrant ssh -c": lambda: Sample(
                        values={"seconds": seconds(lambda: vagrant("ssh", "-c", "true"))}
                    ),
                },
                [Aim(subject="our command", over="vagrant ssh -c", below=1 / 20)],
                rounds=COMMANDS,
            )
        vagrant("destroy", "-f")
        vagrant.forget()
        scope.release(resource)
        return {
            **starts,
            "rivals": {**starts["rivals"], **commands["rivals"]},
            "aims": [*starts["aims"], *commands["aims"]],
        }


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=8)
