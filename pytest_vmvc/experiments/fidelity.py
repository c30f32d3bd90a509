"""Whether file trees of any shape arrive bit for bit: names, modes, links, times, content."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_vmvc.backends.optional import Destination, Laden, Loadable, Portable
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.file_trees import (
    LARGEST_HOLE_BYTES,
    NAME_BYTES,
    READ,
    Manifest,
    Node,
    Seen,
    parse,
    random_trees,
    short,
    written,
)
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

EXAMPLES = 8
READ_TIMEOUT_S = 120.0
BEFORE_1970 = -86_400 * 365


def _aspect(name: str, label: str, definition: str) -> Metric:
    return Metric(name=name, label=label, unit="", definition=definition)


class Fidelity:
    """The same random trees go into an image and onto a machine's disk, and are carried.

    A machine's disk is made by ``mke2fs -d``, an image by ``docker import``; both are compared
    with the tree on the host that they were made of. Times count to the second.
    """

    name = "fidelity"
    metrics = (
        _aspect("names_kept", "names arrive", "no entry is lost, added or renamed"),
        _aspect("content_kept", "content arrives", "size and SHA-256 of every file"),
        _aspect("modes_kept", "modes arrive", "type and all twelve permission bits"),
        _aspect("links_kept", "links arrive", "targets, dangling ones too, and hard links"),
        _aspect("times_kept", "times arrive", "modification times from 1970 on, to the second"),
        _aspect("early_times_kept", "times before 1970 arrive", "the same, before 1970"),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record each aspect for each tree; ``instance`` tells a counter-example."""
        for subject, gap in pair.missing.items():
            record.missing(subject, str(gap))
        trees = [every_feature(), *random_trees(settings.seed, EXAMPLES - 1)]
        for done, (subject, provider) in enumerate(pair.subjects.items()):
            record.progress(done, len(pair.subjects), "subject")
            if not isinstance(provider, Loadable) or not isinstance(provider, Portable):
                continue
            provider.prepare()
            _carry(subject, provider, trees, record, settings)


def _carry(
    subject: str, provider: Loadable, trees: list[Node], record: Recorder, settings: Settings
) -> None:
    sent: list[Manifest] = []

    def fill(folder: Path) -> None:
        sent[:] = written(folder, trees)

    with provider.laden(fill) as laden:
        for suffix, opening in laden.provider.destinations().items():
            try:
                with opening() as place:
                    _arrive(subject + suffix, laden, place, sent, record, settings)
            except Unavailable as gap:
                record.missing(subject + suffix, str(gap))


def _arrive(
    subject: str,
    laden: Laden,
    place: Destination,
    sent: list[Manifest],
    record: Recorder,
    settings: Settings,
) -> None:
    with (
        laden.provider.ported(place) as arrival,
        arrival.provider.launch(deadline_s=settings.deadline_s) as environment,
    ):
        if laden.reach:
            environment.run(laden.reach)
        numbers = [str(number) for number in range(len(sent))]
        done = environment.run(["sh", "-c", READ, "sh", *numbers], timeout_s=READ_TIMEOUT_S)
        try:
            seen = parse(done.stdout, len(sent))
        except (ValueError, IndexError) as error:
            raise InfrastructureError(
                f"{environment.name} does not list its files: {error}",
                hint=done.stderr.decode(errors="replace")[-300:],
            ) from error
        facts = environment.facts
    for number, (ours, theirs) in enumerate(zip(sent, seen, strict=True)):
        for metric, first in differences(ours, theirs).items():
            # Its place in the row tells the tree; a second counter-example adds nothing.
            record.observe(
                subject,
                metric,
                not first,
                facts=facts,
                block=number,
                instance=f"tree {number}" + (f": {first}" if first else ""),
            )


def differences(sent: Manifest, seen: Manifest) -> dict[str, str]:
    """The first difference in each aspect, in words; empty where there is none.

    A tree in which nothing is older than 1970 says nothing of such times.
    """
    both = sorted(sent.keys() & seen.keys())
    strays = sorted(sent.keys() ^ seen.keys())
    links = {name for name in both if stat.S_ISLNK(int(sent[name].mode, 16))}
    files = [name for name in both if name not in links]
    early = [name for name in files if sent[name].mtime < 0]

    def first(names: Iterable[bytes], of: Callable[[Seen], object]) -> str:
        for name in names:
            if (ours := of(sent[name])) != (theirs := of(seen[name])):
                return f"{short(name)}: {ours!r:.60} became {theirs!r:.60}"
        return ""

    found = {
        "names_kept": f"{short(strays[0])} is on one side only" if strays else "",
        "content_kept": first(files, lambda entry: entry.content),
        "modes_kept": first(both, lambda entry: entry.mode),
        "links_kept": first(links, lambda entry: entry.content)
        or first(both, lambda entry: sorted(entry.names)),
        "times_kept": first(sorted(set(files) - set(early)), lambda entry: entry.mtime),
    }
    if early:
        found["early_times_kept"] = first(early, lambda entry: entry.mtime)
    return found


def every_feature() -> Node:
    """A tree with one of everything, so that no feature depends on chance."""
    return Node(
        mode=stat.S_IFDIR | 0o1777,
        mtime=10**9,
        children={
            "empty": Node(mode=stat.S_IFREG | 0o600),
            "setuid": Node(mode=stat.S_IFREG | 0o6755, data=b"#!", mtime=1, twin="twin"),
            "sparse": Node(
                mode=stat.S_IFREG | 0o644, data=b"end", hole_bytes=LARGEST_HOLE_BYTES, mtime=2
            ),
            "early": Node(mode=stat.S_IFREG | 0o644, data=b"1969", mtime=BEFORE_1970),
            "line\nbreak \t“é” \x01": Node(mode=stat.S_IFREG | 0o644, data=b"\0\xff"),
            "n" * NAME_BYTES: Node(mode=stat.S_IFREG | 0o644, data=b"long"),
            "dangling": Node(mode=stat.S_IFLNK | 0o777, data=b"../no where"),
            "folder": Node(mode=stat.S_IFDIR | 0o2750, mtime=3),
        },
    )
