"""Planted places to look from: what a fake inside answers to the scripts of the isolation probes.

A fake without an answer runs the script for real on the host: it shares everything with it.
"""

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.experiments import pseudo_files, vantage
from pytest_vmvc.experiments.namespaces import WITHOUT_NAMESPACE
from pytest_vmvc.model import Completed


class Shapes(FakeProvider):
    """A fake whose other shapes are planted too: ``shapes(shape)`` gives the provider."""

    def __init__(self, scope, *, shapes, **options):
        super().__init__(scope, **options)
        self._shapes = shapes

    def shaped(self, shape):
        return self._shapes(shape)


def answering(answer):
    """A fake's script from ``answer(script) -> text``; None: run it for real."""

    def script(_name, argv, stdin):
        text = answer(stdin.decode())
        if text is None:
            return None
        return Completed(argv=argv, exit_status=0, stdout=text.encode(), stderr=b"", duration_s=0.0)

    return script


def resources(script, *, kernel, clock=1, **inodes):
    """What a place with this kernel and these namespaces says, if it is asked for them."""
    if script == WITHOUT_NAMESPACE:
        return f"kernel={kernel}\nclock=btime {clock}\n"
    if "/proc/self/ns/cgroup" in script:
        lines = [f"{name} {name}:[{inodes.get(name, 1)}]" for name in vantage.NAMESPACES]
        return "\n".join([kernel, *lines, ""])
    return None


def pseudo(script, **values):
    """What a place says whose pseudo-files are these and no others, by their rows' names."""
    if script != pseudo_files.script():
        return None
    rows = (f"{pseudo_files._MARK}\n{values.get(row.name, '')}\n" for row in pseudo_files.ROWS)
    return "".join(rows)
