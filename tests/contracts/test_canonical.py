import json
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.contracts.document import parse_canonical
from fedopt.storage import canonical_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé\n", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785, appendix B
        ("0000000000000000", "0"), ("8000000000000000", "0"), ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"), ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"), ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"), ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"), ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"), ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"), ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"), ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"), ("41b3de4355555556", "333333333.3333334"),
        ("becbf647612f3696", "-0.0000033333333333333333"), ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)  # fmt: skip
def test_numbers_of_the_standard(bits, text):
    assert canonical_json(struct.unpack(">d", bytes.fromhex(bits))[0]).decode() == text


def test_example_of_the_standard():
    document = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(document).decode() == expected


def test_keys_are_ordered_by_utf_16():
    assert (
        canonical_json({"\U0001f600": 1, "\ufb33": 2, "a": 3}).decode() == '{"a":3,"\U0001f600":1,"\ufb33":2}'
    )


@settings(deadline=None, max_examples=300, derandomize=True)
@given(VALUES)
def test_reading_and_writing_again_gives_the_same_bytes(value):
    data = canonical_json(value)
    assert canonical_json(parse_canonical(data)) == data
    json.loads(data)


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**60, {1: 2}, object(), "\ud800"])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        canonical_json(value)


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1,"a":1}', b"1.0", b"NaN", b"[" * 100_000]
)
def test_other_spellings_are_refused(data):
    with pytest.raises(ValueError, match=r"."):
        parse_canonical(data)
