"""What people look at after a run, made of its results file: page, summary, samples, badge."""

from __future__ import annotations

from pytest_vmvc.report.files import write
from pytest_vmvc.report.html import TITLE, render
from pytest_vmvc.report.markdown import summary
from pytest_vmvc.report.redact import redacted

__all__ = ["TITLE", "redacted", "render", "summary", "write"]
