"""Fake environments with an inside of a test's own: memory, limits, a balloon."""

from contextlib import contextmanager

from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.declaration import ATTRIBUTE
from pytest_vmvc.judge import judge
from pytest_vmvc.model import Completed


class Around:
    """A fake environment, but for what a subclass answers itself."""

    def __init__(self, environment, shape):
        self._environment = environment
        self.shape = shape

    def __getattr__(self, name):
        return getattr(self._environment, name)


class Planted(FakeProvider):
    """Starts environments of ``inside(environment, shape)``, in whatever shape."""

    def __init__(self, scope, inside, *, kind="container", shape=None, **options):
        super().__init__(scope, kind=kind, **options)
        self._inside, self._shape, self._options = inside, shape, options

    def shaped(self, shape):
        return Planted(self._scope, self._inside, kind=self.kind, shape=shape, **self._options)

    @contextmanager
    def launch(self, **options):
        with super().launch(**options) as environment:
            yield self._inside(environment, self._shape)


def said(out="", status=0):
    return Completed(argv=(), exit_status=status, stdout=out.encode(), stderr=b"", duration_s=0.0)


def verdicts(claim_test, evidence):
    """What each reading of a claim comes to."""
    return {
        reading.name: judge(reading, evidence).verdict.value
        for reading in getattr(claim_test, ATTRIBUTE).readings
    }
