"""From nothing to ready: planted servers and shelves that turn each verdict, and real ones."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from bench import Bench, planted, starts, verdict

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.backends.optional import Acquired
from pytest_vmvc.backends.public_catalogue import NAMES, Offering
from pytest_vmvc.declaration import at_most, below, holds, ratio
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.acquisition import OFFLINE, Acquisition
from pytest_vmvc.subjects import Pair, catalog

PULL = ("docker pull an image",)
GAP = Unavailable("no registry is installed", hint="install one")


class Offered(FakeProvider):
    """A fake on a server whose answers are scripted: how soon, how large, in how many steps."""

    def __init__(
        self, scope, *, present_s=0.2, fetched=10**6, steps=PULL, kept=False, gap=None, **fake
    ):
        """``kept``: it is only put down, and nothing of it can be started."""
        super().__init__(scope, **fake)
        self.present_s, self.fetched, self.steps, self.kept = present_s, fetched, steps, kept
        self.gap, self.broken, self.asked, self.there = gap, 0, 0, False

    @contextmanager
    def offered(self):
        if self.gap:
            raise self.gap
        yield self.acquire

    @contextmanager
    def acquire(self, _deadline_s):
        assert not self.there
        self.asked += 1
        if self.asked > 1 and self.broken:
            self.broken -= 1
            raise InfrastructureError("the wire broke")
        self.there = True
        try:
            yield Acquired(
                present_s=self.present_s,
                fetched_bytes=self.fetched,
                steps=self.steps,
                provider=None if self.kept else self,
            )
        finally:
            self.there = False


def sides(scope, *, container=None, vm=None):
    return Pair(
        name="planted",
        subjects={
            "container": Offered(scope, **(container or {})),
            "vm": Offered(scope, kind="vm", accelerator="kvm-hw", **(vm or {})),
        },
    )


def measure(scope, **planted):
    return Bench(sides(scope, **planted)).measure("acquisition")


def over_container(metric):
    return ratio("vm", metric, over="container", above=1.25)


def test_ready_is_there_and_started(scope):
    pair = sides(scope, container={"present_s": 2.0, "launches": starts(*[0.5] * 6)})
    found = Bench(pair).measure("acquisition")
    assert [o.value for o in found.row("container", "ready_s")] == [2.5] * 6
    assert [o.value for o in found.row("vm", "fetched_bytes")] == [10**6] * 6
    asked = {name: side.asked for name, side in pair.subjects.items()}
    assert asked == {"container": 7, "vm": 6}  # the first image is thrown away
    assert scope.held == ()


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("present_s", {"present_s": 0.5}),
        ("ready_s", {"launches": starts(*[9.0] * 6)}),
        ("fetched_bytes", {"fetched": 10**8}),
        ("steps", {"steps": ("fetch vmlinuz", "fetch initramfs")}),
    ],
)
def test_more_of_a_machine_turns_the_ratio(scope, metric, larger):
    assert verdict(over_container(metric), measure(scope)) == "REFUTED"
    assert verdict(over_container(metric), measure(scope, vm=larger)) == "SUPPORTED"


def test_a_pull_slower_than_a_box_and_slower_than_a_minute(scope):
    slow = measure(scope, container={"present_s": 70.0}, vm={"present_s": 50.0})
    assert verdict(over_container("present_s"), slow) == "REFUTED"
    assert verdict(below("container", "ready_s", 60, "s"), slow) == "REFUTED"
    assert verdict(below("container", "ready_s", 60, "s"), measure(scope)) == "SUPPORTED"


def test_what_is_only_put_down_is_never_ready(scope):
    found = measure(scope, vm={"kept": True})
    assert found.row("vm", "ready_s") == ()
    assert len(found.row("vm", "present_s")) == 6


def test_without_a_server_of_its_own_one_side_is_missing(scope):
    found = measure(scope, container={"gap": GAP})
    assert found.reason_missing("container") == str(GAP)
    assert len(found.row("vm", "present_s")) == 6
    found = Bench(planted(scope, container=[], vm=[])).measure("acquisition")
    assert found.reason_missing("vm") == "fake cannot put its artefact on a server"


def test_a_broken_acquisition_is_taken_again_and_counted(scope):
    pair = sides(scope)
    pair.subjects["container"].broken = 2
    found = Bench(pair).measure("acquisition")
    assert [retry.subject for retry in found.retries] == ["container"] * 2
    assert len(found.row("container", "present_s")) == 6


# --- the public shelves --------------------------------------------------------------------------


class Shelves:
    """Public services with something under each name, but for those that are ``absent``."""

    def __init__(self, *, images=(), boxes=(), age_days=5.0, pulls=10**9, gap=None):
        self.absent = {"images": images, "boxes": boxes}
        self.age_days, self.pulls, self.gap, self.asked = age_days, pulls, gap, []

    def offering(self, kind, name, **there):
        self.asked.append((kind, name))
        if self.gap:
            raise self.gap
        if name in self.absent[kind]:
            return Offering(name=name, count=0, more=False, ready_made=False)
        return Offering(name=name, ready_made=True, age_days=self.age_days, **there)

    def images(self, name):
        return self.offering("images", name, count=9000, more=False, pulls=self.pulls)

    def boxes(self, name):
        return self.offering("boxes", name, count=300, more=True, pulls=1000)


def look_around(scope, shelves, *, online=True, pairs=1):
    pair = Pair(name="planted", subjects={}, missing={"container": GAP, "vm": GAP})
    experiments = {"acquisition": Acquisition(shelves)}
    found = [
        Bench(pair, experiments=experiments, online=online).measure("acquisition")
        for _ in range(pairs)
    ]
    return found[0]


IMAGES = holds("public-images", "ready_made", min_n=len(NAMES))
NO_BOXES = holds("public-boxes", "ready_made", value=False)
CURRENT = at_most("public-images", "age_days", 90, "days")
WANTED = ratio("public-images", "pulls", over="public-boxes", above=1.25)


@pytest.mark.parametrize(
    ("shelves", "images", "no_boxes"),
    [
        ({}, "SUPPORTED", "REFUTED"),
        ({"images": ["debian"]}, "REFUTED", "REFUTED"),
        ({"boxes": NAMES}, "SUPPORTED", "SUPPORTED"),
        ({"boxes": NAMES[1:]}, "SUPPORTED", "REFUTED"),
    ],
)
def test_what_the_shelves_hold_turns_the_verdicts(scope, shelves, images, no_boxes):
    found = look_around(scope, Shelves(**shelves))
    assert verdict(IMAGES, found) == images
    assert verdict(NO_BOXES, found) == no_boxes


def test_old_images_and_images_that_few_want_are_seen(scope):
    found = look_around(scope, Shelves())
    assert verdict(CURRENT, found) == verdict(WANTED, found) == "SUPPORTED"
    found = look_around(scope, Shelves(age_days=400.0, pulls=1000))
    assert verdict(CURRENT, found) == verdict(WANTED, found) == "REFUTED"


def test_a_list_that_is_longer_than_it_was_counted_is_a_lower_bound(scope):
    found = look_around(scope, Shelves())
    assert {o.censored for o in found.row("public-boxes", "entries")} == {True}
    assert {o.censored for o in found.row("public-images", "entries")} == {False}


def test_nobody_is_asked_offline_and_each_name_once_in_a_run(scope):
    offline, online = Shelves(), Shelves()
    found = look_around(scope, offline, online=False)
    assert offline.asked == []
    assert verdict(IMAGES, found) == verdict(NO_BOXES, found) == "NOT TESTABLE"
    assert found.reason_missing("public-images") == OFFLINE
    look_around(scope, online, pairs=2)
    assert sorted(online.asked) == sorted((k, n) for k in ("images", "boxes") for n in NAMES)


def test_a_service_that_does_not_answer_is_a_gap_and_no_verdict(scope):
    found = look_around(scope, Shelves(gap=Unavailable("it answers with 503", hint="wait")))
    assert "503" in found.reason_missing("public-boxes")
    assert verdict(NO_BOXES, found) == "NOT TESTABLE"


# --- for real ------------------------------------------------------------------------------------


def real(scope, name, *wanted):
    found = catalog.load(name, scope)
    if gaps := [str(gap) for subject, gap in found.missing.items() if subject in wanted]:
        pytest.skip("; ".join(gaps))
    return found


@pytest.mark.engine
@pytest.mark.machine
def test_a_real_acquisition_of_each_side(scope):
    pair = real(scope, "minimal", "container", "vm")
    found = Bench(pair, blocks=1).measure("acquisition")
    if gap := found.reason_missing("container"):
        pytest.skip(gap)
    for subject in ("container", "vm"):
        present_s, ready_s, size = (
            found.row(subject, metric)[0].value
            for metric in ("present_s", "ready_s", "fetched_bytes")
        )
        assert 0 < present_s < ready_s
        assert size > 100_000
    assert verdict(holds("container", "steps", 1), found) == "SUPPORTED"
    assert verdict(holds("vm", "steps", 2), found) == "SUPPORTED"
    assert scope.held == ()


@pytest.mark.vagrant
def test_a_real_box_from_a_catalogue(scope):
    provider = real(scope, "debian", "vm").subjects["vm"]
    provider.prepare()
    with provider.offered() as acquire, acquire(120.0) as acquired:
        assert acquired.present_s > 0
        assert acquired.fetched_bytes > 10_000_000
        assert acquired.provider is None
        (step,) = acquired.steps
        assert step.startswith("vagrant box add http://127.0.0.1:")
        (home,) = [held.name for held in scope.held]
    assert not Path(home).exists()
    assert scope.held == ()
