"""The options, each with its twin in the ini file (``--vmvc-seed`` is ``vmvc_seed``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from pytest_vmvc.looks import LEAST
from pytest_vmvc.plugin import own_pairs

if TYPE_CHECKING:
    from pytest_vmvc.compare_command import Limits
    from pytest_vmvc.ledger import RunLog
    from pytest_vmvc.plugin.budgets import Budget
    from pytest_vmvc.subjects.offered import Offered
    from pytest_vmvc.subjects.own import OwnPair

PAIRS = ("minimal", "debian")
GATES = ("contradictions", "strict", "off")
KINDS = ("container", "vm", "vagrant")
MACHINES = ("q35", "pc", "microvm")
MIN_BLOCKS = LEAST
OWN = "own"
"""Name of the pair that the options describe."""
SUBJECTS: Mapping[str, tuple[str, str]] = {
    "image": ("REF", "image of the container, and of the machine that no other option names"),
    "command": ("WORDS", "what is run in place of the image's own command"),
    "ready": ("PROBE", "when a start is over: line:TEXT, port:NUMBER or http:NUMBER/PATH; the same "
              "for both (default: at the answer of our own payload, which the image's sh runs)"),
    "box": ("BOX", "machine: name of a box that Vagrant has, or path of its file"),
    "vagrantfile": ("DIR", "machine: the one of the Vagrantfile in this folder"),
    "vagrant-provider": ("NAME", "Vagrant's provider for a box or a Vagrantfile, such as "
                         "virtualbox, vmware_desktop or qemu (default: libvirt)"),
    "disk": ("FILE", "machine: a bootable disk image, qcow2 or raw; needs --vmvc-ready"),
    "kernel": ("FILE", "kernel to boot that disk with, instead of its own boot loader"),
    "initrd": ("FILE", "initramfs that goes with the kernel"),
    "kernel-parameters": ("WORDS", "kernel parameters that go with it, such as root=/dev/vda1"),
    "cpus": ("N", "CPUs on both sides"),
    "memory": ("SIZE", "memory on both sides, such as 512MiB"),
}  # fmt: skip
"""Options that describe a pair of one's own, and the keys of its table in pyproject.toml."""
MEASURING = (
    *(
        f"vmvc_{word}"
        for word in (
            "profile",
            "blocks",
            "seed",
            "deadline",
            "online",
            "require",
            "runtime",
            "machine",
        )
    ),
    *(f"vmvc_{word.replace('-', '_')}" for word in SUBJECTS),
)  # fmt: skip
"""Options that make no sense where nothing is measured."""
_SAVED = pytest.StashKey["RunLog | None"]()
_N = TypeVar("_N", int, float)


class Profile(NamedTuple):
    """What a run measures unless it is told otherwise."""

    pairs: tuple[str, ...]
    blocks: int
    """Most pairs of a sampled experiment."""


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(PAIRS, LEAST),
    "quick": Profile(("minimal",), LEAST),
    "thorough": Profile(PAIRS, 40),
}


class Options(NamedTuple):
    """What the user chose, checked."""

    profile: str
    pairs: tuple[str, ...]
    own: Mapping[str, OwnPair]
    offered: Mapping[str, Offered]
    runtime: str
    machine: str
    blocks: int
    seed: int | None
    deadline_s: float
    output: Path
    gate: str
    require: tuple[str, ...]
    online: bool
    baseline: Path | None
    update_baseline: bool
    fail_on: Limits | None
    budgets: tuple[Budget, ...]
    redact: bool


def add(parser: pytest.Parser) -> None:
    """Add the option group and the ini twins."""
    group = parser.getgroup("vmvc", "containers and virtual machines, measured (pytest-vmvc)")

    def option(name: str, help_text: str, ini: Any = "string", **kwargs: Any) -> None:  # noqa: ANN401 - argparse's own looseness
        group.addoption(f"--{name}", default=None, help=help_text, **kwargs)
        parser.addini(name.replace("-", "_"), help_text.replace("%%", "%"), type=ini, default=None)

    option(
        "vmvc",
        "measure and judge claims; without a path: the article's claims",
        "bool",
        action="store_true",
    )
    option(
        "vmvc-profile",
        "standard (default): every pair; quick: the minimal pair only, which needs no Vagrant; "
        "thorough: every pair, and more samples where six do not decide",
        metavar="NAME",
    )
    option(
        "vmvc-pair",
        f"pair to measure: {', '.join(PAIRS)}, one of pyproject.toml's [tool.vmvc.pairs.NAME], or "
        "one that a plugin or a conftest.py offers; may be repeated (default: those "
        "of the profile, or the one that the options describe)",
        "args",
        action="append",
        metavar="NAME",
    )
    for word, (metavar, text) in SUBJECTS.items():
        group.addoption(
            f"--vmvc-{word}",
            default=None,
            metavar=metavar,
            help=f"pair of your own, called {OWN}: {text}",
        )
    option(
        "vmvc-runtime",
        "run every container of the engine under this runtime of it, such as runsc or crun "
        "(default: the engine's own)",
        metavar="NAME",
    )
    option(
        "vmvc-machine",
        f"type of the pairs' bare machines: {', '.join(MACHINES)} (default: {MACHINES[0]})",
        metavar="TYPE",
    )
    option(
        "vmvc-blocks",
        f"most fresh starts of each subject in a sampled experiment, at least {MIN_BLOCKS} "
        "(default: that of the profile); above that, it ends at the first declared look at which "
        "every reading is settled",
        metavar="N",
    )
    option(
        "vmvc-seed",
        "seed of the order within blocks and of the bootstrap, to repeat a run's plan "
        "(default: drawn, and recorded)",
        metavar="N",
    )
    option(
        "vmvc-deadline",
        "seconds to wait for the first answer of one start; a start that is later is a "
        "censored sample (default: 300)",
        metavar="SECONDS",
    )
    option(
        "vmvc-output",
        "folder for results and reports, one sub-folder a run (default: vmvc-results)",
        metavar="DIR",
    )
    option(
        "vmvc-gate",
        "contradictions (default): fail where a verdict contradicts the expected one; strict: "
        "fail on INCONCLUSIVE and on news too; off: never fail on a verdict",
        metavar="NAME",
    )
    option(
        "vmvc-online",
        "also ask public registries and catalogues (their addresses are in the docs); without it "
        "what needs them is NOT TESTABLE",
        "bool",
        action="store_true",
    )
    option(
        "vmvc-from",
        "give the claims the series of this results file instead of measuring; the new run's "
        "results hold them too, and say whose they are",
        metavar="FILE",
    )
    option(
        "vmvc-budget",
        "a limit of your own, such as container.cold_start<500ms, judged as a reading; may be "
        "repeated",
        "linelist",
        action="append",
        metavar="LIMIT",
    )
    option(
        "vmvc-redact",
        "leave host name, paths and addresses out of the report; the results file keeps them",
        "bool",
        action="store_true",
    )
    option(
        "vmvc-baseline",
        "results of an accepted run of this host: a verdict fails where it is another than there, "
        "and no longer where it is another than expected",
        metavar="FILE",
    )
    group.addoption(
        "--vmvc-update-baseline",
        default=None,
        action="store_true",
        help="make this run's results the file that --vmvc-baseline names, instead of gating on it",
    )
    option(
        "vmvc-fail-on",
        "what fails the run when it has happened since --vmvc-baseline, such as startup:10%%: "
        "that figure has grown by more, with its whole interval; verdict: one has changed",
        metavar="WHAT",
    )
    option(
        "vmvc-require",
        f"what must be available, of {', '.join(KINDS)}, with commas; else the run ends with exit "
        "code 4 instead of NOT TESTABLE",
        metavar="KINDS",
    )


def active(config: pytest.Config) -> bool:
    """Whether ``--vmvc`` was asked for."""
    return bool(config.getoption("vmvc", default=None) or config.getini("vmvc"))


def saved(config: pytest.Config) -> RunLog | None:
    """The run whose evidence is given to the claims, read once; None where it is measured.

    Raises `pytest.UsageError` where there is no such run, or an option asks for measuring.
    """
    if _SAVED not in config.stash:
        given = config.getoption("vmvc_from", default=None) or config.getini("vmvc_from")
        config.stash[_SAVED] = _read(config, given) if given else None
    return config.stash[_SAVED]


def parse(config: pytest.Config) -> Options:
    """Check all values; raises `pytest.UsageError` (exit code 4) naming the option."""
    log = saved(config)

    def value(name: str, default: Any) -> Any:  # noqa: ANN401 - as loose as the ini file
        if log and name in MEASURING:
            return default
        given = config.getoption(name, default=None)
        if given is None:
            given = config.getini(name)
        return default if given in (None, "", []) else given

    offered = {} if log or not active(config) else _offered(config)
    own = {} if log else _own(config, (*PAIRS, *offered))
    known = (*PAIRS, *own, *offered) if log is None else _pairs(log)
    profile = _one_of("--vmvc-profile", value("vmvc_profile", "standard"), tuple(PROFILES))
    chosen = value("vmvc_pair", known if log else (OWN,) if OWN in own else PROFILES[profile].pairs)
    return Options(
        profile=profile,
        pairs=_all_of("--vmvc-pair", chosen, known if active(config) else tuple(chosen)),
        own=own,
        offered=offered,
        runtime=value("vmvc_runtime", ""),
        machine=_one_of("--vmvc-machine", value("vmvc_machine", MACHINES[0]), MACHINES),
        blocks=_number(
            "--vmvc-blocks", value("vmvc_blocks", PROFILES[profile].blocks), int, MIN_BLOCKS
        ),
        seed=log.run.seed if log and log.run else _seed(value("vmvc_seed", None)),
        deadline_s=_number("--vmvc-deadline", value("vmvc_deadline", 300.0), float, 1),
        output=Path(config.invocation_params.dir, value("vmvc_output", "vmvc-results")),
        gate=_one_of("--vmvc-gate", value("vmvc_gate", GATES[0]), GATES),
        require=_all_of("--vmvc-require", _words(value("vmvc_require", "")), KINDS),
        online=bool(value("vmvc_online", None)),
        budgets=_budgets(config),
        redact=bool(value("vmvc_redact", None)),
        **_baseline(config, value("vmvc_baseline", None), value("vmvc_fail_on", "")),
    )


def _offered(config: pytest.Config) -> Mapping[str, Offered]:
    """Pairs of other distributions and of hooks; nobody looks without ``--vmvc``."""
    from pytest_vmvc.plugin import extending

    return extending.pairs(config)


def _own(config: pytest.Config, taken: tuple[str, ...]) -> Mapping[str, OwnPair]:
    """Pairs of the user's own; most runs have none, and import nothing for it."""
    if not own_pairs.given(config, SUBJECTS):
        return {}
    return own_pairs.read(config, SUBJECTS, name=OWN, taken=taken)


def _budgets(config: pytest.Config) -> tuple[Budget, ...]:
    given = config.getoption("vmvc_budget", default=None) or config.getini("vmvc_budget") or ()
    if not given:
        return ()
    from pytest_vmvc.plugin import budgets

    return tuple(budgets.parse(text) for text in dict.fromkeys(given))


def _baseline(config: pytest.Config, given: str | None, fail_on: str) -> dict[str, Any]:
    update = bool(config.getoption("vmvc_update_baseline", default=None))
    if update and not given:
        raise pytest.UsageError("--vmvc-update-baseline: name the file with --vmvc-baseline")
    path = Path(config.invocation_params.dir, given) if given else None
    limits = _limits(fail_on) if fail_on else None
    if limits and not path:
        raise pytest.UsageError("--vmvc-fail-on: name a run to hold it against: --vmvc-baseline")
    return {"baseline": path, "update_baseline": update, "fail_on": limits}


def _limits(text: str) -> Limits:
    from argparse import ArgumentTypeError

    from pytest_vmvc import compare_command

    try:
        return compare_command.limits(text)
    except ArgumentTypeError as error:
        raise pytest.UsageError(f"--vmvc-fail-on: {error}") from error


def _read(config: pytest.Config, given: str) -> RunLog:
    from pytest_vmvc import ledger
    from pytest_vmvc.errors import LedgerError

    for name in MEASURING:
        if config.getoption(name, default=None) is not None:
            raise pytest.UsageError(
                f"--{name.replace('_', '-')}: nothing is measured with --vmvc-from; leave it out"
            )
    try:
        log = ledger.read(Path(config.invocation_params.dir, given))
    except LedgerError as error:
        raise pytest.UsageError(f"--vmvc-from: {error}") from error
    if log.run is None or not _pairs(log):
        raise pytest.UsageError(
            f"--vmvc-from={given}: it holds no {'host' if log.run is None else 'series'}; "
            "name the results.jsonl of a run that measured"
        )
    return log


def _pairs(log: RunLog) -> tuple[str, ...]:
    named = [*(row.pair for row in log.series), *(gap.pair for gap in log.missing)]
    return tuple(dict.fromkeys(filter(None, named)))


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise pytest.UsageError(f"{option}={value}: unknown; choose one of {', '.join(known)}")
    return value


def _all_of(option: str, values: Any, known: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ANN401 - list or tuple of str
    return tuple(dict.fromkeys(_one_of(option, value, known) for value in values))


def _number(option: str, value: Any, kind: Callable[[Any], _N], least: float) -> _N:  # noqa: ANN401 - text or number
    try:
        number = kind(value)
    except ValueError:
        raise pytest.UsageError(f"{option}={value}: not a number") from None
    if not least <= number < 2**53:
        raise pytest.UsageError(f"{option}={value}: must be at least {least}")
    return number


def _seed(value: Any) -> int | None:  # noqa: ANN401 - text or number
    return None if value is None else _number("--vmvc-seed", value, int, 0)


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]
