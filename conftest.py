"""The project's own tests: deterministic, and not skipped where they are required."""

import os

import pytest
from hypothesis import settings

# What a run under test says is not the summary of the job that runs the tests.
os.environ.pop("GITHUB_STEP_SUMMARY", None)

# Hypothesis draws the same examples every time.
settings.register_profile("deterministic", derandomize=True, deadline=None)
# Other ones, and ten times as many: `tox run -e states`.
settings.register_profile("long", max_examples=1000, deadline=None, database=None, print_blob=True)
settings.load_profile("deterministic")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """What VMVC_TESTS_REQUIRE names (engine,machine,vagrant,browser) must not be skipped."""
    report = yield
    required = set(os.environ.get("VMVC_TESTS_REQUIRE", "").split(","))
    marked = required.intersection(mark.name for mark in item.iter_markers())
    if report.skipped and marked and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and {', '.join(marked)} is required: {report.longrepr[2]}"
    return report
