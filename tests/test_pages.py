"""The pages about claims: complete, written from the code, and the ones that are shipped."""

from pathlib import Path

import pytest

from pytest_vmvc import pages
from pytest_vmvc.errors import UsageError

SHIPPED = Path(__file__).parent.parent / "docs" / "claims"

ARTICLE = {
    "os": "guest-per-vm vm-heavy shared-kernel few-seconds overhead-low many-apps-one-kernel "
    "flavours-need-vm",
    "sec": "vm-strong-isolation vm-more-secure shared-kernel-risk not-namespaced one-breach-all "
    "hypervisor-restricts",
    "port": "containers-easy immediate-start vm-difficult vm-slow-because-size dev-many-platforms",
    "perf": "lightweight startup-faster usage-varies no-permanent-allocation scale-easy "
    "no-os-install",
    "table": "isolation-level os-per-instance boot-time size ready-made move creation-time "
    "resource-usage",
}
"""Every checkable statement of the article."""


@pytest.fixture(scope="module")
def found():
    return pages.declared()


def test_the_claims_are_the_statements_of_the_article_and_its_opinions(found):
    ids = {one.claim.id for one in found}
    article = {f"{part}.{name}" for part, names in ARTICLE.items() for name in names.split()}
    opinions = {one for one in ids if one.startswith("opinion.")}
    assert ids - opinions == article
    assert opinions


def test_every_claim_reads_an_experiment_unless_it_is_an_opinion(found):
    for one in found:
        assert bool(one.experiments) is not one.claim.id.startswith("opinion."), one.claim.id
        assert one.claim.method, one.claim.id


def test_every_reading_asks_for_a_metric_that_its_experiment_has(found):
    from pytest_vmvc import experiments

    for one in found:
        metrics = {m.name for name in one.experiments for m in experiments.load(name).metrics}
        for reading in one.claim.readings:
            assert reading.question.metric in (metrics or {""}), (one.claim.id, reading.name)


def test_every_expectation_has_its_reason(found):
    for one in found:
        for reading in one.claim.readings:
            if not one.claim.id.startswith("opinion."):
                assert reading.why.strip(), (one.claim.id, reading.name)


def test_the_shipped_pages_are_those_of_the_code(found, tmp_path):
    made = pages.write(tmp_path, found)
    assert {path.name: path.read_text() for path in made} == {
        path.name: path.read_text() for path in SHIPPED.glob("*.md")
    }, "write them again: vmvc claims -o docs/claims"


def test_a_page_says_what_would_change_our_mind(found):
    one = next(one for one in found if one.claim.id == "table.boot-time")
    text = pages.claim_page(one)
    assert "wholly ≥ 60" in text
    assert "pytest --vmvc -k test_boot_time" in text
    assert "| vm-slower | start_s: vm ÷ container > 1.25× |" in text


def test_pages_of_claims_that_are_gone_are_removed(found, tmp_path):
    (tmp_path / "old.claim.md").write_text("gone")
    pages.write(tmp_path, found[:1])
    assert not (tmp_path / "old.claim.md").exists()


def test_a_package_that_is_not_there_is_a_usage_error():
    with pytest.raises(UsageError, match="no package no_such_claims"):
        pages.declared("no_such_claims")
