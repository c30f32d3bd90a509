"""Figures as people read them."""

import pytest

from pytest_vmvc.units import quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.3123, "s", "312 ms"),
        (0.000012, "s", "12.0 µs"),
        (4.0, "s", "4.00 s"),
        (61.26, "s", "61.3 s"),
        (2_000_000_000, "bytes", "2.00 GB"),
        (14_186_432, "bytes", "14.2 MB"),
        (999, "bytes", "999 bytes"),
        (13.5612, "ratio", "13.6×"),
        (0.95, "", "0.950"),
        (0.0, "s", "0 s"),
        (0.0, "bytes", "0 bytes"),
        (2.19e-9, "s/byte", "2.19 s/GB"),
        (12345.0, "requests", "12\u202f345 requests"),
    ],
)
def test_three_digits_and_a_unit(value, unit, text):
    assert quantity(value, unit).replace("\u00a0", " ") == text


def test_a_threshold_is_shown_as_it_was_given():
    assert quantity(60, "s", exact=True).replace("\u00a0", " ") == "60 s"
    assert quantity(1.25, "ratio", exact=True) == "1.25×"
