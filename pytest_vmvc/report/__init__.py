"""Results file to HTML page. `render` is pure; `write` puts its page where it should be."""

from __future__ import annotations

from pytest_vmvc.report.html import TITLE, render, write

__all__ = ["TITLE", "render", "write"]
