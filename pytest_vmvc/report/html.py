"""One self-contained HTML page from a results file: pure, offline, readable without scripts."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

from pytest_vmvc.ledger import RunLog, encode
from pytest_vmvc.report.article import article
from pytest_vmvc.report.board import board
from pytest_vmvc.report.cards import cards
from pytest_vmvc.report.provenance import provenance
from pytest_vmvc.report.wording import VERDICT_MEANING, visible_log
from pytest_vmvc.text import visible

TITLE: Final = "Virtual machines and containers, measured side by side"
HERE: Final = Path(__file__).parent
EMBEDDED: Final = 100_000
"""Samples up to which a page carries the results file; a full run has some thousand."""


def render(log: RunLog, *, title: str = TITLE) -> str:
    """The page as one string. Nothing in the log is trusted: every text is escaped."""
    from markupsafe import Markup

    shown = visible_log(log)
    style = (HERE / "style.css").read_text(encoding="utf-8")
    script = (HERE / "report.js").read_text(encoding="utf-8")
    page = environment().get_template("report.html.j2")
    text: str = page.render(
        title=visible(title),
        policy=policy(style, script),
        # The two texts below are ours; nothing else is exempt from escaping.
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        island=_island(log) if len(log.observations) <= EMBEDDED else "",
        samples=len(log.observations),
        board=board(shown),
        article=article(shown),
        cards=cards(shown),
        provenance=provenance(shown),
        problems=shown.problems,
        meanings=[(verdict.value, words) for verdict, words in VERDICT_MEANING.items()],
    )
    return text


@cache
def environment() -> Any:  # noqa: ANN401 - jinja2 is imported lazily
    """Where this package's templates are; what they print is escaped."""
    import jinja2
    from markupsafe import Markup

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Charts come from report.svg, which escapes the texts in them.
    found.filters["drawing"] = Markup
    return found


def policy(style: str, script: str = "") -> str:
    """The page's own style and script, by their hashes, and nothing else."""
    scripts = f"script-src '{_digest(script)}'; " if script else ""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; {scripts}"
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _island(log: RunLog) -> str:
    """The results file, compressed (gzip) and in base64: no character of HTML is in it."""
    lines = b"".join(encode(record) + b"\n" for record in log.records())
    return base64.b64encode(gzip.compress(lines, mtime=0)).decode()
