"""What pytest collects where there are budgets: a claim for each experiment they are about."""

from pytest_vmvc.plugin import budgets

globals().update(budgets.tests(budgets.asked))
