"""What of the documentation's site is written from the code, as mkdocs builds it.

A page has a comment ``<!-- from the code: NAME -->``, which is replaced by what `MADE` has under
that name; the files themselves stay as they are. A link to a file of the repository that is outside
of ``docs`` leads to a copy of it in the site, so that the same link works in a checkout.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from posixpath import normpath
from typing import Any

from mkdocs.structure.files import File, Files

from pytest_vmvc import experiments, ledger, pages
from pytest_vmvc.__main__ import _parser
from pytest_vmvc.model import Verdict
from pytest_vmvc.plugin import options
from pytest_vmvc.report.score import kind
from pytest_vmvc.subjects import own

ROOT = Path(__file__).parent.parent
PLACE = re.compile(r"<!-- from the code: ([\w-]+) -->")
OUTSIDE = re.compile(r"(?<=\]\()((?:\.\./)+[\w./-]+)(?=[)#])")
COPIES = "repository"
"""Folder of the site with what pages link to and ``docs`` does not hold."""


# --- the hooks of mkdocs -------------------------------------------------------------------------


def on_config(config: Any) -> Any:  # noqa: ANN401 - mkdocs is without types
    """Put a page for each claim into the navigation, by section."""
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Claims") == "claims/":
            entry["Claims"] = ["claims/README.md", *_sections()]
    return config


def on_files(files: Files, *, config: Any) -> Files:  # noqa: ANN401 - mkdocs is without types
    """Add the files outside of ``docs`` that pages link to."""
    wanted = {
        target
        for file in files.documentation_pages()
        for target in map(_outside(file.src_uri), OUTSIDE.findall(file.content_string))
        if target
    }
    for target in sorted(wanted):
        copy = File.generated(config, f"{COPIES}/{target}", abs_src_path=str(ROOT / target))
        files.append(copy)
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:  # noqa: ANN401 - mkdocs is without types
    """Fill in what is written from the code, and lead links to the copies."""
    text = PLACE.sub(lambda found: MADE[found[1]](), markdown)
    outside, up = _outside(page.file.src_uri), "../" * page.file.src_uri.count("/")

    def lead(found: re.Match[str]) -> str:
        target = outside(found[0])
        return f"{up}{COPIES}/{target}" if target else found[0]

    return OUTSIDE.sub(lead, text)


def _outside(page: str) -> Callable[[str], str]:
    """The place in the repository that a page's link leads to; empty where that is in ``docs``."""

    def place(link: str) -> str:
        found = normpath(f"docs/{page}/../{link}")
        return "" if found.startswith(("docs/", "../")) or not (ROOT / found).is_file() else found

    return place


def _sections() -> list[dict[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for one in pages.declared():
        found.setdefault(_short(one.section), []).append(f"claims/{one.claim.id}.md")
    return [{section: files} for section, files in found.items()]


def _short(section: str) -> str:
    """``Section "Performance"`` is Performance; what follows a colon is for the page."""
    quoted = re.search(r'"(.*)"', section)
    return quoted[1] if quoted else section.partition(":")[0]


# --- what is written -----------------------------------------------------------------------------


def commands() -> str:
    """Every command of ``vmvc`` with its arguments."""
    parser = _parser()
    [found] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    summaries = {action.dest: action.help for action in found._choices_actions}
    blocks = []
    for name, command in found.choices.items():
        usage = textwrap.fill(
            " ".join(command.format_usage().removeprefix("usage: ").split()),
            width=88,
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        rows = [
            (_argument(action), _plain(action.help or ""))
            for action in command._actions
            if action.dest != "help" and action.help != argparse.SUPPRESS
        ]
        blocks += [f"### vmvc {name}", f"{_sentence(summaries[name])}", f"```text\n{usage}\n```"]
        blocks += [pages.table(("argument", "is"), rows)] if rows else []
    return "\n\n".join(blocks)


def _argument(action: argparse.Action) -> str:
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    value = action.metavar or choices or action.dest.upper()
    if not action.option_strings:
        return f"`{value}`"
    taken = "" if action.nargs == 0 else f" {value}"
    return f"`{', '.join(action.option_strings)}{taken}`"


class _Recorder:
    """Stands in for pytest's parser, and keeps what it is told."""

    def __init__(self) -> None:
        self.options: list[tuple[str, Mapping[str, Any]]] = []
        self.ini: dict[str, str] = {}

    def getgroup(self, *_: str) -> _Recorder:
        return self

    def addoption(self, name: str, **words: Any) -> None:  # noqa: ANN401 - argparse's own looseness
        self.options.append((name, words))

    def addini(self, name: str, _: str, **words: Any) -> None:  # noqa: ANN401 - argparse's own looseness
        self.ini[name] = words["type"]


def _declared() -> _Recorder:
    recorder = _Recorder()
    options.add(recorder)  # type: ignore[arg-type] # it has what is asked of it
    return recorder


def pytest_options() -> str:
    """Every option of the plugin with its twin in the ini file."""
    told = _declared()
    rows = []
    for name, words in told.options:
        twin = name.removeprefix("--").replace("-", "_")
        value = "" if words.get("action") == "store_true" else f" {words.get('metavar', '')}"
        ini = f"`{twin}` ({told.ini[twin]})" if twin in told.ini else "—"
        rows.append((f"`{name}{value}`", _plain(words["help"]), ini))
    return pages.table(("option", "is", "in the ini file"), rows)


def profiles() -> str:
    """What each profile measures unless it is told otherwise."""
    rows = [
        (f"`{name}`", ", ".join(one.pairs), str(one.blocks))
        for name, one in options.PROFILES.items()
    ]
    return pages.table(("profile", "pairs", "most samples of a subject"), rows)


def pair_keys() -> str:
    """The keys of a pair's table, each with its option."""
    rows = []
    for key in own.READERS:
        metavar, text = options.SUBJECTS[key]
        rows.append((f"`{key}`", metavar, _plain(text), f"`--vmvc-{key}`"))
    return pages.table(("key", "value", "is", "option"), rows)


def metrics() -> str:
    """Every experiment with its metrics."""
    blocks = []
    for name, entry in experiments.CATALOGUE.items():
        rows = [
            (f"`{one.name}`", one.unit or "—", one.definition, one.dose or "—", one.emulation)
            for one in experiments.load(name).metrics
        ]
        head = ("metric", "unit", "definition", "dose", "emulation")
        blocks += [f"### {name}", _sentence(entry.summary), pages.table(head, rows)]
    return "\n\n".join(blocks)


def records() -> str:
    """The records of a results file and their fields, from the schema that is published."""
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text())
    kinds = {ref.rpartition("/")[2]: k for k, ref in schema["discriminator"]["mapping"].items()}
    blocks = []
    for name, one in schema["$defs"].items():
        if one.get("type") != "object":
            continue
        title = f"### {kinds[name]} (a line)" if name in kinds else f"### {name}"
        required = one.get("required", ())
        rows = [
            (f"`{field}`", _typed(what), "yes" if field in required else "no")
            for field, what in one["properties"].items()
        ]
        described = " ".join(str(one.get("description", "")).split()).replace("``", "`")
        blocks += [title, described, pages.table(("field", "type", "always there"), rows)]
    return "\n\n".join(filter(None, blocks))


def _typed(what: Mapping[str, Any]) -> str:
    if "$ref" in what:
        return str(what["$ref"]).rpartition("/")[2]
    if "anyOf" in what:
        return " or ".join(dict.fromkeys(map(_typed, what["anyOf"])))
    if "enum" in what:
        return ", ".join(f"`{one}`" for one in what["enum"])
    kind_of = str(what.get("type", "any"))
    if kind_of == "array":
        return f"list of {_typed(what.get('items', {}))}"
    return kind_of


def recorded_score() -> str:
    """How many claims of the article stand and fall in the recorded run, and which."""
    verdicts: dict[str, set[Verdict]] = {}
    for result in _recorded():
        verdicts.setdefault(result.claim, set()).add(result.judgement.verdict)
    kinds: dict[str, list[str]] = {}
    for claim, given in verdicts.items():
        kinds.setdefault(kind(given)[0], []).append(claim)
    rows = [
        (words, str(len(found)), ", ".join(_linked(claim) for claim in found))
        for words, found in sorted(kinds.items(), key=lambda one: -len(one[1]))
    ]
    return pages.table(("in this run", "claims", "which"), rows)


def recorded_counts() -> str:
    """Readings by verdict, in a sentence's worth of words."""
    given = [result.judgement.verdict for result in _recorded()]
    told = [f"{given.count(one)} {one.value}" for one in Verdict]
    return f"{len(given)} readings: {', '.join(told)}."


def recorded_table() -> str:
    """The table of the README, whose claims lead to their pages."""
    text = str(_tables().short_table(_recorded()))
    return re.sub(r"`([\w.-]+\.[\w-]+)`", lambda found: _linked(found[1]), text)


def _linked(claim: str) -> str:
    return f"[`{claim}`](claims/{claim}.md)"


def _recorded() -> list[Any]:
    if not _KEPT:
        tables = _tables()
        _KEPT.extend(tables.judged_again(ledger.read(tables.RECORDED)))
    return _KEPT


_KEPT: list[Any] = []
"""The recorded run by today's judge, once it has been asked for."""


def _tables() -> Any:  # noqa: ANN401 - a module by its path
    """What the tests hold the README against: it makes the same tables."""
    spec = importlib.util.spec_from_file_location("recorded", ROOT / "tests" / "recorded.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _plain(text: str) -> str:
    return text.replace("%%", "%")


def _sentence(text: str | None) -> str:
    words = _plain(text or "")
    return f"{words[:1].upper()}{words[1:]}."


MADE: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "options": pytest_options,
    "profiles": profiles,
    "pair-keys": pair_keys,
    "metrics": metrics,
    "records": records,
    "recorded-score": recorded_score,
    "recorded-counts": recorded_counts,
    "recorded-table": recorded_table,
}
"""What a page may ask for, by name."""
