"""Figures as people read them."""

import pytest

from pytest_vmvc.units import quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.3123, "s", "312 ms"),
        (4.0, "s", "4 s"),
        (61.26, "s", "61.3 s"),
        (1234.5, "s", "1234 s"),
        (2_000_000_000, "bytes", "2 GB"),
        (14_186_432, "bytes", "14.2 MB"),
        (999, "bytes", "999 bytes"),
        (13.5612, "ratio", "13.6×"),
        (0.95, "", "0.95"),
    ],
)
def test_three_digits_and_a_unit(value, unit, text):
    assert quantity(value, unit) == text
