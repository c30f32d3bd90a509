"""One small test suite on several platforms, each as a container and as a machine of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import HasArtefact
from pytest_vmvc.errors import InfrastructureError, LaunchTimedOut, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.host import host_facts
from pytest_vmvc.measure import Plan, Sample, interleave
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair
from pytest_vmvc.subjects.platforms import ROOT

PLATFORMS = ("busybox", "klibc", "debian")
SUBJECTS: Mapping[str, str] = {"container": "container", "vm": "machine"}
"""What a platform is called on each side, behind its name: see `Pair.other`."""

# Words that every platform's shell knows; what fails is named, and the status is that of the suite.
SUITE = r"""
failed=
check() { if [ "$2" = "$3" ]; then passed=$((passed + 1)); else failed="$failed $1"; fi; }
passed=0
folder=/tmp/vmvc-suite.$$
umask 022
mkdir $folder && cd $folder || exit 1
for name in b a C; do echo $name >$name.txt; done
check sort-order "$(echo *.txt)" "C.txt a.txt b.txt"
check printf "$(printf '%05d|%-4s|%x' 42 ab 255)" "00042|ab  |ff"
check arithmetic "$((7 * 6 - 100 / 3 + (1 << 4)))" 25
check pipe "$(cat a.txt b.txt | while read -r line; do printf '<%s>' "$line"; done)" "<a><b>"
mkdir -m 700 private
# klibc's `ls` has no options: it is always long.
modes() { ls -l 2>/dev/null; ls; }
private_mode() {
    while read -r mode rest; do case $rest in *private) echo "${mode%.}" ;; esac; done
}
check file-mode "$(modes | private_mode)" drwx------
ln -s a.txt link
check link "$(readlink link)" a.txt
check uname "$(uname -s)" Linux
check substitution "${folder##*/vmvc-}" "suite.$$"
check status "$(cat absent 2>/dev/null || echo $?)" 1
cd / && rm -r $folder 2>/dev/null
echo "passed $passed failed ${failed:-none}"
uname -r
"""
CHECKS = SUITE.count("\ncheck ")


class Platforms:
    """Fresh starts, one platform a block; in each the suite is run once.

    A platform's machine boots one kernel, the same for all, with the platform's userland in its
    initramfs; the suite runs with that as its root. A machine of its own for each of their
    distributions' kernels and inits would cost more.
    """

    name = "platforms"
    metrics = (
        Metric(
            name="suite_s",
            label="time to the suite's result",
            unit="s",
            definition="from just before the request for a fresh instance to the result of the "
            "suite in it",
            emulation="inflates",
        ),
        Metric(
            name="memory_bytes",
            label="memory for a platform",
            unit="bytes",
            definition="host memory of the instance after the suite; of what, each backend's facts "
            "say",
            emulation="inflates",
        ),
        Metric(
            name="kept_bytes",
            label="size of a platform on disk",
            unit="bytes",
            definition="image, or kernel with initramfs, as it is kept",
        ),
        Metric(
            name="passed",
            label="the suite passes",
            unit="",
            definition=f"all {CHECKS} checks: sort order, printf, arithmetic, pipe, file mode, "
            "link, uname, substitution, exit status",
        ),
        Metric(
            name="kernel_release",
            label="kernel that the suite ran on",
            unit="",
            definition="`uname -r` on the platform",
        ),
        Metric(
            name="kernels",
            label="kernels that the platforms cover",
            unit="count",
            definition="distinct kernel releases over all platforms",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Go through the platforms, block by block, on every side that has all of them."""
        sides = {side: found for side in SUBJECTS if (found := _side(pair, side, record))}
        release = host_facts()["kernel_release"]
        record.observe("host", "kernel_release", release, facts=None, instance="host")
        tour = _Tour(sides, settings.deadline_s)
        for taken in interleave(
            {side: partial(tour.sample, side) for side in sides},
            plan=Plan(blocks=settings.blocks, seed=settings.seed),
            on_retry=record.retry,
            on_lost=record.lost,
            on_block=tour.going_on(record.progress),
        ):
            record.take(taken, sides[taken.subject][tour.platform].facts)
        for side, kernels in tour.kernels.items():
            facts = sides[side][PLATFORMS[0]].facts
            record.observe(side, "kernels", len(kernels), facts=facts)


class _Tour:
    """Which platform's turn it is, and the kernels that were met on the way."""

    def __init__(self, sides: Mapping[str, Mapping[str, Provider]], deadline_s: float) -> None:
        self._sides = sides
        self._deadline_s = deadline_s
        self.platform = PLATFORMS[0]
        self.kernels: dict[str, set[str]] = {}

    def going_on(self, then: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """What is to be called before each block."""

        def on_block(done: int, of: int) -> None:
            self.platform = PLATFORMS[done % len(PLATFORMS)]
            then(done, of)

        return on_block

    def sample(self, side: str) -> Sample:
        """A fresh start on this block's platform, and the suite in it."""
        provider = self._sides[side][self.platform]
        try:
            with provider.launch(deadline_s=self._deadline_s) as environment:
                passed, release = _suite(environment, self.platform)
                values: dict[str, Scalar] = {
                    "suite_s": environment.mark("suite"),
                    "memory_bytes": environment.usage().memory_bytes,
                    "passed": passed,
                    "kernel_release": release,
                }
                if isinstance(provider, HasArtefact):
                    values["kept_bytes"] = provider.artefact().kept_bytes
        except LaunchTimedOut:
            return Sample(values={"suite_s": self._deadline_s}, censored=True)
        self.kernels.setdefault(side, set()).add(release)
        return Sample(
            values=values,
            marks=dict(environment.marks),
            harness_cpu_s=environment.harness_cpu_s,
            instance=self.platform,
        )


def _side(pair: Pair, side: str, record: Recorder) -> dict[str, Provider]:
    """A provider for each platform; none where one of them cannot be had, with the reason."""
    found = {}
    for platform in PLATFORMS:
        try:
            found[platform] = pair.other(f"{platform}-{SUBJECTS[side]}")
            found[platform].prepare()
        except Unavailable as gap:
            record.missing(side, f"{platform}: {gap}")
            return {}
    return found


def _suite(environment: Environment, platform: str) -> tuple[bool, str]:
    """Whether all checks passed, and on which kernel; a machine has the platform in a folder."""
    is_guest = environment.facts.kind == "vm" and platform != PLATFORMS[0]
    argv = ["chroot", f"/{ROOT}", "/bin/sh"] if is_guest else ["sh"]
    done = environment.run(argv, stdin=SUITE.encode())
    lines = done.stdout.decode(errors="replace").splitlines()
    if len(lines) != 2:
        raise InfrastructureError(
            f"the suite gave no result on {platform}",
            hint=done.stderr.decode(errors="replace").strip()[:200],
        )
    return lines[0] == f"passed {CHECKS} failed none", lines[1][:64]
