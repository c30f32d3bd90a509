"""What the tests of experiments share: a lab over one pair, planted subjects, verdicts."""

from pytest_vmvc.backends.fake import FakeClock, FakeLaunch, FakeProvider
from pytest_vmvc.experiments import BATTERY, load
from pytest_vmvc.experiments.base import Settings
from pytest_vmvc.host import manifest
from pytest_vmvc.judge import judge
from pytest_vmvc.lab import Lab
from pytest_vmvc.model import Reading
from pytest_vmvc.subjects import Pair


class Ungauged:
    """In place of the battery, which takes its time, where nobody asks for it."""

    name = BATTERY
    metrics = ()

    def run(self, pair, record, settings):
        record.missing("vm", "not gauged in this test")


class Bench:
    """A lab over one pair, with everything that it wrote and said."""

    def __init__(self, subjects, *, experiments=None, wanted=(), **settings):
        """``experiments``: planted ones by name, in place of the catalogue's."""
        self.records = []
        self.said = []
        self._planted = experiments or {}
        self._asked = ""
        self.lab = Lab(
            load=lambda name: subjects,
            host=lambda: manifest("kvm-hw"),
            sink=self.records.append,
            note=lambda *words: self.said.append(words),
            settings=Settings(**settings),
            wanted=wanted,
            catalogue=self._find,
            watch=lambda: tuple,
        )

    def _find(self, name):
        if name == BATTERY != self._asked:
            return self._planted.get(name, Ungauged())
        return self._planted[name] if self._planted else load(name)

    def measure(self, name):
        self._asked = name
        return self.lab.evidence(name, "planted")


def verdict(asked, evidence):
    return judge(Reading(name="r", question=asked.question), evidence).verdict.value


def starts(*seconds):
    return [FakeLaunch(marks={"created": 0.01, "answer": s}) for s in seconds]


def planted(scope, **kinds):
    clock = FakeClock()
    return Pair(
        name="planted",
        subjects={
            name.replace("_", "-"): FakeProvider(
                scope,
                clock=clock,
                kind="vm" if name.startswith("vm") else "container",
                launches=launches,
                extra={"restored": True} if name == "vm_restored" else None,
            )
            for name, launches in kinds.items()
        },
    )
