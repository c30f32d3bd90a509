"""Plain numbers from a file: what is read, and what is refused with its line and a remedy."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.errors import SamplesError
from pytest_vmvc.samples import LONGEST, Samples, read


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("samples") / "a.txt"


def reading(place, content):
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(place)


@pytest.mark.parametrize(
    "content",
    [
        "1.5\n2\n3e2\n",
        "1.5\r\n2\r\n3e2",
        "\ufeff1.5\n2\n3e2\n\n\n",
        "seconds\n1.5\n2\n3e2\n",
        "# taken at noon\n1.5\n2\n3e2\n",
        '"start"\n"1.5"\n"2"\n"3e2"\n',
        "[1.5, 2, 300.0]",
        '\n [1.5,\n 2,\n "300"]\n',
    ],
)
def test_the_same_three_samples(place, content):
    assert reading(place, content).values == [1.5, 2.0, 300.0]


def test_a_header_may_name_the_unit(place):
    assert reading(place, "time to answer (ms)\n1\n").unit == "ms"
    assert reading(place, "time [s]\r\n1\r\n").unit == "s"
    assert reading(place, "time\n1\n").unit == ""


@pytest.mark.parametrize("content", ["1\n>300\n>= 300\n", '[1, ">300", ">=300"]'])
def test_a_lower_bound_is_a_censored_sample(place, content):
    found = reading(place, content)
    assert (found.values, found.censored) == ([1.0, 300.0, 300.0], [False, True, True])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no sample"),
        (" \n\n", "holds no sample"),
        ("seconds\n", "holds a header and no sample"),
        ("[]", "holds no sample"),
        ("1\n2\nnan\n", "line 3: 'nan' is not a finite number"),
        ("nan\n", "line 1: 'nan' is not a finite number"),
        ("1\n-inf\n", "line 2: '-inf' is not a finite number"),
        ("1\n1e999\n", "line 2: '1e999' is too large a number"),
        ("1\n\n2\n", "line 2: a blank is not a number"),
        ("1,5\n2,5\n", r"line 1: '1,5' is not a number .* a point for the decimals"),
        ("run,seconds\n1,0.5\n", r"line 2: .* one column"),
        ("1\n2 s\n", "line 2: '2 s' is not a number"),
        ("1\n1_000\n", "line 2"),
        ("1\n١\n", "line 2"),
        ("1\n<5\n", "line 2"),
        ("a word\nand another\n", "line 2"),
        (b"1\n2\n\xff\xfe\n", "line 3: not text"),
        (b"1\n\x7fELF\x00\n", "line 2: not text"),
        ("[1, true]", "item 2: not a number: 'True'"),
        ("[1, null]", "item 2"),
        ("[1, [2]]", "item 2"),
        ('[1, "nan"]', "item 2"),
        ("[1, NaN]", "not an array of numbers in JSON"),
        ("[1, 2", "not an array of numbers in JSON"),
        ("[1, 1e999]", "not an array of numbers in JSON|not a finite number"),
    ],
)
def test_anything_else_is_refused_with_its_place_and_a_remedy(place, content, says):
    with pytest.raises(SamplesError, match=says) as refused:
        reading(place, content)
    assert refused.value.hint
    assert place.name in str(refused.value)


@pytest.mark.parametrize("text", ["9", "x", "[", "[1, 9", ">", "\n1"])
def test_an_endless_line_is_refused_in_a_short_one(place, text):
    with pytest.raises(SamplesError) as refused:
        reading(place, text + text[-1] * 10_000_000)
    assert len(str(refused.value)) < len(str(place)) + 300


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(SamplesError, match="No such file") as refused:
        read(tmp_path / "none.txt")
    assert isinstance(refused.value.__cause__, OSError)
    with pytest.raises(SamplesError, match="directory"):
        read(tmp_path)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_whatever_stands_in_a_file_it_is_samples_or_a_clear_error(place, content):
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    try:
        found = reading(place, content)
    except SamplesError:
        return
    assert found.values
    assert all(math.isfinite(value) for value in found.values)
    assert found.censored is None or len(found.censored) == len(found.values)


@given(
    st.lists(st.text(alphabet="0123456789.eE+->,;\"' \tnaif_[]\r", max_size=LONGEST), max_size=5)
)
def test_nearly_numbers_are_samples_or_a_clear_error(place, lines):
    try:
        found = reading(place, "\n".join(lines))
    except SamplesError:
        return
    assert all(math.isfinite(value) for value in found.values)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_every_way_of_writing_them(place, values):
    assert reading(place, "\n".join(map(repr, values))).values == values
    assert reading(place, "h\n" + "\r\n".join(map(repr, values))).values == values
    assert reading(place, json.dumps(values)).values == values


def test_a_sample_is_named_by_the_line_it_stands_in(place):
    assert reading(place, "seconds\n1\n2\n").where(1).endswith("a.txt, line 3")
    assert reading(place, "[1, 2]").where(1).endswith("a.txt, item 2")
    assert Samples(name="a", values=[1.0]).where(0) == "a, line 1"
