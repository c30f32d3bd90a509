"""The project's own tests use pytest's own test bed."""

pytest_plugins = ["pytester"]
