"""Declaring a claim: complete and well-formed, or an error that says what is wrong where."""

import math

import pytest

from pytest_vmvc.declaration import ATTRIBUTE, at_least, below, claim, ratio
from pytest_vmvc.errors import UsageError


def test_a_declared_function_carries_its_claim():
    @claim(
        "own.start",
        quote="it starts soon",
        readings={"soon": below("container", "start_s", 1, "s").expecting("REFUTED", why="big")},
    )
    def declared():
        """What is measured."""

    found = getattr(declared, ATTRIBUTE)
    assert (found.id, found.quote, found.method) == (
        "own.start",
        "it starts soon",
        "What is measured.",
    )
    assert found.source.startswith(__file__)
    assert (found.readings[0].name, found.readings[0].expect, found.readings[0].why) == (
        "soon",
        "REFUTED",
        "big",
    )


def test_a_reading_may_be_of_some_pairs_only():
    asked = below("vm-restored", "start_s", 1, "s").on("minimal")

    @claim("own.restored", quote="q", readings={"r": asked})
    def declared():
        pass

    assert getattr(declared, ATTRIBUTE).readings[0].pairs == ("minimal",)


@pytest.mark.parametrize("claim_id", ["", "Upper.Case", "two words", "dot.", "é"])
def test_a_malformed_id_is_refused(claim_id):
    with pytest.raises(UsageError, match="malformed"):
        claim(claim_id, quote="q", readings={"r": below("vm", "m", 1, "s")})


def test_a_claim_needs_quote_and_readings():
    with pytest.raises(UsageError, match="no quote"):
        claim("a.b", quote=" ", readings={"r": below("vm", "m", 1, "s")})
    with pytest.raises(UsageError, match="has no readings"):
        claim("a.b", quote="q", readings={})
    with pytest.raises(UsageError, match=r"'r' of a\.b is int"):
        claim("a.b", quote="q", readings={"r": 60})


def test_an_expectation_against_the_article_needs_a_reason():
    with pytest.raises(UsageError, match="without a reason"):
        claim(
            "a.b", quote="q", readings={"r": below("vm", "m", 1, "s").expecting("REFUTED", why="")}
        )


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_is_a_number(threshold):
    with pytest.raises(UsageError, match="threshold"):
        at_least("vm", "m", threshold, "s")


def test_a_ratio_has_one_positive_bound():
    with pytest.raises(UsageError, match="either"):
        ratio("vm", "m", over="container")
    with pytest.raises(UsageError, match="either"):
        ratio("vm", "m", over="container", above=1.25, below=0.8)
    with pytest.raises(UsageError, match="never"):
        ratio("vm", "m", over="container", above=0)
