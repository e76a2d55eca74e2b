"""Messages between server and workers: what goes in comes out, and nothing else is understood."""

from __future__ import annotations

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedopt.service.messages import MessageError, encode, read, receive

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FRAMES = st.lists(
    st.tuples(st.dictionaries(st.text(), JSON, max_size=4), st.binary(max_size=200)), max_size=5
)


@given(FRAMES)
def test_frames_come_out_as_they_went_in(messages):
    stream = io.BytesIO(b"".join(encode(message, text) for message, text in messages))
    assert [read(stream) for _ in messages] == messages
    assert read(stream) is None

    async def received():
        reader = asyncio.StreamReader()
        for message, text in messages:
            reader.feed_data(encode(message, text))
        reader.feed_eof()
        found = [await receive(reader) for _ in messages]
        with pytest.raises(MessageError):
            await receive(reader)
        return found

    assert asyncio.run(received()) == messages


@given(st.binary(max_size=40))
def test_what_is_no_frame_is_none(data):
    try:
        found = read(io.BytesIO(data))
    except MessageError:
        return
    assert found is None or encode(*found)[:12] == data[:12]


def test_half_a_frame_is_the_end():
    whole = encode({"a": 1}, b"text")
    for length in range(len(whole)):
        assert read(io.BytesIO(whole[:length])) is None
