"""The project's own tests are deterministic: Hypothesis draws the same examples every time."""

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
