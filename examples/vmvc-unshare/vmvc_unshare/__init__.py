"""An example of what can be added to pytest-vmvc: a backend, an experiment, a claim pack."""
