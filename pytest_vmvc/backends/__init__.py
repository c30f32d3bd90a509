"""One technology a file, behind the two protocols of `pytest_vmvc.backends.base`."""
