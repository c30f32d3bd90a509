"""What people look at, made of results files: of one run, or of several side by side."""

from __future__ import annotations

from pytest_vmvc.report.files import write, write_several
from pytest_vmvc.report.html import TITLE, render
from pytest_vmvc.report.markdown import summary
from pytest_vmvc.report.redact import redacted

__all__ = ["TITLE", "redacted", "render", "summary", "write", "write_several"]
